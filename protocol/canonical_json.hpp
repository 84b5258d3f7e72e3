// Canonical JSON: RFC 8785 (JCS), and the variant that 1.37.0 clients put into the request fingerprint.
#pragma once

#include <string>
#include <string_view>

#include <claudemesh/cpp/result.hpp>

#include "protocol/json.hpp"

namespace cm::protocol {

// RFC 8785: members sorted by the UTF-16 code units of their names, numbers as ECMAScript, no white space.
// kInvalid: lone surrogate, NaN or infinity, or deeper than kJsonMaxDepth.
Result<std::string> canonical_json(const JsonValue& value);
// Parses first; duplicate names: the last wins, as in JavaScript (RFC 8785 leaves them to the caller).
Result<std::string> canonical_json(std::string_view text);

// What an original client computes (wire/01 section 14.2): as above, except that integer-like names ("0" to
// "4294967294", no leading zeros) come first in ascending numeric order, because a JavaScript object enumerates them
// so, and that lone surrogates are kept as escapes. Use it for fingerprints only.
Result<std::string> canonical_json_js(const JsonValue& value);
Result<std::string> canonical_json_js(std::string_view text);

// The order of member names: by UTF-16 code units. Negative, zero, positive.
int compare_utf16(std::string_view a, std::string_view b);

}  // namespace cm::protocol
