// Goal: whatever the disk does, a work that was answered CM_OK is there afterwards, and any other is there completely
// or not at all. Method: one scenario is run once to count its writes and syncs, then again for each of them with a
// fault at that place.
#include <gtest/gtest.h>

#include <map>

#include "plugins/storage_sqlite/tests/fault_vfs.hpp"
#include "plugins/storage_sqlite/tests/test_store.hpp"

namespace cm::test {
namespace {

constexpr int kBatches = 6;
constexpr int kWorksPerBatch = 4;
constexpr int kRowsPerWork = 3;

// What was said about each work.
using Report = std::map<int, cm_status>;

// Such a work may be confirmed with less than all of its rows, by its own fault; if it is not confirmed, none may stay.
bool ignores_failures(int work) {
  return work % 5 == 2;
}

struct Scenario {
  explicit Scenario(const std::string& path) : host(FakeHost::Mode::kDeterministic), store(host) {
    host.texts["path"] = path;
    host.texts["vfs"] = kFaultVfsName;
    host.ints["wal_autocheckpoint"] = 60;  // so that the scenario contains checkpoints and a log that begins anew
    host.ints["read_only_grace"] = 0;
    host.ints["cache_size"] =
        65'536;  // so that pages are written in the middle of a work, where SQLite may roll all back
  }

