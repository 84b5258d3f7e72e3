// Private to the serialisers: writes JSON objects member by member and arrays element by element.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include "protocol/json.hpp"

namespace cm::protocol {

// One JSON array of what `write(out, element)` appends for each element, which must be exactly one value.
template <typename Elements, typename Write>
void append_json_array(std::string& out, const Elements& elements, Write&& write) {
  out.push_back('[');
  bool first = true;
  for (const auto& element : elements) {
    if (!first) {
      out.push_back(',');
    }
    first = false;
    write(out, element);
  }
  out.push_back(']');
}

// Opens the object on construction; call close() exactly once. Names must be plain ASCII without quotes. A null
// optional writes nothing.
class ObjectWriter {
 public:
  explicit ObjectWriter(std::string& out) : out_(out) { out_.push_back('{'); }
  ObjectWriter(std::string& out, std::string_view type) : ObjectWriter(out) { text("type", type); }

  void text(std::string_view name, std::string_view value) {
    key(name);
    append_json_string(out_, value);
  }
  template <typename Text>
  void text_if(std::string_view name, const std::optional<Text>& value) {
    if (value) {
      text(name, *value);
    }
  }
  template <typename Text>
  void text_or_null(std::string_view name, const std::optional<Text>& value) {
    value ? text(name, *value) : raw(name, "null");
  }
  void number(std::string_view name, double value) {
    key(name);
    append_json_number(out_, value);
  }
  void integer(std::string_view name, std::int64_t value) {
    key(name);
    append_json_number(out_, value);
  }
  void boolean(std::string_view name, bool value) { raw(name, value ? "true" : "false"); }
  void boolean_if(std::string_view name, std::optional<bool> value) {
    if (value) {
      boolean(name, *value);
    }
  }
  // One JSON value, verbatim.
  void raw(std::string_view name, std::string_view json) {
    key(name);
    out_ += json;
  }
  template <typename Text>
  void raw_if(std::string_view name, const std::optional<Text>& json) {
    if (json) {
      raw(name, *json);
    }
  }
  template <typename Elements, typename Write>
  void array(std::string_view name, const Elements& elements, Write&& write) {
    key(name);
    append_json_array(out_, elements, std::forward<Write>(write));
  }
  template <typename Texts>
  void texts(std::string_view name, const Texts& values) {
    array(name, values, append_json_string);
  }
  // Writes the name; the caller appends the value to the same string.
  void key(std::string_view name) {
    if (!first_) {
      out_.push_back(',');
    }
    first_ = false;
    out_.push_back('"');
    out_ += name;
    out_ += "\":";
  }
  void close() { out_.push_back('}'); }

 private:
  std::string& out_;
  bool first_ = true;
};

}  // namespace cm::protocol
