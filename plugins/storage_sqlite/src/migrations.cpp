#include "plugins/storage_sqlite/src/migrations.hpp"

#include <sodium.h>

#include <array>

#include "plugins/storage_sqlite/src/sqlite_error.hpp"

namespace cm::storage {
namespace {

constexpr std::string_view kCreateTable =
    "CREATE TABLE IF NOT EXISTS cm_migrations("
    "schema TEXT NOT NULL, number INTEGER NOT NULL, name TEXT NOT NULL, sha256 TEXT NOT NULL, "
    "applied_at_ms INTEGER NOT NULL, PRIMARY KEY(schema, number)) STRICT, WITHOUT ROWID";

// Rolls back unless it was committed.
class TransactionGuard {
 public:
  explicit TransactionGuard(Connection& connection) noexcept : connection_(connection) {}
  ~TransactionGuard() {
    if (connection_.in_transaction()) {
      static_cast<void>(connection_.control(Connection::Control::kRollback));
    }
  }
  TransactionGuard(const TransactionGuard&) = delete;
  TransactionGuard& operator=(const TransactionGuard&) = delete;

 private:
  Connection& connection_;
};

// A migration may rebuild a table, which with foreign keys enforced would delete the rows that point to it. So they are
// off inside a migration and checked before its commit. The switch only works outside of a transaction.
class ForeignKeysOff {
 public:
  explicit ForeignKeysOff(Connection& connection) : connection_(connection) {
    connection_.run_script("PRAGMA foreign_keys=OFF", true);
  }
  ~ForeignKeysOff() { connection_.run_script("PRAGMA foreign_keys=ON", true); }
  ForeignKeysOff(const ForeignKeysOff&) = delete;
  ForeignKeysOff& operator=(const ForeignKeysOff&) = delete;

