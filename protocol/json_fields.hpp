// Members of a JSON object for readers who do not care whether they are absent or of another kind.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "protocol/json.hpp"

namespace cm::protocol {

// The member as a string; empty when it is absent, of another kind, or `object` is no object.
std::string text_of(const JsonValue& object, std::string_view key);
// The member as a number; nullopt in the same cases.
std::optional<double> number_of(const JsonValue& object, std::string_view key);
// The member as a whole number; 0 in the same cases and for what a double cannot hold exactly (beyond 2^53 - 1).
std::int64_t integer_of(const JsonValue& object, std::string_view key);
// True only when the member is `true`.
bool flag_of(const JsonValue& object, std::string_view key);
// The member's elements, none in the same cases. They live as long as `object`.
const std::vector<JsonValue>& array_of(const JsonValue& object, std::string_view key);

}  // namespace cm::protocol
