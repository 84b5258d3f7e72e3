// Goal: the parts below the plugin keep their bounds and their order by themselves. Method: each alone, then all of
// them together under many orders of steps.
#include <gtest/gtest.h>
#include <sqlite3.h>

#include <filesystem>

#include "plugins/storage_sqlite/src/connection.hpp"
#include "plugins/storage_sqlite/src/in_flight.hpp"
#include "plugins/storage_sqlite/src/sqlite_error.hpp"
#include "plugins/storage_sqlite/src/statement_registry.hpp"
#include "plugins/storage_sqlite/src/work_queue.hpp"
#include "plugins/storage_sqlite/src/work_watch.hpp"
#include "plugins/storage_sqlite/tests/fault_vfs.hpp"
#include "plugins/storage_sqlite/tests/test_store.hpp"

namespace cm::storage {
namespace {

using cm::test::FakeHost;
using cm::test::TemporaryFolder;
using cm::test::TestStore;

WorkItem numbered(cm_handle number) {
  WorkItem item;
  item.caller = number;
  return item;
}

TEST(StorageWorkQueue, SchedulesOneConsumerAndKeepsTheOrder) {
  WorkQueue queue;
  int scheduled = 0;
  const auto schedule = [&scheduled] { return ++scheduled > 0; };
  for (cm_handle i = 1; i <= 3; ++i) {
    EXPECT_EQ(queue.push(numbered(i), 10, schedule), WorkQueue::Push::kAccepted);
  }
  EXPECT_EQ(scheduled, 1);
  ASSERT_NE(queue.peek_or_end(), nullptr);
  EXPECT_EQ(queue.take().caller, 1U);
  EXPECT_EQ(queue.push(numbered(4), 10, schedule), WorkQueue::Push::kAccepted);
  for (cm_handle i = 2; i <= 4; ++i) {
    ASSERT_NE(queue.peek(), nullptr);
    EXPECT_EQ(queue.take().caller, i);
  }
  EXPECT_EQ(queue.peek(), nullptr);
  EXPECT_EQ(queue.push(numbered(5), 10, schedule), WorkQueue::Push::kAccepted);
  EXPECT_EQ(scheduled, 1) << "peek must not end the consumer";
  ASSERT_NE(queue.peek_or_end(), nullptr);
  queue.take();
  EXPECT_EQ(queue.peek_or_end(), nullptr);
  EXPECT_EQ(queue.push(numbered(6), 10, schedule), WorkQueue::Push::kAccepted);
  EXPECT_EQ(scheduled, 2);
}

TEST(StorageWorkQueue, IsBoundedExceptForTasks) {
  WorkQueue queue;
  const auto schedule = [] { return true; };
  EXPECT_EQ(queue.push(numbered(1), 1, schedule), WorkQueue::Push::kAccepted);
  EXPECT_EQ(queue.push(numbered(2), 1, schedule), WorkQueue::Push::kFull);
  WorkItem task;
  task.task = std::make_unique<WriterTask>([](Connection&) {});
  EXPECT_EQ(queue.push(std::move(task), 1, schedule), WorkQueue::Push::kAccepted);
  EXPECT_EQ(queue.depth(), 2U);
}

TEST(StorageWorkQueue, ForgetsAnItemWhoseConsumerCannotBeScheduled) {
  WorkQueue queue;
  EXPECT_EQ(queue.push(numbered(1), 9, [] { return false; }), WorkQueue::Push::kRefused);
  EXPECT_EQ(queue.depth(), 0U);
  EXPECT_EQ(queue.push(numbered(2), 9, [] { return true; }), WorkQueue::Push::kAccepted);
  ASSERT_NE(queue.peek(), nullptr);
  EXPECT_EQ(queue.take().caller, 2U);
}

TEST(StorageInFlight, TellsWhenTheLastOneHasLeft) {
  InFlight in_flight;
  int empty = 0;
  ASSERT_TRUE(in_flight.enter());
  ASSERT_TRUE(in_flight.enter());
  in_flight.close([&empty] { ++empty; });
  EXPECT_FALSE(in_flight.enter());
  in_flight.leave();
  EXPECT_EQ(empty, 0);
  in_flight.leave();
  EXPECT_EQ(empty, 1);
  InFlight idle;
  idle.close([&empty] { ++empty; });
  EXPECT_EQ(empty, 2);
}

TEST(StorageStatements, HaveOneIdPerTextAndALimit) {
  StatementRegistry registry;
  EXPECT_EQ(*registry.intern("SELECT 1"), 1U);
  EXPECT_EQ(*registry.intern("SELECT 2"), 2U);
  EXPECT_EQ(*registry.intern("SELECT 1"), 1U);
  EXPECT_EQ(registry.text(2), "SELECT 2");
  EXPECT_EQ(registry.text(0), "");
  EXPECT_EQ(registry.text(3), "");
  for (std::size_t i = registry.size(); i < kStatementsMax; ++i) {
    ASSERT_TRUE(registry.intern("SELECT " + std::to_string(i + 10)).ok());
  }
  const Result<cm_statement> many = registry.intern("SELECT 'one too many'");
  ASSERT_FALSE(many.ok());
  EXPECT_EQ(many.error().code, ErrorCode::kBusy);
  EXPECT_EQ(*registry.intern("SELECT 1"), 1U);
  EXPECT_FALSE(registry.intern(std::string(kStatementBytesMax + 1, ' ')).ok());
}

TEST(StorageConnection, PreparesEachStatementOnce) {
  TemporaryFolder folder;
  StatementRegistry registry;
  ConnectionSettings settings;
  settings.path = folder.file("mesh.db");
  Connection connection(registry, settings);
  ASSERT_TRUE(connection.open().ok());
  const cm_statement id = *registry.intern("SELECT 1");
  sqlite3_stmt* first = nullptr;
  for (int i = 0; i < 3; ++i) {
    StatementLease lease;
    std::string error;
    ASSERT_EQ(connection.lease(id, &lease, &error), SQLITE_OK);
    first = first == nullptr ? lease.get() : first;
    EXPECT_EQ(lease.get(), first);
    ASSERT_EQ(sqlite3_step(lease.get()), SQLITE_ROW);
    StatementLease second;  // the first is in the middle of its rows
    ASSERT_EQ(connection.lease(id, &second, &error), SQLITE_OK);
    EXPECT_NE(second.get(), first);
  }
  EXPECT_EQ(connection.prepared_count(), 1U);
}

TEST(StorageErrors, EachCodeHasItsMeaning) {
  const std::pair<int, cm_status> cases[] = {
      {SQLITE_OK, CM_OK},           {SQLITE_ROW, CM_OK},          {SQLITE_CONSTRAINT_UNIQUE, CM_INVALID},
      {SQLITE_ERROR, CM_INVALID},   {SQLITE_BUSY, CM_BUSY},       {SQLITE_BUSY_SNAPSHOT, CM_BUSY},
      {SQLITE_LOCKED, CM_BUSY},     {SQLITE_NOMEM, CM_BUSY},      {SQLITE_FULL, CM_IO},
      {SQLITE_IOERR_FSYNC, CM_IO},  {SQLITE_CANTOPEN, CM_IO},     {SQLITE_READONLY, CM_IO},
      {SQLITE_CORRUPT_VTAB, CM_IO}, {SQLITE_MISUSE, CM_INTERNAL}, {SQLITE_NOTADB, CM_IO}};
  for (const auto& [code, status] : cases) {
    EXPECT_EQ(status_of(classify(code)), status) << code;
  }
}

TEST(StorageWatchSlot, ReportsEachStuckWorkOnce) {
  WorkWatch watch;
  cm_statement statement = 0;
  EXPECT_FALSE(watch.became_stuck(1'000, 10, &statement));
  watch.begin(100);
  watch.statement(7);
  EXPECT_FALSE(watch.became_stuck(109, 10, &statement));
  EXPECT_TRUE(watch.became_stuck(110, 10, &statement));
  EXPECT_EQ(statement, 7U);
  EXPECT_FALSE(watch.became_stuck(200, 10, &statement));
  watch.end();
  watch.begin(300);
  EXPECT_TRUE(watch.became_stuck(310, 10, &statement));
}

// Works, reads and a backup in every order that 60 seeds give: answers in the order of the submits, reads never behind,
// a drain at the end leaves nothing open.
TEST(StorageOrders, HoldUnderManySeeds) {
  for (std::uint64_t seed = 1; seed <= 60; ++seed) {
    TemporaryFolder folder;
    cm::test::FaultVfs::get().reset();
    FakeHost host(FakeHost::Mode::kDeterministic, seed);
    host.texts["path"] = folder.file("mesh.db");
    host.texts["vfs"] = cm::test::kFaultVfsName;  // as the simulation does: nothing goes around the file layer
    host.ints["batch_max"] = 3;
    host.ints["wal_autocheckpoint"] = 5;
    host.ints["backup_step"] = 1;
    TestStore store(host);
    ASSERT_EQ(store.start().status, CM_OK);
    ASSERT_TRUE(store.execute("CREATE TABLE t(id INTEGER PRIMARY KEY)").ok());
    const cm_statement insert = store.sql("INSERT INTO t VALUES(?1)");
    const cm_statement count = store.sql("SELECT count(*) FROM t");
    std::vector<int> order;
    int reads = 0;
    bool copied = false;
    store.client().backup(folder.file("copy.db"), [&copied](Status status) { copied = status.ok(); });
    for (int i = 0; i < 20; ++i) {
      SqlWork work = [insert, i](SqlTransaction& transaction) -> Status {
        auto changes = transaction.execute(insert, {i});
        return changes.ok() ? Status() : Status(changes.error());
      };
      store.client().submit(std::move(work), [&, i](Status status) {
        EXPECT_TRUE(status.ok());
        order.push_back(i);
        auto seen = std::make_shared<std::int64_t>(-1);
        const auto done = static_cast<std::int64_t>(order.size());
        store.client().read(
            [count, seen](SqlTransaction& transaction) {
              return transaction.query(count, {}, [&seen](const SqlRow& row) { *seen = row.integer(0); });
            },
            [&reads, seen, done](Status read) {
              EXPECT_TRUE(read.ok());
              EXPECT_GE(*seen, done);
              ++reads;
            });
      });
    }
    ASSERT_TRUE(host.run_until([&] { return reads == 20 && copied; })) << "seed " << seed;
    for (int i = 0; i < 20; ++i) {
      EXPECT_EQ(order[static_cast<std::size_t>(i)], i) << "seed " << seed;
    }
    EXPECT_FALSE(store.backup(folder.file("copy.db")).ok()) << "a backup replaced a file";
    EXPECT_EQ(store.drain().status, CM_OK) << "seed " << seed;
    EXPECT_FALSE(std::filesystem::exists(folder.file("mesh.db.lock")));
  }
}

}  // namespace
}  // namespace cm::storage
