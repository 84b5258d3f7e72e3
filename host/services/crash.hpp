// Says which plugin was running when the process dies of a signal or an escaped exception.
#pragma once

#include <cstdint>

namespace cm::host {

// Installs the handlers for SIGSEGV, SIGBUS, SIGFPE, SIGILL and SIGABRT and the terminate handler, once per process.
// They write one line to standard error and leave the rest (core dump, sanitizer report) to whoever was there before.
void install_crash_handlers();

// Where a crash writes "1": into this file, at this place. A negative descriptor: nowhere. Any thread.
void set_crash_mark(int fd, std::int64_t offset) noexcept;

}  // namespace cm::host
