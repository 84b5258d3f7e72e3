// POST /v1/send: the request as it was asked for, and its fingerprint. Pure.
#pragma once

#include <claudemesh/cpp/result.hpp>

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "protocol/fingerprint.hpp"
#include "protocol/json.hpp"

namespace cm::daemon {

// An answer of the local API.
struct ApiAnswer {
  std::uint32_t status = 200;
  std::string json;
};
ApiAnswer api_error(std::uint32_t status, std::string_view error);
ApiAnswer api_error(std::uint32_t status, std::string_view error, std::string_view detail);

struct SendRequest {
  std::string to;
  std::string message;
  protocol::Priority priority = protocol::Priority::kNext;
  std::optional<protocol::JsonValue> meta;  // an object
  std::string reply_to_id;
  std::string client_message_id;  // empty: the daemon makes one
  std::string mesh;               // slug, may be empty
};

// A value or the answer that refuses it.
template <typename Value>
struct ParsedOr {
  std::optional<Value> value;
  ApiAnswer refusal;
};

// `idempotency_key` is the header; the body's client_message_id wins. Refusals are 400 with the texts of wire/06
// section 7.
ParsedOr<SendRequest> parse_send_request(std::string_view body, std::string_view idempotency_key);

// Over the request as it was given: neither resolution nor ciphertext enters, so that a repetition gives the same
// value whoever is online (wire/01 section 14.2). kInvalid for a NUL in a text.
Result<protocol::Fingerprint> fingerprint_of(const SendRequest& request);

}  // namespace cm::daemon
