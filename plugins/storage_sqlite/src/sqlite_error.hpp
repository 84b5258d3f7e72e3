// What an SQLite result code means to us, and its text for a person. Pure functions.
#pragma once

#include <claudemesh/abi.h>

#include <string>
#include <string_view>

namespace cm::storage {

enum class Failure {
  kNone,
  kInput,    // the SQL or its values are wrong, or a constraint forbids it
  kBusy,     // someone else holds a lock, or the work was interrupted, or memory is short
  kDisk,     // the disk is full, failed, or may not be written
  kCorrupt,  // the file is damaged
  kDefect,
};

// `code` may be an extended result code; SQLITE_ROW and SQLITE_DONE are no failures.
Failure classify(int code) noexcept;
// CM_OK, CM_INVALID, CM_BUSY, CM_IO or CM_INTERNAL.
cm_status status_of(Failure failure) noexcept;
// "<action>: <what SQLite says>; <what it means>; <what to do>". `system_error` is errno or 0.
std::string failure_text(std::string_view action, int code, std::string_view sqlite_text, int system_error,
                         std::string_view path);

}  // namespace cm::storage
