#include "plugins/storage_sqlite/src/health.hpp"

#include <sqlite3.h>

#include "plugins/storage_sqlite/src/sqlite_error.hpp"

namespace cm::storage {

void Health::failed(int code, std::string_view text) {
  switch (classify(code)) {
    case Failure::kBusy:
      metrics_.busy.add();
      return;
    case Failure::kDisk:
      disk_failed(code, text);
      return;
    case Failure::kCorrupt:
      corrupt(text);
      return;
    default:
      return;
  }
}

void Health::disk_failed(int code, std::string_view text) {
  ((code & 0xff) == SQLITE_FULL ? metrics_.disk_full : metrics_.sync_errors).add();
  const std::uint64_t now_us = host_.monotonic_us();
  const std::lock_guard lock(mutex_);
  if (!failing_.exchange(true)) {
    failing_since_us_ = now_us;
    host_.log(LogLevel::kError, text);
  }
  if (!read_only_.load() && now_us - failing_since_us_ >= grace_us_) {
    read_only_.store(true);
    metrics_.read_only.set(1);
    host_.log(LogLevel::kCritical,
              "the disk has refused every commit since the first failure; writes are answered with an error until it "
              "takes them again",
              {LogField("last_error", text)});
  }
}

void Health::commit_worked() {
  if (!failing_.load(std::memory_order_acquire)) {
    return;
  }
  const std::lock_guard lock(mutex_);
  failing_.store(false);
  read_only_.store(false);
  metrics_.read_only.set(0);
  host_.log(LogLevel::kInfo, "the disk takes commits again");
}

void Health::corrupt(std::string_view text) {
  const std::lock_guard lock(mutex_);
  if (degraded_.load()) {
    return;
  }
  degraded_text_ = text;
  degraded_.store(true, std::memory_order_release);
  metrics_.degraded.set(1);
  host_.log(LogLevel::kCritical, text);
}

std::string Health::degraded_text() const {
  const std::lock_guard lock(mutex_);
  return degraded_text_;
}

}  // namespace cm::storage
