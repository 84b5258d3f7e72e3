#include "protocol/rate.hpp"

#include <algorithm>
#include <cmath>

namespace cm::protocol {
namespace {

constexpr double kMsPerMinute = 60'000;

}  // namespace

TokenBucket::TokenBucket(const BucketOptions& options, std::int64_t now_ms)
    : options_(options), tokens_(options.capacity), updated_ms_(now_ms) {}

double TokenBucket::tokens(std::int64_t now_ms) const {
  const auto elapsed_ms = static_cast<double>(std::max<std::int64_t>(now_ms - updated_ms_, 0));
  return std::min(options_.capacity, tokens_ + elapsed_ms * options_.refill_per_minute / kMsPerMinute);
}

bool TokenBucket::take(std::int64_t now_ms) {
  tokens_ = tokens(now_ms);
  updated_ms_ = std::max(updated_ms_, now_ms);
  if (tokens_ < 1) {
    return false;
  }
  tokens_ -= 1;
  return true;
}

std::int64_t TokenBucket::retry_after_ms(std::int64_t now_ms) const {
  const double missing = 1 - tokens(now_ms);
  if (missing <= 0) {
    return 0;
  }
  if (options_.refill_per_minute <= 0) {
    return kRateIdleSweepMs;  // never refilled: the key is forgotten, and starts full again, after that time
  }
  return static_cast<std::int64_t>(std::ceil(missing * kMsPerMinute / options_.refill_per_minute));
}

KeyedBuckets::KeyedBuckets(const BucketOptions& options, std::size_t keys_max)
    : options_(options), keys_max_(std::max<std::size_t>(keys_max, 1)) {}

bool KeyedBuckets::take(std::string_view key, std::int64_t now_ms) {
  const auto found = index_.find(key);
  if (found != index_.end()) {
    order_.splice(order_.begin(), order_, found->second);
    return order_.front().bucket.take(now_ms);
  }
  if (order_.size() >= keys_max_) {
    index_.erase(order_.back().key);
    order_.pop_back();
    ++dropped_;
  }
  order_.push_front(Entry{std::string(key), TokenBucket(options_, now_ms)});
  index_.emplace(order_.front().key, order_.begin());
  return order_.front().bucket.take(now_ms);
}

std::int64_t KeyedBuckets::retry_after_ms(std::string_view key, std::int64_t now_ms) const {
  const auto found = index_.find(key);
  return found == index_.end() ? 0 : found->second->bucket.retry_after_ms(now_ms);
}

std::size_t KeyedBuckets::sweep(std::int64_t now_ms) {
  // The list is in order of use, so the idle ones are all at its end.
  std::size_t swept = 0;
  while (!order_.empty() && now_ms - order_.back().bucket.last_used_ms() > kRateIdleSweepMs) {
    index_.erase(order_.back().key);
    order_.pop_back();
    ++swept;
  }
  return swept;
}

IdempotentLimiter::IdempotentLimiter(const Options& options) : options_(options) {
  options_.window_ms = std::max<std::int64_t>(options_.window_ms, 1);
}

BudgetOutcome IdempotentLimiter::consume(std::string_view mesh_id, std::string_view client_message_id,
                                         std::int64_t now_ms) {
  const std::int64_t bucket = now_ms / options_.window_ms;
  auto found = meshes_.find(std::string(mesh_id));
  if (found == meshes_.end()) {
    if (meshes_.size() >= options_.meshes_max && sweep(now_ms) == 0) {
      return BudgetOutcome::kFull;
    }
    found = meshes_.emplace(std::string(mesh_id), Window{bucket, 0, {}}).first;
  }
  Window& window = found->second;
  if (bucket > window.bucket) {
    // The key of the specification contains the window, so ids of a past one are never looked up again.
    window = Window{bucket, 0, {}};
  }
  std::string id(client_message_id);
  if (!id.empty() && window.ids.contains(id)) {
    return BudgetOutcome::kRepeated;
  }
  if (window.used >= options_.limit_per_window) {
    return BudgetOutcome::kDenied;
  }
  ++window.used;
  if (!id.empty()) {
    window.ids.insert(std::move(id));
  }
  return BudgetOutcome::kConsumed;
}

std::int64_t IdempotentLimiter::retry_after_ms(std::int64_t now_ms) const {
  return options_.window_ms - now_ms % options_.window_ms;
}

std::size_t IdempotentLimiter::sweep(std::int64_t now_ms) {
  const std::int64_t bucket = now_ms / options_.window_ms;
  return std::erase_if(meshes_, [&](const auto& entry) { return entry.second.bucket < bucket; });
}

std::size_t IdempotentLimiter::id_count() const noexcept {
  std::size_t count = 0;
  for (const auto& [mesh, window] : meshes_) {
    count += window.ids.size();
  }
  return count;
}

}  // namespace cm::protocol
