#include "cli/json_fields.hpp"

namespace cm::cli {

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

std::string count_text(double value) {
  return protocol::ecmascript_number(value);
}

JsonValue object_of(std::initializer_list<std::pair<const char*, JsonValue>> members) {
  JsonValue object{JsonValue::Object()};
  for (const auto& [key, value] : members) {
    object.set(key, value);
  }
  return object;
}

}  // namespace cm::cli
