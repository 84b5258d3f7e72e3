// What a start finds of the sessions that were registered before: sessions.json and their key files.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "plugins/peer_daemon/src/options.hpp"
#include "plugins/peer_daemon/src/session_registry.hpp"

namespace cm::daemon {

struct SavedSession {
  SessionInfo info;   // with session_pubkey when there is a secret
  SecretText secret;  // empty: no key file, or one that cannot be used
};

struct SavedSessions {
  std::vector<SavedSession> sessions;  // whose process still runs; kSessionsMax at most
  SecretText text;                     // sessions.json as it stands
  std::string problem;                 // why sessions.json cannot be used; empty when it can, or when there is none
};

// [worker] Waits for the disk.
SavedSessions load_saved_sessions(const DaemonOptions& options, std::int64_t now_ms);

}  // namespace cm::daemon
