#include "plugins/peer_daemon/src/api_guard.hpp"

#include <algorithm>
#include <array>

#include "protocol/encoding.hpp"

namespace cm::daemon {
namespace {

constexpr std::string_view kBearer = "Bearer ";
constexpr std::string_view kSessionWord = "ClaudeMesh-Session";  // a host may have trimmed the space behind it
constexpr std::array<std::string_view, 5> kHosts = {"", "localhost", "127.0.0.1", "[::1]", "::1"};

bool query_has_token(std::string_view query) {
  while (!query.empty()) {
    const std::size_t end = std::min(query.find('&'), query.size());
    const std::string_view pair = query.substr(0, end);
    if (pair.substr(0, pair.find('=')) == "token") {
      return true;
    }
    query.remove_prefix(std::min(end + 1, query.size()));
  }
  return false;
}

bool is_local_host(std::string_view host) {
  if (host.starts_with('[')) {
    host = host.substr(0, std::min(host.find(']') + 1, host.size()));
  } else if (host != "::1") {
    host = host.substr(0, host.find(':'));
  }
  return std::find(kHosts.begin(), kHosts.end(), host) != kHosts.end();
}

}  // namespace

std::optional<ApiAnswer> guard_request(const GuardInput& input, const GuardPolicy& policy) {
  if (query_has_token(input.query)) {
    return api_error(400, "token must be in Authorization header, not query string");
  }
  if (!is_local_host(input.host)) {
    return api_error(403, "forbidden host");
  }
  if (!input.origin.empty()) {
    return api_error(403, "forbidden origin");
  }
  if (input.unix_socket || (policy.public_health && input.path == "/v1/health")) {
    return std::nullopt;
  }
  if (!input.authorization.starts_with(kBearer)) {
    return api_error(401, "missing bearer token");
  }
  const std::string_view token = input.authorization.substr(kBearer.size());
  if (policy.local_token.empty() || !protocol::equal_constant_time(token, policy.local_token)) {
    return api_error(401, "invalid bearer token");
  }
  return std::nullopt;
}

std::optional<std::string_view> session_token(std::string_view authorization) {
  if (authorization.substr(0, kSessionWord.size()) != kSessionWord) {
    return std::nullopt;
  }
  authorization.remove_prefix(kSessionWord.size());
  return authorization.substr(std::min(authorization.find_first_not_of(' '), authorization.size()));
}

}  // namespace cm::daemon
