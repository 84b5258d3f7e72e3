// What a verb knows of the process it runs in: folders, environment, streams. Built once; tests build their own.
#pragma once

#include <cstdint>
#include <functional>
#include <iosfwd>
#include <map>
#include <string>
#include <string_view>

#include "cli/output.hpp"

namespace cm::cli {

// The environment as a map, so that tests need not change the process' own.
class Environment {
 public:
  Environment() = default;
  static Environment of(std::map<std::string, std::string, std::less<>> values) {
    Environment result;
    result.values_ = std::move(values);
    return result;
  }
  static Environment of_process();

  // Empty when unset: for all our variables an empty value means "not given".
  std::string get(std::string_view name) const;
  bool is_on(std::string_view name) const { return get(name) == "1"; }

 private:
  std::map<std::string, std::string, std::less<>> values_;
};

// Folders and files (wire/06 section 1). Absolute.
struct Paths {
  std::string home;
  std::string config_dir;         // CLAUDEMESH_CONFIG_DIR if that exists, else <home>/.claudemesh
  std::string daemon_dir;         // CLAUDEMESH_DAEMON_DIR, else <home>/.claudemesh/daemon; independent of config_dir
  std::string executable;         // this program
  bool stale_config_dir = false;  // CLAUDEMESH_CONFIG_DIR is set, but there is no such folder

  std::string config_file() const { return config_dir + "/config.json"; }
  std::string socket() const { return daemon_dir + "/daemon.sock"; }
  std::string pid_file() const { return daemon_dir + "/daemon.pid"; }
  std::string log_file() const { return daemon_dir + "/daemon.log"; }
};
Paths find_paths(const Environment& environment);

struct Context {
  Output output;
  std::istream& in;
  Environment environment;
  Paths paths;
  // Milliseconds since 1970.
  std::function<std::int64_t()> now_ms;
};

// The context of this process: std::cin, std::cout, std::cerr and the wall clock. Prints the one warning about a stale
// CLAUDEMESH_CONFIG_DIR when the error stream is a terminal.
Context process_context();

// "2026-01-31T12:00:00.000Z".
std::string iso_time(std::int64_t unix_ms);

}  // namespace cm::cli
