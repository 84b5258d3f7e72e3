// Everything that a person may paste: no crash, and what was classified is consistent.
#include <cstdint>
#include <cstdlib>

#include "protocol/invite.hpp"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace cm::protocol;
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  const auto input = classify_invite(text);
  if (input.ok()) {
    if (const auto* token = std::get_if<InviteToken>(&*input)) {
      const auto again = classify_invite(invite_ic_link(token->token));
      if (!again.ok() || std::get<InviteToken>(*again).token != token->token) {
        std::abort();
      }
    } else if (!parse_invite_code(text)) {
      std::abort();  // each v1 short link is also a v2 form
    }
  }
  const auto payload = parse_invite_token(text);
  if (payload.ok()) {
    const auto again = parse_invite_token(build_invite_token(*payload));
    if (!again.ok() || again->canonical() != payload->canonical()) {
      std::abort();
    }
    static_cast<void>(verify_invite(*payload, 0));
  }
  static_cast<void>(is_invite_url(text));
  static_cast<void>(broker_http_base(text));
  static_cast<void>(verify_invite_capability(text, "m", "i", 1, "admin", "k"));
  return 0;
}
