// The decoders: whatever decodes encodes back to the same text.
#include <cstdint>
#include <cstdlib>

#include "protocol/encoding.hpp"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace cm::protocol;
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  const auto hex = hex_decode(text, HexCase::kLowerOnly);
  const auto base64 = base64_decode(text);
  const auto base64url = base64url_decode(text);
  if ((hex && hex_encode(*hex) != text) || (base64 && base64_encode(*base64) != text) ||
      (base64url && base64url_encode(*base64url) != text)) {
    std::abort();
  }
  if (is_valid_utf8(text) && !is_valid_utf8(utf8_prefix(text, size / 2))) {
    std::abort();
  }
  if (utf16_length(text) > size) {
    std::abort();
  }
  return 0;
}
