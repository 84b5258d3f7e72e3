#include "cli/files.hpp"

#include <fcntl.h>
#include <poll.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <cstring>

namespace cm::cli {

namespace {

constexpr std::uint64_t kLockPollMs = 20;

Error io_error(std::string_view what, const std::string& path, int cause) {
  return make_error(ErrorCode::kIo, std::string(what) + " " + path + ": " + std::strerror(cause));
}

bool write_all(int fd, std::string_view content) {
  while (!content.empty()) {
    const ssize_t written = ::write(fd, content.data(), content.size());
    if (written < 0 && errno == EINTR) {
      continue;
    }
    if (written <= 0) {
      return false;
    }
    content.remove_prefix(static_cast<std::size_t>(written));
  }
  return true;
}

std::string directory_of(const std::string& path) {
  const std::size_t slash = path.rfind('/');
  return slash == std::string::npos ? "." : slash == 0 ? "/" : path.substr(0, slash);
}

// The rename is only durable when the folder that holds the name is. EINVAL: its file system cannot sync folders.
Status sync_directory(const std::string& path) {
  const std::string folder = directory_of(path);
  const Descriptor fd(::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!fd || (::fsync(fd.get()) != 0 && errno != EINVAL)) {
    return io_error("cannot flush the folder", folder, errno);
  }
  return {};
}

}  // namespace

Result<std::optional<std::string>> read_file(const std::string& path) {
  const Descriptor file(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!file) {
    const int cause = errno;
    if (cause == ENOENT || cause == ENOTDIR) {
      return std::optional<std::string>();
    }
    return io_error("cannot open", path, cause);
  }
  std::string content;
  std::array<char, 16 * 1024> piece{};
  for (;;) {
    const ssize_t got = ::read(file.get(), piece.data(), piece.size());
    if (got < 0 && errno == EINTR) {
      continue;
    }
    if (got < 0) {
      return io_error("cannot read", path, errno);
    }
    if (got == 0) {
      return std::optional<std::string>(std::move(content));
    }
    content.append(piece.data(), static_cast<std::size_t>(got));
    if (content.size() > kFileBytesMax) {
      return make_error(ErrorCode::kInvalid, path + " is larger than " + std::to_string(kFileBytesMax) + " bytes");
    }
  }
}

Status write_private_file(const std::string& path, std::string_view content) {
  const std::string temporary = path + ".tmp." + std::to_string(::getpid());
  {
    const Descriptor file(::open(temporary.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, 0600));
    if (!file) {
      return io_error("cannot create", temporary, errno);
    }
    if (::fchmod(file.get(), 0600) != 0 || !write_all(file.get(), content) || ::fsync(file.get()) != 0) {
      const int cause = errno;
      ::unlink(temporary.c_str());
      return io_error("cannot write", temporary, cause);
    }
  }
  if (::rename(temporary.c_str(), path.c_str()) != 0) {
    const int cause = errno;
    ::unlink(temporary.c_str());
    return io_error("cannot replace", path, cause);
  }
  return sync_directory(path);
}

Status make_private_directory(const std::string& path) {
  for (std::size_t slash = path.find('/', 1);; slash = path.find('/', slash + 1)) {
    const std::string part = path.substr(0, slash);
    if (::mkdir(part.c_str(), 0700) != 0 && errno != EEXIST) {
      return io_error("cannot create the folder", part, errno);
    }
    if (slash == std::string::npos) {
      break;
    }
  }
  struct stat info{};
  if (::stat(path.c_str(), &info) != 0 || !S_ISDIR(info.st_mode)) {
    return make_error(ErrorCode::kIo, path + " is no folder");
  }
  return {};
}

Result<FileLock> FileLock::acquire(const std::string& path, std::uint64_t wait_ms) {
  FileLock lock;
  lock.file_ = Descriptor(::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600));
  if (!lock.file_) {
    return io_error("cannot create the lock file", path, errno);
  }
  const std::int64_t deadline = steady_ms() + static_cast<std::int64_t>(wait_ms);
  while (::flock(lock.file_.get(), LOCK_EX | LOCK_NB) != 0) {
    if (errno != EWOULDBLOCK && errno != EINTR) {
      return io_error("cannot lock", path, errno);
    }
    if (steady_ms() >= deadline) {
      return make_error(ErrorCode::kBusy, path + " is held by another process");
    }
    pause_ms(kLockPollMs);
  }
  return lock;
}

void pause_ms(std::uint64_t milliseconds) {
  ::poll(nullptr, 0, static_cast<int>(std::min<std::uint64_t>(milliseconds, 60'000)));
}

std::int64_t steady_ms() {
  const auto now = std::chrono::steady_clock::now().time_since_epoch();
  return std::chrono::duration_cast<std::chrono::milliseconds>(now).count();
}

}  // namespace cm::cli
