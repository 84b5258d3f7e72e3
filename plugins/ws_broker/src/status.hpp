// The status of a presence (wire/05 section 2): which source said it, when, and what it lets through. Pure.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

#include "protocol/target.hpp"

namespace cm::broker {

enum class Activity : std::uint8_t { kIdle, kWorking, kDnd };
std::string_view to_string(Activity status);
std::optional<Activity> parse_status(std::string_view text);

// Ranked: a hook outranks a manual setting, which outranks what was derived.
enum class StatusSource : std::uint8_t { kDerived = 1, kManual = 2, kHook = 3 };

struct ActivityState {
  Activity status = Activity::kIdle;
  StatusSource source = StatusSource::kDerived;
  std::int64_t updated_ms = 0;  // monotonic
};

// A new signal. Another status always wins; the same status only takes over the source when it ranks at least as high
// or the stored signal is older than `fresh_ms`.
void write_status(ActivityState& state, Activity status, StatusSource source, std::int64_t now_ms,
                  std::int64_t fresh_ms);
// `working` without a signal for longer than `ttl_ms` becomes idle. True if it did.
bool expire_status(ActivityState& state, std::int64_t now_ms, std::int64_t ttl_ms);
// idle takes everything, working and dnd only `now`.
bool takes(const ActivityState& state, protocol::Priority priority);

}  // namespace cm::broker
