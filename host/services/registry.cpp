#include "host/services/registry.hpp"

#include <algorithm>

#include "host/services/instance.hpp"
#include "host/services/services.hpp"

namespace cm::host {

void ExtensionRegistry::publish(Instance& instance, const std::string& extension_id, void* object, const void* table) {
  const std::lock_guard lock(mutex_);
  entries_.push_back(Entry{extension_id, Provider{&instance, object, table}});
}

void ExtensionRegistry::withdraw(const Instance& instance) {
  const std::lock_guard lock(mutex_);
  std::erase_if(entries_, [&instance](const Entry& entry) { return entry.provider.instance == &instance; });
}

Result<ExtensionRegistry::Provider> ExtensionRegistry::acquire(const Instance& asking, std::string_view instance_name,
                                                               std::string_view extension_id) {
  const std::lock_guard lock(mutex_);
  std::vector<const Entry*> found;
  std::string names;
  for (const Entry& entry : entries_) {
    const Instance& provider = *entry.provider.instance;
    const bool visible = asking.staged() ? !provider.ending() : !provider.staged();
    if (visible && entry.extension_id == extension_id &&
        (instance_name.empty() || entry.provider.instance->name() == instance_name)) {
      found.push_back(&entry);
      names += (names.empty() ? "" : ", ") + entry.provider.instance->name();
    }
  }
  const std::string id(extension_id);
  if (found.empty()) {
    return make_error(ErrorCode::kGone, instance_name.empty()
                                            ? "no instance provides " + id + "; load a plugin that does"
                                            : "the instance \"" + std::string(instance_name) + "\" does not provide " +
                                                  id + "; name one that does");
  }
  if (found.size() > 1) {
    return make_error(ErrorCode::kInvalid,
                      "several instances provide " + id + " (" + names + "); name the one that is meant");
  }
  ++references_[found.front()->provider.instance];
  return found.front()->provider;
}

void ExtensionRegistry::release(const Instance& provider) {
  const std::lock_guard lock(mutex_);
  const auto count = references_.find(&provider);
  if (count != references_.end() && --count->second == 0) {
    references_.erase(count);
  }
}

std::uint64_t ExtensionRegistry::references_to(const Instance& provider) const {
  const std::lock_guard lock(mutex_);
  const auto count = references_.find(&provider);
  return count != references_.end() ? count->second : 0;
}

RegistryReferences::~RegistryReferences() {
  entries_.for_each([this](cm_handle, Entry& entry) { instance_.services().registry.release(*entry.provider); });
}

Result<cm_extension> RegistryReferences::acquire(std::string_view instance_name, std::string_view extension_id,
                                                 cm_callback going_away, void* user) {
  if (entries_.size() >= kReferencesMax) {
    return make_error(ErrorCode::kBusy, "an instance may hold at most " + std::to_string(kReferencesMax) +
                                            " references to extensions; release some first");
  }
  Result<ExtensionRegistry::Provider> provider =
      instance_.services().registry.acquire(instance_, instance_name, extension_id);
  if (!provider) {
    return std::move(provider).error();
  }
  const cm_handle reference = entries_.insert(std::make_unique<Entry>(Entry{provider->instance, going_away, user}));
  return cm_extension{provider->object, provider->table, provider->instance->self(), reference};
}

bool RegistryReferences::release(cm_handle reference) {
  const std::unique_ptr<Entry> entry = entries_.remove(reference);
  if (entry == nullptr) {
    return false;
  }
  instance_.services().registry.release(*entry->provider);
  return true;
}

void RegistryReferences::provider_going_away(const Instance& provider) {
  for (const cm_handle reference : entries_.handles()) {
    const Entry* entry = entries_.find(reference);
    if (entry == nullptr || entry->provider != &provider) {
      continue;
    }
    const Entry copy = *entry;  // the callback may release
    if (copy.going_away != nullptr && instance_.open()) {
      enter(instance_, CallbackKind::kGoingAway, [&copy] { copy.going_away(copy.user); });
    }
    release(reference);
  }
}

}  // namespace cm::host
