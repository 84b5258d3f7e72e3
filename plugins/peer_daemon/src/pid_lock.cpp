#include "plugins/peer_daemon/src/pid_lock.hpp"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstring>

namespace cm::daemon {
namespace {

constexpr int kAttemptsMax = 8;  // the file may be removed by its holder between open and lock

std::string read_pid(int descriptor) {
  std::array<char, 32> text{};
  const ssize_t count = ::pread(descriptor, text.data(), text.size() - 1, 0);
  return count > 0 ? std::string(text.data(), static_cast<std::size_t>(count)) : std::string("unknown");
}

// The path still names the file that we locked.
bool is_current(int descriptor, const std::string& path) {
  struct stat ours{};
  struct stat named{};
  return ::fstat(descriptor, &ours) == 0 && ::stat(path.c_str(), &named) == 0 && ours.st_ino == named.st_ino &&
         ours.st_dev == named.st_dev;
}

}  // namespace

Result<PidLock> PidLock::acquire(const std::string& path) {
  for (int attempt = 0; attempt < kAttemptsMax; ++attempt) {
    PidLock lock;
    lock.file_ = Descriptor(::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600));
    if (!lock.held()) {
      return make_error(ErrorCode::kIo, "cannot open " + path + ": " + std::strerror(errno) +
                                            "; check that the directory belongs to this user");
    }
    const int descriptor = lock.file_.get();
    if (::flock(descriptor, LOCK_EX | LOCK_NB) != 0) {
      return make_error(ErrorCode::kBusy, "daemon already running (pid " + read_pid(descriptor) + ")");
    }
    if (!is_current(descriptor, path)) {
      continue;
    }
    lock.path_ = path;
    const std::string pid = std::to_string(::getpid());
    if (::ftruncate(descriptor, 0) != 0 || ::pwrite(descriptor, pid.data(), pid.size(), 0) < 0) {
      return make_error(ErrorCode::kIo, "cannot write " + path + ": " + std::strerror(errno));
    }
    return lock;
  }
  return make_error(ErrorCode::kBusy, "the pid file " + path + " changes all the time; another daemon is starting");
}

void PidLock::release() noexcept {
  if (!held()) {
    return;
  }
  if (!path_.empty()) {
    static_cast<void>(::unlink(path_.c_str()));  // while locked: nobody else can own the path now
    path_.clear();
  }
  file_.reset();
}

}  // namespace cm::daemon
