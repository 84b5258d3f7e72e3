// What every request of the local API must pass (wire/06 section 7). Pure.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "plugins/peer_daemon/src/send_request.hpp"

namespace cm::daemon {

// The parts of a request that the guard looks at.
struct GuardInput {
  bool unix_socket = true;
  std::string_view path;
  std::string_view query;  // raw
  std::string_view host;
  std::string_view origin;
  std::string_view authorization;
};
struct GuardPolicy {
  std::string_view local_token;  // what TCP callers must show
  bool public_health = false;    // GET /v1/health without a token
};

// The refusal, or nothing: a token in the query (400), a foreign Host (403), any Origin (403: a web page is asking),
// over TCP a missing or wrong bearer token (401).
std::optional<ApiAnswer> guard_request(const GuardInput& input, const GuardPolicy& policy);

// The token of `Authorization: ClaudeMesh-Session <64 hex>`, whatever it is; nothing when there is no such header.
std::optional<std::string_view> session_token(std::string_view authorization);

}  // namespace cm::daemon
