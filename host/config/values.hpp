// Checked values of one table of the configuration.
#pragma once

#include <claudemesh/cpp/result.hpp>
#include <cstdint>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "sdk/tools/options.hpp"

namespace cm::config {

using options::OptionData;
using options::OptionSpec;
using options::OptionType;

// A place in a configuration file. `line` 0: not from a file (a default, the command line).
struct SourceLocation {
  std::shared_ptr<const std::string> file;
  std::uint32_t line = 0;    // from 1
  std::uint32_t column = 0;  // from 1

  std::string text() const;  // "broker.toml:12:5", or "" without a file
};

// Text that is wiped when the last copy of this object goes away. Copies share the bytes; they never show in a stream.
class SecretText {
 public:
  SecretText() = default;
  explicit SecretText(std::string_view text);
  std::string_view view() const noexcept;
  bool operator==(const SecretText& other) const noexcept;  // constant time for equal lengths

 private:
  struct Bytes;
  std::shared_ptr<const Bytes> bytes_;
};

struct OptionValue {
  OptionData data;    // empty text for a secret
  SecretText secret;  // of options with `secret`
  SourceLocation where;
  bool is_default = false;
};

// The options of one instance, or of one of the host's own tables. Immutable after loading, so readable on any thread.
class ValidatedOptions {
 public:
  ValidatedOptions() = default;
  explicit ValidatedOptions(std::vector<OptionSpec> specs) : specs_(std::move(specs)) {}

  // kInvalid: not declared, or declared with another type. kGone: neither value nor default.
  Result<bool> get_bool(std::string_view option) const;
  Result<std::int64_t> get_int(std::string_view option) const;  // int, duration (ms), size (bytes)
  Result<double> get_float(std::string_view option) const;
  // string, path, address, secret, choice, plugin. The view is valid as long as this object.
  Result<std::string_view> get_text(std::string_view option) const;
  Result<std::span<const std::string>> get_list(std::string_view option) const;

  const OptionSpec* spec(std::string_view option) const noexcept;
  // The value or the default; null when there is neither.
  const OptionValue* find(std::string_view option) const noexcept;
  std::span<const OptionSpec> specs() const noexcept { return specs_; }
  // For a person or a log: TOML's spelling, "(secret)" for secrets, "(not set)" without a value.
  std::string printable(std::string_view option) const;

  void set(const std::string& option, OptionValue value) { values_[option] = std::move(value); }  // while loading
  bool same_value(const ValidatedOptions& other, std::string_view option) const noexcept;

 private:
  Result<const OptionValue*> get(std::string_view option, std::initializer_list<OptionType> types) const;

  std::vector<OptionSpec> specs_;
  std::map<std::string, OptionValue, std::less<>> values_;
};

}  // namespace cm::config
