#include "protocol/json_fields.hpp"

namespace cm::protocol {

std::string text_of(const JsonValue& object, std::string_view key) {
  const JsonValue* member = object.find(key);
  const std::string* text = member != nullptr ? member->as_string() : nullptr;
  return text != nullptr ? *text : std::string();
}

std::optional<double> number_of(const JsonValue& object, std::string_view key) {
  const JsonValue* member = object.find(key);
  const double* number = member != nullptr ? member->as_number() : nullptr;
  return number != nullptr ? std::optional<double>(*number) : std::nullopt;
}

std::int64_t integer_of(const JsonValue& object, std::string_view key) {
  constexpr double kExactMax = 9007199254740991.0;
  const double number = number_of(object, key).value_or(0);
  return number >= -kExactMax && number <= kExactMax ? static_cast<std::int64_t>(number) : 0;
}

bool flag_of(const JsonValue& object, std::string_view key) {
  const JsonValue* member = object.find(key);
  const bool* flag = member != nullptr ? member->as_bool() : nullptr;
  return flag != nullptr && *flag;
}

const std::vector<JsonValue>& array_of(const JsonValue& object, std::string_view key) {
  static const std::vector<JsonValue> kNone;
  const JsonValue* member = object.find(key);
  const JsonValue::Array* items = member != nullptr ? member->as_array() : nullptr;
  return items != nullptr ? *items : kNone;
}

}  // namespace cm::protocol
