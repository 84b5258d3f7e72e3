#include "sdk/template/new_plugin.hpp"

#include <algorithm>
#include <array>
#include <cctype>
#include <fstream>
#include <ostream>
#include <system_error>
#include <utility>

namespace cm::sdk {

namespace {

constexpr std::size_t kNameBytesMax = 48;
constexpr std::size_t kIdBytesMax = 128;
constexpr std::size_t kLicenseBytesMax = 128;
constexpr std::array<std::string_view, 4> kKinds = {"transport", "storage", "hook", "bridge"};
constexpr std::array<std::string_view, 3> kLanguages = {"c", "cpp", "rust"};
// Words that a file of one of the languages could not use as a name.
constexpr std::array<std::string_view, 28> kReserved = {
    "auto",   "bool",   "break",  "case",  "char",   "class", "const", "crate", "default", "do",
    "double", "else",   "enum",   "float", "for",    "if",    "int",   "long",  "main",    "match",
    "new",    "plugin", "return", "self",  "static", "test",  "type",  "void"};

bool is_lower(char c) {
  return c >= 'a' && c <= 'z';
}
bool is_digit(char c) {
  return c >= '0' && c <= '9';
}

template <std::size_t Count>
bool is_one_of(const std::array<std::string_view, Count>& words, std::string_view word) {
  return std::find(words.begin(), words.end(), word) != words.end();
}

template <std::size_t Count>
Status check_word(const char* what, const std::array<std::string_view, Count>& words, std::string_view word) {
  if (is_one_of(words, word)) {
    return {};
  }
  std::string known;
  for (const std::string_view candidate : words) {
    known += (known.empty() ? "" : ", ") + std::string(candidate);
  }
  return make_error(ErrorCode::kInvalid, std::string("found the ") + what + " \"" + std::string(word.substr(0, 64)) +
                                             "\"; expected one of " + known);
}

Status check_name(std::string_view name) {
  const bool good =
      !name.empty() && name.size() <= kNameBytesMax && is_lower(name.front()) &&
      std::all_of(name.begin(), name.end(), [](char c) { return is_lower(c) || is_digit(c) || c == '_'; });
  if (!good) {
    return make_error(ErrorCode::kInvalid,
                      "found the name \"" + std::string(name.substr(0, 64)) +
                          "\"; expected a lower-case letter, then letters, digits and _, at most " +
                          std::to_string(kNameBytesMax) + " in all, for example word_guard");
  }
  if (is_one_of(kReserved, name)) {
    return make_error(ErrorCode::kInvalid,
                      "found the name \"" + std::string(name) +
                          "\", which means something to a compiler or to the program; expected another");
  }
  return {};
}

Status check_id(std::string_view id) {
  const auto allowed = [](char c) { return is_lower(c) || is_digit(c) || c == '.' || c == '_' || c == '-'; };
  const bool good = !id.empty() && id.size() <= kIdBytesMax && std::all_of(id.begin(), id.end(), allowed) &&
                    is_lower(id.front()) && id.back() != '.' && id.find('.') != std::string_view::npos &&
                    id.find("..") == std::string_view::npos;
  return good ? Status()
              : make_error(ErrorCode::kInvalid,
                           "found the id \"" + std::string(id.substr(0, 64)) +
                               "\"; expected a reverse domain in lower case, for example org.example.hello");
}

Status check_license(std::string_view license) {
  const auto allowed = [](char c) {
    return std::isalnum(static_cast<unsigned char>(c)) != 0 ||
           std::string_view(" .-+()").find(c) != std::string_view::npos;
  };
  const bool good =
      !license.empty() && license.size() <= kLicenseBytesMax && std::all_of(license.begin(), license.end(), allowed);
  return good ? Status()
              : make_error(ErrorCode::kInvalid, "found the licence \"" + std::string(license.substr(0, 64)) +
                                                    "\"; expected an SPDX expression, for example MIT or Apache-2.0");
}

// word_guard -> WordGuard
std::string camel_case(std::string_view name) {
  std::string result;
  bool upper = true;
  for (const char c : name) {
    if (c == '_') {
      upper = true;
      continue;
    }
    result += upper ? static_cast<char>(std::toupper(static_cast<unsigned char>(c))) : c;
    upper = false;
  }
  return result;
}

std::string upper_case(std::string_view name) {
  std::string result(name);
  std::transform(result.begin(), result.end(), result.begin(),
                 [](char c) { return static_cast<char>(std::toupper(static_cast<unsigned char>(c))); });
  return result;
}

using Values = std::vector<std::pair<std::string, std::string>>;

std::string replace_all(std::string text, const Values& values) {
  for (const auto& [from, to] : values) {
    for (std::size_t at = text.find(from); at != std::string::npos; at = text.find(from, at + to.size())) {
      text.replace(at, from.size(), to);
    }
  }
  return text;
}

// The Rust SDK lies beside the program: PREFIX/bin/claudemesh and PREFIX/share/claudemesh/rust.
std::filesystem::path installed_rust_sdk() {
  std::error_code error;
  const std::filesystem::path program = std::filesystem::read_symlink("/proc/self/exe", error);
  return program.parent_path().parent_path() / "share/claudemesh/rust/claudemesh-plugin";
}

// "dot-github/workflows/ci.yml" -> ".github/workflows/ci.yml"
std::filesystem::path target_path(std::string_view path, const Values& values) {
  std::filesystem::path result;
  for (const std::filesystem::path& part : std::filesystem::path(replace_all(std::string(path), values))) {
    const std::string text = part.string();
    result /= text.starts_with("dot-") ? "." + text.substr(4) : text;
  }
  return result;
}

}  // namespace

Result<NewPluginArguments> check_arguments(NewPluginArguments arguments) {
  if (arguments.rust_sdk.empty()) {
    arguments.rust_sdk = installed_rust_sdk();
  }
  if (arguments.id.empty()) {
    arguments.id = "org.example." + arguments.name;
  }
  if (arguments.directory.empty()) {
    arguments.directory = arguments.name;
  }
  const Status checks[] = {check_word("kind", kKinds, arguments.kind),
                           check_word("language", kLanguages, arguments.language), check_name(arguments.name),
                           check_id(arguments.id), check_license(arguments.license)};
  for (const Status& check : checks) {
    if (!check) {
      return check.error();
    }
  }
  return arguments;
}

std::vector<NewFile> expand_templates(std::span<const TemplateFile> templates, const NewPluginArguments& arguments) {
  const Values values = {{"{{name}}", arguments.name},
                         {"{{Name}}", camel_case(arguments.name)},
                         {"{{NAME}}", upper_case(arguments.name)},
                         {"{{id}}", arguments.id},
                         {"{{license}}", arguments.license},
                         {"{{kind}}", arguments.kind},
                         {"{{sdk_rust}}", arguments.rust_sdk.string()},
                         {"__name__", arguments.name}};
  std::vector<NewFile> files;
  for (const std::string& folder : {arguments.language + "/common/", arguments.language + "/" + arguments.kind + "/"}) {
    for (const TemplateFile& file : templates) {
      if (file.path.starts_with(folder)) {
        files.push_back(
            {target_path(file.path.substr(folder.size()), values), replace_all(std::string(file.text), values)});
      }
    }
  }
  return files;
}

std::vector<std::string> languages_with(std::span<const TemplateFile> templates, std::string_view kind) {
  std::vector<std::string> result;
  for (const std::string_view language : kLanguages) {
    const std::string manifest = std::string(language) + "/" + std::string(kind) + "/plugin.toml";
    if (std::any_of(templates.begin(), templates.end(),
                    [&](const TemplateFile& file) { return file.path == manifest; })) {
      result.emplace_back(language);
    }
  }
  return result;
}

Status write_new_plugin(const std::filesystem::path& directory, const std::vector<NewFile>& files) {
  std::error_code error;
  if (std::filesystem::exists(directory, error) &&
      (!std::filesystem::is_directory(directory, error) || !std::filesystem::is_empty(directory, error))) {
    return make_error(ErrorCode::kInvalid, "found something at " + directory.string() +
                                               "; expected a new or an empty folder: give another name or --directory");
  }
  for (const NewFile& file : files) {
    const std::filesystem::path path = directory / file.path;
    std::filesystem::create_directories(path.parent_path(), error);
    std::ofstream stream(path, std::ios::binary);
    stream << file.text;
    stream.close();
    if (!stream) {
      return make_error(ErrorCode::kIo,
                        path.string() + " cannot be written; look at the folder's rights and free space");
    }
  }
  return {};
}

namespace {

std::string json_text(std::string_view text) {
  std::string out = "\"";
  for (const char c : text) {
    if (c == '"' || c == '\\') {
      out += '\\';
    }
    out += static_cast<unsigned char>(c) < 0x20 ? ' ' : c;
  }
  return out + "\"";
}

int refuse(const NewPluginArguments& arguments, const Error& error, std::ostream& out, std::ostream& err) {
  if (arguments.json) {
    out << "{\"ok\":false,\"error\":" << json_text(error.message) << "}\n";
  } else {
    err << "claudemesh plugin new: " << error.message << "\n";
  }
  return 1;
}

void tell_made(const NewPluginArguments& made, const std::vector<NewFile>& files, std::ostream& out) {
  if (made.json) {
    out << "{\"ok\":true,\"directory\":" << json_text(made.directory.string()) << ",\"kind\":" << json_text(made.kind)
        << ",\"language\":" << json_text(made.language) << ",\"id\":" << json_text(made.id) << ",\"files\":[";
    for (std::size_t i = 0; i < files.size(); ++i) {
      out << (i == 0 ? "" : ",") << json_text(files[i].path.generic_string());
    }
    out << "]}\n";
    return;
  }
  out << "Made the " << made.kind << " " << made.name << " in " << made.directory.string() << ". Next:\n  cd "
      << made.directory.string() << "\n";
  if (made.language == "rust") {
    out << "  cargo test && cargo build --release\n";
  } else {
    out << "  cmake -B build && cmake --build build && ctest --test-dir build --output-on-failure\n";
  }
  out << "README.md tells the rest.\n";
}

}  // namespace

int verb_plugin_new(const NewPluginArguments& arguments, std::ostream& out, std::ostream& err) {
  const Result<NewPluginArguments> checked = check_arguments(arguments);
  if (!checked) {
    return refuse(arguments, checked.error(), out, err);
  }
  const std::vector<NewFile> files = expand_templates(template_files(), *checked);
  const std::vector<std::string> languages = languages_with(template_files(), checked->kind);
  if (std::find(languages.begin(), languages.end(), checked->language) == languages.end()) {
    std::string known;
    for (const std::string& language : languages) {
      known += (known.empty() ? "--lang " : " or ") + language;
    }
    return refuse(*checked,
                  make_error(ErrorCode::kUnsupported, "found no template for a " + checked->kind + " in " +
                                                          checked->language + "; expected " + known),
                  out, err);
  }
  if (const Status written = write_new_plugin(checked->directory, files); !written) {
    return refuse(arguments, written.error(), out, err);
  }
  tell_made(*checked, files, out);
  return 0;
}

}  // namespace cm::sdk
