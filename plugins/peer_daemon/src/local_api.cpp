#include "plugins/peer_daemon/src/local_api.hpp"

#include <utility>

#include "plugins/peer_daemon/src/api_guard.hpp"
#include "plugins/peer_daemon/src/json_out.hpp"

namespace cm::daemon {
namespace {

constexpr std::uint64_t kConnectionsMax = 512;
constexpr std::size_t kNoBody = 64 * 1024;  // routes that ignore a body

}  // namespace

Status LocalApi::open(ApiParts parts, SecretText local_token) {
  parts_ = std::move(parts);
  local_token_ = std::move(local_token);
  if (!parts_.options->socket.empty()) {
    const Status status = listen("unix:" + parts_.options->socket);
    if (!status.ok()) {
      return status;
    }
  }
  return parts_.options->tcp_listen.empty() ? Status() : listen(parts_.options->tcp_listen);
}

Status LocalApi::listen(const std::string& address) {
  cm_http_listen_options options = {};
  options.unix_mode = 0600;
  options.address = to_pview(address);
  options.body_bytes_max = parts_.options->body_bytes_max;
  options.connections_max = kConnectionsMax;
  auto listener = std::make_unique<HttpListener>();
  const Status status = listener->listen(*parts_.host, options);
  if (!status.ok()) {
    return make_error(status.error().code, "ipc listen failed: " + status.error().message);
  }
  add_routes(*listener);
  listeners_.push_back(std::move(listener));
  return {};
}

void LocalApi::close() {
  listeners_.clear();
}

void LocalApi::add(HttpListener& listener, std::string_view method, std::string_view pattern, std::size_t body_max,
                   Handler handler, Access access) {
  listener.route(method, pattern, [this, body_max, handler, access](const HttpRequest& request) {
    dispatch(request, body_max, handler, access);
  });
}

void LocalApi::add_routes(HttpListener& listener) {
  add(listener, "GET", "/v1/version", kNoBody, &LocalApi::version, Access::kAnybody);
  add(listener, "GET", "/v1/health", kNoBody, &LocalApi::health, Access::kAnybody);
  add(listener, "POST", "/v1/send", kDataBodyMax, &LocalApi::send);
  add(listener, "GET", "/v1/inbox", kNoBody, &LocalApi::list_inbox);
  add(listener, "DELETE", "/v1/inbox", kNoBody, &LocalApi::flush_inbox);
  add(listener, "POST", "/v1/inbox/seen", kSessionBodyMax, &LocalApi::mark_inbox_seen);
  add(listener, "DELETE", "/v1/inbox/:id", kNoBody, &LocalApi::delete_inbox_row);
  add(listener, "GET", "/v1/outbox", kNoBody, &LocalApi::list_outbox);
  add(listener, "POST", "/v1/outbox/requeue", kRequeueBodyMax, &LocalApi::requeue);
  add(listener, "GET", "/v1/events", kNoBody, &LocalApi::stream_events);
  add(listener, "POST", "/v1/meshes/reload", kNoBody, &LocalApi::reload_meshes, Access::kAnybody);
  add(listener, "POST", "/v1/sessions/register", kSessionBodyMax, &LocalApi::register_session, Access::kAnybody);
  add(listener, "DELETE", "/v1/sessions/:token", kNoBody, &LocalApi::delete_session, Access::kAnybody);
  add(listener, "GET", "/v1/sessions", kNoBody, &LocalApi::list_sessions, Access::kAnybody);
  add(listener, "GET", "/v1/sessions/me", kNoBody, &LocalApi::own_session);
  add(listener, "GET", "/v1/peers", kNoBody, &LocalApi::list_peers);
  add(listener, "GET", "/v1/messages/:id/status", kNoBody, &LocalApi::message_status);
  add(listener, "GET", "/v1/state", kNoBody, &LocalApi::read_state);
  add(listener, "POST", "/v1/state", kDataBodyMax, &LocalApi::write_state);
  add(listener, "GET", "/v1/memory", kNoBody, &LocalApi::recall);
  add(listener, "POST", "/v1/memory", kDataBodyMax, &LocalApi::remember);
  add(listener, "DELETE", "/v1/memory/:id", kNoBody, &LocalApi::forget);
  add(listener, "GET", "/v1/skills", kNoBody, &LocalApi::list_skills);
  add(listener, "GET", "/v1/skills/:name", kNoBody, &LocalApi::get_skill);
  add(listener, "POST", "/v1/profile", kProfileBodyMax, &LocalApi::set_profile);
  listener.fallback([](const HttpRequest& request) { request.respond_json(404, R"({"error":"not found"})"); });
}

Caller LocalApi::caller_of(std::string_view authorization) const {
  Caller caller;
  const std::optional<std::string_view> token = session_token(authorization);
  if (!token.has_value()) {
    return caller;
  }
  const SessionInfo* info = parts_.membership->sessions().find(*token);
  if (info == nullptr) {
    caller.unknown_token = true;
    return caller;
  }
  caller.token = info->token;
  caller.mesh = info->mesh;
  caller.session_pubkey = info->session_pubkey;
  return caller;
}

void LocalApi::dispatch(const HttpRequest& request, std::size_t body_max, Handler handler, Access access) {
  GuardInput input;
  input.unix_socket = request.is_unix();
  input.path = request.path();
  input.query = request.query();
  input.host = request.header("Host");
  input.origin = request.header("Origin");
  input.authorization = request.header("Authorization");
  const std::optional<ApiAnswer> refusal =
      guard_request(input, GuardPolicy{local_token_.text(), parts_.options->public_health});
  if (refusal.has_value()) {
    request.respond_json(refusal->status, refusal->json);
    return;
  }
  if (request.body().size() > body_max) {
    request.respond_json(400, R"({"error":"Error: payload_too_large"})");
    return;
  }
  const ApiCall call{request, caller_of(input.authorization)};
  if (call.caller.unknown_token && access == Access::kIdentity) {
    call.answer(
        api_error(401, "invalid session token",
                  "found a session token that nobody is registered with; expected that of a running session, or "
                  "none; register the session again, or unset CLAUDEMESH_IPC_TOKEN and "
                  "CLAUDEMESH_IPC_TOKEN_FILE to act as the member"));
    return;
  }
  (this->*handler)(call);
}

}  // namespace cm::daemon
