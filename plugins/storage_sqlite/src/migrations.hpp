// Numbered migrations with checksums, forward only. The plan is a pure function; applying it is a writer task.
#pragma once

#include <claudemesh/ext/storage.h>

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include <claudemesh/cpp/host.hpp>
#include <claudemesh/cpp/result.hpp>

#include "plugins/storage_sqlite/src/connection.hpp"

namespace cm::storage {

inline constexpr std::uint32_t kMigrationsMax = 10'000;
inline constexpr std::size_t kSchemaNameBytesMax = 64;

// A migration of the program, copied out of the caller's memory.
struct MigrationFile {
  std::uint32_t number = 0;
  std::string name;
  std::string sql;
  std::string sha256;  // lower-case hex of `sql`
};

// A row of cm_migrations.
struct AppliedMigration {
  std::uint32_t number = 0;
  std::string name;
  std::string sha256;
};

std::string sha256_hex(std::string_view bytes);
// kInvalid when numbers do not run 1, 2, 3, ... or a name is empty.
Result<std::vector<MigrationFile>> copy_migrations(std::string_view schema, const cm_migration* migrations,
                                                   std::uint32_t count);
// How many of `files` are applied already; the rest is to be applied. kInvalid: a checksum differs, the database has a
// gap, or the database is newer than the program. Pure.
Result<std::size_t> plan_migrations(std::string_view schema, std::span<const MigrationFile> files,
                                    std::span<const AppliedMigration> applied);
// Applies what is missing: each migration in a transaction of its own together with its row, foreign keys checked
// before its commit. What was applied before a failure stays. On the writer's queue, outside of any transaction.
Status apply_migrations(const HostApi& host, Connection& connection, std::string_view schema,
                        std::span<const MigrationFile> files);

}  // namespace cm::storage