 private:
  Connection& connection_;
};

std::string column_text(sqlite3_stmt* statement, int index) {
  const unsigned char* text = sqlite3_column_text(statement, index);
  return text == nullptr ? std::string() : std::string(reinterpret_cast<const char*>(text));
}

Result<std::vector<AppliedMigration>> read_applied(Connection& connection, std::string_view schema) {
  std::vector<AppliedMigration> applied;
  sqlite3_stmt* statement = nullptr;
  int code = sqlite3_prepare_v2(connection.raw(),
                                "SELECT number, name, sha256 FROM cm_migrations WHERE schema = ?1 ORDER BY number", -1,
                                &statement, nullptr);
  if (code == SQLITE_OK) {
    sqlite3_bind_text(statement, 1, schema.data(), static_cast<int>(schema.size()), SQLITE_STATIC);
    while ((code = sqlite3_step(statement)) == SQLITE_ROW) {
      applied.push_back(AppliedMigration{static_cast<std::uint32_t>(sqlite3_column_int64(statement, 0)),
                                         column_text(statement, 1), column_text(statement, 2)});
    }
  }
  sqlite3_finalize(statement);
  if (code != SQLITE_DONE) {
    return connection.error("reading the table cm_migrations", code);
  }
  return applied;
}

int write_row(const HostApi& host, Connection& connection, std::string_view schema, const MigrationFile& file) {
  sqlite3_stmt* statement = nullptr;
  int code = sqlite3_prepare_v2(connection.raw(), "INSERT INTO cm_migrations VALUES(?1, ?2, ?3, ?4, ?5)", -1,
                                &statement, nullptr);
  if (code == SQLITE_OK) {
    sqlite3_bind_text(statement, 1, schema.data(), static_cast<int>(schema.size()), SQLITE_STATIC);
    sqlite3_bind_int64(statement, 2, file.number);
    sqlite3_bind_text(statement, 3, file.name.c_str(), -1, SQLITE_STATIC);
    sqlite3_bind_text(statement, 4, file.sha256.c_str(), -1, SQLITE_STATIC);
    sqlite3_bind_int64(statement, 5, host.unix_ms());
    code = sqlite3_step(statement);
  }
  sqlite3_finalize(statement);
  return code == SQLITE_DONE ? SQLITE_OK : code;
}

Error failed_migration(Connection& connection, std::string_view schema, const MigrationFile& file, int code) {
  Error error = connection.error("migration " + file.name + " of " + std::string(schema), code);
  error.message += "; the database stays at migration " + std::to_string(file.number - 1);
  return error;
}

Status apply_one(const HostApi& host, Connection& connection, std::string_view schema, const MigrationFile& file) {
  const ForeignKeysOff foreign_keys_off(connection);
  const TransactionGuard guard(connection);
  int code = connection.control(Connection::Control::kBeginImmediate);
  if (code != SQLITE_OK) {
    return failed_migration(connection, schema, file, code);
  }
  // Untrusted: a COMMIT in the file would separate its changes from its row.
  code = connection.run_script(file.sql, false);
  if (code != SQLITE_OK) {
    return failed_migration(connection, schema, file, code);
  }
  const Result<std::string> broken = connection.query_text("PRAGMA foreign_key_check");
  if (!broken) {
    return broken.error();
  }
  if (!broken->empty()) {
    return make_error(ErrorCode::kInvalid, "migration " + file.name + " of " + std::string(schema) +
                                               " leaves rows of table " + *broken +
                                               " that refer to nothing; every foreign key was expected to hold; the "
                                               "migration was rolled back; correct the file");
  }
  code = write_row(host, connection, schema, file);
  if (code == SQLITE_OK) {
    code = connection.control(Connection::Control::kCommit);
  }
  if (code != SQLITE_OK) {
    return failed_migration(connection, schema, file, code);
  }
  return {};
}

}  // namespace

std::string sha256_hex(std::string_view bytes) {
  std::array<unsigned char, crypto_hash_sha256_BYTES> digest = {};
  crypto_hash_sha256(digest.data(), reinterpret_cast<const unsigned char*>(bytes.data()), bytes.size());
  std::array<char, 2 * crypto_hash_sha256_BYTES + 1> hex = {};
  sodium_bin2hex(hex.data(), hex.size(), digest.data(), digest.size());
  return std::string(hex.data());
}

Result<std::vector<MigrationFile>> copy_migrations(std::string_view schema, const cm_migration* migrations,
                                                   std::uint32_t count) {
  if (schema.empty() || schema.size() > kSchemaNameBytesMax || count > kMigrationsMax) {
    return make_error(ErrorCode::kInvalid, "a schema name of " + std::to_string(schema.size()) + " bytes with " +
                                               std::to_string(count) + " migrations was given; a name of 1 to " +
                                               std::to_string(kSchemaNameBytesMax) + " bytes and at most " +
                                               std::to_string(kMigrationsMax) + " migrations were expected");
  }
  std::vector<MigrationFile> files;
  files.reserve(count);
  for (std::uint32_t i = 0; i < count; ++i) {
    const cm_migration& migration = migrations[i];
    if (migration.number != i + 1 || migration.name.size == 0) {
      return make_error(ErrorCode::kInvalid,
                        "migration \"" + std::string(to_view(migration.name)) + "\" of " + std::string(schema) +
                            " has number " + std::to_string(migration.number) + "; number " + std::to_string(i + 1) +
                            " with a name was expected at this place; number them 1, 2, 3 without "
                            "a gap");
    }
    const std::string_view sql = to_view(migration.sql);
    files.push_back(
        MigrationFile{migration.number, std::string(to_view(migration.name)), std::string(sql), sha256_hex(sql)});
  }
  return files;
}

Result<std::size_t> plan_migrations(std::string_view schema, std::span<const MigrationFile> files,
                                    std::span<const AppliedMigration> applied) {
  const std::string name(schema);
  for (std::size_t i = 0; i < applied.size(); ++i) {
    const AppliedMigration& row = applied[i];
    if (row.number != i + 1) {
      return make_error(ErrorCode::kInvalid, "the database lacks migration " + std::to_string(i + 1) + " of " + name +
                                                 " but has " + std::to_string(row.number) + " (" + row.name +
                                                 "); migrations without a gap were expected; restore the rows of "
                                                 "cm_migrations from a backup");
    }
    if (i >= files.size()) {
      return make_error(ErrorCode::kInvalid, "the database is at migration " + std::to_string(applied.back().number) +
                                                 " (" + applied.back().name + ") of " + name +
                                                 "; this program knows them up to " + std::to_string(files.size()) +
                                                 "; start the newer program, or restore a backup that was made before "
                                                 "the upgrade");
    }
    if (row.sha256 != files[i].sha256) {
      return make_error(ErrorCode::kInvalid, "migration " + files[i].name + " of " + name + " has the checksum " +
                                                 files[i].sha256 + "; the one that was applied as " + row.name +
                                                 " has " + row.sha256 +
                                                 "; put the file back as it was, and change the tables in a new "
                                                 "migration");
    }
  }
  return applied.size();
}

Status apply_migrations(const HostApi& host, Connection& connection, std::string_view schema,
                        std::span<const MigrationFile> files) {
  if (Status opened = connection.open(); !opened) {
    return opened;
  }
  const int code = connection.run_script(kCreateTable, true);
  if (code != SQLITE_OK) {
    return connection.error("making the table cm_migrations", code);
  }
  const Result<std::vector<AppliedMigration>> applied = read_applied(connection, schema);
  if (!applied) {
    return applied.error();
  }
  const Result<std::size_t> first_missing = plan_migrations(schema, files, *applied);
  if (!first_missing) {
    return first_missing.error();
  }
  for (const MigrationFile& file : files.subspan(*first_missing)) {
    if (Status done = apply_one(host, connection, schema, file); !done) {
      return done;
    }
    host.log(LogLevel::kInfo, "applied a migration", {LogField("schema", schema), LogField("name", file.name)});
  }
  return {};
}

}  // namespace cm::storage
