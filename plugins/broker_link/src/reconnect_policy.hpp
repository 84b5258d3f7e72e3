// When a lost link connects again. Pure: time and randomness are arguments.
#pragma once

#include <cstdint>
#include <string_view>

namespace cm::broker_link {

// A link that stayed open this long begins its back-off anew; a shorter one was not worth the name.
inline constexpr std::uint64_t kStableOpenMs = 5'000;
// Two programs with one session id replace each other for ever; the second time we give way for a while.
inline constexpr std::uint64_t kReplacedMinDelayMs = 5'000;
inline constexpr std::uint64_t kReplacedMemoryMs = 60'000;
// A hello that was refused (1008) will hardly be accepted a moment later: start in the middle of the caps.
inline constexpr std::uint32_t kRefusedHelloAttempt = 3;

struct Lost {
  std::uint32_t code = 1006;
  std::string_view reason;
  std::uint64_t now_ms = 0;
  std::uint64_t random = 0;  // uniform
};

struct Reconnect {
  bool refused = false;  // 4001, 4002, 4010: only the slow retry remains
  std::uint64_t delay_ms = 0;
};

// Caps 1, 2, 4, 8, 16, 30 s with full jitter (wire/02 section 1.5).
class ReconnectPolicy {
 public:
  explicit ReconnectPolicy(std::uint64_t refused_retry_ms) : refused_retry_ms_(refused_retry_ms) {}

  void opened(std::uint64_t now_ms) {
    opened_ms_ = now_ms;
    open_ = true;
  }
  Reconnect lost(const Lost& lost);
  std::uint32_t attempt() const noexcept { return attempt_; }

 private:
  std::uint64_t replaced_min_delay_ms(const Lost& lost);

  std::uint64_t refused_retry_ms_;
  std::uint32_t attempt_ = 0;
  std::uint64_t opened_ms_ = 0;
  bool open_ = false;
  bool was_replaced_ = false;
  std::uint64_t replaced_ms_ = 0;
};

}  // namespace cm::broker_link
