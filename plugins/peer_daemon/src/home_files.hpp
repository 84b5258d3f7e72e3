// Small private files below the home directory: read whole, written whole. Synchronous; used while starting, and for
// files of a few kilobytes.
#pragma once

#include <claudemesh/cpp/result.hpp>

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>

#include "protocol/secret_text.hpp"

namespace cm::daemon {

inline constexpr std::size_t kPrivateFileBytesMax = 4 * 1024 * 1024;

using protocol::SecretText;

// Makes the directory (and its parents) with mode 0700; an existing one of ours loses the rights of others.
Status ensure_private_directory(const std::string& path);

struct PrivateFile {
  SecretText content;
  bool was_exposed = false;  // others could read it; the mode is 0600 now
};
// nullopt: there is no such file. kIo names the path and the cause; kInvalid: larger than kPrivateFileBytesMax.
Result<std::optional<PrivateFile>> read_private_file(const std::string& path);

// Mode 0600, complete or not at all: a temporary file beside it, fsync, rename, fsync of the directory.
Status write_private_file(const std::string& path, std::string_view content);

}  // namespace cm::daemon
