#include "host/config/checker.hpp"

#include <fcntl.h>
#include <sodium.h>
#include <sys/stat.h>
#include <unistd.h>
#include <claudemesh/cpp/descriptor.hpp>

#include <algorithm>
#include <array>
#include <cerrno>
#include <charconv>
#include <system_error>

namespace cm::config {
namespace {

namespace fs = std::filesystem;
using options::RawValue;

constexpr std::string_view kFileSuffix = "_file";

// Bytes of a secret that are wiped when the scope ends.
struct WipedBuffer {
  std::array<char, kSecretFileBytesMax + 1> data{};
  std::size_t size = 0;

  ~WipedBuffer() { sodium_memzero(data.data(), data.size()); }
};

Status check_secret_status(const fs::path& path, const struct stat& status) {
  if (!S_ISREG(status.st_mode)) {
    return make_error(ErrorCode::kInvalid, path.string() + " is not a regular file; expected a file with the secret");
  }
  if ((status.st_mode & 077) != 0) {
    std::array<char, 8> mode{};
    std::to_chars(mode.data(), mode.data() + mode.size() - 1, status.st_mode & 0777, 8);
    return make_error(ErrorCode::kDenied, path.string() + " can be used by others (mode 0" + mode.data() +
                                              "), expected 0600 or 0400; run: chmod 600 " + path.string());
  }
  return {};
}

Result<SecretText> read_secret_file(const fs::path& path) {
  const auto failed = [&path](int number) {
    return make_error(ErrorCode::kIo, path.string() + " cannot be read (" + std::generic_category().message(number) +
                                          "); check the path and its owner");
  };
  const Descriptor fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
  if (!fd) {
    return failed(errno);
  }
  struct stat status{};
  if (::fstat(fd.get(), &status) != 0) {
    return failed(errno);
  }
  if (Status trusted = check_secret_status(path, status); !trusted) {
    return std::move(trusted).error();
  }
  const auto buffer = std::make_unique<WipedBuffer>();
  ssize_t count = 0;
  while (buffer->size < buffer->data.size() &&
         (count = ::read(fd.get(), buffer->data.data() + buffer->size, buffer->data.size() - buffer->size)) > 0) {
    buffer->size += static_cast<std::size_t>(count);
  }
  if (count < 0) {
    return failed(errno);
  }
  if (buffer->size > kSecretFileBytesMax) {
    return make_error(ErrorCode::kInvalid, path.string() + " is larger than 64KiB, the limit of a secret");
  }
  std::string_view text(buffer->data.data(), buffer->size);
  text.remove_suffix(text.ends_with('\n') ? 1 : 0);
  return SecretText(text);
}

// "42" that came out of a variable may stand for 42: the environment only knows text.
RawValue retype(OptionType type, const std::string& text) {
  const char* const end = text.data() + text.size();
  if (type == OptionType::kBool && (text == "true" || text == "false")) {
    return text == "true";
  }
  if (type == OptionType::kInt) {
    std::int64_t number = 0;
    const auto parsed = std::from_chars(text.data(), end, number);
    if (parsed.ec == std::errc() && parsed.ptr == end) {
      return number;
    }
  }
  if (type == OptionType::kFloat) {
    double number = 0;
    const auto parsed = std::from_chars(text.data(), end, number);
    if (parsed.ec == std::errc() && parsed.ptr == end) {
      return number;
    }
  }
  return text;
}

class TableChecker {
 public:
  TableChecker(const TableCheck& check, std::vector<OptionSpec> specs, const Environment& environment,
               Problems& problems)
      : check_(check), environment_(environment), problems_(problems), result_(std::move(specs)) {}

  ValidatedOptions run() {
    if (check_.table != nullptr && check_.table->table() == nullptr) {
      problems_.add(check_.table->where, check_.label + ": found " + check_.table->kind() + ", expected a table");
      return std::move(result_);
    }
    if (check_.table != nullptr) {
      for (const TomlEntry& entry : *check_.table->table()) {
        read_entry(entry);
      }
    }
    for (const OptionSpec& spec : result_.specs()) {
      fill_default(spec);
    }
    return std::move(result_);
  }

 private:
  struct Match {
    const OptionSpec* spec = nullptr;
    bool from_file = false;  // NAME_file of a secret
    bool alias = false;
  };

  Match match(const std::string& key) const {
    for (const OptionSpec& spec : result_.specs()) {
      const bool alias = std::find(spec.aliases.begin(), spec.aliases.end(), key) != spec.aliases.end();
      if (spec.name == key || alias) {
        return {&spec, false, alias};
      }
      if (spec.secret && key.ends_with(kFileSuffix) && key.substr(0, key.size() - kFileSuffix.size()) == spec.name) {
        return {&spec, true, false};
      }
    }
    return {};
  }

