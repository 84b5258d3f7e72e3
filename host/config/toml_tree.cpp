#include "host/config/toml_tree.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>
#include <claudemesh/cpp/descriptor.hpp>

#include <toml++/toml.h>
#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <system_error>
#include <tuple>

namespace cm::config {
namespace {

namespace fs = std::filesystem;

bool is_variable_name(std::string_view name) noexcept {
  const auto letter = [](char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_'; };
  return !name.empty() && letter(name.front()) &&
         std::all_of(name.begin(), name.end(), [&](char c) { return letter(c) || (c >= '0' && c <= '9'); });
}

// The text of one "${...}", given what stands between the braces.
Result<std::string> expand_variable(std::string_view inside, const Environment& environment) {
  const std::size_t separator = inside.find(":-");
  const std::string_view name = inside.substr(0, separator);
  if (!is_variable_name(name)) {
    return make_error(ErrorCode::kInvalid,
                      "found \"${" + std::string(inside.substr(0, 40)) +
                          "}\", expected ${NAME} or ${NAME:-default}; write \"$${\" for a literal \"${\"");
  }
  const std::optional<std::string> value = environment.get(name);
  if (separator != std::string_view::npos) {
    return value && !value->empty() ? *value : std::string(inside.substr(separator + 2));
  }
  if (!value) {
    return make_error(ErrorCode::kInvalid, "the environment variable " + std::string(name) +
                                               " is not set; set it, or write ${" + std::string(name) + ":-default}");
  }
  return *value;
}

Result<std::string> read_text_file(const fs::path& path) {
  const auto failed = [&](int number) {
    return make_error(ErrorCode::kIo, path.string() + ": cannot be read (" + std::generic_category().message(number) +
                                          "); check the path");
  };
  // A pipe must not hang the program.
  const Descriptor fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
  if (!fd) {
    return failed(errno);
  }
  struct stat status{};
  if (::fstat(fd.get(), &status) != 0 || !S_ISREG(status.st_mode)) {
    return make_error(ErrorCode::kInvalid, path.string() +
                                               ": found something else than a file, expected a TOML file; "
                                               "check the path");
  }
  std::string text;
  std::array<char, 16 * 1024> block{};
  ssize_t count = 0;
  while (text.size() <= kConfigBytesMax && (count = ::read(fd.get(), block.data(), block.size())) > 0) {
    text.append(block.data(), static_cast<std::size_t>(count));
  }
  if (count < 0) {
    return failed(errno);
  }
  if (text.size() > kConfigBytesMax) {
    return make_error(ErrorCode::kInvalid, path.string() +
                                               ": is larger than 1MiB, the limit of a configuration file; "
                                               "split it with `include`");
  }
  return text;
}

SourceLocation place(const toml::source_region& region, const std::shared_ptr<const std::string>& file) {
  return {file, region.begin.line, region.begin.column};
}

// The depth is bounded by toml++ itself (256 nested values).
TomlNode convert(const toml::node& node, const std::shared_ptr<const std::string>& file) {
  TomlNode out;
  out.where = place(node.source(), file);
  if (const auto* table = node.as_table()) {
    TomlTable entries;
    for (const auto& [key, value] : *table) {
      TomlNode child = convert(value, file);
      SourceLocation key_where = place(key.source(), file);
      key_where = key_where.line == 0 ? child.where : key_where;
      entries.push_back({std::string(key.str()), key_where, std::move(child)});
    }
    // Keys of one dotted header share a position; the name decides then, so that the order is always the same.
    std::sort(entries.begin(), entries.end(), [](const TomlEntry& left, const TomlEntry& right) {
      return std::tie(left.key_where.line, left.key_where.column, left.key) <
             std::tie(right.key_where.line, right.key_where.column, right.key);
    });
    out.value = std::move(entries);
  } else if (const auto* array = node.as_array()) {
    std::vector<TomlNode> elements;
    for (const toml::node& element : *array) {
      elements.push_back(convert(element, file));
    }
    out.value = std::move(elements);
  } else if (const auto* text = node.as_string()) {
    out.value = text->get();
  } else if (const auto* number = node.as_integer()) {
    out.value = number->get();
  } else if (const auto* real = node.as_floating_point()) {
    out.value = real->get();
  } else if (const auto* flag = node.as_boolean()) {
    out.value = flag->get();
  }
  return out;
}

// Puts the entries of `over` above those of `base`; later wins and says so.
void merge(TomlTable& base, TomlTable over, const std::string& prefix, Problems& problems) {
  for (TomlEntry& entry : over) {
    const auto below =
        std::find_if(base.begin(), base.end(), [&](const TomlEntry& other) { return other.key == entry.key; });
    if (below == base.end()) {
      base.push_back(std::move(entry));
      continue;
    }
    auto* below_table = std::get_if<TomlTable>(&below->node.value);
    auto* table = std::get_if<TomlTable>(&entry.node.value);
    if (below_table != nullptr && table != nullptr) {
      below->key_where = entry.key_where;
      below->node.where = entry.node.where;
      merge(*below_table, std::move(*table), prefix + entry.key + ".", problems);
      continue;
    }
    problems.warn(entry.key_where, prefix + entry.key + " replaces the value from " + below->key_where.text());
    *below = std::move(entry);
  }
}

// Reads a file and, before it, the files it includes.
class FileReader {
 public:
  FileReader(const Environment& environment, Problems& problems) : environment_(environment), problems_(problems) {}

  std::optional<TomlNode> read(const fs::path& path, const SourceLocation& from, const std::string* given_text) {
    const std::string identity = fs::absolute(path).lexically_normal().string();
    if (!may_open(identity, from)) {
      return std::nullopt;
    }
    const auto name = std::make_shared<const std::string>(path.string());
    std::string text;
    if (given_text != nullptr) {
      text = *given_text;
    } else {
      Result<std::string> file_text = read_text_file(path);
      if (!file_text) {
        problems_.add(from, file_text.error().message);
        return std::nullopt;
      }
      text = std::move(file_text).value();
    }
    std::optional<TomlNode> own = parse(text, name);
    if (!own) {
      return std::nullopt;
    }
    open_.push_back(identity);
    TomlNode merged = with_includes(std::move(*own), path);
    open_.pop_back();
    return merged;
  }

 private:
  bool may_open(const std::string& identity, const SourceLocation& from) {
    const auto again = std::find(open_.begin(), open_.end(), identity);
    if (again != open_.end()) {
      std::string circle;
      for (auto step = again; step != open_.end(); ++step) {
        circle += *step + " -> ";
      }
      problems_.add(from, "files include each other in a circle: " + circle + identity + "; remove one include");
      return false;
    }
    if (open_.size() >= kIncludeDepthMax || ++files_ > kConfigFilesMax) {
      problems_.add(from, "too many includes: at most 8 levels and 32 files are read; put the tables into fewer files");
      return false;
    }
    return true;
  }

  std::optional<TomlNode> parse(std::string_view text, const std::shared_ptr<const std::string>& name) {
    if (text.size() > kConfigBytesMax) {
      problems_.add({name, 1, 1}, "the text is larger than 1MiB, the limit of a configuration file; split it");
      return std::nullopt;
    }
    try {
      const toml::table table = toml::parse(text, *name);
      TomlNode root = convert(table, name);
      root.where = {name, 1, 1};
      return root;
    } catch (const toml::parse_error& error) {
      problems_.add(place(error.source(), name), "this is not TOML: " + std::string(error.description()) +
                                                     "; correct the syntax (https://toml.io/en/v1.0.0)");
      return std::nullopt;
    }
  }

  TomlNode with_includes(TomlNode own, const fs::path& path) {
    auto& entries = std::get<TomlTable>(own.value);
    const auto include =
        std::find_if(entries.begin(), entries.end(), [](const TomlEntry& entry) { return entry.key == "include"; });
    if (include == entries.end()) {
      return own;
    }
    const TomlNode list = std::move(include->node);
    entries.erase(include);
    TomlNode merged;
    merged.where = own.where;
    merged.value = TomlTable{};
    for (const auto& [included, where] : include_paths(list, path)) {
      if (std::optional<TomlNode> below = read(included, where, nullptr)) {
        merge(std::get<TomlTable>(merged.value), std::move(std::get<TomlTable>(below->value)), "", problems_);
      }
    }
    merge(std::get<TomlTable>(merged.value), std::move(entries), "", problems_);
    return merged;
  }

  std::vector<std::pair<fs::path, SourceLocation>> include_paths(const TomlNode& list, const fs::path& path) {
    std::vector<std::pair<fs::path, SourceLocation>> paths;
    const auto* elements = std::get_if<std::vector<TomlNode>>(&list.value);
    if (elements == nullptr) {
      problems_.add(list.where, "include: found " + list.kind() + ", expected a list of files: [\"common.toml\"]");
      return paths;
    }
    for (const TomlNode& element : *elements) {
      const auto* text = std::get_if<std::string>(&element.value);
      if (text == nullptr) {
        problems_.add(element.where, "include: found " + element.kind() + ", expected the name of a file in quotes");
        continue;
      }
      Result<std::string> expanded = substitute(*text, environment_);
      Result<fs::path> absolute =
          expanded ? absolute_path(*expanded, path.parent_path(), environment_) : Result<fs::path>(expanded.error());
      if (!absolute) {
        problems_.add(element.where, "include: " + absolute.error().message);
        continue;
      }
      // Shown the way it was written: relative to the including file, if that is how it was named.
      const bool relative = !expanded->starts_with('/') && !expanded->starts_with('~');
      paths.emplace_back(relative ? (path.parent_path() / *expanded).lexically_normal() : *absolute, element.where);
    }
    return paths;
  }

  const Environment& environment_;
  Problems& problems_;
  std::vector<std::string> open_;
  std::size_t files_ = 0;
};

}  // namespace

const TomlEntry* TomlNode::find(std::string_view key) const noexcept {
  const TomlTable* entries = table();
  if (entries == nullptr) {
    return nullptr;
  }
  const auto found =
      std::find_if(entries->begin(), entries->end(), [key](const TomlEntry& entry) { return entry.key == key; });
  return found == entries->end() ? nullptr : &*found;
}

std::string TomlNode::kind() const {
  if (table() != nullptr) {
    return "a table";
  }
  if (const auto* list = std::get_if<std::vector<TomlNode>>(&value)) {
    return "a list of " + std::to_string(list->size());
  }
  if (const auto* flag = std::get_if<bool>(&value)) {
    return options::describe_raw(*flag);
  }
  if (const auto* number = std::get_if<std::int64_t>(&value)) {
    return options::describe_raw(*number);
  }
  if (const auto* real = std::get_if<double>(&value)) {
    return options::describe_raw(*real);
  }
  if (const auto* text = std::get_if<std::string>(&value)) {
    return options::describe_raw(*text);
  }
  return "a date or time";
}

Result<std::string> substitute(std::string_view text, const Environment& environment) {
  std::string out;
  while (!text.empty()) {
    const std::size_t dollar = text.find('$');
    out += text.substr(0, dollar);
    if (dollar == std::string_view::npos) {
      return out;
    }
    text.remove_prefix(dollar);
    if (text.starts_with("$${")) {
      out += "${";
      text.remove_prefix(3);
      continue;
    }
    if (!text.starts_with("${")) {
      out += '$';
      text.remove_prefix(1);
      continue;
    }
    const std::size_t end = text.find('}');
    if (end == std::string_view::npos) {
      return make_error(
          ErrorCode::kInvalid,
          R"(found "${" without "}", expected ${NAME}; close the brace, or write "$${" for a literal "${")");
    }
    Result<std::string> value = expand_variable(text.substr(2, end - 2), environment);
    if (!value) {
      return value;
    }
    out += *value;
    if (out.size() > options::kTextBytesMax) {
      return make_error(ErrorCode::kInvalid, "the text is longer than 64KiB after variables were put in; shorten them");
    }
    text.remove_prefix(end + 1);
  }
  return out;
}

Result<fs::path> absolute_path(std::string_view text, const fs::path& folder, const Environment& environment) {
  if (text.find('\0') != std::string_view::npos) {
    return make_error(ErrorCode::kInvalid, "found a zero byte in a path, expected text; remove it");
  }
  if (text == "~" || text.starts_with("~/")) {
    return (fs::path(environment.home()) / text.substr(std::min<std::size_t>(2, text.size()))).lexically_normal();
  }
  if (text.starts_with('~')) {
    return make_error(ErrorCode::kInvalid, "found " + options::json_quote(text.substr(0, 80)) +
                                               ", expected \"~/...\" or an absolute path; write the folder in full");
  }
  return fs::absolute(folder / fs::path(text)).lexically_normal();
}

fs::path folder_of(const SourceLocation& where) {
  return where.file == nullptr ? fs::path() : fs::path(*where.file).parent_path();
}

std::optional<TomlNode> read_toml(const LoadRequest& request, const Environment& environment, Problems& problems) {
  FileReader reader(environment, problems);
  return reader.read(request.file, SourceLocation(), request.text ? &*request.text : nullptr);
}

}  // namespace cm::config
