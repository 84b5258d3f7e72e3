#include "plugins/ws_broker/src/status.hpp"

namespace cm::broker {

std::string_view to_string(Activity status) {
  switch (status) {
    case Activity::kIdle:
      return "idle";
    case Activity::kWorking:
      return "working";
    case Activity::kDnd:
      return "dnd";
  }
  return "idle";
}

std::optional<Activity> parse_status(std::string_view text) {
  for (const Activity status : {Activity::kIdle, Activity::kWorking, Activity::kDnd}) {
    if (text == to_string(status)) {
      return status;
    }
  }
  return std::nullopt;
}

void write_status(ActivityState& state, Activity status, StatusSource source, std::int64_t now_ms,
                  std::int64_t fresh_ms) {
  const std::int64_t age_ms = now_ms - state.updated_ms;
  const bool fresh = age_ms >= 0 && age_ms <= fresh_ms;
  if (state.status != status || source >= state.source || !fresh) {
    state.status = status;
    state.source = source;
  }
  state.updated_ms = now_ms;
}

bool expire_status(ActivityState& state, std::int64_t now_ms, std::int64_t ttl_ms) {
  if (state.status != Activity::kWorking || now_ms - state.updated_ms <= ttl_ms) {
    return false;
  }
  state = ActivityState{Activity::kIdle, StatusSource::kDerived, now_ms};
  return true;
}

bool takes(const ActivityState& state, protocol::Priority priority) {
  return state.status == Activity::kIdle || priority == protocol::Priority::kNow;
}

}  // namespace cm::broker
