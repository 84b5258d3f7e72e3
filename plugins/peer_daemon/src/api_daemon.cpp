// Handlers of the local API: the daemon itself, its meshes and sessions.
#include <unistd.h>

#include "plugins/peer_daemon/src/api_guard.hpp"
#include "plugins/peer_daemon/src/iso_time.hpp"
#include "plugins/peer_daemon/src/json_out.hpp"
#include "plugins/peer_daemon/src/local_api.hpp"

#ifndef CM_DAEMON_VERSION
#define CM_DAEMON_VERSION "0.0.0"
#endif

namespace cm::daemon {
namespace {

constexpr std::string_view kFeatures =
    R"(["version","health","send","inbox","events","peers","profile","skills","state","memory","sessions",)"
    R"("outbox","meshes","message_status"])";

std::string names_json(const std::vector<std::string>& names) {
  JsonArray array;
  for (const std::string& name : names) {
    array.add_text(name);
  }
  return array.finish();
}

std::string link_json(const LinkStatus& status) {
  JsonObject link;
  link.text("state", link_state_word(status.state)).number("since_ms", status.since_ms);
  if (status.attempt != 0) {
    link.number("attempt", status.attempt);
  }
  if (status.retry_in_ms != 0 && status.state != CM_LINK_OPEN) {
    link.number("retry_in_ms", status.retry_in_ms);
  }
  return link.text_if("reason", status.reason)
      .text_if("code", status.code)
      .raw("features", status.features_json)
      .raw("degraded", names_json(status.degraded))
      .finish();
}

// 1.37.0 knows four words for the state of a broker.
std::string_view broker_word(const LinkStatus& status) {
  return status.state == CM_LINK_REFUSED ? "closed" : link_state_word(status.state);
}

}  // namespace

void LocalApi::version(const ApiCall& call) {
  call.answer({200, JsonObject()
                        .text("daemon_version", CM_DAEMON_VERSION)
                        .text("ipc_api", "v1")
                        .raw("ipc_features", kFeatures)
                        .number("schema_version", 1)
                        .finish()});
}

std::string LocalApi::health_json() const {
  JsonObject brokers;
  JsonObject links;
  for (const auto& [slug, mesh] : parts_.membership->meshes()) {
    const LinkStatus& status = mesh->links().primary_status();
    brokers.text(slug, broker_word(status));
    links.raw(slug, link_json(status));
  }
  const std::string outbox = JsonObject()
                                 .number("pending", static_cast<std::int64_t>(parts_.drain->pending()))
                                 .number("inflight", static_cast<std::int64_t>(parts_.drain->inflight()))
                                 .number("dead", parts_.drain->dead())
                                 .finish();
  return JsonObject()
      .boolean("ok", true)
      .number("pid", ::getpid())
      .raw("brokers", brokers.finish())
      .raw("links", links.finish())
      .raw("outbox", outbox)
      .number("sessions", static_cast<std::int64_t>(parts_.membership->sessions().size()))
      .number("event_streams", static_cast<std::int64_t>(parts_.events->stream_count()))
      .finish();
}

void LocalApi::health(const ApiCall& call) {
  call.answer({200, health_json()});
}

void LocalApi::reload_meshes(const ApiCall& call) {
  parts_.reload([call](const Result<ReloadResult>& result) {
    if (!result) {
      call.answer(api_error(500, "reload_failed", result.error().message));
      return;
    }
    call.answer({200, JsonObject()
                          .raw("added", names_json(result->added))
                          .raw("removed", names_json(result->removed))
                          .raw("meshes", names_json(result->meshes))
                          .finish()});
  });
}

void LocalApi::register_session(const ApiCall& call) {
  ParsedOr<RegisterRequest> parsed = parse_register(call.request.body());
  if (!parsed.value.has_value()) {
    call.answer(parsed.refusal);
    return;
  }
  if (parts_.membership->sessions().size() >= kSessionsMax) {
    call.answer(api_error(503, "too many sessions",
                          std::to_string(kSessionsMax) + " are registered, which is the limit; end some"));
    return;
  }
  const std::int64_t now_ms = parts_.host->unix_ms();
  parts_.membership->register_session(std::move(*parsed.value), [call, now_ms](bool present) {
    call.answer({200, JsonObject()
                          .boolean("ok", true)
                          .text("registered_at", format_iso_ms(now_ms))
                          .boolean("presence_accepted", present)
                          .finish()});
  });
}

void LocalApi::delete_session(const ApiCall& call) {
  const std::string token(call.request.path_parameter("token"));
  if (!protocol::is_hex(token, 64, protocol::HexCase::kAny)) {
    call.answer(api_error(400, "invalid token"));
    return;
  }
  const auto answer = [call, token](bool removed) {
    call.answer(
        {removed ? 200U : 404U,
         JsonObject().boolean("ok", removed).text("token_prefix", token.substr(0, kTokenPrefixLength)).finish()});
  };
  if (!parts_.membership->remove_session(token, [answer] { answer(true); })) {
    answer(false);
  }
}

void LocalApi::list_sessions(const ApiCall& call) {
  JsonArray sessions;
  for (const SessionInfo* info : parts_.membership->sessions().all()) {
    sessions.add(describe_session(*info));
  }
  call.answer({200, JsonObject().raw("sessions", sessions.finish()).finish()});
}

void LocalApi::own_session(const ApiCall& call) {
  const SessionInfo* info = parts_.membership->sessions().find(call.caller.token);
  if (info == nullptr) {
    call.answer(api_error(401, "no session token"));
    return;
  }
  call.answer({200, JsonObject().raw("session", describe_session(*info)).finish()});
}

}  // namespace cm::daemon
