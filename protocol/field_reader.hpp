// Private to the parsers: takes typed members out of a JSON object. The strict functions remember the first problem,
// the lenient ones turn anything unexpected into "absent".
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include <claudemesh/cpp/result.hpp>

#include "protocol/json.hpp"

namespace cm::protocol {

class FieldReader {
 public:
  // `what` names the message in error texts. A value that is no object is the first problem.
  FieldReader(std::string_view what, const JsonValue& frame) : what_(what), frame_(frame) {
    if (!frame.is_object()) {
      problem_ = std::string(what_) + ": found " + std::string(describe(frame.kind())) + ", expected an object";
    }
  }

  // --- strict; null counts as absent for the optional ones ---
  std::string text(std::string_view name) {
    const JsonValue* value = frame_.find(name);
    if (value != nullptr && value->as_string() != nullptr) {
      return *value->as_string();
    }
    complain(name, value, "a string");
    return {};
  }
  std::optional<std::string> optional_text(std::string_view name) {
    const JsonValue* value = present(name);
    return value == nullptr ? std::nullopt : std::optional(text(name));
  }
  bool boolean(std::string_view name) {
    const JsonValue* value = frame_.find(name);
    if (value != nullptr && value->as_bool() != nullptr) {
      return *value->as_bool();
    }
    complain(name, value, "a boolean");
    return false;
  }
  const JsonValue::Array* array(std::string_view name) {
    const JsonValue* value = frame_.find(name);
    const JsonValue::Array* content = value == nullptr ? nullptr : value->as_array();
    if (content == nullptr) {
      complain(name, value, "an array");
    }
    return content;
  }

  // --- lenient ---
  std::string any_text(std::string_view name) const { return maybe_text(name).value_or(std::string()); }
  std::optional<std::string> maybe_text(std::string_view name) const {
    const JsonValue* value = frame_.find(name);
    return value != nullptr && value->as_string() != nullptr ? std::optional(*value->as_string()) : std::nullopt;
  }
  double any_number(std::string_view name, double otherwise) const {
    const JsonValue* value = frame_.find(name);
    return value != nullptr && value->as_number() != nullptr ? *value->as_number() : otherwise;
  }
  // The member, or nullptr when it is absent or null.
  const JsonValue* present(std::string_view name) const {
    const JsonValue* value = frame_.find(name);
    return value == nullptr || value->is_null() ? nullptr : value;
  }
  // The member as JSON text, when it is of the wanted kind.
  std::optional<std::string> json_of(std::string_view name, JsonValue::Kind kind) const {
    const JsonValue* value = frame_.find(name);
    return value != nullptr && value->kind() == kind ? std::optional(to_json(*value)) : std::nullopt;
  }

  bool ok() const { return problem_.empty(); }
  Error error() const { return make_error(ErrorCode::kInvalid, problem_); }
  void complain(std::string_view name, const JsonValue* found, std::string_view expected) {
    if (ok()) {
      problem_ = std::string(what_) + ": \"" + std::string(name) + "\" is " +
                 (found == nullptr ? "missing" : std::string(describe(found->kind()))) + ", expected " +
                 std::string(expected);
    }
  }

 private:
  std::string_view what_;
  const JsonValue& frame_;
  std::string problem_;
};

}  // namespace cm::protocol
