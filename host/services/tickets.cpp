#include "host/services/tickets.hpp"

namespace cm::host {

cm_handle TicketBook::issue(const Instance& instance) {
  const std::lock_guard lock(mutex_);
  return tickets_.insert(std::make_unique<Ticket>(Ticket{&instance, std::nullopt}));
}

cm_status TicketBook::complete(const Instance& instance, cm_handle ticket, cm_status status, std::string_view text) {
  return status == CM_DEFER ? CM_INVALID : answer(instance, ticket, status, text);
}

cm_status TicketBook::answer(const Instance& instance, cm_handle ticket, cm_status status, std::string_view text) {
  {
    const std::lock_guard lock(mutex_);
    Ticket* entry = tickets_.find(ticket);
    if (entry == nullptr || entry->instance != &instance || entry->answer.has_value()) {
      return CM_GONE;
    }
    entry->answer = Answer{status, std::string(text)};
  }
  changed_.notify_all();
  return CM_OK;
}

bool TicketBook::pending(cm_handle ticket) {
  const std::lock_guard lock(mutex_);
  return tickets_.find(ticket) != nullptr;
}

std::optional<TicketBook::Answer> TicketBook::wait(cm_handle ticket, Deadline deadline,
                                                   const std::atomic<bool>& give_up) {
  std::unique_lock lock(mutex_);
  const auto over = [this, ticket, &give_up] {
    const Ticket* entry = tickets_.find(ticket);
    return give_up.load() || entry == nullptr || entry->answer.has_value();
  };
  if (deadline == kNoDeadline) {
    changed_.wait(lock, over);
  } else {
    changed_.wait_until(lock, deadline, over);
  }
  const auto entry = tickets_.remove(ticket);
  return entry != nullptr ? std::move(entry->answer) : std::nullopt;
}

void TicketBook::withdraw(cm_handle ticket) {
  const std::lock_guard lock(mutex_);
  tickets_.remove(ticket);
}

void TicketBook::wake() {
  // Taking the lock orders this after a waiter's look at its flag and before its sleep.
  {
    const std::lock_guard lock(mutex_);
  }
  changed_.notify_all();
}

}  // namespace cm::host
