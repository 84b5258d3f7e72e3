// The one-shot timers of a loop: a binary heap whose entries know their place, so that cancelling is O(log n) and
// neither starting nor cancelling allocates once the vectors have grown. Pure.
#pragma once

#include <cstdint>
#include <optional>
#include <utility>
#include <vector>

#include "host/net/unique_function.hpp"

namespace cm::net::detail {

// One thread at a time. Ids are a slot and its generation, so an old id never names a newer timer.
class TimerHeap {
 public:
  std::uint64_t start(std::int64_t deadline_ns, UniqueFunction<void()> fn) {
    std::uint32_t slot = 0;
    if (free_.empty()) {
      slot = static_cast<std::uint32_t>(slots_.size());
      slots_.emplace_back();
    } else {
      slot = free_.back();
      free_.pop_back();
    }
    slots_[slot].fn = std::move(fn);
    heap_.push_back({deadline_ns, next_order_++, slot});
    slots_[slot].place = static_cast<std::uint32_t>(heap_.size() - 1);
    sift_up(heap_.size() - 1);
    return std::uint64_t{slots_[slot].generation} << 32 | slot;
  }

  bool cancel(std::uint64_t id) {
    const auto slot = static_cast<std::uint32_t>(id & 0xFFFFFFFF);
    if (slot >= slots_.size() || slots_[slot].generation != id >> 32 || !slots_[slot].fn) {
      return false;
    }
    remove_at(slots_[slot].place);
    release(slot);
    return true;
  }

  std::optional<std::int64_t> next_deadline_ns() const {
    return heap_.empty() ? std::nullopt : std::optional(heap_.front().deadline_ns);
  }

  // Takes the earliest timer out when it is due; an empty function when none is.
  UniqueFunction<void()> take_due(std::int64_t now_ns) {
    if (heap_.empty() || heap_.front().deadline_ns > now_ns) {
      return {};
    }
    const std::uint32_t slot = heap_.front().slot;
    remove_at(0);
    return release(slot);
  }

  std::size_t size() const { return heap_.size(); }

 private:
  struct Slot {
    UniqueFunction<void()> fn;
    std::uint32_t generation = 1;
    std::uint32_t place = 0;
  };
  struct Entry {
    std::int64_t deadline_ns;
    std::uint64_t order;  // equal deadlines fire in the order of starting
    std::uint32_t slot;

    bool before(const Entry& other) const {
      return deadline_ns != other.deadline_ns ? deadline_ns < other.deadline_ns : order < other.order;
    }
  };

  UniqueFunction<void()> release(std::uint32_t slot) {
    UniqueFunction<void()> fn = std::move(slots_[slot].fn);
    if (++slots_[slot].generation == 0) {
      slots_[slot].generation = 1;
    }
    free_.push_back(slot);
    return fn;
  }

  void place(std::size_t at, Entry entry) {
    heap_[at] = entry;
    slots_[entry.slot].place = static_cast<std::uint32_t>(at);
  }

  void sift_up(std::size_t at) {
    const Entry entry = heap_[at];
    while (at > 0 && entry.before(heap_[(at - 1) / 2])) {
      place(at, heap_[(at - 1) / 2]);
      at = (at - 1) / 2;
    }
    place(at, entry);
  }

  void sift_down(std::size_t at) {
    const Entry entry = heap_[at];
    for (;;) {
      std::size_t child = 2 * at + 1;
      if (child >= heap_.size()) {
        break;
      }
      if (child + 1 < heap_.size() && heap_[child + 1].before(heap_[child])) {
        ++child;
      }
      if (!heap_[child].before(entry)) {
        break;
      }
      place(at, heap_[child]);
      at = child;
    }
    place(at, entry);
  }

  void remove_at(std::size_t at) {
    const Entry last = heap_.back();
    heap_.pop_back();
    if (at < heap_.size()) {
      place(at, last);
      sift_up(at);
      sift_down(slots_[last.slot].place);
    }
  }

  std::vector<Slot> slots_;
  std::vector<std::uint32_t> free_;
  std::vector<Entry> heap_;
  std::uint64_t next_order_ = 0;
};

}  // namespace cm::net::detail
