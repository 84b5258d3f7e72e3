#include "plugins/storage_sqlite/src/startup.hpp"

namespace cm::storage {
namespace {

Status check_integrity(const HostApi& host, const StorageOptions& options, Connection& writer) {
  if (options.integrity_check == IntegrityCheck::kOff) {
    return {};
  }
  const bool full = options.integrity_check == IntegrityCheck::kFull;
  const std::uint64_t started_us = host.monotonic_us();
  const Result<std::string> verdict = writer.query_text(full ? "PRAGMA integrity_check(1)" : "PRAGMA quick_check(1)");
  if (!verdict) {
    return verdict.error();
  }
  if (*verdict != "ok") {
    return make_error(ErrorCode::kIo, "the database " + options.path + " is damaged: " + *verdict +
                                          "; a sound file was expected; restore a backup or recover it with the "
                                          "sqlite3 shell (.recover)");
  }
  host.log(LogLevel::kDebug, "the database is sound",
           {LogField("took_ms", (host.monotonic_us() - started_us) / 1'000)});
  return {};
}

// A commit, seen through another connection: what every confirmation will rest on. It also finds a full or read-only
// disk now rather than at the first message.
Status check_durability(const HostApi& host, const StorageOptions& options, Connection& writer, ReaderPool& readers) {
  const std::string stamp = std::to_string(host.unix_ms());
  const std::uint64_t started_us = host.monotonic_us();
  const int code = writer.run_script(
      "CREATE TABLE IF NOT EXISTS cm_instance(key TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT, WITHOUT ROWID;"
      "INSERT INTO cm_instance VALUES('last_start_ms', '" +
          stamp + "') ON CONFLICT(key) DO UPDATE SET value = excluded.value",
      true);
  if (code != SQLITE_OK) {
    return writer.error("the first commit to " + options.path, code);
  }
  const std::uint64_t took_us = host.monotonic_us() - started_us;
  const Result<std::string> seen =
      readers.connection(0).query_text("SELECT value FROM cm_instance WHERE key = 'last_start_ms'");
  if (!seen) {
    return seen.error();
  }
  if (*seen != stamp) {
    return make_error(ErrorCode::kIo, "the database " + options.path +
                                          " did not show a committed row to another connection; the row was expected; "
                                          "put the file on a local file system");
  }
  host.log(LogLevel::kInfo, "opened the database",
           {LogField("path", options.path), LogField("first_commit_us", took_us)});
  const std::string warning = options.vfs.empty() ? file_system_warning(options.path) : std::string();
  if (!warning.empty()) {
    host.log(LogLevel::kWarn, warning, {LogField("path", options.path)});
  }
  return {};
}

Status open_all(const HostApi& host, const StorageOptions& options, Connection& writer, ReaderPool& readers) {
  if (Status opened = writer.open(); !opened) {
    return opened;
  }
  if (Status sound = check_integrity(host, options, writer); !sound) {
    return sound;
  }
  if (Status opened = readers.open(); !opened) {
    return opened;
  }
  return options.self_check ? check_durability(host, options, writer, readers) : Status();
}

}  // namespace

Result<DatabaseFile> open_database(const HostApi& host, const StorageOptions& options, Connection& writer,
                                   ReaderPool& readers) {
  DatabaseFile file;
  if (options.vfs.empty()) {
    std::string notes;
    Result<DatabaseFile> claimed = DatabaseFile::claim(options.path, &notes);
    if (!claimed) {
      return claimed;
    }
    file = std::move(*claimed);
    if (!notes.empty()) {
      host.log(LogLevel::kWarn, notes, {LogField("path", options.path)});
    }
  }
  Status opened = open_all(host, options, writer, readers);
  if (!opened) {
    writer.close();
    for (std::size_t i = 0; i < readers.size(); ++i) {
      readers.close(i);
    }
    return opened.error();
  }
  return file;
}

}  // namespace cm::storage
