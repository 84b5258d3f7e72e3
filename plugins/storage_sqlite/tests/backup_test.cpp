// Goal: a backup is complete, consistent, private, and never in the way. Method: pairs of rows are written by one work
// each while a backup runs; the copy must hold whole pairs.
#include <gtest/gtest.h>
#include <sqlite3.h>
#include <sys/stat.h>

#include <filesystem>
#include <fstream>
#include <functional>
#include <optional>

#include "plugins/storage_sqlite/tests/test_store.hpp"

namespace cm::test {
namespace {

std::int64_t ask(const std::string& path, const char* sql) {
  sqlite3* database = nullptr;
  sqlite3_stmt* statement = nullptr;
  std::int64_t answer = -1;
  EXPECT_EQ(sqlite3_open_v2(path.c_str(), &database, SQLITE_OPEN_READWRITE, nullptr), SQLITE_OK);
  if (sqlite3_prepare_v2(database, sql, -1, &statement, nullptr) == SQLITE_OK &&
      sqlite3_step(statement) == SQLITE_ROW) {
    answer = sqlite3_column_int64(statement, 0);
  }
  sqlite3_finalize(statement);
  sqlite3_close(database);
  return answer;
}

class StorageBackup : public testing::TestWithParam<FakeHost::Mode> {
 protected:
  StorageBackup() : host_(GetParam()) {
    host_.texts["path"] = folder_.file("mesh.db");
    EXPECT_EQ(store_.start().status, CM_OK);
    EXPECT_TRUE(store_.execute("CREATE TABLE t(pair INTEGER, side INTEGER, body TEXT)").ok());
    EXPECT_TRUE(store_
                    .execute("INSERT INTO t WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < "
                             "4000) SELECT -i / 2, i, hex(randomblob(100)) FROM n")
                    .ok());
  }
  TemporaryFolder folder_;
  FakeHost host_;
  TestStore store_{host_};
};

INSTANTIATE_TEST_SUITE_P(Modes, StorageBackup,
                         testing::Values(FakeHost::Mode::kThreaded, FakeHost::Mode::kDeterministic),
                         [](const auto& mode) {
                           return mode.param == FakeHost::Mode::kThreaded ? "threaded" : "deterministic";
                         });

TEST_P(StorageBackup, IsConsistentWhileWorksGoOn) {
  const std::string target = folder_.file("copy.db");
  const cm_statement insert = store_.sql("INSERT INTO t VALUES(?1, ?2, 'x')");
  const cm_statement count = store_.sql("SELECT count(*) FROM t WHERE pair > 0");
  bool copied = false;
  int written = 0;
  int written_at_end = 0;
  int reads = 0;
  int outstanding = 0;
  std::function<void()> write_next = [&] {
    const int pair = ++written;
    outstanding += 2;
    store_.client().submit(
        [insert, pair](SqlTransaction& transaction) -> Status {
          static_cast<void>(transaction.execute(insert, {pair, 0}));
          static_cast<void>(transaction.execute(insert, {pair, 1}));
          return {};
        },
        [&](Status status) {
          EXPECT_TRUE(status.ok());
          --outstanding;
          if (!copied) {
            write_next();
          }
        });
    store_.client().read(
        [count](SqlTransaction& transaction) { return transaction.query(count, {}, [](const SqlRow&) {}); },
        [&](Status status) {
          EXPECT_TRUE(status.ok());
          --outstanding;
          reads += copied ? 0 : 1;
        });
  };
  write_next();
  store_.client().backup(target, [&](Status status) {
    EXPECT_TRUE(status.ok()) << (status.ok() ? "" : status.error().message);
    copied = true;
    written_at_end = written;
  });
  ASSERT_TRUE(host_.run_until([&] { return copied && outstanding == 0; }));
  if (GetParam() == FakeHost::Mode::kDeterministic) {  // with real threads a slow disk decides that
    EXPECT_GT(written_at_end, 1) << "no work ran beside the backup";
    EXPECT_GT(reads, 0) << "the backup held up the reads";
  }
  EXPECT_EQ(ask(target, "SELECT count(*) FROM t WHERE pair <= 0"), 4000);
  EXPECT_EQ(ask(target, "SELECT count(*) FROM (SELECT pair FROM t WHERE pair > 0 GROUP BY pair HAVING count(*) <> 2)"),
            0);
  EXPECT_EQ(ask(target, "SELECT count(*) FROM pragma_integrity_check WHERE integrity_check <> 'ok'"), 0);
  struct stat info = {};
  ASSERT_EQ(::stat(target.c_str(), &info), 0);
  EXPECT_EQ(info.st_mode & 0777U, 0600U);
  EXPECT_FALSE(std::filesystem::exists(target + ".partial"));
  host_.wait_for_jobs();
}

TEST_P(StorageBackup, NeverReplacesAFile) {
  const std::string target = folder_.file("copy.db");
  std::ofstream(target) << "mine";
  const Status status = store_.backup(target);
  ASSERT_FALSE(status.ok());
  EXPECT_EQ(status.error().code, ErrorCode::kInvalid);
  EXPECT_NE(status.error().message.find("exists"), std::string::npos) << status.error().message;
  EXPECT_EQ(std::filesystem::file_size(target), 4U);
}

TEST_P(StorageBackup, NamesAFolderThatIsMissing) {
  const Status status = store_.backup(folder_.file("nowhere/copy.db"));
  ASSERT_FALSE(status.ok());
  EXPECT_EQ(status.error().code, ErrorCode::kIo);
  EXPECT_NE(status.error().message.find("nowhere/copy.db"), std::string::npos) << status.error().message;
  EXPECT_FALSE(store_.backup("relative.db").ok());
}

TEST_P(StorageBackup, IsGivenUpWhenTheStorageStops) {
  if (GetParam() == FakeHost::Mode::kThreaded) {
    GTEST_SKIP() << "there a small backup is done before the stop";
  }
  std::optional<Status> answer;
  store_.client().backup(folder_.file("copy.db"), [&](Status status) { answer = std::move(status); });
  store_.stop();
  ASSERT_TRUE(host_.run_until([&] { return answer.has_value(); }));
  ASSERT_FALSE(answer->ok());
  EXPECT_EQ(answer->error().code, ErrorCode::kBusy);
  EXPECT_FALSE(std::filesystem::exists(folder_.file("copy.db.partial")));
  EXPECT_FALSE(std::filesystem::exists(folder_.file("copy.db")));
}

TEST_P(StorageBackup, IsWaitedForByADrain) {
  std::optional<Status> answer;
  store_.client().backup(folder_.file("copy.db"), [&](Status status) { answer = std::move(status); });
  ASSERT_EQ(store_.drain().status, CM_OK);
  ASSERT_TRUE(answer.has_value());
  EXPECT_TRUE(answer->ok());
  EXPECT_TRUE(std::filesystem::exists(folder_.file("copy.db")));
}

}  // namespace
}  // namespace cm::test
