#include "plugins/peer_daemon/src/saved_sessions.hpp"

#include <optional>
#include <utility>

#include "plugins/peer_daemon/src/process_probe.hpp"
#include "protocol/keys.hpp"

namespace cm::daemon {

SavedSessions load_saved_sessions(const DaemonOptions& options, std::int64_t now_ms) {
  SavedSessions saved;
  Result<std::optional<PrivateFile>> file = read_private_file(options.sessions_path());
  if (!file) {
    saved.problem = file.error().message;
    return saved;
  }
  if (!file->has_value()) {
    return saved;
  }
  saved.text = std::move((*file)->content);
  Result<std::vector<SessionInfo>> parsed = parse_sessions(saved.text.text());
  if (!parsed) {
    saved.problem = parsed.error().message;
    return saved;
  }
  for (SessionInfo& info : *parsed) {
    const bool runs = !options.watch_processes || process_is_same(info.pid, info.start_time);
    if (!runs || is_outdated(info, now_ms) || saved.sessions.size() >= kSessionsMax) {
      continue;
    }
    SavedSession session;
    std::optional<SecretText> secret = read_session_key(options.sessions_dir, info.mesh, info.session_id);
    if (secret.has_value()) {
      info.session_pubkey = protocol::SecretKey::from_hex(secret->text())->public_key().hex();
      session.secret = std::move(*secret);
    }
    session.info = std::move(info);
    saved.sessions.push_back(std::move(session));
  }
  return saved;
}

}  // namespace cm::daemon
