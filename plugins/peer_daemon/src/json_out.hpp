// Writes one JSON object, member by member: answers of the local API and events.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>

#include "protocol/json.hpp"

namespace cm::daemon {

// Members come out in the order of the calls; keys must be distinct.
class JsonObject {
 public:
  JsonObject& text(std::string_view key, std::string_view value) {
    begin(key);
    protocol::append_json_string(out_, value);
    return *this;
  }
  // null when empty.
  JsonObject& text_or_null(std::string_view key, std::string_view value) {
    return value.empty() ? null(key) : text(key, value);
  }
  // Left out when empty.
  JsonObject& text_if(std::string_view key, std::string_view value) { return value.empty() ? *this : text(key, value); }
  JsonObject& number(std::string_view key, std::int64_t value) {
    begin(key);
    protocol::append_json_number(out_, value);
    return *this;
  }
  // null when 0: columns that are not set yet.
  JsonObject& number_or_null(std::string_view key, std::int64_t value) {
    return value == 0 ? null(key) : number(key, value);
  }
  JsonObject& boolean(std::string_view key, bool value) { return raw(key, value ? "true" : "false"); }
  JsonObject& null(std::string_view key) { return raw(key, "null"); }
  // `json` must be one JSON value.
  JsonObject& raw(std::string_view key, std::string_view json) {
    begin(key);
    out_ += json;
    return *this;
  }
  std::string finish() {
    out_ += '}';
    return std::move(out_);
  }

 private:
  void begin(std::string_view key) {
    if (out_.size() > 1) {
      out_ += ',';
    }
    protocol::append_json_string(out_, key);
    out_ += ':';
  }
  std::string out_ = "{";
};

// [a, b, c] of finished JSON values.
class JsonArray {
 public:
  void add(std::string_view json) {
    if (out_.size() > 1) {
      out_ += ',';
    }
    out_ += json;
  }
  void add_text(std::string_view value) {
    std::string quoted;
    protocol::append_json_string(quoted, value);
    add(quoted);
  }
  std::string finish() {
    out_ += ']';
    return std::move(out_);
  }

 private:
  std::string out_ = "[";
};

}  // namespace cm::daemon
