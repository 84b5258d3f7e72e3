#include "host/loader/manifest.hpp"

#include <claudemesh/plugin.h>

#include <algorithm>
#include <array>
#include <boost/json.hpp>
#include <charconv>

#include "host/loader/elf_reader.hpp"

namespace cm::loader {
namespace {

namespace json = boost::json;
using options::RawValue;

constexpr std::array<std::uint32_t, 1> kOfferedVersions{CM_ABI_VERSION_1_0};
constexpr std::string_view kOwner = "claudemesh";
constexpr std::size_t kManifestOptionsMax = 512;

std::optional<AbiVersion> parse_abi(std::string_view text) {
  const std::size_t dot = text.find('.');
  const auto number = [](std::string_view digits, std::uint32_t& out) {
    const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), out);
    return !digits.empty() && error == std::errc() && end == digits.data() + digits.size() && out <= 0xffff;
  };
  AbiVersion version;
  if (dot == std::string_view::npos || !number(text.substr(0, dot), version.major) ||
      !number(text.substr(dot + 1), version.minor)) {
    return std::nullopt;
  }
  return version;
}

RawValue to_raw(const json::value& value) {
  if (value.is_bool()) {
    return value.get_bool();
  }
  if (value.is_int64()) {
    return value.get_int64();
  }
  if (value.is_double()) {
    return value.get_double();
  }
  if (value.is_string()) {
    return std::string(value.get_string());
  }
  if (!value.is_array()) {
    return {};
  }
  std::vector<std::string> list;
  for (const json::value& element : value.get_array()) {
    if (!element.is_string()) {
      return {};
    }
    list.emplace_back(element.get_string());
  }
  return list;
}

// Reads the members one by one; the first complaint is kept.
class ManifestReader {
 public:
  explicit ManifestReader(const json::object& object) : object_(object) {}

  Manifest read() {
    Manifest manifest;
    manifest.id = text("id", true, options::is_plugin_id, R"(a reverse domain such as "org.example.hello")");
    manifest.name = text("name", true, options::is_name, "[a-z][a-z0-9_]* of at most 64 bytes");
    manifest.version = text("version", true, options::is_version, R"(a version such as "1.4.0")");
    read_abi(manifest);
    manifest.description = text("description", false, is_short, "one line of text");
    manifest.license = text("license", false, is_short, "an SPDX expression");
    manifest.platform = text("platform", false, is_short, R"(a platform such as "linux-x86_64")");
    manifest.build_id = text("build_id", false, is_short, "one line of text");
    manifest.kinds = list("kinds", is_short);
    manifest.host_tables = list("requires", options::is_table_id);
    manifest.provides = list("provides", options::is_table_id);
    read_options(manifest);
    manifest.config_schema_hash = text("config_schema_hash", false, is_short, "a hash");
    check_hash(manifest);
    return manifest;
  }
  const std::string& complaint() const noexcept { return complaint_; }

 private:
  using Check = bool (*)(std::string_view) noexcept;

  // Control bytes would reach the terminal of whoever lists plugins.
  static bool is_short(std::string_view text) noexcept {
    return text.size() <= 1024 && std::none_of(text.begin(), text.end(), [](char c) {
             return static_cast<unsigned char>(c) < 0x20 || c == 0x7f;
           });
  }

  void complain(std::string text) {
    if (complaint_.empty()) {
      complaint_ = std::move(text);
    }
  }

  std::string text(std::string_view key, bool required, Check check, std::string_view expected) {
    const json::value* value = object_.if_contains(json::string_view(key.data(), key.size()));
    if (value == nullptr && !required) {
      return {};
    }
    if (value == nullptr || !value->is_string() || !check(std::string_view(value->get_string()))) {
      complain(std::string("its manifest has ") + (value == nullptr ? "no " : "a wrong ") + std::string(key) +
               ", expected " + std::string(expected));
      return {};
    }
    return std::string(value->get_string());
  }

  std::vector<std::string> list(std::string_view key, Check check) {
    const json::value* value = object_.if_contains(json::string_view(key.data(), key.size()));
    if (value == nullptr) {
      return {};
    }
    const RawValue raw = to_raw(*value);
    const auto* texts = std::get_if<std::vector<std::string>>(&raw);
    if (texts == nullptr || !std::all_of(texts->begin(), texts->end(), check)) {
      complain("its manifest has a wrong " + std::string(key) + ", expected a list of ids");
      return {};
    }
    return *texts;
  }

  void read_abi(Manifest& manifest) {
    const json::value* value = object_.if_contains("abi");
    const json::object* abi = value == nullptr ? nullptr : value->if_object();
    const auto version = [&](json::string_view key) -> std::optional<AbiVersion> {
      const json::value* member = abi == nullptr ? nullptr : abi->if_contains(key);
      return member == nullptr || !member->is_string() ? std::nullopt
                                                       : parse_abi(std::string_view(member->get_string()));
    };
    const auto min = version("min");
    const auto built = version("built");
    if (!min || !built || *min > *built) {
      complain(R"(its manifest has no usable abi, expected {"min":"1.0","built":"1.0"})");
      return;
    }
    manifest.abi_min = *min;
    manifest.abi_built = *built;
  }

