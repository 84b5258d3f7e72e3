// The launched sessions that use this daemon (wire/06 section 6): who they are, never their secrets.
#pragma once

#include <claudemesh/cpp/result.hpp>

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "plugins/peer_daemon/src/home_files.hpp"
#include "plugins/peer_daemon/src/send_request.hpp"

namespace cm::daemon {

// Of a session whose process cannot be told from another one with the same id.
inline constexpr std::int64_t kSessionTtlMs = 24 * 3'600'000;
inline constexpr std::uint64_t kReaperMs = 5'000;
inline constexpr std::size_t kSessionsMax = 1'024;
inline constexpr std::size_t kTokenPrefixLength = 8;

struct SessionInfo {
  std::string token;  // 64 hex; names the session to this daemon only
  std::string session_id;
  std::string mesh;
  std::string display_name;
  std::int64_t pid = 0;
  std::string cwd;
  std::string role;
  std::vector<std::string> groups;  // "@name" or "@name:role"
  std::string start_time;
  std::int64_t registered_at_ms = 0;
  std::string session_pubkey;  // of its presence; empty without one
};

// The body of POST /v1/sessions/register. A malformed presence is left out, as in 1.37.0.
struct RegisterRequest {
  SessionInfo info;
  SecretText session_secret;  // 128 hex; empty without a presence
};
ParsedOr<RegisterRequest> parse_register(std::string_view body);

// Its time is over: 24 h, unless the start time of its process proves that it is the one that registered.
bool is_outdated(const SessionInfo& info, std::int64_t now_ms);

// {sessionId, mesh, displayName, pid, ..., token_prefix}: no token, no secret.
std::string describe_session(const SessionInfo& info);
// [{"name","role"?}] out of "@name:role".
std::string groups_json(const std::vector<std::string>& groups);

// sessions.json: holds the tokens, mode 0600, no keys.
std::string format_sessions(const std::vector<const SessionInfo*>& sessions);
Result<std::vector<SessionInfo>> parse_sessions(std::string_view json);

// A key file of 1.37.0: <sessions dir>/<slug>/<session id>.json (wire/01 section 9). nullopt: none, or not usable.
std::optional<SecretText> read_session_key(const std::string& sessions_dir, const std::string& slug,
                                           const std::string& session_id);

// By token; one entry per session id.
class SessionRegistry {
 public:
  // Sessions that have to go first: another token of the same session id, the same token registered again, or another
  // token with the same session key.
  std::vector<std::string> replaced_by(const SessionInfo& info) const;
  void put(SessionInfo info);
  bool erase(std::string_view token);
  const SessionInfo* find(std::string_view token) const;
  // Past their time to live, or `is_same` says that their process is gone.
  std::vector<std::string> ended(std::int64_t now_ms,
                                 const std::function<bool(std::int64_t pid, const std::string& start)>& is_same) const;
  std::vector<const SessionInfo*> all() const;
  std::size_t size() const noexcept { return sessions_.size(); }

 private:
  std::map<std::string, SessionInfo, std::less<>> sessions_;
};

}  // namespace cm::daemon
