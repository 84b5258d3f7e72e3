// The most recent client message ids in memory, so that most repetitions are answered without the store. Only committed
// records are put here. One loop.
#pragma once

#include <cstddef>
#include <list>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>

namespace cm::broker {

// A bounded map that forgets what was used longest ago.
template <typename Value>
class LruMap {
 public:
  explicit LruMap(std::size_t max) : max_(max) {}

  // Null when absent; the pointer is valid until the next put.
  const Value* find(std::string_view key) {
    const auto found = index_.find(key);
    if (found == index_.end()) {
      return nullptr;
    }
    order_.splice(order_.begin(), order_, found->second);
    return &found->second->second;
  }
  void put(std::string key, Value value) {
    const auto found = index_.find(key);
    if (found != index_.end()) {
      found->second->second = std::move(value);
      order_.splice(order_.begin(), order_, found->second);
      return;
    }
    if (order_.size() >= max_) {
      index_.erase(order_.back().first);
      order_.pop_back();
    }
    order_.emplace_front(std::move(key), std::move(value));
    index_.emplace(order_.front().first, order_.begin());
  }
  std::size_t size() const noexcept { return order_.size(); }

 private:
  using Order = std::list<std::pair<std::string, Value>>;
  std::size_t max_;
  Order order_;                                                           // most recently used first
  std::unordered_map<std::string_view, typename Order::iterator> index_;  // keys point into order_
};

}  // namespace cm::broker
