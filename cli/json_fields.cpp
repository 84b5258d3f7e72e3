#include "cli/json_fields.hpp"

namespace cm::cli {

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
