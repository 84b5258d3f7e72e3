// The timers of one instance (cm.timer/1), on the loop's own timers. [loop]
#pragma once

#include <claudemesh/abi.h>
#include <claudemesh/cpp/result.hpp>

#include <cstdint>

#include "host/net/loop.hpp"
#include "host/services/handle_table.hpp"

namespace cm::host {

class Instance;

inline constexpr std::uint32_t kTimersMax = 65'536;                    // of one instance
inline constexpr std::uint64_t kTimerDelayMaxUs = 31'536'000'000'000;  // one year; longer delays are cut to it

class Timers {
 public:
  explicit Timers(Instance& instance) : instance_(instance) {}
  ~Timers() { silence(); }

  Result<cm_handle> start(std::uint64_t delay_us, std::uint64_t period_us, cm_callback function, void* user);
  // False when the timer has fired (one-shot) or is unknown.
  bool cancel(cm_handle handle);
  // None fires from now on; the entries stay for counting.
  void silence();
  std::uint32_t size() const noexcept { return entries_.size(); }

 private:
  struct Entry {
    cm_callback function;
    void* user;
    std::int64_t period_ns;
    std::int64_t deadline_ns;
    net::TimerId timer;
  };

  void arm(cm_handle handle, Entry& entry);
  void fire(cm_handle handle);

  Instance& instance_;
  HandleTable<Entry> entries_{kTimersMax, 0x4400};
};

}  // namespace cm::host
