#include "plugins/peer_daemon/src/send_request.hpp"

#include <utility>

#include "plugins/peer_daemon/src/json_out.hpp"
#include "plugins/peer_daemon/src/target_resolver.hpp"
#include "protocol/ids.hpp"

namespace cm::daemon {
namespace {

using protocol::JsonValue;

ParsedOr<SendRequest> refuse(std::string_view error) {
  return {std::nullopt, api_error(400, error)};
}

// The text member, or empty; a member of another kind counts as missing.
std::string text_member(const JsonValue& body, std::string_view key) {
  const JsonValue* value = body.find(key);
  return value != nullptr && value->as_string() != nullptr ? *value->as_string() : std::string();
}

}  // namespace

ApiAnswer api_error(std::uint32_t status, std::string_view error) {
  return {status, JsonObject().text("error", error).finish()};
}

ApiAnswer api_error(std::uint32_t status, std::string_view error, std::string_view detail) {
  return {status, JsonObject().text("error", error).text("detail", detail).finish()};
}

ParsedOr<SendRequest> parse_send_request(std::string_view body, std::string_view idempotency_key) {
  const Result<JsonValue> tree = protocol::parse_json(body);
  if (!tree) {
    return refuse("Error: invalid_json");
  }
  if (!tree->is_object()) {
    return refuse("expected JSON object");
  }
  SendRequest request;
  request.to = text_member(*tree, "to");
  if (request.to.empty()) {
    return refuse("missing 'to'");
  }
  request.message = text_member(*tree, "message");
  if (request.message.empty()) {
    return refuse("missing 'message'");
  }
  const JsonValue* priority = tree->find("priority");
  if (priority != nullptr && !priority->is_null()) {
    const std::string* word = priority->as_string();
    const std::optional<protocol::Priority> known = word == nullptr ? std::nullopt : protocol::parse_priority(*word);
    if (!known) {
      return refuse("priority must be 'now' | 'next' | 'low'");
    }
    request.priority = *known;
  }
  const JsonValue* meta = tree->find("meta");
  if (meta != nullptr && !meta->is_null()) {
    if (!meta->is_object()) {
      return refuse("'meta' must be an object");
    }
    request.meta = *meta;
  }
  request.reply_to_id = text_member(*tree, "reply_to_id");
  request.mesh = text_member(*tree, "mesh");
  request.client_message_id = text_member(*tree, "client_message_id");
  if (request.client_message_id.empty()) {
    request.client_message_id = std::string(idempotency_key);
  }
  if (!request.client_message_id.empty() && !protocol::is_client_message_id(request.client_message_id)) {
    return {
        std::nullopt,
        api_error(400, "invalid client_message_id",
                  "found " + std::to_string(request.client_message_id.size()) +
                      " bytes; expected 1 to 256 bytes of UTF-8 without control characters; leave it out to get one")};
  }
  return {std::move(request), {}};
}

Result<protocol::Fingerprint> fingerprint_of(const SendRequest& request) {
  const FingerprintDestination destination = fingerprint_destination(request.to);
  protocol::FingerprintInput input;
  input.destination_kind = destination.kind;
  input.destination_ref = destination.ref;
  input.reply_to_id = request.reply_to_id;
  input.priority = request.priority;
  input.meta = request.meta.has_value() ? &*request.meta : nullptr;
  input.body = protocol::as_bytes(request.message);
  return protocol::request_fingerprint(input);
}

}  // namespace cm::daemon