  // Each work writes three rows of several pages; some refuse afterwards, some go on after a failure.
  Report run() {
    Report report;
    const cm_statement insert = store.sql("INSERT INTO t(work, part, body) VALUES(?1, ?2, ?3)");
    const std::string body(6'000, 'x');
    for (int batch = 0; batch < kBatches; ++batch) {
      host.hold_workers(true);
      std::size_t expected = report.size();
      for (int i = 0; i < kWorksPerBatch; ++i) {
        const int work = batch * kWorksPerBatch + i;
        ++expected;
        store.client().submit(
            [insert, work, &body](SqlTransaction& transaction) -> Status {
              for (int part = 0; part < kRowsPerWork; ++part) {
                auto changes = transaction.execute(insert, {work, part, body});
                if (!changes.ok() && !ignores_failures(work)) {
                  return changes.error();
                }
              }
              return work % 5 == 4 ? Status(make_error(ErrorCode::kDenied, "refused")) : Status();
            },
            [&report, work](Status status) { report[work] = status.ok() ? CM_OK : status_from_error(status.error()); });
      }
      host.hold_workers(false);
      EXPECT_TRUE(host.run_until([&] { return report.size() == expected; }));
    }
    return report;
  }

  FakeHost host;
  TestStore store;
};

constexpr const char* kTable = "CREATE TABLE t(work INTEGER, part INTEGER, body TEXT, PRIMARY KEY(work, part)) STRICT";

void expect_kept(TestStore& store, const Report& report, const std::string& where) {
  std::map<int, int> rows;
  const cm_statement all = store.sql("SELECT work, count(*) FROM t GROUP BY work");
  const Status read = store.read([&](SqlTransaction& transaction) {
    return transaction.query(all, {}, [&rows](const SqlRow& row) {
      rows[static_cast<int>(row.integer(0))] = static_cast<int>(row.integer(1));
    });
  });
  ASSERT_TRUE(read.ok()) << where << read.error().message;
  for (const auto& [work, status] : report) {
    const int found = rows.count(work) == 0 ? 0 : rows[work];
    if (status == CM_OK && !ignores_failures(work)) {
      EXPECT_EQ(found, kRowsPerWork) << where << "confirmed work " << work << " is lost";
    } else if (status == CM_DENIED) {
      EXPECT_EQ(found, 0) << where << "refused work " << work << " was kept";
    } else if (status != CM_OK) {
      EXPECT_TRUE(found == 0 || found == kRowsPerWork) << where << "work " << work << " is half there";
    }
  }
}

std::uint64_t count_operations() {
  TemporaryFolder folder;
  FaultVfs::get().reset();
  Scenario scenario(folder.file("mesh.db"));
  EXPECT_EQ(scenario.store.start().status, CM_OK);
  EXPECT_TRUE(scenario.store.execute(kTable).ok());
  const std::uint64_t before = FaultVfs::get().operations();
  const Report report = scenario.run();
  EXPECT_EQ(report.size(), std::size_t{kBatches * kWorksPerBatch});
  EXPECT_EQ(report.at(0), CM_OK);
  EXPECT_EQ(report.at(4), CM_DENIED);
  return FaultVfs::get().operations() - before;
}

class StorageFaults : public testing::TestWithParam<Fault> {};

INSTANTIATE_TEST_SUITE_P(Kinds, StorageFaults,
                         testing::Values(Fault::kFullOnce, Fault::kFullForever, Fault::kIoOnce, Fault::kIoForever),
                         [](const auto& kind) {
                           switch (kind.param) {
                             case Fault::kFullOnce:
                               return "full_once";
                             case Fault::kFullForever:
                               return "full_forever";
                             case Fault::kIoOnce:
                               return "io_once";
                             default:
                               return "io_forever";
                           }
                         });

TEST_P(StorageFaults, NothingConfirmedIsLostWhereverTheDiskFails) {
  const std::uint64_t operations = count_operations();
  ASSERT_GT(operations, 50U);
  int failed_works = 0;
  for (std::uint64_t n = 1; n <= operations; ++n) {
    const std::string where = "fault at operation " + std::to_string(n) + ": ";
    TemporaryFolder folder;
    FaultVfs::get().reset();
    Report report;
    {
      Scenario scenario(folder.file("mesh.db"));
      ASSERT_EQ(scenario.store.start().status, CM_OK);
      ASSERT_TRUE(scenario.store.execute(kTable).ok());
      FaultVfs::get().arm(GetParam(), n);
      report = scenario.run();
      for (const auto& [work, status] : report) {
        failed_works += status == CM_IO ? 1 : 0;
        EXPECT_TRUE(status == CM_OK || status == CM_IO || status == CM_DENIED) << where << status;
      }
      // Room again: the same instance goes on, without a restart.
      FaultVfs::get().repair();
      const Status after = scenario.store.execute("INSERT INTO t VALUES(1000, 0, 'after')");
      EXPECT_TRUE(after.ok()) << where << (after.ok() ? "" : after.error().message);
      expect_kept(scenario.store, report, where + "same instance: ");
    }
    Scenario again(folder.file("mesh.db"));
    const Answer started = again.store.start();
    ASSERT_EQ(started.status, CM_OK) << where << started.text;
    expect_kept(again.store, report, where + "after a restart: ");
    EXPECT_EQ(again.store.count("SELECT count(*) FROM t WHERE work = 1000"), 1) << where;
  }
  EXPECT_GT(failed_works, 0) << "no fault hit a work: the scenario tests nothing";
}

// Everything that was not synced disappears, as when the machine loses power.
TEST(StoragePowerLoss, NothingConfirmedIsLostWhereverThePowerGoes) {
  const std::uint64_t operations = count_operations();
  for (std::uint64_t n = 1; n <= operations; ++n) {
    const std::string where = "power lost at operation " + std::to_string(n) + ": ";
    TemporaryFolder folder;
    FaultVfs::get().reset();
    FaultVfs::get().remember_syncs(true);
    Report report;
    {
      Scenario scenario(folder.file("mesh.db"));
      ASSERT_EQ(scenario.store.start().status, CM_OK);
      ASSERT_TRUE(scenario.store.execute(kTable).ok());
      FaultVfs::get().arm(Fault::kPowerOff, n);
      report = scenario.run();
      ASSERT_TRUE(FaultVfs::get().fired()) << where;
    }
    FaultVfs::get().restore_synced();
    FaultVfs::get().reset();
    Scenario again(folder.file("mesh.db"));
    const Answer started = again.store.start();
    ASSERT_EQ(started.status, CM_OK) << where << started.text;
    expect_kept(again.store, report, where);
  }
}

TEST(StorageDiskFull, IsReportedOnceAndRecovers) {
  TemporaryFolder folder;
  FaultVfs::get().reset();
  Scenario scenario(folder.file("mesh.db"));
  ASSERT_EQ(scenario.store.start().status, CM_OK);
  ASSERT_TRUE(scenario.store.execute(kTable).ok());
  FaultVfs::get().arm(Fault::kFullForever, 1);
  for (int i = 0; i < 5; ++i) {
    const Status status = scenario.store.execute("INSERT INTO t VALUES(1, 1, 'a')");
    ASSERT_FALSE(status.ok());
    EXPECT_EQ(status.error().code, ErrorCode::kIo);
    EXPECT_NE(status.error().message.find("free space on the disk of " + folder.file("mesh.db")), std::string::npos)
        << status.error().message;
  }
  EXPECT_EQ(scenario.host.logs(CM_LOG_ERROR).size(), 2U) << "one error, and one report of being read-only";
  EXPECT_EQ(scenario.host.metric("storage_read_only"), 1);
  EXPECT_GE(scenario.host.metric("storage_errors_total{reason=\"disk_full\"}"), 5);
  EXPECT_EQ(scenario.store.count("SELECT count(*) FROM t"), 0) << "reads go on";
  FaultVfs::get().repair();
  EXPECT_TRUE(scenario.store.execute("INSERT INTO t VALUES(1, 1, 'a')").ok());
  EXPECT_EQ(scenario.host.metric("storage_read_only"), 0);
}

TEST(StorageDiskFull, StopsAStartCleanly) {
  for (std::uint64_t n = 1; n <= 6; ++n) {
    TemporaryFolder folder;
    FaultVfs::get().reset();
    Scenario scenario(folder.file("mesh.db"));
    FaultVfs::get().arm(Fault::kIoForever, n);
    const Answer started = scenario.store.start();
    EXPECT_EQ(started.status, CM_IO) << n << ": " << started.text;
    EXPECT_NE(started.text.find(folder.file("mesh.db")), std::string::npos) << started.text;
  }
}

}  // namespace
}  // namespace cm::test
