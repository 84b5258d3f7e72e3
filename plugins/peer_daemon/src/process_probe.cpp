#include "plugins/peer_daemon/src/process_probe.hpp"

#include <signal.h>

#include <algorithm>
#include <cctype>
#include <cerrno>
#include <fstream>
#include <sstream>

namespace cm::daemon {
namespace {

constexpr int kStartTimeField = 22;  // proc(5), /proc/pid/stat; the second field may hold spaces and parentheses

bool is_number(const std::string& text) {
  return !text.empty() && std::all_of(text.begin(), text.end(), [](unsigned char c) { return std::isdigit(c) != 0; });
}

}  // namespace

bool process_exists(std::int64_t pid) {
  return pid > 0 && (::kill(static_cast<pid_t>(pid), 0) == 0 || errno == EPERM);
}

std::string process_start_time(std::int64_t pid) {
  std::ifstream file("/proc/" + std::to_string(pid) + "/stat");
  std::string line;
  std::getline(file, line);
  const std::size_t end_of_name = line.rfind(')');
  if (end_of_name == std::string::npos) {
    return {};
  }
  std::istringstream rest(line.substr(end_of_name + 1));
  std::string field;
  for (int index = 3; index <= kStartTimeField; ++index) {
    if (!(rest >> field)) {
      return {};
    }
  }
  return field;
}

bool process_is_same(std::int64_t pid, const std::string& start_time) {
  if (!process_exists(pid)) {
    return false;
  }
  // Another program's notation of the start time says nothing to us.
  const std::string now = process_start_time(pid);
  return !is_number(start_time) || now.empty() || now == start_time;
}

}  // namespace cm::daemon
