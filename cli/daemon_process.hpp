// The daemon as a process: finding its configuration, starting it detached, knowing whether it lives, stopping it.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "cli/context.hpp"

namespace cm::cli {

inline constexpr std::uint64_t kStartDeadlineMs = 10'000;
inline constexpr std::uint64_t kStopDeadlineMs = 5'000;
inline constexpr std::uint64_t kLogRotateBytes = 10 * 1024 * 1024;
inline constexpr std::size_t kLogTailLines = 12;

// The configuration for `claudemesh run`: `chosen` if not empty, else the first that exists of
// <config dir>/daemon.toml, /etc/claudemesh/daemon.toml, the build tree's etc/, the installed share/. The failure names
// all places that were looked at.
Outcome<std::string> find_daemon_config(const Paths& paths, const std::string& chosen);

// What daemon.pid says. `pid` 0: no file, or no number in it.
struct DaemonPid {
  int pid = 0;
  bool alive = false;   // a process of that number exists
  bool locked = false;  // somebody holds the lock of the file: a daemon of ours lives
  bool other_user = false;
};
DaemonPid read_daemon_pid(const Paths& paths);

struct StartedDaemon {
  int pid = 0;
  std::int64_t took_ms = 0;
};
// Runs `<executable> run <config>` in a session of its own, both outputs appended to daemon.log (0600, moved to
// daemon.log.1 above kLogRotateBytes), and waits until it says READY=1 or its socket answers. When it dies or the
// deadline passes, the failure holds the last lines of the log; a daemon that is merely late is left running.
Outcome<StartedDaemon> start_daemon(const Context& context, const std::string& config_file, std::uint64_t deadline_ms);

// Replaces this process by the daemon; returns only when that fails.
Failure exec_daemon(const Context& context, const std::string& config_file);

enum class StopResult { kStopped, kTimeout, kDenied, kGone };
// SIGTERM, then waits for the end of the process.
StopResult stop_process(int pid, std::uint64_t deadline_ms);

// The lock that whoever starts the daemon holds meanwhile (wire/06 section 1.2).
inline std::string spawn_lock(const Paths& paths) {
  return paths.daemon_dir + "/.spawn.lock";
}

// True when something accepts connections on the socket file.
bool socket_answers(const std::string& path);

// The last lines of `text`, each cut to a readable length and made printable.
std::vector<std::string> last_lines(std::string_view text, std::size_t count);

}  // namespace cm::cli
