// One daemon per directory: an flock on daemon.pid, so that the file of a dead daemon is harmless.
#pragma once

#include <claudemesh/cpp/descriptor.hpp>
#include <claudemesh/cpp/result.hpp>

#include <string>
#include <utility>

namespace cm::daemon {

// Holds the lock while it lives; then removes the file.
class PidLock {
 public:
  PidLock() = default;
  PidLock(PidLock&& other) noexcept = default;
  PidLock& operator=(PidLock&& other) noexcept {
    std::swap(path_, other.path_);
    std::swap(file_, other.file_);
    return *this;
  }
  ~PidLock() { release(); }

  // Writes the process id in decimal, without a newline. kBusy: "daemon already running (pid N)".
  static Result<PidLock> acquire(const std::string& path);
  void release() noexcept;
  bool held() const noexcept { return static_cast<bool>(file_); }

 private:
  std::string path_;
  Descriptor file_;
};

}  // namespace cm::daemon
