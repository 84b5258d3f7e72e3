#include "protocol/fingerprint.hpp"

#include "protocol/canonical_json.hpp"
#include "protocol/keys.hpp"

namespace cm::protocol {
namespace {

constexpr std::size_t kPrefixBytes = 8;

}  // namespace

Result<Fingerprint> request_fingerprint(const FingerprintInput& input) {
  std::string meta;
  if (input.meta != nullptr && !input.meta->is_null()) {
    auto canonical = canonical_json_js(*input.meta);
    if (!canonical.ok()) {
      return make_error(ErrorCode::kInvalid, "meta: " + canonical.error().message);
    }
    meta = std::move(canonical).value();
  }
  std::string text;
  for (const std::string_view part : {kEnvelopeVersion, to_string(input.destination_kind), input.destination_ref,
                                      input.reply_to_id, to_string(input.priority), std::string_view(meta)}) {
    if (part.find('\0') != std::string_view::npos) {
      return make_error(ErrorCode::kInvalid,
                        "fingerprint: a NUL character in the destination or the replied-to id; remove it");
    }
    text += part;
    text.push_back('\0');
  }
  text += as_text(sha256(input.body));
  return sha256(as_bytes(text));
}

std::string fingerprint_hex(const Fingerprint& fingerprint) {
  return hex_encode(fingerprint);
}

std::string fingerprint_prefix_hex(const Fingerprint& fingerprint) {
  return hex_encode(ByteSpan(fingerprint).first(kPrefixBytes));
}

std::optional<Fingerprint> parse_fingerprint(std::string_view hex) {
  Fingerprint out{};
  return hex_decode_into(hex, HexCase::kAny, out) ? std::optional(out) : std::nullopt;
}

}  // namespace cm::protocol
