// One daemon per directory: an flock on daemon.pid, so that the file of a dead daemon is harmless.
#pragma once

#include <claudemesh/cpp/result.hpp>

#include <string>
#include <utility>

namespace cm::daemon {

// Holds the lock while it lives; then removes the file.
class PidLock {
 public:
  PidLock() = default;
  PidLock(const PidLock&) = delete;
  PidLock& operator=(const PidLock&) = delete;
  PidLock(PidLock&& other) noexcept
      : path_(std::move(other.path_)), descriptor_(std::exchange(other.descriptor_, -1)) {}
  PidLock& operator=(PidLock&& other) noexcept {
    std::swap(path_, other.path_);
    std::swap(descriptor_, other.descriptor_);
    return *this;
  }
  ~PidLock() { release(); }

  // Writes the process id in decimal, without a newline. kBusy: "daemon already running (pid N)".
  static Result<PidLock> acquire(const std::string& path);
  void release() noexcept;
  bool held() const noexcept { return descriptor_ >= 0; }

 private:
  std::string path_;
  int descriptor_ = -1;
};

}  // namespace cm::daemon
