// What waits for an answer of the other side, by id, each with a deadline.
#pragma once

#include <cstddef>
#include <cstdint>
#include <limits>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

namespace cm::broker_link {

inline constexpr std::uint64_t kNoDeadline = std::numeric_limits<std::uint64_t>::max();

// Not thread-safe: one owner on one loop. Times are any monotonic milliseconds.
template <typename Value>
class DeadlineTable {
 public:
  struct Entry {
    std::string id;
    Value value;
  };

  // False when the id waits already; nothing is changed then.
  bool add(std::string_view id, std::uint64_t deadline_ms, Value value) {
    const auto [place, inserted] = entries_.try_emplace(std::string(id), Waiting{std::move(value), {}});
    if (!inserted) {
      return false;
    }
    place->second.order = order_.emplace(deadline_ms, place->first);
    return true;
  }

  // The answer for `id` came: its value, once.
  std::optional<Value> take(std::string_view id) {
    const auto place = entries_.find(std::string(id));
    if (place == entries_.end()) {
      return std::nullopt;
    }
    order_.erase(place->second.order);
    std::optional<Value> value(std::move(place->second.value));
    entries_.erase(place);
    return value;
  }

  // Removes what is overdue at `now_ms`, the most overdue first.
  std::vector<Entry> take_expired(std::uint64_t now_ms) {
    std::vector<Entry> expired;
    while (!order_.empty() && order_.begin()->first <= now_ms) {
      const std::string id = order_.begin()->second;
      expired.push_back(Entry{id, std::move(*take(id))});
    }
    return expired;
  }

  // Removes everything, in the order of the deadlines.
  std::vector<Entry> take_all() { return take_expired(kNoDeadline); }

  bool contains(std::string_view id) const { return entries_.contains(std::string(id)); }
  std::size_t size() const noexcept { return entries_.size(); }
  std::uint64_t next_deadline_ms() const noexcept { return order_.empty() ? kNoDeadline : order_.begin()->first; }

 private:
  using Order = std::multimap<std::uint64_t, std::string>;
  struct Waiting {
    Value value;
    typename Order::iterator order;
  };
  std::unordered_map<std::string, Waiting> entries_;
  Order order_;
};

}  // namespace cm::broker_link
