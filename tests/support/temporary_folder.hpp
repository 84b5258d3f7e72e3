// The one temporary folder of all tests.
#pragma once

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <stdexcept>
#include <string>
#include <string_view>

namespace cm::test {

// A folder of its own (mode 0700) that goes away with this object. One whose process was killed, or died on purpose in
// a death test, is removed by the next object that comes or goes: each folder is locked while its process, or a fork of
// it, lives. So the parent of a death test tidies up after its child, and nothing outlives the next run.
class TemporaryFolder {
 public:
  TemporaryFolder() {
    const Lock base_lock(base());  // between its making and its locking, no other process may look at the new folder
    sweep();
    std::string pattern = (base() / "XXXXXX").string();
    if (::mkdtemp(pattern.data()) == nullptr) {
      throw std::runtime_error("a temporary folder cannot be made in " + base().string());
    }
    path_ = pattern;
    lock_fd_ = open_folder(path_);
    ::flock(lock_fd_, LOCK_EX | LOCK_NB);
  }
  ~TemporaryFolder() {
    remove(path_);
    ::close(lock_fd_);
    const Lock base_lock(base());
    sweep();
  }
  TemporaryFolder(const TemporaryFolder&) = delete;
  TemporaryFolder& operator=(const TemporaryFolder&) = delete;

  const std::filesystem::path& path() const noexcept { return path_; }
  std::string file(std::string_view name) const { return (path_ / name).string(); }
  std::filesystem::path write(std::string_view name, std::string_view content) const {
    std::ofstream(path_ / name, std::ios::binary) << content;
    return path_ / name;
  }

  // Where all of them are; short, because a socket's path holds 107 bytes.
  static const std::filesystem::path& base() {
    static const std::filesystem::path folder = [] {
      std::filesystem::path path = std::filesystem::temp_directory_path() / ("cm-test-" + std::to_string(::geteuid()));
      std::filesystem::create_directory(path);
      // A test may let another user in.
      ::chmod(path.c_str(), 0755);
      return path;
    }();
    return folder;
  }

 private:
  static int open_folder(const std::filesystem::path& path) {
    return ::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  }

  class Lock {
   public:
    explicit Lock(const std::filesystem::path& path) : fd_(open_folder(path)) { ::flock(fd_, LOCK_EX); }
    ~Lock() { ::close(fd_); }
    Lock(const Lock&) = delete;
    Lock& operator=(const Lock&) = delete;

   private:
    int fd_;
  };

  static void remove(const std::filesystem::path& path) {
    std::error_code ignored;
    std::filesystem::remove_all(path, ignored);
  }

  static void sweep() {
    std::error_code ignored;
    for (const auto& entry : std::filesystem::directory_iterator(base(), ignored)) {
      const int fd = open_folder(entry.path());
      if (fd >= 0 && ::flock(fd, LOCK_EX | LOCK_NB) == 0) {
        remove(entry.path());
      }
      ::close(fd);
    }
  }

  std::filesystem::path path_;
  int lock_fd_ = -1;
};

}  // namespace cm::test
