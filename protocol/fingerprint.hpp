// The request fingerprint: what must be equal for two sends with one client message id to be the same send.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include <claudemesh/cpp/result.hpp>

#include "protocol/encoding.hpp"
#include "protocol/json.hpp"
#include "protocol/target.hpp"

namespace cm::protocol {

inline constexpr std::string_view kEnvelopeVersion = "1";
using Fingerprint = std::array<std::uint8_t, 32>;

struct FingerprintInput {
  DestinationKind destination_kind = DestinationKind::kDm;
  std::string_view destination_ref;  // topic name, recipient key in hex, or queue id
  std::string_view reply_to_id;      // empty when there is none
  Priority priority = Priority::kNext;
  const JsonValue* meta = nullptr;  // nullptr and JSON null both mean absent; {} is not absent
  ByteSpan body;
};

// sha256 over "1" NUL kind NUL ref NUL reply-to NUL priority NUL canonical_json_js(meta) NUL sha256(body), the last one
// as 32 raw bytes (wire/01 section 14.2; the specification's hex form of the body hash is not what clients compute).
// kInvalid: meta that has no canonical form, or a NUL inside a text field (it would make the encoding ambiguous).
Result<Fingerprint> request_fingerprint(const FingerprintInput& input);

std::string fingerprint_hex(const Fingerprint& fingerprint);         // 64 characters: `request_fingerprint` on the wire
std::string fingerprint_prefix_hex(const Fingerprint& fingerprint);  // first 8 bytes, 16 characters: conflict answers
std::optional<Fingerprint> parse_fingerprint(std::string_view hex);  // either case

}  // namespace cm::protocol
