// What one connection is doing at this moment, so that the loop can name a work that does not end.
#pragma once

#include <claudemesh/ext/storage.h>

#include <atomic>
#include <cstdint>

namespace cm::storage {

// Written by the worker that runs the work, read by the loop.
class WorkWatch {
 public:
  void begin(std::uint64_t now_us) noexcept {
    statement_.store(0, std::memory_order_relaxed);
    started_us_.store(now_us, std::memory_order_relaxed);
  }
  void statement(cm_statement id) noexcept { statement_.store(id, std::memory_order_relaxed); }
  void end() noexcept { started_us_.store(0, std::memory_order_relaxed); }

  // True once for each work that has been running for `limit_us`; `out_statement` is what it runs (0: none). [loop]
  bool became_stuck(std::uint64_t now_us, std::uint64_t limit_us, cm_statement* out_statement) noexcept {
    const std::uint64_t started_us = started_us_.load(std::memory_order_relaxed);
    if (started_us == 0 || started_us == reported_us_ || now_us < started_us + limit_us) {
      return false;
    }
    reported_us_ = started_us;
    *out_statement = statement_.load(std::memory_order_relaxed);
    return true;
  }

 private:
  std::atomic<std::uint64_t> started_us_ = 0;
  std::atomic<cm_statement> statement_ = 0;
  std::uint64_t reported_us_ = 0;  // loop only
};

}  // namespace cm::storage
