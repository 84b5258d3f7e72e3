// Goal: what is slow, stuck or idle is noticed. Method: deterministic host whose time is moved by the test, and one
// real worker that is made to wait for the test.
#include <gtest/gtest.h>

#include <atomic>
#include <filesystem>
#include <future>

#include "plugins/storage_sqlite/tests/test_store.hpp"

namespace cm::test {
namespace {

TEST(StorageWatch, ASlowWorkIsLoggedWithItsStatementAndWithoutValues) {
  TemporaryFolder folder;
  FakeHost host(FakeHost::Mode::kDeterministic);
  host.texts["path"] = folder.file("mesh.db");
  TestStore store(host);
  ASSERT_EQ(store.start().status, CM_OK);
  ASSERT_TRUE(store.execute("CREATE TABLE t(v TEXT)").ok());
  const cm_statement quick = store.sql("SELECT 1");
  const cm_statement slow = store.sql("INSERT INTO t(v) VALUES(?1)");
  const Status status = store.run([&](SqlTransaction& transaction) -> Status {
    static_cast<void>(transaction.query(quick, {}, [](const SqlRow&) {}));
    host.advance_ms(150);
    static_cast<void>(transaction.execute(slow, {"the-secret-value"}));
    return {};
  });
  EXPECT_TRUE(status.ok());
  EXPECT_TRUE(host.logged("took_ms=150"));
  EXPECT_TRUE(host.logged("slowest_statement=INSERT INTO t(v) VALUES(?1)"));
  EXPECT_FALSE(host.logged("the-secret-value", CM_LOG_TRACE));
  EXPECT_EQ(host.metric("storage_slow_works_total"), 1);
}

TEST(StorageWatch, AWorkThatDoesNotEndIsLoggedOnceWhileItRuns) {
  TemporaryFolder folder;
  FakeHost host;
  host.texts["path"] = folder.file("mesh.db");
  host.ints["stuck_work"] = 500;  // long enough for a work that a busy machine has begun to come to its statement
  TestStore store(host);
  ASSERT_EQ(store.start().status, CM_OK);
  const cm_statement select = store.sql("SELECT 42");
  std::promise<void> release;
  std::shared_future<void> released(release.get_future());
  bool done = false;
  store.client().submit(
      [released, select](SqlTransaction& transaction) -> Status {
        static_cast<void>(transaction.query(select, {}, [&](const SqlRow&) { released.wait(); }));
        return {};
      },
      [&done](Status) { done = true; });
  EXPECT_TRUE(host.run_until([&] { return host.logged("statement=SELECT 42", CM_LOG_ERROR); }));
  EXPECT_FALSE(done);
  release.set_value();
  EXPECT_TRUE(host.run_until([&] { return done; }));
  EXPECT_EQ(host.metric("storage_stuck_works_total"), 1);
}

TEST(StorageWatch, ALargeLogIsCutWhenTheDatabaseIsIdle) {
  TemporaryFolder folder;
  FakeHost host(FakeHost::Mode::kDeterministic);
  host.texts["path"] = folder.file("mesh.db");
  host.ints["wal_truncate_size"] = 8'192;
  TestStore store(host);
  ASSERT_EQ(store.start().status, CM_OK);
  ASSERT_TRUE(store.execute("CREATE TABLE t(v TEXT)").ok());
  ASSERT_TRUE(store.execute("INSERT INTO t VALUES(hex(zeroblob(50000)))").ok());
  EXPECT_GT(std::filesystem::file_size(folder.file("mesh.db-wal")), 100'000U);
  const auto nothing_left = [] { return false; };
  host.advance_ms(2'000);
  host.run_until(nothing_left);
  EXPECT_GT(std::filesystem::file_size(folder.file("mesh.db-wal")), 100'000U) << "not idle for long enough yet";
  host.advance_ms(5'000);
  host.run_until(nothing_left);
  EXPECT_EQ(std::filesystem::file_size(folder.file("mesh.db-wal")), 0U);
  EXPECT_EQ(store.count("SELECT count(*) FROM t"), 1);
}

TEST(StorageWatch, DrainGivesUpAtItsDeadline) {
  TemporaryFolder folder;
  FakeHost host;
  host.texts["path"] = folder.file("mesh.db");
  TestStore store(host);
  ASSERT_EQ(store.start().status, CM_OK);
  std::promise<void> release;
  std::shared_future<void> released(release.get_future());
  int answers = 0;
  for (int i = 0; i < 2; ++i) {
    store.client().submit(
        [released](SqlTransaction&) -> Status {
          released.wait();
          return {};
        },
        [&answers](Status) { ++answers; });
  }
  const Answer drained = store.drain(30);
  EXPECT_EQ(drained.status, CM_BUSY);
  EXPECT_NE(drained.text.find("2 works"), std::string::npos) << drained.text;
  release.set_value();
  store.stop();
  EXPECT_TRUE(host.run_until([&] { return answers == 2; }));
}

}  // namespace
}  // namespace cm::test
