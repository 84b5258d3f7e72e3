// Goal: works share commits, fail alone, are answered in order after the sync, and never wait for another thread.
// Method: a fake host with real worker threads, and the same with one thread and a seeded order of steps.
#include <gtest/gtest.h>

#include <filesystem>

#include "plugins/storage_sqlite/src/connection.hpp"
#include "plugins/storage_sqlite/tests/fault_vfs.hpp"
#include "plugins/storage_sqlite/tests/test_store.hpp"

namespace cm::test {
namespace {

class StorageWriter : public testing::TestWithParam<FakeHost::Mode> {
 protected:
  StorageWriter() : host_(GetParam()) {
    FaultVfs::get().reset();
    host_.texts["path"] = folder_.file("mesh.db");
    host_.texts["vfs"] = kFaultVfsName;
    host_.ints["batch_time_max"] = 60'000;  // no batch of a busy machine is cut because it took long
  }
  void begin() {
    const Answer started = store_.start();
    ASSERT_EQ(started.status, CM_OK) << started.text;
    ASSERT_TRUE(store_.execute("CREATE TABLE t(id INTEGER PRIMARY KEY, v TEXT NOT NULL UNIQUE) STRICT").ok());
    insert_ = store_.sql("INSERT INTO t(id, v) VALUES(?1, ?2)");
  }
  SqlWork insert(std::int64_t id) const {
    return [id, statement = insert_](SqlTransaction& transaction) -> Status {
      const std::string text = "v" + std::to_string(id);
      auto changes = transaction.execute(statement, {id, text});
      return changes.ok() ? Status() : Status(changes.error());
    };
  }

