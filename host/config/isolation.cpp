#include "host/config/isolation.hpp"

#include <algorithm>
#include <array>

namespace cm::config {

namespace {

constexpr std::array<std::string_view, 3> kOut{"cm.bridge/1", "cm.hook/1", "cm.transport/1"};
constexpr std::array<std::string_view, 2> kInto{"cm.hook/1", "cm.peer/1"};
// Starts child programs, which the list of system calls of a runner child refuses.
constexpr std::string_view kProcessTable = "cm.process/1";

bool contains(std::span<const std::string_view> ids, std::string_view id) {
  return std::find(ids.begin(), ids.end(), id) != ids.end();
}

std::string joined(std::span<const std::string_view> ids) {
  std::string text;
  for (const std::string_view id : ids) {
    text += (text.empty() ? "" : ", ") + std::string(id);
  }
  return text;
}

std::uint64_t number(const ValidatedOptions& own, std::string_view option) {
  const auto value = own.get_int(option);
  return value ? static_cast<std::uint64_t>(*value) : 0;
}

// What an option of type path, or a list of them, names.
void add_grants(const ValidatedOptions& options, const std::string& option, bool write,
                std::vector<FileGrant>& grants) {
  const OptionValue* value = options.find(option);
  if (value == nullptr) {
    return;
  }
  const auto* text = std::get_if<std::string>(&value->data);
  const std::vector<std::string> paths =
      text != nullptr ? std::vector<std::string>{*text} : std::get<std::vector<std::string>>(value->data);
  for (const std::string& path : paths) {
    if (!path.empty()) {
      grants.push_back({path, write, option});
    }
  }
}

bool is_set(const ValidatedOptions& options, const OptionSpec& spec) {
  const OptionValue* value = options.find(spec.name);
  if (value == nullptr) {
    return false;
  }
  const auto* text = std::get_if<std::string>(&value->data);
  return text != nullptr ? !text->empty() : !std::get<std::vector<std::string>>(value->data).empty();
}

}  // namespace

std::span<const std::string_view> extensions_out_of_process() noexcept {
  return kOut;
}
std::span<const std::string_view> extensions_into_process() noexcept {
  return kInto;
}

IsolationSettings read_isolation(const ValidatedOptions& own, const ValidatedOptions& of_plugin) {
  IsolationSettings settings;
  const auto tier = own.get_text("isolation");
  settings.process = tier.ok() && *tier == "process";
  settings.memory_bytes_max = number(own, "isolation_memory_max");
  settings.file_bytes_max = number(own, "isolation_file_max");
  settings.descriptors_max = static_cast<std::uint32_t>(number(own, "isolation_descriptors_max"));
  settings.cpu_seconds_max = static_cast<std::uint32_t>(number(own, "isolation_cpu_seconds"));
  const auto network = own.get_bool("isolation_network");
  settings.network = network.ok() && *network;
  settings.hang_timeout_ms = number(own, "isolation_hang_timeout");
  settings.failures_max = static_cast<std::uint32_t>(number(own, "isolation_failures_max"));
  settings.failure_window_ms = number(own, "isolation_failure_window");
  settings.restart_delay_ms = number(own, "isolation_restart_delay");
  if (settings.process) {
    add_grants(own, "isolation_read", false, settings.files);
    add_grants(own, "isolation_write", true, settings.files);
    for (const OptionSpec& spec : of_plugin.specs()) {
      const bool names_paths =
          spec.type == OptionType::kPath || (spec.type == OptionType::kList && spec.list_of == OptionType::kPath);
      const OptionValue* value = names_paths ? of_plugin.find(spec.name) : nullptr;
      if (value != nullptr && !value->is_default) {
        add_grants(of_plugin, spec.name, true, settings.files);
      }
    }
  }
  return settings;
}

void check_isolation(const InstanceConfig& instance, const ValidatedOptions& own, Problems& problems) {
  if (!instance.isolation.process) {
    return;
  }
  const OptionValue* key = own.find("isolation");
  const SourceLocation where = key == nullptr ? instance.where : key->where;
  const std::string label = "[plugins." + instance.name + "] isolation: ";
  if (instance.granted(kProcessTable)) {
    problems.add(
        where, label + "found \"process\", but " + instance.manifest->name + " asks for " + std::string(kProcessTable) +
                   ", and a plugin in a process of its own may start no programs; expected \"none\"; take the " +
                   "key out, or list in `permissions` the tables that it gets without " + std::string(kProcessTable));
  }
  for (const std::string& id : instance.manifest->provides) {
    if (!contains(kOut, id)) {
      problems.add(where, label + "found \"process\", but " + instance.manifest->name + " provides " + id +
                              ", which cannot cross the boundary of a process; those that can are " + joined(kOut) +
                              "; take the key out");
    }
  }
  for (const OptionSpec& spec : instance.options.specs()) {
    const bool used = spec.refers_to_plugins() && !spec.extension.empty() && is_set(instance.options, spec);
    if (used && !contains(kInto, spec.extension)) {
      problems.add(where, label + "found \"process\", but the option " + spec.name + " uses " + spec.extension +
                              " of another plugin, which cannot cross the boundary of a process; those that can are " +
                              joined(kInto) + "; take the key out");
    }
  }
}

}  // namespace cm::config