  std::vector<std::string> known_keys() const {
    std::vector<std::string> keys = check_.other_keys;
    for (const OptionSpec& spec : result_.specs()) {
      keys.push_back(spec.name);
      if (spec.secret) {
        keys.push_back(spec.name + std::string(kFileSuffix));
      }
    }
    return keys;
  }

  void refuse_unknown(const TomlEntry& entry) {
    const auto& others = check_.other_keys;
    if (check_.ignore_unknown || std::find(others.begin(), others.end(), entry.key) != others.end()) {
      return;
    }
    const std::string what = entry.node.table() != nullptr ? "table " : "key ";
    problems_.add(entry.key_where, check_.label + " has no " + what + options::json_quote(entry.key) +
                                       suggestion(entry.key, known_keys(), "remove it, or " + check_.help));
  }

  void read_entry(const TomlEntry& entry) {
    const Match found = match(entry.key);
    if (found.spec == nullptr) {
      refuse_unknown(entry);
      return;
    }
    const OptionSpec& spec = *found.spec;
    if (std::find(seen_.begin(), seen_.end(), spec.name) != seen_.end()) {
      problems_.add(entry.key_where,
                    check_.label + " sets " + spec.name + " twice, the second time as " + entry.key + "; remove one");
      return;
    }
    seen_.push_back(spec.name);
    if (found.alias) {
      problems_.warn(entry.key_where,
                     check_.label + ": " + entry.key + " is the old name of " + spec.name + "; write " + spec.name);
    }
    if (!spec.deprecated.empty()) {
      problems_.warn(entry.key_where, check_.label + ": " + spec.name + " is deprecated: " + spec.deprecated);
    }
    found.from_file ? read_secret(spec, entry) : read_value(spec, entry);
  }

  void complain(const SourceLocation& where, std::string_view key, const std::string& text) {
    problems_.add(where, check_.label + " " + std::string(key) + ": " + text);
  }

  // The value as the file spells it, with variables put in. False: complained already.
  bool to_raw(const OptionSpec& spec, const TomlNode& node, RawValue& out, bool& substituted) {
    const auto expand = [&](const TomlNode& text_node, std::string& text) {
      Result<std::string> expanded = substitute(text, environment_);
      if (!expanded) {
        complain(text_node.where, spec.name, expanded.error().message);
        return false;
      }
      substituted = substituted || *expanded != text;
      text = std::move(expanded).value();
      return true;
    };
    if (const auto* text = std::get_if<std::string>(&node.value)) {
      std::string copy = *text;
      const bool fine = expand(node, copy);
      out = substituted ? retype(spec.type, copy) : RawValue(std::move(copy));
      return fine;
    }
    if (const auto* list = std::get_if<std::vector<TomlNode>>(&node.value)) {
      return list_to_raw(spec, *list, out, expand);
    }
    if (const auto* flag = std::get_if<bool>(&node.value)) {
      out = *flag;
    } else if (const auto* number = std::get_if<std::int64_t>(&node.value)) {
      out = *number;
    } else if (const auto* real = std::get_if<double>(&node.value)) {
      out = *real;
    } else {
      complain(node.where, spec.name, "found " + node.kind() + ", expected " + options::describe_expected(spec));
      return false;
    }
    return true;
  }

  template <typename Expand>
  bool list_to_raw(const OptionSpec& spec, const std::vector<TomlNode>& list, RawValue& out, const Expand& expand) {
    std::vector<std::string> texts;
    for (const TomlNode& element : list) {
      const auto* text = std::get_if<std::string>(&element.value);
      if (text == nullptr) {
        complain(element.where, spec.name,
                 "found " + element.kind() + " in a list, expected " + options::describe_expected(spec));
        return false;
      }
      texts.push_back(*text);
      if (!expand(element, texts.back())) {
        return false;
      }
    }
    out = std::move(texts);
    return true;
  }

  void read_value(const OptionSpec& spec, const TomlEntry& entry) {
    RawValue raw;
    bool substituted = false;
    if (!to_raw(spec, entry.node, raw, substituted)) {
      return;
    }
    Result<OptionData> data = coerce(spec, raw, substituted);
    Status done = data ? finish(spec, *data, folder_of(entry.node.where)) : Status(data.error());
    if (!done) {
      complain(entry.node.where, spec.name, done.error().message);
      return;
    }
    store(spec, std::move(data).value(), entry.node.where, false);
  }

