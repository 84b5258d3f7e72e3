// Reading members of JSON answers without caring for their absence, and building small objects.
#pragma once

#include <initializer_list>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "protocol/json.hpp"

namespace cm::cli {

using protocol::JsonValue;

// The member as a string; empty when it is absent or of another kind.
std::string text_of(const JsonValue& object, std::string_view key);
std::optional<double> number_of(const JsonValue& object, std::string_view key);
bool flag_of(const JsonValue& object, std::string_view key);
// The member's elements; none when it is absent or of another kind.
const std::vector<JsonValue>& array_of(const JsonValue& object, std::string_view key);
// A number without a fraction as a person writes it: "12".
std::string count_text(double value);

// An object with the members in this order.
JsonValue object_of(std::initializer_list<std::pair<const char*, JsonValue>> members);
inline JsonValue json_text(std::string_view text) {
  return JsonValue(text);
}
inline JsonValue json_number(double value) {
  return JsonValue(value);
}
inline JsonValue json_bool(bool value) {
  return JsonValue(value);
}

}  // namespace cm::cli
