#include "host/config/values.hpp"

#include <sodium.h>

#include <algorithm>
#include <cstring>

namespace cm::config {

std::string SourceLocation::text() const {
  if (file == nullptr || line == 0) {
    return file == nullptr ? std::string() : *file;
  }
  return *file + ":" + std::to_string(line) + ":" + std::to_string(column);
}

struct SecretText::Bytes {
  explicit Bytes(std::string_view text) : data(std::make_unique<char[]>(text.size())), size(text.size()) {
    std::copy(text.begin(), text.end(), data.get());
  }
  ~Bytes() { sodium_memzero(data.get(), size); }
  Bytes(const Bytes&) = delete;
  Bytes& operator=(const Bytes&) = delete;

  std::unique_ptr<char[]> data;
  std::size_t size;
};

SecretText::SecretText(std::string_view text) : bytes_(std::make_shared<const Bytes>(text)) {}

std::string_view SecretText::view() const noexcept {
  return bytes_ == nullptr ? std::string_view() : std::string_view(bytes_->data.get(), bytes_->size);
}

bool SecretText::operator==(const SecretText& other) const noexcept {
  const std::string_view a = view();
  const std::string_view b = other.view();
  return a.size() == b.size() && (a.empty() || sodium_memcmp(a.data(), b.data(), a.size()) == 0);
}

const OptionSpec* ValidatedOptions::spec(std::string_view option) const noexcept {
  const auto found =
      std::find_if(specs_.begin(), specs_.end(), [option](const OptionSpec& entry) { return entry.name == option; });
  return found == specs_.end() ? nullptr : &*found;
}

const OptionValue* ValidatedOptions::find(std::string_view option) const noexcept {
  const auto found = values_.find(option);
  return found == values_.end() ? nullptr : &found->second;
}

Result<const OptionValue*> ValidatedOptions::get(std::string_view option,
                                                 std::initializer_list<OptionType> types) const {
  const OptionSpec* declared = spec(option);
  if (declared == nullptr) {
    return make_error(ErrorCode::kInvalid, "no option is called " + options::json_quote(option) +
                                               "; expected a name from the manifest; declare it in plugin.toml");
  }
  if (std::find(types.begin(), types.end(), declared->type) == types.end()) {
    return make_error(ErrorCode::kInvalid, "the option " + declared->name + " has the type " +
                                               std::string(options::type_name(declared->type)) +
                                               "; it was asked for as another one; use the getter of its type");
  }
  const OptionValue* value = find(option);
  if (value == nullptr) {
    return make_error(ErrorCode::kGone, "the option " + declared->name + " has neither a value nor a default");
  }
  return value;
}

Result<bool> ValidatedOptions::get_bool(std::string_view option) const {
  auto value = get(option, {OptionType::kBool});
  return value ? Result<bool>(std::get<bool>((*value)->data)) : Result<bool>(std::move(value).error());
}

Result<std::int64_t> ValidatedOptions::get_int(std::string_view option) const {
  auto value = get(option, {OptionType::kInt, OptionType::kDuration, OptionType::kSize});
  return value ? Result<std::int64_t>(std::get<std::int64_t>((*value)->data))
               : Result<std::int64_t>(std::move(value).error());
}

Result<double> ValidatedOptions::get_float(std::string_view option) const {
  auto value = get(option, {OptionType::kFloat});
  return value ? Result<double>(std::get<double>((*value)->data)) : Result<double>(std::move(value).error());
}

Result<std::string_view> ValidatedOptions::get_text(std::string_view option) const {
  auto value = get(option, {OptionType::kString, OptionType::kPath, OptionType::kAddress, OptionType::kSecret,
                            OptionType::kChoice, OptionType::kPlugin});
  if (!value) {
    return std::move(value).error();
  }
  return spec(option)->secret ? (*value)->secret.view() : std::string_view(std::get<std::string>((*value)->data));
}

Result<std::span<const std::string>> ValidatedOptions::get_list(std::string_view option) const {
  auto value = get(option, {OptionType::kList});
  if (!value) {
    return std::move(value).error();
  }
  return std::span<const std::string>(std::get<std::vector<std::string>>((*value)->data));
}

std::string ValidatedOptions::printable(std::string_view option) const {
  const OptionSpec* declared = spec(option);
  const OptionValue* value = find(option);
  if (declared == nullptr || value == nullptr) {
    return "(not set)";
  }
  if (declared->secret) {
    return "(secret)";
  }
  if (declared->type == OptionType::kDuration) {
    return options::json_quote(options::format_duration_ms(std::get<std::int64_t>(value->data)));
  }
  if (declared->type == OptionType::kSize) {
    return options::json_quote(options::format_size_bytes(std::get<std::int64_t>(value->data)));
  }
  return std::visit([](const auto& data) { return options::spell_raw(options::RawValue(data)); }, value->data);
}

bool ValidatedOptions::same_value(const ValidatedOptions& other, std::string_view option) const noexcept {
  const OptionValue* mine = find(option);
  const OptionValue* theirs = other.find(option);
  if (mine == nullptr || theirs == nullptr) {
    return mine == theirs;
  }
  return mine->data == theirs->data && mine->secret == theirs->secret;
}

}  // namespace cm::config
