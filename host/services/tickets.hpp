// Tickets of life-cycle steps: of those that a loop still has to run, and of those that a plugin deferred (CM_DEFER).
#pragma once

#include <claudemesh/abi.h>

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>

#include "host/services/handle_table.hpp"

namespace cm::host {

class Instance;

inline constexpr std::uint32_t kTicketsMax = 65'536;

using Deadline = std::chrono::steady_clock::time_point;
inline constexpr Deadline kNoDeadline = Deadline::max();

// Any thread. Only the control thread waits.
class TicketBook {
 public:
  struct Answer {
    cm_status status = CM_OK;
    std::string text;
  };

  // [control] A ticket for one step of the instance.
  cm_handle issue(const Instance& instance);
  // [any] CM_GONE for an unknown ticket, one of another instance, or one that was answered already. CM_DEFER as an
  // answer is CM_INVALID.
  cm_status complete(const Instance& instance, cm_handle ticket, cm_status status, std::string_view text);
  // [loop] The same for a step that the host itself runs on a loop: every status is an answer.
  cm_status answer(const Instance& instance, cm_handle ticket, cm_status status, std::string_view text);
  // [any] Somebody waits for this ticket, or is about to.
  bool pending(cm_handle ticket);
  // [control] Waits for the answer until `deadline` (kNoDeadline: for ever), or until `give_up` is true and wake was
  // called. The ticket is stale afterwards.
  std::optional<Answer> wait(cm_handle ticket, Deadline deadline, const std::atomic<bool>& give_up);
  // [control] Makes the ticket stale without waiting.
  void withdraw(cm_handle ticket);
  // [any] Makes a waiting thread look at its `give_up` again.
  void wake();

 private:
  struct Ticket {
    const Instance* instance;
    std::optional<Answer> answer;
  };

  std::mutex mutex_;
  std::condition_variable changed_;
  HandleTable<Ticket> tickets_{kTicketsMax, 0x7100};  // guarded by mutex_
};

}  // namespace cm::host
