// The database file as the system's file system sees it: its folder, mode, owner, and the lock against a second
// process.
#pragma once

#include <string>
#include <string_view>
#include <utility>

#include <claudemesh/cpp/descriptor.hpp>
#include <claudemesh/cpp/result.hpp>

namespace cm::storage {

// Holds PATH.lock (flock) as long as it lives. A lock file that a killed process left behind is harmless: the kernel
// dropped its lock.
class DatabaseFile {
 public:
  DatabaseFile() = default;

  // Makes the folder (0700) and the file (0600) if they are missing, takes the lock, and tightens the mode of an
  // existing file. `notes` gets sentences that deserve a warning. kDenied, kIo, kBusy (another process has it).
  // [worker]
  static Result<DatabaseFile> claim(const std::string& path, std::string* notes);
  void release() noexcept { lock_.reset(); }

 private:
  explicit DatabaseFile(Descriptor lock) noexcept : lock_(std::move(lock)) {}
  Descriptor lock_;
};

std::string folder_of(std::string_view path);
// Makes the names in the folder durable.
Status sync_folder(const std::string& folder);
// A sentence if the file lies where a sync does not keep its promise, or where the shared memory of the log does not
// work between processes; otherwise empty.
std::string file_system_warning(const std::string& path);

}  // namespace cm::storage
