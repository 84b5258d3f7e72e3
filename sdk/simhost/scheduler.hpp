// Virtual time: events in the order of their time, ties in the order of their scheduling. The only clock of a
// simulation.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <random>
#include <utility>

namespace cm::sim {

// Seeded randomness. The same seed gives the same numbers on every platform: no standard distributions are used.
class Random {
 public:
  explicit Random(std::uint64_t seed) : engine_(seed) {}
  std::uint64_t next() { return engine_(); }
  // Uniform enough for faults and delays: 0 .. bound-1; 0 for bound 0.
  std::uint64_t below(std::uint64_t bound) { return bound == 0 ? 0 : engine_() % bound; }
  std::uint64_t between(std::uint64_t low, std::uint64_t high) { return low + below(high - low + 1); }
  bool chance(double probability) { return static_cast<double>(engine_() >> 11) * 0x1.0p-53 < probability; }
  // An independent stream that depends only on this one's state.
  Random fork() { return Random(engine_()); }

 private:
  std::mt19937_64 engine_;
};

// Identifies a scheduled event; never reused.
struct EventId {
  std::uint64_t time_us = 0;
  std::uint64_t sequence = 0;
  friend auto operator<=>(const EventId&, const EventId&) = default;
};

class Scheduler {
 public:
  std::uint64_t now_us() const noexcept { return now_us_; }
  std::uint64_t events_run() const noexcept { return events_run_; }
  bool empty() const noexcept { return queue_.empty(); }

  // Times in the past mean now.
  EventId at(std::uint64_t time_us, std::function<void()> function) {
    const EventId id{time_us < now_us_ ? now_us_ : time_us, ++sequence_};
    queue_.emplace(id, std::move(function));
    return id;
  }
  EventId after(std::uint64_t delay_us, std::function<void()> function) {
    return at(now_us_ + delay_us, std::move(function));
  }
  bool cancel(EventId id) { return queue_.erase(id) != 0; }

  // Time of the next event; meaningful only when not empty.
  std::uint64_t next_time_us() const { return queue_.begin()->first.time_us; }

  // Runs the next event; false when there is none.
  bool step() {
    if (queue_.empty()) {
      return false;
    }
    auto node = queue_.extract(queue_.begin());
    now_us_ = node.key().time_us < now_us_ ? now_us_ : node.key().time_us;
    ++events_run_;
    node.mapped()();
    return true;
  }
  // Moves the clock without running anything; what has become due runs next, late.
  void jump_by_us(std::uint64_t duration_us) { now_us_ += duration_us; }
  // Drops everything that is scheduled, without running it.
  void clear() { queue_.clear(); }

 private:
  std::uint64_t now_us_ = 0;
  std::uint64_t sequence_ = 0;
  std::uint64_t events_run_ = 0;
  std::map<EventId, std::function<void()>> queue_;
};

}  // namespace cm::sim
