// Small private files: read whole, replaced whole or not at all; a lock between processes.
#pragma once

#include <claudemesh/cpp/descriptor.hpp>
#include <claudemesh/cpp/result.hpp>

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

namespace cm::cli {

inline constexpr std::size_t kFileBytesMax = 4 * 1024 * 1024;

// nullopt: there is no such file. kIo names path and cause; kInvalid: larger than kFileBytesMax.
Result<std::optional<std::string>> read_file(const std::string& path);

// Mode 0600: a temporary file beside it, fsync, rename, fsync of the folder (wire/06 section 1.1). kIo: nothing
// changed.
Status write_private_file(const std::string& path, std::string_view content);

// Makes the folder with its parents, mode 0700.
Status make_private_directory(const std::string& path);

// Holds flock(2) on a file of its own beside what it protects; a dead holder's lock is free at once, so that the file
// may stay behind.
class FileLock {
 public:
  // Waits at most `wait_ms`; kBusy when somebody else keeps it, kIo when the file cannot be made.
  static Result<FileLock> acquire(const std::string& path, std::uint64_t wait_ms);

 private:
  Descriptor file_;
};

// Waits without looking at anything else.
void pause_ms(std::uint64_t milliseconds);
// The monotonic clock.
std::int64_t steady_ms();

}  // namespace cm::cli
