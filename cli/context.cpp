#include "cli/context.hpp"

#include <pwd.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <chrono>
#include <climits>
#include <cstdio>
#include <ctime>
#include <iostream>

namespace cm::cli {

namespace {

bool is_directory(const std::string& path) {
  struct stat info{};
  return ::stat(path.c_str(), &info) == 0 && S_ISDIR(info.st_mode);
}

std::string absolute(const std::string& path) {
  if (path.empty() || path.front() == '/') {
    return path;
  }
  std::array<char, PATH_MAX> folder{};
  return ::getcwd(folder.data(), folder.size()) == nullptr ? path : std::string(folder.data()) + "/" + path;
}

std::string without_trailing_slashes(std::string path) {
  while (path.size() > 1 && path.back() == '/') {
    path.pop_back();
  }
  return path;
}

std::string home_directory(const Environment& environment) {
  std::string home = environment.get("HOME");
  if (!home.empty()) {
    return without_trailing_slashes(absolute(home));
  }
  const passwd* entry = ::getpwuid(::getuid());
  return entry != nullptr && entry->pw_dir != nullptr ? entry->pw_dir : "/";
}

std::string own_executable() {
  std::array<char, PATH_MAX> path{};
  const ssize_t size = ::readlink("/proc/self/exe", path.data(), path.size());
  return size > 0 ? std::string(path.data(), static_cast<std::size_t>(size)) : std::string();
}

}  // namespace

Environment Environment::of_process() {
  Environment result;
  for (char** entry = environ; *entry != nullptr; ++entry) {
    const std::string_view text = *entry;
    const std::size_t equals = text.find('=');
    if (equals != std::string_view::npos) {
      result.values_.emplace(text.substr(0, equals), text.substr(equals + 1));
    }
  }
  return result;
}

std::string Environment::get(std::string_view name) const {
  const auto found = values_.find(name);
  return found == values_.end() ? std::string() : found->second;
}

Paths find_paths(const Environment& environment) {
  Paths paths;
  paths.home = home_directory(environment);
  const std::string config_dir = environment.get("CLAUDEMESH_CONFIG_DIR");
  paths.stale_config_dir = !config_dir.empty() && !is_directory(config_dir);
  paths.config_dir = config_dir.empty() || paths.stale_config_dir ? paths.home + "/.claudemesh"
                                                                  : without_trailing_slashes(absolute(config_dir));
  const std::string daemon_dir = environment.get("CLAUDEMESH_DAEMON_DIR");
  paths.daemon_dir =
      daemon_dir.empty() ? paths.home + "/.claudemesh/daemon" : without_trailing_slashes(absolute(daemon_dir));
  paths.executable = own_executable();
  return paths;
}

Context process_context() {
  Environment environment = Environment::of_process();
  Paths paths = find_paths(environment);
  Output output{std::cout, std::cerr, wants_colour(STDOUT_FILENO), wants_colour(STDERR_FILENO)};
  if (paths.stale_config_dir && ::isatty(STDERR_FILENO) == 1) {
    std::cerr << "claudemesh: ignoring stale CLAUDEMESH_CONFIG_DIR=" << environment.get("CLAUDEMESH_CONFIG_DIR")
              << " (there is no such folder; using " << paths.config_dir << ")\n";
  }
  const auto now_ms = [] {
    return std::int64_t{
        std::chrono::duration_cast<std::chrono::milliseconds>(std::chrono::system_clock::now().time_since_epoch())
            .count()};
  };
  return Context{output, std::cin, std::move(environment), std::move(paths), now_ms};
}

std::string iso_time(std::int64_t unix_ms) {
  const std::time_t seconds = static_cast<std::time_t>(unix_ms / 1000);
  std::tm parts{};
  ::gmtime_r(&seconds, &parts);
  std::array<char, 80> text{};
  std::snprintf(text.data(), text.size(), "%04d-%02d-%02dT%02d:%02d:%02d.%03dZ", parts.tm_year + 1900, parts.tm_mon + 1,
                parts.tm_mday, parts.tm_hour, parts.tm_min, parts.tm_sec, static_cast<int>(unix_ms % 1000));
  return text.data();
}

}  // namespace cm::cli
