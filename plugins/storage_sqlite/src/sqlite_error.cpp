#include "plugins/storage_sqlite/src/sqlite_error.hpp"

#include <sqlite3.h>

#include <system_error>

namespace cm::storage {
namespace {

std::string advice(Failure failure, int code, std::string_view path) {
  const std::string file(path);
  switch (failure) {
    case Failure::kNone:
      return "nothing is wrong";
    case Failure::kInput:
      return "a statement and values that fit the schema were expected; nothing was changed by it; correct the caller";
    case Failure::kBusy:
      return "the database was expected to be free; nothing was changed; repeat it later, and end other programs that "
             "hold " +
             file + " open";
    case Failure::kDisk:
      if ((code & 0xff) == SQLITE_FULL) {
        return "room on the disk was expected; it was rolled back and nothing that was confirmed is lost; free space "
               "on the disk of " +
               file + ", then repeat it";
      }
      return "a disk that takes writes was expected; it was rolled back and nothing that was confirmed is lost; check "
             "the disk and the permissions of " +
             file + ", then repeat it";
    case Failure::kCorrupt:
      return "a sound database was expected; no more writes are taken; stop the program and restore a backup of " +
             file + " or recover it with the sqlite3 shell (.recover)";
    case Failure::kDefect:
      break;
  }
  return "this was not expected at all; please report it";
}

}  // namespace

Failure classify(int code) noexcept {
  switch (code & 0xff) {
    case SQLITE_OK:
    case SQLITE_ROW:
    case SQLITE_DONE:
      return Failure::kNone;
    case SQLITE_ERROR:
    case SQLITE_CONSTRAINT:
    case SQLITE_MISMATCH:
    case SQLITE_RANGE:
    case SQLITE_TOOBIG:
    case SQLITE_AUTH:
      return Failure::kInput;
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
    case SQLITE_PROTOCOL:
    case SQLITE_NOMEM:
    case SQLITE_INTERRUPT:
    case SQLITE_ABORT:
      return Failure::kBusy;
    case SQLITE_FULL:
    case SQLITE_IOERR:
    case SQLITE_CANTOPEN:
    case SQLITE_READONLY:
    case SQLITE_PERM:
    case SQLITE_NOLFS:
      return Failure::kDisk;
    case SQLITE_CORRUPT:
    case SQLITE_NOTADB:
      return Failure::kCorrupt;
    default:
      return Failure::kDefect;
  }
}

cm_status status_of(Failure failure) noexcept {
  switch (failure) {
    case Failure::kNone:
      return CM_OK;
    case Failure::kInput:
      return CM_INVALID;
    case Failure::kBusy:
      return CM_BUSY;
    case Failure::kDisk:
    case Failure::kCorrupt:
      return CM_IO;
    case Failure::kDefect:
      break;
  }
  return CM_INTERNAL;
}

std::string failure_text(std::string_view action, int code, std::string_view sqlite_text, int system_error,
                         std::string_view path) {
  const Failure failure = classify(code);
  std::string text(action);
  text += ": ";
  text += sqlite_text;
  text += " (SQLite code " + std::to_string(code);
  if (system_error != 0 && failure == Failure::kDisk) {
    text += ", " + std::generic_category().message(system_error);
  }
  text += "); ";
  text += advice(failure, code, path);
  return text;
}

}  // namespace cm::storage
