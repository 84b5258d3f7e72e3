// Ctrl-C and SIGTERM as a wish that a verb fulfils in order.
#pragma once

#include <atomic>

namespace cm::cli {

// From now on SIGINT and SIGTERM set the flag instead of ending the process. A pause (pause_ms) ends with the signal.
void stop_on_signals();

// Set by a signal; a verb may set it, too, to end its own threads.
std::atomic<bool>& stop_requested();

}  // namespace cm::cli
