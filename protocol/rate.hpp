// Rate limits with the time passed in and the memory bounded. Not thread-safe: one per shard.
#pragma once

#include <cstddef>
#include <cstdint>
#include <list>
#include <string>
#include <string_view>
#include <unordered_map>
#include <unordered_set>

namespace cm::protocol {

// Limits of the original (wire/05 section 22).
inline constexpr double kSendBurst = 10;
inline constexpr double kSendPerMinute = 60;
inline constexpr double kHookBurst = 30;
inline constexpr double kHookPerMinute = 30;
inline constexpr std::int64_t kRateIdleSweepMs = 600'000;

struct BucketOptions {
  double capacity = kSendBurst;
  double refill_per_minute = kSendPerMinute;
};

// Continuous refill: tokens = min(capacity, tokens + elapsed * rate) at each take; below one the take is refused and
// consumes nothing. Starts full. A clock that steps back refills nothing.
class TokenBucket {
 public:
  TokenBucket(const BucketOptions& options, std::int64_t now_ms);
  bool take(std::int64_t now_ms);
  double tokens(std::int64_t now_ms) const;
  // 0 when a take would succeed now.
  std::int64_t retry_after_ms(std::int64_t now_ms) const;
  std::int64_t last_used_ms() const noexcept { return updated_ms_; }

 private:
  BucketOptions options_;
  double tokens_;
  std::int64_t updated_ms_;
};

// One bucket per key. At keys_max the bucket that was idle longest is dropped, which can only be generous to its owner
// when more than keys_max keys are active at once; dropped() counts that.
class KeyedBuckets {
 public:
  explicit KeyedBuckets(const BucketOptions& options, std::size_t keys_max = 65'536);
  KeyedBuckets(const KeyedBuckets&) = delete;
  KeyedBuckets& operator=(const KeyedBuckets&) = delete;
  bool take(std::string_view key, std::int64_t now_ms);
  std::int64_t retry_after_ms(std::string_view key, std::int64_t now_ms) const;
  // Forgets keys idle for longer than kRateIdleSweepMs; returns how many.
  std::size_t sweep(std::int64_t now_ms);
  std::size_t size() const noexcept { return order_.size(); }
  std::uint64_t dropped() const noexcept { return dropped_; }

 private:
  struct Entry {
    std::string key;
    TokenBucket bucket;
  };
  BucketOptions options_;
  std::size_t keys_max_;
  std::uint64_t dropped_ = 0;
  std::list<Entry> order_;                                                  // most recently used first
  std::unordered_map<std::string_view, std::list<Entry>::iterator> index_;  // keys point into order_
};

// What the idempotent limiter says of one attempt.
enum class BudgetOutcome : std::uint8_t {
  kConsumed,  // counted now
  kRepeated,  // this id was counted in this window already: free
  kDenied,    // the window's budget is spent
  kFull,      // the limiter's own memory bound is reached: refuse, retryable
};

// consume_budget of specification v10 section 4.6.4: at most one unit per (mesh, client message id, window), no refund.
// Fixed windows of window_ms. Ids of a past window are dropped when the mesh's next window begins, so memory is at most
// meshes_max * limit_per_window ids.
class IdempotentLimiter {
 public:
  struct Options {
    std::uint32_t limit_per_window = 600;
    std::int64_t window_ms = 60'000;
    std::size_t meshes_max = 4'096;
  };
  explicit IdempotentLimiter(const Options& options);

  // An empty client id is never repeated: each attempt counts.
  BudgetOutcome consume(std::string_view mesh_id, std::string_view client_message_id, std::int64_t now_ms);
  std::int64_t retry_after_ms(std::int64_t now_ms) const;  // until the current window ends
  std::size_t sweep(std::int64_t now_ms);                  // forgets meshes whose window is over; returns how many
  std::size_t mesh_count() const noexcept { return meshes_.size(); }
  std::size_t id_count() const noexcept;

 private:
  struct Window {
    std::int64_t bucket = 0;
    std::uint32_t used = 0;
    std::unordered_set<std::string> ids;
  };
  Options options_;
  std::unordered_map<std::string, Window> meshes_;
};

}  // namespace cm::protocol