  // A value that came from the environment may be a secret in the wrong place: it is not shown.
  static Result<OptionData> coerce(const OptionSpec& spec, const RawValue& raw, bool substituted) {
    if (!substituted || spec.secret) {
      return options::coerce_value(spec, raw);
    }
    if (Result<OptionData> data = options::coerce_value(spec, raw)) {
      return data;
    }
    return make_error(ErrorCode::kInvalid, "found an unfit value in an environment variable (not shown), expected " +
                                               options::describe_expected(spec) + "; correct the variable");
  }

  // Makes paths and Unix addresses absolute.
  Status finish(const OptionSpec& spec, OptionData& data, const fs::path& folder) {
    const bool is_list = spec.type == OptionType::kList;
    const OptionType type = is_list ? spec.list_of : spec.type;
    if (type != OptionType::kPath && type != OptionType::kAddress) {
      return {};
    }
    if (!is_list) {
      return finish_text(type, std::get<std::string>(data), folder);
    }
    for (std::string& element : std::get<std::vector<std::string>>(data)) {
      if (Status done = finish_text(type, element, folder); !done) {
        return done;
      }
    }
    return {};
  }

  Status finish_text(OptionType type, std::string& text, const fs::path& folder) {
    constexpr std::string_view kUnix = "unix:";
    const bool is_unix = type == OptionType::kAddress && text.starts_with(kUnix);
    if (text.empty() || (type == OptionType::kAddress && !is_unix)) {
      return {};
    }
    Result<fs::path> path = absolute_path(is_unix ? text.substr(kUnix.size()) : text, folder, environment_);
    if (!path) {
      return path.error();
    }
    text = (is_unix ? std::string(kUnix) : std::string()) + path->string();
    return {};
  }

  void read_secret(const OptionSpec& spec, const TomlEntry& entry) {
    OptionSpec path_spec;
    path_spec.name = entry.key;
    path_spec.type = OptionType::kPath;
    path_spec.required = true;
    RawValue raw;
    bool substituted = false;
    if (!to_raw(path_spec, entry.node, raw, substituted)) {
      return;
    }
    Result<OptionData> data = options::coerce_value(path_spec, raw);
    Status done = data ? finish(path_spec, *data, folder_of(entry.node.where)) : Status(data.error());
    if (!done) {
      complain(entry.node.where, entry.key, done.error().message);
      return;
    }
    Result<SecretText> secret = read_secret_file(std::get<std::string>(*data));
    if (!secret) {
      complain(entry.node.where, entry.key, secret.error().message);
      return;
    }
    Result<OptionData> fits = options::coerce_value(spec, std::string(secret->view()));
    if (!fits) {
      complain(entry.node.where, entry.key, fits.error().message);
      return;
    }
    result_.set(spec.name, OptionValue{std::string(), std::move(secret).value(), entry.node.where, false});
  }

  void store(const OptionSpec& spec, OptionData data, const SourceLocation& where, bool is_default) {
    OptionValue value{std::move(data), SecretText(), where, is_default};
    if (spec.secret) {
      auto& text = std::get<std::string>(value.data);
      value.secret = SecretText(text);
      sodium_memzero(text.data(), text.size());
      text.clear();
    }
    result_.set(spec.name, std::move(value));
  }

  void fill_default(const OptionSpec& spec) {
    if (std::find(seen_.begin(), seen_.end(), spec.name) != seen_.end()) {
      return;
    }
    if (spec.required) {
      const std::string or_file = spec.secret ? " (or " + spec.name + "_file = \"/path\")" : "";
      problems_.add(check_.where, check_.label + " does not set " + spec.name + ", expected " +
                                      options::describe_expected(spec) + "; add " + spec.name + " = ..." + or_file);
    }
    if (!spec.default_value) {
      return;
    }
    Result<OptionData> data = options::coerce_value(spec, *spec.default_value);
    Status done = data ? finish(spec, *data, check_.default_folder) : Status(data.error());
    if (!done) {
      complain(check_.where, spec.name, "its default does not fit: " + done.error().message + "; set it");
      return;
    }
    store(spec, std::move(data).value(), SourceLocation(), true);
  }

  const TableCheck& check_;
  const Environment& environment_;
  Problems& problems_;
  ValidatedOptions result_;
  std::vector<std::string> seen_;
};

}  // namespace

ValidatedOptions check_table(const TableCheck& check, std::vector<OptionSpec> specs, const Environment& environment,
                             Problems& problems) {
  return TableChecker(check, std::move(specs), environment, problems).run();
}

}  // namespace cm::config
