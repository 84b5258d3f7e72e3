#include "plugins/broker_link/src/broker_link.hpp"

using cm::broker_link::BrokerLink;
CM_DEFINE_PLUGIN(BrokerLink);
