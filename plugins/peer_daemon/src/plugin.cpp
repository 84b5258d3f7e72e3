#include "plugins/peer_daemon/src/daemon.hpp"

using cm::daemon::Daemon;
CM_DEFINE_PLUGIN(Daemon);
