// The simulated disk forgets what was not synced, and SQLite over it keeps its promise: a commit that returned is there
// after any crash, one that did not is there completely or not at all.
#include "sdk/simhost/disk.hpp"

#include <gtest/gtest.h>
#include <sqlite3.h>

#include <optional>
#include <set>
#include <string>

namespace cm::sim {
namespace {

Bytes bytes(std::string_view text) {
  return Bytes(text.begin(), text.end());
}

void write(SimFile& file, std::uint64_t offset, std::string_view text) {
  file.write(offset, reinterpret_cast<const std::uint8_t*>(text.data()), text.size());
}

TEST(SimFile, KeepsWhatWasSynced) {
  Random random(1);
  SimFile file;
  write(file, 0, "durable");
  file.sync();
  write(file, 0, "VANISHES AND GROWS");
  EXPECT_EQ(file.crash_image(random, 0.0), bytes("durable"));
  EXPECT_EQ(file.crash_image(random, 1.0), bytes("VANISHES AND GROWS"));
}

TEST(SimFile, KeepsEachUnsyncedWriteOrNot) {
  SimFile file;
  write(file, 0, "....");
  file.sync();
  write(file, 0, "A");
  write(file, 3, "B");
  std::set<std::string> seen;
  Random random(7);
  for (int i = 0; i < 200; ++i) {
    const Bytes image = file.crash_image(random, 0.5);
    seen.emplace(image.begin(), image.end());
  }
  EXPECT_EQ(seen, (std::set<std::string>{"....", "A...", "...B", "A..B"}));
}

TEST(SimFile, UndoesATruncate) {
  Random random(1);
  SimFile file;
  write(file, 0, "0123456789");
  file.sync();
  file.truncate(3);
  EXPECT_EQ(file.content().size(), 3u);
  EXPECT_EQ(file.crash_image(random, 0.0), bytes("0123456789"));
}

TEST(SimDisk, FreezeTakesTheImageOfThatMoment) {
  Random random(1);
  SimDisk disk;
  disk.faults.keep_unsynced = 0.0;
  const auto file = disk.open("/cmsim/n/f", true);
  write(*file, 0, "before");
  file->sync();
  disk.freeze(random);
  write(*file, 0, "AFTER!");
  file->sync();  // too late: the machine is already off
  disk.crash(random);
  EXPECT_EQ(disk.open("/cmsim/n/f", false)->content(), bytes("before"));
}

class OneDisk final : public DiskProvider {
 public:
  SimDisk* disk_of(std::string_view path) override { return path.starts_with("/cmsim/n/") ? &disk : nullptr; }
  Random& disk_random() override { return random; }
  std::int64_t disk_unix_ms() override { return 1'750'000'000'000; }
  SimDisk disk;
  Random random{3};
};

// A database connection; closes itself.
class Database {
 public:
  explicit Database(const char* path) {
    EXPECT_EQ(sqlite3_open_v2(path, &db_, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE, kSimVfsName.data()), SQLITE_OK)
        << sqlite3_errmsg(db_);
    run("PRAGMA journal_mode=WAL");
    run("PRAGMA synchronous=FULL");
  }
  ~Database() { sqlite3_close(db_); }
  Database(const Database&) = delete;
  Database& operator=(const Database&) = delete;
  int run(const std::string& sql) { return sqlite3_exec(db_, sql.c_str(), nullptr, nullptr, nullptr); }
  std::optional<int> number(const char* sql) {
    sqlite3_stmt* statement = nullptr;
    std::optional<int> result;
    if (sqlite3_prepare_v2(db_, sql, -1, &statement, nullptr) == SQLITE_OK && sqlite3_step(statement) == SQLITE_ROW) {
      result = sqlite3_column_int(statement, 0);
    }
    sqlite3_finalize(statement);
    return result;
  }

 private:
  sqlite3* db_ = nullptr;
};

// Crashes at every disk operation of a series of commits, once each, and reopens.
TEST(SimVfs, ACommitSurvivesACrashAtAnyOperation) {
  std::uint64_t operations_in_all = 0;
  for (std::uint64_t crash_at = 0; crash_at == 0 || crash_at <= operations_in_all; ++crash_at) {
    OneDisk world;
    world.random = Random(crash_at + 1);
    set_disk_provider(&world);
    int committed = -1;
    bool crashed = false;
    {
      Database database("/cmsim/n/test.db");
      ASSERT_EQ(database.run("CREATE TABLE t(a INTEGER PRIMARY KEY, b TEXT)"), SQLITE_OK);
      std::uint64_t operations = 0;
      world.disk.on_operation = [&] {
        if (++operations == crash_at) {
          world.disk.freeze(world.random);
          crashed = true;
        }
      };
      for (int i = 0; i < 8; ++i) {
        const bool ok =
            database.run("INSERT INTO t VALUES(" + std::to_string(i) + ", hex(randomblob(3000)))") == SQLITE_OK;
        ASSERT_TRUE(ok);
        if (!crashed) {
          committed = i;
        }
      }
      operations_in_all = std::max(operations_in_all, operations);
      world.disk.on_operation = nullptr;
    }
    if (crash_at == 0) {
      world.disk.freeze(world.random);
    }
    world.disk.crash(world.random);
    Database again("/cmsim/n/test.db");
    EXPECT_EQ(again.number("SELECT count(*) FROM pragma_integrity_check WHERE integrity_check <> 'ok'"), 0)
        << "crash at operation " << crash_at;
    const int rows = again.number("SELECT count(*) FROM t").value_or(-1);
    EXPECT_GE(rows, committed + 1) << "crash at operation " << crash_at;
    EXPECT_EQ(again.number("SELECT coalesce(max(a), -1) + 1 FROM t"), rows);
    set_disk_provider(nullptr);
  }
  EXPECT_GT(operations_in_all, 16u);
}

TEST(SimVfs, AFullDiskIsAnErrorAndNothingIsLost) {
  OneDisk world;
  set_disk_provider(&world);
  Database database("/cmsim/n/test.db");
  ASSERT_EQ(database.run("CREATE TABLE t(a)"), SQLITE_OK);
  ASSERT_EQ(database.run("INSERT INTO t VALUES(1)"), SQLITE_OK);
  world.disk.faults.full = true;
  EXPECT_EQ(database.run("INSERT INTO t VALUES(hex(randomblob(100000)))"), SQLITE_FULL);
  world.disk.faults.full = false;
  EXPECT_EQ(database.run("INSERT INTO t VALUES(2)"), SQLITE_OK);
  EXPECT_EQ(database.number("SELECT count(*) FROM t"), 2);
  set_disk_provider(nullptr);
}

}  // namespace
}  // namespace cm::sim
