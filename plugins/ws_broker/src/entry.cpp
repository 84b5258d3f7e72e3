#include "plugins/ws_broker/src/plugin.hpp"

CM_DEFINE_PLUGIN(cm::broker::BrokerPlugin);
