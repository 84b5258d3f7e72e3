// What is known about the disk and the file: whether commits fail, since when, and whether the file is damaged.
// Any thread.
#pragma once

#include <atomic>
#include <cstdint>
#include <mutex>
#include <string>
#include <string_view>

#include <claudemesh/cpp/host.hpp>

#include "plugins/storage_sqlite/src/metrics.hpp"

namespace cm::storage {

class Health {
 public:
  // Both must outlive this object. `grace_ms`: option read_only_grace.
  Health(const HostApi& host, const Metrics& metrics, std::uint64_t grace_ms)
      : host_(host), metrics_(metrics), grace_us_(grace_ms * 1'000) {}

  // An SQLite result code of a failed statement or commit, with its text: counts it and logs each change of state once.
  void failed(int code, std::string_view text);
  void commit_worked();

  // Damaged: writes are refused until the next start.
  bool degraded() const noexcept { return degraded_.load(std::memory_order_acquire); }
  std::string degraded_text() const;
  // The disk has refused every commit for longer than the grace.
  bool read_only() const noexcept { return read_only_.load(std::memory_order_acquire); }

 private:
  void disk_failed(int code, std::string_view text);
  void corrupt(std::string_view text);

  const HostApi& host_;
  const Metrics& metrics_;
  const std::uint64_t grace_us_;
  mutable std::mutex mutex_;
  std::string degraded_text_;
  std::uint64_t failing_since_us_ = 0;
  std::atomic<bool> failing_ = false;
  std::atomic<bool> degraded_ = false;
  std::atomic<bool> read_only_ = false;
};

}  // namespace cm::storage
