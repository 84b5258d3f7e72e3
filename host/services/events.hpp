// Small notices between the plugins of one host (cm.events/1).
#pragma once

#include <claudemesh/ext/host.h>
#include <claudemesh/cpp/result.hpp>

#include <atomic>
#include <cstdint>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <vector>

#include "host/services/handle_table.hpp"

namespace cm::host {

class Instance;

inline constexpr std::size_t kEventJsonBytesMax = 64 * 1024;
inline constexpr std::size_t kEventTopicBytesMax = 256;
inline constexpr std::uint32_t kSubscriptionsMax = 1024;    // of one instance
inline constexpr std::uint64_t kEventsWaitingMax = 16'384;  // of one instance; more are dropped and counted

// Pure: does an exact topic, or a prefix that ends with '*', cover `topic`?
bool topic_matches(std::string_view pattern, std::string_view topic) noexcept;

// Who listens to what, over all instances of one host. Any thread.
class EventBus {
 public:
  void add(Instance& instance, cm_handle subscription, std::string pattern);
  void remove(const Instance& instance, cm_handle subscription);
  // Posts the event to the loop of each matching subscription. kInvalid for a topic or text outside the bounds.
  Status publish(std::string_view topic, std::string_view json);
  std::uint64_t published() const noexcept { return published_.load(std::memory_order_relaxed); }

 private:
  struct Listener {
    Instance* instance;
    cm_handle subscription;
    std::string pattern;
  };

  std::mutex mutex_;
  std::vector<Listener> listeners_;  // guarded by mutex_
  std::atomic<std::uint64_t> published_{0};
};

// The subscriptions of one instance. [loop]
class EventSubscriptions {
 public:
  explicit EventSubscriptions(Instance& instance) : instance_(instance) {}

  Result<cm_handle> subscribe(std::string_view topic, cm_event_callback callback, void* user);
  bool unsubscribe(cm_handle subscription);
  // Calls the callback, unless it was unsubscribed meanwhile.
  void deliver(cm_handle subscription, std::string_view topic, std::string_view json);
  // Nothing is delivered from now on; the entries stay for counting.
  void silence();
  std::uint32_t size() const noexcept { return entries_.size(); }

 private:
  struct Entry {
    cm_event_callback callback;
    void* user;
  };

  Instance& instance_;
  HandleTable<Entry> entries_{kSubscriptionsMax, 0x5500};
};

}  // namespace cm::host
