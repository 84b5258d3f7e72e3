// What changed between two configurations, and what has to be done about it.
#include <algorithm>
#include <set>

#include "host/config/host_config.hpp"

namespace cm::config {
namespace {

enum class Change { kNone, kReconfigure, kRestart };

Change compare_options(const ValidatedOptions& before, const ValidatedOptions& after) {
  Change change = Change::kNone;
  for (const OptionSpec& spec : after.specs()) {
    if (before.same_value(after, spec.name)) {
      continue;
    }
    change = std::max(change, spec.reloadable ? Change::kReconfigure : Change::kRestart);
  }
  return change;
}

// Must two instances that ran on loops of their own now share one? Then at least this one has to move.
bool joins_another(const HostConfig& before, const HostConfig& after, const InstanceConfig& old_instance,
                   const InstanceConfig& new_instance) {
  return std::any_of(after.instances.begin(), after.instances.end(), [&](const InstanceConfig& other) {
    const InstanceConfig* old_other = before.find(other.name);
    return other.loop_group == new_instance.loop_group && old_other != nullptr &&
           old_other->loop_group != old_instance.loop_group;
  });
}

Change compare(const HostConfig& before, const HostConfig& after, const InstanceConfig& old_instance,
               const InstanceConfig& new_instance) {
  const bool other_frame =
      old_instance.manifest->id != new_instance.manifest->id || old_instance.permissions != new_instance.permissions ||
      old_instance.loop != new_instance.loop || old_instance.isolation != new_instance.isolation ||
      old_instance.depends_on != new_instance.depends_on || joins_another(before, after, old_instance, new_instance);
  return other_frame ? Change::kRestart : compare_options(old_instance.options, new_instance.options);
}

void compare_section(const std::string& name, const ValidatedOptions& before, const ValidatedOptions& after,
                     ConfigDiff& diff) {
  for (const OptionSpec& spec : after.specs()) {
    if (!spec.reloadable && !before.same_value(after, spec.name)) {
      diff.host_keys.push_back(name + "." + spec.name);
    }
  }
}

// Code is never unloaded, so another library under a known id needs another process.
void compare_libraries(const HostConfig& before, const HostConfig& after, ConfigDiff& diff) {
  for (const InstanceConfig& instance : after.instances) {
    const bool replaced =
        std::any_of(before.instances.begin(), before.instances.end(), [&](const InstanceConfig& old_instance) {
          return old_instance.manifest->id == instance.manifest->id &&
                 (old_instance.manifest->file != instance.manifest->file ||
                  old_instance.manifest->json != instance.manifest->json || old_instance.sha256 != instance.sha256);
        });
    if (replaced) {
      diff.host_keys.push_back("plugins." + instance.name + ".file");
    }
  }
}

}  // namespace

ConfigDiff diff_configs(const HostConfig& before, const HostConfig& after) {
  ConfigDiff diff;
  std::set<std::string_view> moving;  // restarted or added: their users have to start again, too
  for (const InstanceConfig& instance : after.instances) {
    const InstanceConfig* old_instance = before.find(instance.name);
    if (old_instance == nullptr) {
      diff.added.push_back(instance.name);
      moving.insert(instance.name);
      continue;
    }
    const bool provider_moves = std::any_of(instance.depends_on.begin(), instance.depends_on.end(),
                                            [&moving](const std::string& name) { return moving.contains(name); });
    const Change change = provider_moves ? Change::kRestart : compare(before, after, *old_instance, instance);
    if (change == Change::kRestart) {
      diff.restarted.push_back(instance.name);
      moving.insert(instance.name);
    } else if (change == Change::kReconfigure) {
      diff.reconfigured.push_back(instance.name);
    }
  }
  for (auto instance = before.instances.rbegin(); instance != before.instances.rend(); ++instance) {
    if (after.find(instance->name) == nullptr) {
      diff.removed.push_back(instance->name);
    }
  }
  compare_section("host", before.host.options, after.host.options, diff);
  compare_section("ops", before.ops.options, after.ops.options, diff);
  compare_libraries(before, after, diff);
  diff.log_changed = before.log.levels != after.log.levels || before.log.level != after.log.level ||
                     before.log.format != after.log.format || before.log.file != after.log.file;
  return diff;
}

}  // namespace cm::config
