#include "plugins/peer_daemon/src/home_files.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>
#include <claudemesh/cpp/descriptor.hpp>

#include <cerrno>
#include <cstring>
#include <filesystem>
#include <utility>

namespace cm::daemon {
namespace {

Error io_error(const std::string& what, const std::string& path) {
  const int cause = errno;
  return make_error(ErrorCode::kIo, what + " " + path + ": " + std::strerror(cause) +
                                        "; check that the directory exists and belongs to this user");
}

Status write_all(int descriptor, std::string_view content, const std::string& path) {
  while (!content.empty()) {
    const ssize_t written = ::write(descriptor, content.data(), content.size());
    if (written < 0 && errno == EINTR) {
      continue;
    }
    if (written < 0) {
      return io_error("cannot write", path);
    }
    content.remove_prefix(static_cast<std::size_t>(written));
  }
  return {};
}

// The rename is only durable when the folder that holds the name is. EINVAL: its file system cannot sync folders.
Status sync_directory_of(const std::string& file) {
  const std::filesystem::path parent = std::filesystem::path(file).parent_path();
  const std::string path = parent.empty() ? "." : parent.string();
  const Descriptor directory(::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!directory || (::fsync(directory.get()) != 0 && errno != EINVAL)) {
    return io_error("cannot sync the directory", path);
  }
  return {};
}

}  // namespace

Status ensure_private_directory(const std::string& path) {
  std::error_code code;
  const std::filesystem::path parent = std::filesystem::path(path).parent_path();
  if (!parent.empty()) {
    std::filesystem::create_directories(parent, code);
  }
  if (::mkdir(path.c_str(), 0700) == 0) {
    return {};
  }
  if (errno != EEXIST) {
    return io_error("cannot make the directory", path);
  }
  struct stat info{};
  if (::stat(path.c_str(), &info) != 0 || !S_ISDIR(info.st_mode)) {
    return make_error(ErrorCode::kIo, path + " exists and is no directory; move it away");
  }
  if ((info.st_mode & 0077) != 0 && info.st_uid == ::geteuid()) {
    static_cast<void>(::chmod(path.c_str(), info.st_mode & 0700));
  }
  return {};
}

Result<std::optional<PrivateFile>> read_private_file(const std::string& path) {
  const Descriptor file(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!file) {
    if (errno == ENOENT) {
      return std::optional<PrivateFile>();
    }
    return io_error("cannot read", path);
  }
  struct stat info{};
  if (::fstat(file.get(), &info) != 0 || !S_ISREG(info.st_mode)) {
    return make_error(ErrorCode::kIo, path + " is no regular file; move it away");
  }
  if (static_cast<std::size_t>(info.st_size) > kPrivateFileBytesMax) {
    return make_error(ErrorCode::kInvalid, path + " has " + std::to_string(info.st_size) + " bytes; at most " +
                                               std::to_string(kPrivateFileBytesMax) + " are expected");
  }
  std::string content(static_cast<std::size_t>(info.st_size), '\0');
  std::size_t filled = 0;
  while (filled < content.size()) {
    const ssize_t count = ::read(file.get(), content.data() + filled, content.size() - filled);
    if (count < 0 && errno == EINTR) {
      continue;
    }
    if (count < 0) {
      return io_error("cannot read", path);
    }
    if (count == 0) {
      break;
    }
    filled += static_cast<std::size_t>(count);
  }
  content.resize(filled);
  PrivateFile result;
  result.content = SecretText(std::move(content));
  result.was_exposed = (info.st_mode & 0077) != 0;
  if (result.was_exposed) {
    static_cast<void>(::fchmod(file.get(), 0600));
  }
  return std::optional<PrivateFile>(std::move(result));
}

Status write_private_file(const std::string& path, std::string_view content) {
  const std::string temporary = path + ".tmp";
  {
    static_cast<void>(::unlink(temporary.c_str()));  // O_EXCL below: never write through somebody's link
    const Descriptor file(::open(temporary.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600));
    if (!file) {
      return io_error("cannot create", temporary);
    }
    const Status written = write_all(file.get(), content, temporary);
    if (!written.ok()) {
      return written;
    }
    if (::fsync(file.get()) != 0) {
      return io_error("cannot sync", temporary);
    }
  }
  if (::rename(temporary.c_str(), path.c_str()) != 0) {
    return io_error("cannot replace", path);
  }
  return sync_directory_of(path);
}

}  // namespace cm::daemon
