// Says which plugin was running when the process dies of a signal or an escaped exception.
#pragma once

namespace cm::host {

// Installs the handlers for SIGSEGV, SIGBUS, SIGFPE, SIGILL and SIGABRT and the terminate handler, once per process.
// They write one line to standard error and leave the rest (core dump, sanitizer report) to whoever was there before.
void install_crash_handlers();

}  // namespace cm::host