  TemporaryFolder folder_;
  FakeHost host_;
  TestStore store_{host_};
  cm_statement insert_ = 0;
};

INSTANTIATE_TEST_SUITE_P(Modes, StorageWriter,
                         testing::Values(FakeHost::Mode::kThreaded, FakeHost::Mode::kDeterministic),
                         [](const auto& mode) {
                           return mode.param == FakeHost::Mode::kThreaded ? "threaded" : "deterministic";
                         });

TEST_P(StorageWriter, WorksThatWaitShareOneCommitAndOnePost) {
  begin();
  constexpr int kWorks = 300;
  std::vector<int> answered;
  host_.hold_workers(true);
  for (int i = 0; i < kWorks; ++i) {
    store_.client().submit(insert(i), [&answered, i](Status status) {
      EXPECT_TRUE(status.ok());
      answered.push_back(i);
    });
  }
  const std::uint64_t syncs = FaultVfs::get().wal_syncs();
  const std::uint64_t posts = host_.posts();
  host_.hold_workers(false);
  ASSERT_TRUE(host_.run_until([&] { return answered.size() == kWorks; }));
  EXPECT_EQ(FaultVfs::get().wal_syncs() - syncs, 1U);
  EXPECT_EQ(host_.posts() - posts, 1U);
  for (int i = 0; i < kWorks; ++i) {
    EXPECT_EQ(answered[static_cast<std::size_t>(i)], i);
  }
  EXPECT_EQ(host_.metric("storage_batch_works"), kWorks);
  EXPECT_EQ(store_.count("SELECT count(*) FROM t"), kWorks);
}

TEST_P(StorageWriter, BatchMaxSplitsAndReloads) {
  host_.ints["batch_max"] = 10;
  begin();
  const auto run_hundred = [this](int first) {
    int answered = 0;
    host_.hold_workers(true);
    for (int i = first; i < first + 100; ++i) {
      store_.client().submit(insert(i), [&answered](Status status) { answered += status.ok() ? 1 : 0; });
    }
    const std::uint64_t syncs = FaultVfs::get().wal_syncs();
    host_.hold_workers(false);
    EXPECT_TRUE(host_.run_until([&] { return answered == 100; }));
    return FaultVfs::get().wal_syncs() - syncs;
  };
  EXPECT_EQ(run_hundred(0), 10U);
  host_.ints["batch_max"] = 50;
  store_.reload(false);
  EXPECT_EQ(run_hundred(100), 10U);
  store_.reload(true);
  EXPECT_EQ(run_hundred(200), 2U);
}

TEST_P(StorageWriter, NoAnswerComesBeforeTheSync) {
  begin();
  for (int i = 0; i < 20; ++i) {
    const std::uint64_t syncs = FaultVfs::get().wal_syncs();
    ASSERT_TRUE(store_.run(insert(i)).ok());
    EXPECT_GT(FaultVfs::get().wal_syncs(), syncs);
  }
}

// Each third work writes a row and then fails: its row goes, the others' rows stay.
TEST_P(StorageWriter, AFailedWorkIsRolledBackAlone) {
  begin();
  std::vector<std::pair<int, ErrorCode>> failed;
  int good = 0;
  host_.hold_workers(true);
  for (int i = 0; i < 90; ++i) {
    SqlWork work = [this, i](SqlTransaction& transaction) -> Status {
      if (Status inserted = insert(i)(transaction); !inserted) {
        return inserted;
      }
      if (i % 3 == 0) {
        return make_error(ErrorCode::kDenied, "no");
      }
      return {};
    };
    store_.client().submit(std::move(work), [&, i](Status status) {
      if (status.ok()) {
        ++good;
      } else {
        EXPECT_EQ(status.error().message, "no");
        failed.emplace_back(i, status.error().code);
      }
    });
  }
  host_.hold_workers(false);
  ASSERT_TRUE(host_.run_until([&] { return good + static_cast<int>(failed.size()) == 90; }));
  ASSERT_EQ(failed.size(), 30U);
  for (std::size_t i = 0; i < failed.size(); ++i) {
    EXPECT_EQ(failed[i], std::make_pair(static_cast<int>(3 * i), ErrorCode::kDenied));
  }
  EXPECT_EQ(store_.count("SELECT count(*) FROM t"), 60);
  EXPECT_EQ(store_.count("SELECT count(*) FROM t WHERE id % 3 = 0"), 0);
}

TEST_P(StorageWriter, AConstraintIsInvalidAndNamesTheStatement) {
  begin();
  ASSERT_TRUE(store_.run(insert(1)).ok());
  const Status again = store_.run(insert(1));
  ASSERT_FALSE(again.ok());
  EXPECT_EQ(again.error().code, ErrorCode::kInvalid);
  EXPECT_NE(again.error().message.find("UNIQUE constraint failed: t.id"), std::string::npos) << again.error().message;
  EXPECT_NE(again.error().message.find("INSERT INTO t"), std::string::npos) << again.error().message;
  EXPECT_EQ(again.error().message.find("v1"), std::string::npos) << "a value is in the text";
}

// A deferred key is checked at COMMIT, where it would fail everyone's works.
TEST_P(StorageWriter, ABrokenDeferredKeyFailsItsWorkOnly) {
  begin();
  ASSERT_TRUE(store_.execute("CREATE TABLE child(t_id INTEGER REFERENCES t(id) DEFERRABLE INITIALLY DEFERRED)").ok());
  const cm_statement child = store_.sql("INSERT INTO child(t_id) VALUES(?1)");
  int good = 0;
  std::vector<std::string> errors;
  host_.hold_workers(true);
  for (int i = 0; i < 10; ++i) {
    store_.client().submit(insert(i), [&](Status status) { good += status.ok() ? 1 : 0; });
    SqlWork orphan = [child, i](SqlTransaction& transaction) -> Status {
      auto changes = transaction.execute(child, {1000 + i});
      return changes.ok() ? Status() : Status(changes.error());
    };
    store_.client().submit(std::move(orphan), [&](Status status) {
      EXPECT_FALSE(status.ok());
      errors.push_back(status.ok() ? std::string() : status.error().message);
    });
  }
  host_.hold_workers(false);
  ASSERT_TRUE(host_.run_until([&] { return errors.size() == 10 && good == 10; }));
  EXPECT_NE(errors[0].find("foreign key"), std::string::npos) << errors[0];
  EXPECT_EQ(store_.count("SELECT count(*) FROM t"), 10);
  EXPECT_EQ(store_.count("SELECT count(*) FROM child"), 0);
}

TEST_P(StorageWriter, AWorkCannotEndTheTransactionOfOthers) {
  begin();
  for (const char* sql : {"COMMIT", "ROLLBACK", "BEGIN", "SAVEPOINT x", "ATTACH 'x' AS y", "PRAGMA journal_mode=DELETE",
                          "PRAGMA synchronous=OFF", "VACUUM"}) {
    const Status status = store_.execute(sql);
    ASSERT_FALSE(status.ok()) << sql;
    EXPECT_EQ(status.error().code, ErrorCode::kInvalid) << sql << ": " << status.error().message;
  }
  EXPECT_TRUE(store_.run(insert(1)).ok());
}

TEST_P(StorageWriter, BadStatementsAreRefusedWithText) {
  begin();
  const auto expect = [this](std::string_view sql, std::initializer_list<SqlValue> values, const std::string& part) {
    const cm_statement id = store_.sql(sql);
    const std::vector<SqlValue> copy(values);
    std::string text;
    static_cast<void>(store_.run([&, id](SqlTransaction& transaction) -> Status {
      auto changes = copy.empty() ? transaction.execute(id) : transaction.execute(id, {copy[0]});
      text = changes.ok() ? "it worked" : changes.error().message;
      return {};
    }));
    EXPECT_NE(text.find(part), std::string::npos) << sql << " gave: " << text;
  };
  expect("INSERT INTO nowhere VALUES(1)", {}, "no such table");
  expect("SELECT 1; SELECT 2", {}, "exactly one");
  expect("-- nothing", {}, "exactly one");
  expect("INSERT INTO t(id, v) VALUES(?1, ?2)", {1}, "2 were expected");
  expect("SELECT \"no such column\" FROM t", {}, "no such column");
  EXPECT_EQ(store_.sql(""), 0U);
  expect("", {}, "unknown");
}

// The table appears after the first use of the statement, and changes after the second.
TEST_P(StorageWriter, AStatementSurvivesChangesOfTheSchema) {
  begin();
  const cm_statement late = store_.sql("SELECT count(*) FROM late");
  const auto ask = [&] {
    return store_.read(
        [late](SqlTransaction& transaction) { return transaction.query(late, {}, [](const SqlRow&) {}); });
  };
  EXPECT_FALSE(ask().ok());
  ASSERT_TRUE(store_.execute("CREATE TABLE late(a)").ok());
  EXPECT_TRUE(ask().ok());
  ASSERT_TRUE(store_.execute("ALTER TABLE late ADD COLUMN b").ok());
  EXPECT_TRUE(ask().ok());
  EXPECT_EQ(store_.sql("SELECT count(*) FROM late"), late);
}

TEST_P(StorageWriter, AReadSeesWhatWasReportedDone) {
  begin();
  const cm_statement count = store_.sql("SELECT count(*) FROM t");
  int written = 0;
  int checked = 0;
  for (int i = 0; i < 200; ++i) {
    store_.client().submit(insert(i), [&](Status status) {
      ASSERT_TRUE(status.ok());
      const int expected = ++written;
      auto seen = std::make_shared<std::int64_t>(-1);
      store_.client().read(
          [count, seen](SqlTransaction& transaction) {
            return transaction.query(count, {}, [&seen](const SqlRow& row) { *seen = row.integer(0); });
          },
          [&checked, seen, expected](Status read) {
            EXPECT_TRUE(read.ok());
            EXPECT_GE(*seen, expected);
            ++checked;
          });
    });
  }
  EXPECT_TRUE(host_.run_until([&] { return checked == 200; }));
}

TEST_P(StorageWriter, AReadCannotWrite) {
  begin();
  const Status status = store_.read(insert(1));
  ASSERT_FALSE(status.ok());
  EXPECT_EQ(status.error().code, ErrorCode::kInvalid);
  EXPECT_NE(status.error().message.find("use submit"), std::string::npos) << status.error().message;
  EXPECT_EQ(store_.count("SELECT count(*) FROM t"), 0);
}

TEST_P(StorageWriter, ValuesComeBackAsTheyWent) {
  begin();
  ASSERT_TRUE(store_.execute("CREATE TABLE v(i, r, t, b, n, e)").ok());
  const cm_statement write = store_.sql("INSERT INTO v VALUES(?1, ?2, ?3, ?4, ?5, ?6)");
  const std::string text("a\0b", 3);
  const std::vector<std::uint8_t> bytes = {0, 255, 1};
  ASSERT_TRUE(store_
                  .run([&](SqlTransaction& transaction) -> Status {
                    auto changes = transaction.execute(
                        write, {std::int64_t{-5}, 0.5, text, std::span<const std::uint8_t>(bytes), nullptr, ""});
                    EXPECT_TRUE(changes.ok() && *changes == 1U);
                    return {};
                  })
                  .ok());
  int rows = 0;
  const cm_statement read = store_.sql("SELECT i, r, t, b, n, e FROM v");
  ASSERT_TRUE(store_
                  .read([&](SqlTransaction& transaction) {
                    return transaction.query(read, {}, [&](const SqlRow& row) {
                      ++rows;
                      EXPECT_EQ(row.integer(0), -5);
                      EXPECT_EQ(row.real(1), 0.5);
                      EXPECT_EQ(row.text(2), text);
                      EXPECT_TRUE(std::equal(bytes.begin(), bytes.end(), row.blob(3).begin(), row.blob(3).end()));
                      EXPECT_TRUE(row.is_null(4));
                      EXPECT_FALSE(row.is_null(5));
                      EXPECT_EQ(row.text(5), "");
                    });
                  })
                  .ok());
  EXPECT_EQ(rows, 1);
}

// The same statement runs again inside its own row callback, which may also stop early.
TEST_P(StorageWriter, RowCallbacksMayRunStatements) {
  begin();
  for (int i = 0; i < 5; ++i) {
    ASSERT_TRUE(store_.run(insert(i)).ok());
  }
  const cm_statement all = store_.sql("SELECT id FROM t ORDER BY id");
  int pairs = 0;
  int outer = 0;
  ASSERT_TRUE(store_
                  .read([&](SqlTransaction& transaction) {
                    return transaction.query(all, {}, [&](const SqlRow& row) {
                      ++outer;
                      Status inner = transaction.query(all, {}, [&](const SqlRow&) { ++pairs; });
                      EXPECT_TRUE(inner.ok());
                      return row.integer(0) < 2;
                    });
                  })
                  .ok());
  EXPECT_EQ(outer, 3);
  EXPECT_EQ(pairs, 15);
}

TEST_P(StorageWriter, AFullQueueIsBusyAndNothingIsLost) {
  host_.ints["queue_max"] = 5;
  begin();
  int good = 0;
  int busy = 0;
  host_.hold_workers(true);
  for (int i = 0; i < 9; ++i) {
    store_.client().submit(insert(i), [&](Status status) {
      good += status.ok() ? 1 : 0;
      busy += !status.ok() && status.error().code == ErrorCode::kBusy ? 1 : 0;
    });
  }
  EXPECT_EQ(busy, 4);
  EXPECT_EQ(host_.metric("storage_errors_total{reason=\"queue_full\"}"), 4);
  host_.hold_workers(false);
  ASSERT_TRUE(host_.run_until([&] { return good == 5; }));
  EXPECT_TRUE(store_.run(insert(100)).ok());
  EXPECT_EQ(store_.count("SELECT count(*) FROM t"), 6);
}

// The host's own job queue is full: the submit is refused, and a later one starts the writer.
TEST_P(StorageWriter, AHostWithoutRoomForJobsIsBusy) {
  begin();
  host_.wait_for_jobs();
  host_.set_jobs_max(0);
  ErrorCode code = ErrorCode::kInternal;
  store_.client().submit(insert(1), [&](Status status) { code = status.ok() ? code : status.error().code; });
  EXPECT_EQ(code, ErrorCode::kBusy);
  code = ErrorCode::kInternal;
  store_.client().read(insert(1), [&](Status status) { code = status.ok() ? code : status.error().code; });
  EXPECT_EQ(code, ErrorCode::kBusy);
  host_.set_jobs_max(100);
  EXPECT_TRUE(store_.run(insert(2)).ok());
  EXPECT_EQ(store_.count("SELECT count(*) FROM t"), 1);
}

// Raw C: the answer of a caller that is gone is CM_GONE, exactly once, whether the post was refused or dropped.
TEST_P(StorageWriter, ACallerThatIsGoneIsToldSo) {
  begin();
  struct Probe {
    std::atomic<int> gone = 0;
    std::atomic<int> other = 0;
  } probe;
  const cm_storage_work work = [](void*, cm_storage_transaction*, const cm_storage_sql_v1*) noexcept {
    return cm_status{CM_OK};
  };
  const cm_storage_done done = [](void* user, cm_status status, cm_text_hview) noexcept {
    auto* counts = static_cast<Probe*>(user);
    ++(status == CM_GONE ? counts->gone : counts->other);
  };
  const cm_handle early = host_.add_instance("early")->self;
  const cm_handle late = host_.add_instance("late")->self;
  host_.hold_workers(true);
  for (int i = 0; i < 3; ++i) {
    ASSERT_EQ(store_.api()->submit(store_.instance(), early, work, done, &probe), CM_OK);
    ASSERT_EQ(store_.api()->read(store_.instance(), early, work, done, &probe), CM_OK);
    ASSERT_EQ(store_.api()->submit(store_.instance(), late, work, done, &probe), CM_OK);
  }
  host_.stop_instance(early);
  host_.hold_workers(false);
  host_.wait_for_jobs();
  EXPECT_EQ(probe.gone, 6);
  host_.stop_instance(late);
  EXPECT_EQ(probe.gone, 9);
  EXPECT_EQ(probe.other, 0);
}

TEST_P(StorageWriter, AWorkMayNotAnswerGone) {
  begin();
  cm_status seen = CM_OK;
  const cm_storage_work work = [](void*, cm_storage_transaction*, const cm_storage_sql_v1*) noexcept {
    return cm_status{CM_GONE};
  };
  const cm_storage_done done = [](void* user, cm_status status, cm_text_hview) noexcept {
    *static_cast<cm_status*>(user) = status;
  };
  ASSERT_EQ(store_.api()->submit(store_.instance(), store_.caller().self(), work, done, &seen), CM_OK);
  ASSERT_TRUE(host_.run_until([&] { return seen != CM_OK; }));
  EXPECT_EQ(seen, CM_INTERNAL);
}

TEST_P(StorageWriter, DrainFinishesWhatWasAcceptedAndRefusesTheRest) {
  begin();
  int good = 0;
  host_.hold_workers(true);
  for (int i = 0; i < 50; ++i) {
    store_.client().submit(insert(i), [&](Status status) { good += status.ok() ? 1 : 0; });
  }
  host_.hold_workers(false);
  const Answer drained = store_.drain();
  EXPECT_EQ(drained.status, CM_OK) << drained.text;
  EXPECT_EQ(good, 50);
  ErrorCode code = ErrorCode::kInternal;
  store_.client().submit(insert(99), [&](Status status) { code = status.error().code; });
  EXPECT_EQ(code, ErrorCode::kGone);
  store_.client().read(insert(99), [&](Status status) { code = status.error().code; });
  EXPECT_EQ(code, ErrorCode::kGone);
  EXPECT_EQ(std::filesystem::file_size(folder_.file("mesh.db-wal")), 0U) << "the log was not copied";
  store_.stop();
  // Whichever connection closes last removes the log; a reader may not, and leaves it empty.
  const auto log = folder_.file("mesh.db-wal");
  EXPECT_TRUE(!std::filesystem::exists(log) || std::filesystem::file_size(log) == 0);
}

TEST_P(StorageWriter, StopAnswersWhatNeverRan) {
  begin();
  int busy = 0;
  int good = 0;
  host_.hold_workers(true);
  for (int i = 0; i < 20; ++i) {
    store_.client().submit(insert(i), [&](Status status) { ++(status.ok() ? good : busy); });
    store_.client().read(insert(i), [&](Status status) { ++(status.ok() ? good : busy); });
  }
  const auto release = [this] { host_.hold_workers(false); };
  store_.client();
  // stop() returns without waiting; the jobs run afterwards, as the host sees to it.
  std::thread later(release);
  later.join();
  store_.stop();
  ASSERT_TRUE(host_.run_until([&] { return busy + good == 40; }));
}

TEST_P(StorageWriter, TheLogIsCopiedWhenItGrows) {
  host_.ints["wal_autocheckpoint"] = 20;
  begin();
  for (int i = 0; i < 200; ++i) {
    ASSERT_TRUE(store_.run(insert(i)).ok());
  }
  // 200 commits of at least two pages would be a log of 1.6 MiB.
  EXPECT_LT(std::filesystem::file_size(folder_.file("mesh.db-wal")), 400'000U);
}

}  // namespace
}  // namespace cm::test
