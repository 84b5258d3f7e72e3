#include "host/services/timers.hpp"

#include <claudemesh/ext/host.h>

#include <algorithm>

#include "host/services/host_view.hpp"
#include "host/services/instance.hpp"

namespace cm::host {

Result<cm_handle> Timers::start(std::uint64_t delay_us, std::uint64_t period_us, cm_callback function, void* user) {
  if (function == nullptr) {
    return make_error(ErrorCode::kInvalid, "a timer needs a function");
  }
  const auto delay_ns = static_cast<std::int64_t>(std::min(delay_us, kTimerDelayMaxUs)) * 1000;
  const auto period_ns = static_cast<std::int64_t>(std::min(period_us, kTimerDelayMaxUs)) * 1000;
  const cm_handle handle = entries_.insert(
      std::make_unique<Entry>(Entry{function, user, period_ns, net::Loop::now_ns() + delay_ns, net::TimerId::kNone}));
  if (handle == CM_NO_HANDLE) {
    return make_error(ErrorCode::kBusy, "an instance may have at most " + std::to_string(kTimersMax) +
                                            " timers; cancel some or share one");
  }
  arm(handle, *entries_.find(handle));
  return handle;
}

void Timers::arm(cm_handle handle, Entry& entry) {
  entry.timer = instance_.loop_thread().loop().start_timer(entry.deadline_ns, [this, handle] { fire(handle); });
}

void Timers::fire(cm_handle handle) {
  Entry* entry = entries_.find(handle);
  if (entry == nullptr) {
    return;
  }
  const Entry copy = *entry;  // the function may cancel this timer
  if (copy.period_ns == 0) {
    entries_.remove(handle);
  } else {
    // From the deadline, not from now, so that periods do not drift; a loop that fell behind skips what it missed.
    entry->deadline_ns = std::max(copy.deadline_ns + copy.period_ns, net::Loop::now_ns());
    arm(handle, *entry);
  }
  enter(instance_, CallbackKind::kTimer, [&copy] { copy.function(copy.user); });
}

bool Timers::cancel(cm_handle handle) {
  const std::unique_ptr<Entry> entry = entries_.remove(handle);
  if (entry == nullptr) {
    return false;
  }
  if (entry->timer != net::TimerId::kNone) {
    instance_.loop_thread().loop().cancel_timer(entry->timer);
  }
  return true;
}

void Timers::silence() {
  entries_.for_each([this](cm_handle, Entry& entry) {
    if (entry.timer != net::TimerId::kNone) {
      instance_.loop_thread().loop().cancel_timer(std::exchange(entry.timer, net::TimerId::kNone));
    }
  });
}

namespace {

cm_status timer_start(cm_handle self, uint64_t delay_us, uint64_t period_us, cm_callback function, void* user,
                      cm_handle* out_timer) noexcept {
  const Admission admission = admit_loop(self, HostTable::kTimer, "cm.timer/1 start");
  if (!admission) {
    return admission.status;
  }
  auto timer = admission.instance->holdings->timers->start(delay_us, period_us, function, user);
  if (!timer) {
    return refuse(*admission.instance, timer.error());
  }
  if (out_timer != nullptr) {
    *out_timer = *timer;
  }
  return CM_OK;
}

cm_status timer_cancel(cm_handle self, cm_handle timer) noexcept {
  const Admission admission = admit_loop(self, HostTable::kTimer, "cm.timer/1 cancel");
  if (admission.instance == nullptr) {
    return admission.status;
  }
  const bool cancelled = admission.instance->holdings->timers->cancel(timer);
  return cancelled ? admission.status : CM_GONE;
}

constexpr cm_timer_v1 kTimerTable = {sizeof(cm_timer_v1), 0, timer_start, timer_cancel};

}  // namespace

const void* timer_table() noexcept {
  return &kTimerTable;
}

}  // namespace cm::host
