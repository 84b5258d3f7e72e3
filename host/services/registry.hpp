// Extensions of plugins for plugins (cm.registry/1): who provides what, and who holds a reference.
#pragma once

#include <claudemesh/ext/host.h>
#include <claudemesh/cpp/result.hpp>

#include <cstdint>
#include <map>
#include <mutex>
#include <string>
#include <string_view>
#include <vector>

#include "host/services/handle_table.hpp"

namespace cm::host {

class Instance;

inline constexpr std::uint32_t kReferencesMax = 4096;  // of one instance

// The providers of one host. Any thread; changed by the control thread during life-cycle steps only.
class ExtensionRegistry {
 public:
  struct Provider {
    Instance* instance = nullptr;
    void* object = nullptr;  // cm_extension.instance
    const void* table = nullptr;
  };

  void publish(Instance& instance, const std::string& extension_id, void* object, const void* table);
  // The instance's extensions are found no more; existing references stay until they are told.
  void withdraw(const Instance& instance);
  // By instance name, or the only provider when the name is empty. kGone: none; kInvalid: several. Counts a reference.
  // During a reload a staged instance finds the providers of the configuration to come, all others those of now.
  Result<Provider> acquire(const Instance& asking, std::string_view instance_name, std::string_view extension_id);
  void release(const Instance& provider);
  std::uint64_t references_to(const Instance& provider) const;

 private:
  struct Entry {
    std::string extension_id;
    Provider provider;
  };

  mutable std::mutex mutex_;
  std::vector<Entry> entries_;                           // guarded by mutex_
  std::map<const Instance*, std::uint64_t> references_;  // guarded by mutex_
};

// The references that one instance holds. [loop]
class RegistryReferences {
 public:
  explicit RegistryReferences(Instance& instance) : instance_(instance) {}
  // Drops what is left from the counts of the providers.
  ~RegistryReferences();

  Result<cm_extension> acquire(std::string_view instance_name, std::string_view extension_id, cm_callback going_away,
                               void* user);
  bool release(cm_handle reference);
  // Tells the instance that the provider goes; its references to it are stale when this returns.
  void provider_going_away(const Instance& provider);
  std::uint32_t size() const noexcept { return entries_.size(); }

 private:
  struct Entry {
    Instance* provider;
    cm_callback going_away;
    void* user;
  };

  Instance& instance_;
  HandleTable<Entry> entries_{kReferencesMax, 0x6600};
};

}  // namespace cm::host
