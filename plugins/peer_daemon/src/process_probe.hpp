// Is the process of a session still the one that registered?
#pragma once

#include <cstdint>
#include <string>

namespace cm::daemon {

// Exists, perhaps of another user.
bool process_exists(std::int64_t pid);
// The kernel's start time of the process in clock ticks; empty when it is not known. A recycled pid has another one.
std::string process_start_time(std::int64_t pid);
// False only when it is certain: no such process, or another start time than `start_time` (when both are known).
bool process_is_same(std::int64_t pid, const std::string& start_time);

}  // namespace cm::daemon