  void read_options(Manifest& manifest) {
    const json::value* value = object_.if_contains("options");
    if (value == nullptr) {
      return;
    }
    const json::array* array = value->if_array();
    if (array == nullptr || array->size() > kManifestOptionsMax) {
      complain("its manifest has wrong options, expected a list of at most 512 tables");
      return;
    }
    std::vector<options::SpecProblem> problems;
    for (const json::value& element : *array) {
      std::map<std::string, RawValue, std::less<>> members;
      if (const json::object* table = element.if_object()) {
        for (const auto& member : *table) {
          members.emplace(member.key(), to_raw(member.value()));
        }
      }
      manifest.options.push_back(options::make_option_spec(members, problems));
    }
    options::check_unique_names(manifest.options, problems);
    if (!problems.empty()) {
      complain("its manifest declares a wrong option: " + problems.front().text);
    }
  }

  // A hash that does not match means that the options were changed behind the build's back.
  void check_hash(const Manifest& manifest) {
    if (manifest.config_schema_hash.empty() || !complaint_.empty()) {
      return;
    }
    const std::string computed = options::sha256_hex(options::options_to_json(manifest.options));
    if (computed != manifest.config_schema_hash) {
      complain("its manifest says config_schema_hash " + options::json_quote(manifest.config_schema_hash) +
               ", expected " + computed + "; build it again with this SDK");
    }
  }

  const json::object& object_;
  std::string complaint_;
};

Error not_a_plugin(std::string_view origin, const std::string& why) {
  return make_error(ErrorCode::kInvalid, std::string(origin) + " is not a claudemesh plugin: " + why);
}

}  // namespace

std::span<const std::uint32_t> offered_abi_versions() noexcept {
  return kOfferedVersions;
}

std::string abi_versions_text(std::span<const std::uint32_t> versions) {
  std::string text;
  for (std::size_t i = 0; i < versions.size(); ++i) {
    text += i == 0 ? "" : i + 1 == versions.size() ? " and " : ", ";
    text += AbiVersion::from_number(versions[i]).text();
  }
  return text;
}

std::string_view host_platform() noexcept {
#if defined(__x86_64__)
  return "linux-x86_64";
#elif defined(__aarch64__)
  return "linux-aarch64";
#elif defined(__riscv)
  return "linux-riscv64";
#else
#error "this platform has no name in manifests yet; add it here and to cm-manifest"
#endif
}

Result<Manifest> parse_manifest(std::string_view text, std::string_view origin) {
  json::error_code error;
  json::parse_options limits;
  limits.max_depth = 8;
  const json::value root = json::parse(json::string_view(text.data(), text.size()), error, {}, limits);
  if (error || !root.is_object()) {
    return not_a_plugin(origin, "its manifest is not a JSON object; build it with cm_add_plugin of the SDK");
  }
  ManifestReader reader(root.get_object());
  Manifest manifest = reader.read();
  if (!reader.complaint().empty()) {
    return not_a_plugin(origin, reader.complaint());
  }
  manifest.json = text;
  return manifest;
}

Result<Manifest> read_manifest(const std::filesystem::path& file) {
  Result<ElfFile> elf = ElfFile::open(file);
  if (!elf) {
    return elf.error();
  }
  Result<std::string> note = read_elf_note(elf->source(), kOwner, CM_MANIFEST_NOTE_TYPE);
  if (!note) {
    return not_a_plugin(file.string(), note.error().message + "; expected a library built with CM_PLUGIN_MANIFEST");
  }
  Result<Manifest> manifest = parse_manifest(*note, file.string());
  if (manifest) {
    manifest->file = file;
  }
  return manifest;
}

Status check_compatible(const Manifest& manifest) {
  const std::string plugin = "plugin " + manifest.id + " " + manifest.version;
  if (!manifest.platform.empty() && manifest.platform != host_platform()) {
    return make_error(ErrorCode::kUnsupported, plugin + " was built for " + manifest.platform + "; this host runs on " +
                                                   std::string(host_platform()) + "; get the build for this machine");
  }
  bool fits = false;
  for (const std::uint32_t number : offered_abi_versions()) {
    const AbiVersion version = AbiVersion::from_number(number);
    fits = fits || (version.major == manifest.abi_min.major && version >= manifest.abi_min);
  }
  if (!fits) {
    const bool newer = manifest.abi_min.number() > offered_abi_versions().front();
    return make_error(ErrorCode::kUnsupported, plugin + " needs plugin ABI " + manifest.abi_min.text() +
                                                   "; this host offers " + abi_versions_text(offered_abi_versions()) +
                                                   "; " +
                                                   (newer ? "update claudemesh" : "get a newer build of the plugin"));
  }
  return {};
}

}  // namespace cm::loader
