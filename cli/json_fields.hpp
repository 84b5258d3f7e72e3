// Small JSON objects: members that are read without caring for their absence, and building.
#pragma once

#include <initializer_list>
#include <string>
#include <string_view>
#include <utility>

#include "protocol/json_fields.hpp"

namespace cm::cli {

using protocol::JsonValue;

using protocol::array_of;
using protocol::flag_of;
using protocol::number_of;
using protocol::text_of;

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
