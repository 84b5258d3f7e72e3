#include "plugins/storage_sqlite/src/database_file.hpp"

#include <fcntl.h>
#include <linux/magic.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <string>
#include <system_error>

namespace cm::storage {
namespace {

constexpr mode_t kFolderMode = 0700;
constexpr mode_t kFileMode = 0600;
// Not in every kernel's linux/magic.h.
constexpr unsigned long kCifsMagic = 0xff534d42;
constexpr unsigned long kSmb2Magic = 0xfe534d42;

Error system_error(const std::string& what, int number, const std::string& advice) {
  const bool denied = number == EACCES || number == EPERM;
  return make_error(denied ? ErrorCode::kDenied : ErrorCode::kIo,
                    what + ": " + std::generic_category().message(number) + "; " + advice);
}

Status make_folder(const std::string& folder) {
  struct stat info = {};
  if (::stat(folder.c_str(), &info) == 0) {
    if (!S_ISDIR(info.st_mode)) {
      return make_error(ErrorCode::kInvalid,
                        folder + " is not a folder; a folder for the database was expected; set another path");
    }
    return {};
  }
  if (errno != ENOENT) {
    return system_error("the folder " + folder + " cannot be read", errno, "correct the option path");
  }
  const std::string parent = folder_of(folder);
  if (Status made = parent == folder ? Status() : make_folder(parent); !made) {
    return made;
  }
  if (::mkdir(folder.c_str(), kFolderMode) != 0 && errno != EEXIST) {
    return system_error("the folder " + folder + " cannot be made", errno,
                        "make it by hand for this user, or set another path");
  }
  return sync_folder(parent);
}

Status check_owner(const std::string& path, const struct stat& info) {
  if (info.st_uid == ::geteuid()) {
    return {};
  }
  return make_error(ErrorCode::kDenied, path + " belongs to user " + std::to_string(info.st_uid) + "; user " +
                                            std::to_string(::geteuid()) +
                                            ", which runs this program, was expected; run it as that user or change "
                                            "the owner (chown)");
}

// O_EXCL in two steps, so that an existing file is told from a new one.
Status make_file(const std::string& path, std::string* notes) {
  const Descriptor created(::open(path.c_str(), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, kFileMode));
  if (created.get() >= 0) {
    return sync_folder(folder_of(path));
  }
  if (errno != EEXIST) {
    return system_error("the database " + path + " cannot be made", errno,
                        "a folder that this user can write was expected; check its permissions, its owner and how its "
                        "file system is mounted");
  }
  const Descriptor existing(::open(path.c_str(), O_RDWR | O_CLOEXEC));
  if (existing.get() < 0) {
    return system_error("the database " + path + " cannot be opened for writing", errno,
                        "check its permissions, its owner and how its file system is mounted");
  }
  struct stat info = {};
  if (::fstat(existing.get(), &info) != 0 || !S_ISREG(info.st_mode)) {
    return make_error(ErrorCode::kInvalid,
                      path + " is not a regular file; a database file was expected; set another path");
  }
  if (Status owner = check_owner(path, info); !owner) {
    return owner;
  }
  if ((info.st_mode & 077) != 0) {
    if (::fchmod(existing.get(), kFileMode) != 0) {
      return system_error("the mode of " + path + " cannot be set to 0600", errno, "set it by hand");
    }
    *notes += "the database could be read by other users; its mode is now 0600";
  }
  for (const char* suffix : {"-wal", "-shm"}) {  // left behind by a process that was killed; often there is none
    static_cast<void>(::chmod((path + suffix).c_str(), kFileMode));
  }
  return {};
}

std::string holder_of(int lock) {
  std::array<char, 32> text = {};
  const ssize_t size = ::pread(lock, text.data(), text.size() - 1, 0);
  std::string holder(text.data(), size > 0 ? static_cast<std::size_t>(size) : 0);
  while (!holder.empty() && holder.back() == '\n') {
    holder.pop_back();
  }
  return holder.empty() ? "another process" : "process " + holder;
}

Result<Descriptor> take_lock(const std::string& path) {
  const std::string name = path + ".lock";
  Descriptor lock(::open(name.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, kFileMode));
  if (lock.get() < 0) {
    return system_error("the lock file " + name + " cannot be opened", errno,
                        "a folder that this user can write was expected; check its permissions, its owner and how its "
                        "file system is mounted");
  }
  if (::flock(lock.get(), LOCK_EX | LOCK_NB) != 0) {
    if (errno == EWOULDBLOCK) {
      return make_error(ErrorCode::kBusy, "the database " + path + " is in use by " + holder_of(lock.get()) +
                                              "; one program per database was expected; end the other one, or set "
                                              "another path");
    }
    return system_error("the lock file " + name + " cannot be locked", errno,
                        "put the database on a local file system");
  }
  const std::string holder = std::to_string(::getpid()) + "\n";
  if (::ftruncate(lock.get(), 0) != 0 ||
      ::pwrite(lock.get(), holder.data(), holder.size(), 0) != static_cast<ssize_t>(holder.size())) {
    return system_error("the lock file " + name + " cannot be written", errno, "free space on its disk");
  }
  return lock;
}

}  // namespace

std::string folder_of(std::string_view path) {
  const std::size_t slash = path.find_last_of('/');
  if (slash == std::string_view::npos) {
    return ".";
  }
  return slash == 0 ? "/" : std::string(path.substr(0, slash));
}

Status sync_folder(const std::string& folder) {
  const Descriptor descriptor(::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (descriptor.get() < 0 || ::fsync(descriptor.get()) != 0) {
    return system_error("the folder " + folder + " cannot be synced", errno, "check its disk");
  }
  return {};
}

Result<DatabaseFile> DatabaseFile::claim(const std::string& path, std::string* notes) {
  if (Status folder = make_folder(folder_of(path)); !folder) {
    return folder.error();
  }
  Result<Descriptor> lock = take_lock(path);
  if (!lock) {
    return lock.error();
  }
  DatabaseFile file(*std::move(lock));
  if (Status made = make_file(path, notes); !made) {
    return made.error();
  }
  return file;
}

std::string file_system_warning(const std::string& path) {
  struct statfs info = {};
  if (::statfs(path.c_str(), &info) != 0) {
    return {};
  }
  switch (static_cast<unsigned long>(info.f_type) & 0xffffffffUL) {
    case NFS_SUPER_MAGIC:
    case SMB_SUPER_MAGIC:
    case kCifsMagic:
    case kSmb2Magic:
    case V9FS_MAGIC:
      return "the database lies on a network file system, where locks and syncs may not hold; put it on a local disk";
    case TMPFS_MAGIC:
    case RAMFS_MAGIC:
      return "the database lies in memory: everything is lost when the machine stops; put it on a disk";
    default:
      return {};
  }
}

}  // namespace cm::storage
