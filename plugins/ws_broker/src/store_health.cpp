#include "plugins/ws_broker/src/store_health.hpp"

#include <utility>

namespace cm::broker {

std::optional<FailureLog::Line> FailureLog::failed(std::int64_t now_ms, std::uint64_t items) {
  ++since_.failures;
  since_.items += items;
  if (failing_ && now_ms - logged_ms_ < kIntervalMs) {
    return std::nullopt;
  }
  failing_ = true;
  logged_ms_ = now_ms;
  return std::exchange(since_, {});
}

std::optional<FailureLog::Line> FailureLog::succeeded() {
  if (!std::exchange(failing_, false)) {
    return std::nullopt;
  }
  return std::exchange(since_, {});
}

void StoreHealth::read_ended(const Status& status) {
  reads_ = status.ok();
  publish();
  if (!status.ok()) {
    if (const auto line = read_log_.failed(now_ms(), 0)) {
      host_.log(LogLevel::kError, "the store cannot be read",
                {{"error", status.error().message}, {"failures", line->failures}});
    }
  } else if (read_log_.succeeded()) {
    host_.log(LogLevel::kInfo, "the store can be read again", {});
  }
}

void StoreHealth::write_ended(const Status& status, std::uint64_t messages) {
  writes_ = status.ok();
  written_ = writes_;
  publish();
  if (!status.ok()) {
    if (const auto line = write_log_.failed(now_ms(), messages)) {
      host_.log(LogLevel::kError, "the store takes no writes; messages are refused and background writes wait",
                {{"error", status.error().message}, {"failures", line->failures}, {"messages", line->items}});
    }
  } else if (const auto line = write_log_.succeeded()) {
    host_.log(LogLevel::kWarn, "the store takes writes again",
              {{"failures", line->failures}, {"messages", line->items}});
  }
}

}  // namespace cm::broker
