// What the store said last, to reads and to writes: for the health routes, and for a log that a full disk does not
// fill.
#pragma once

#include <claudemesh/cpp/host.hpp>
#include <cstdint>
#include <optional>
#include <string_view>

#include "plugins/ws_broker/src/metrics.hpp"

namespace cm::broker {

// When a failure that goes on is worth a line. Pure.
class FailureLog {
 public:
  static constexpr std::int64_t kIntervalMs = 60'000;

  struct Line {
    std::uint64_t failures = 0;  // since the last line
    std::uint64_t items = 0;     // what they were about, for example messages
  };

  // The first failure has a line, and then one each kIntervalMs.
  std::optional<Line> failed(std::int64_t now_ms, std::uint64_t items);
  // The first success after failures has a line.
  std::optional<Line> succeeded();

 private:
  bool failing_ = false;
  std::int64_t logged_ms_ = 0;
  Line since_;
};

class StoreHealth {
 public:
  StoreHealth(const HostApi& host, const Metrics& metrics) : host_(host), metrics_(metrics) {}

  void read_ended(const Status& status);
  // `messages` were refused because of it. Only for the outcomes of commits: a work that refused by itself says nothing
  // of the store.
  void write_ended(const Status& status, std::uint64_t messages = 0);

  bool ok() const noexcept { return reads_ && writes_; }
  // For /health/ready: "db_down" as the original calls it, "db_write_failed" while only reads succeed; empty: healthy.
  std::string_view reason() const noexcept { return !reads_ ? "db_down" : !writes_ ? "db_write_failed" : ""; }
  // Whether a write was the last word since this was asked last and succeeded, so that none is needed to find out.
  bool take_written() noexcept { return std::exchange(written_, false); }

 private:
  std::int64_t now_ms() const noexcept { return static_cast<std::int64_t>(host_.monotonic_us() / 1000); }
  void publish() const { metrics_.db_healthy.set(ok() ? 1 : 0); }

  const HostApi& host_;
  const Metrics& metrics_;
  FailureLog read_log_;
  FailureLog write_log_;
  bool reads_ = true;
  bool writes_ = true;
  bool written_ = false;
};

}  // namespace cm::broker
