// What the libraries of this process have written to files and not synced, and a power cut that takes it back.
//
// The disk calls of loaded libraries are redirected in their own tables of imports, so that nothing changes for the
// program itself. Not seen: what the C library does inside itself (stdio), memory that is mapped to files, and programs
// that the plugin starts. Such writes survive a cut, so they are never a finding.
#pragma once

#include <chrono>

namespace cm::checker {

// Redirects the disk calls of all libraries that are loaded now. Again after more have been loaded; what is redirected
// stays so. False: this processor's tables of imports are not known, nothing is watched. [any thread, one at a time]
bool watch_disk_calls();

// From now on each call that changes or syncs a file waits so long before it does anything: whoever answers too early
// is overtaken. [any]
void slow_disk_calls(std::chrono::milliseconds delay);

// The power fails: what was written and not synced is undone, nothing more is written, the process ends by SIGKILL.
// [any]
[[noreturn]] void cut_power();

}  // namespace cm::checker
