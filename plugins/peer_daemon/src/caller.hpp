// Who asks: a program of this user, or one of its sessions.
#pragma once

#include <string>

#include "plugins/peer_daemon/src/event_hub.hpp"
#include "plugins/peer_daemon/src/inbox_store.hpp"

namespace cm::daemon {

struct Caller {
  bool unknown_token = false;  // showed a session token that nobody has
  std::string token;           // empty: no session
  std::string mesh;            // of the session
  std::string session_pubkey;  // empty: the session has no presence

  bool is_session() const noexcept { return !token.empty(); }
  InboxScope inbox_scope() const { return InboxScope{is_session(), mesh, session_pubkey}; }
};

}  // namespace cm::daemon
