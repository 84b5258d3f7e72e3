// Goal: the file is private, owned by one process, and whatever is wrong with it at the start is named. Method: real
// files; a helper process where one process is not enough.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <sqlite3.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

#include "plugins/storage_sqlite/src/database_file.hpp"
#include "plugins/storage_sqlite/tests/test_store.hpp"

namespace cm::test {
namespace {

unsigned mode_of(const std::string& path) {
  struct stat info = {};
  return ::stat(path.c_str(), &info) == 0 ? info.st_mode & 0777U : 0xffffU;
}

class StorageFile : public testing::Test {
 protected:
  StorageFile() { host_.texts["path"] = path_; }
  Answer start() {
    store_ = std::make_unique<TestStore>(host_);
    return store_->start();
  }
  void expect_refused(cm_status status, std::initializer_list<std::string> parts) {
    const Answer started = start();
    EXPECT_EQ(started.status, status) << started.text;
    for (const std::string& part : parts) {
      EXPECT_NE(started.text.find(part), std::string::npos) << "\"" << part << "\" is not in: " << started.text;
    }
    store_.reset();
  }

  TemporaryFolder folder_;
  const std::string path_ = folder_.file("a/b/mesh.db");
  FakeHost host_{FakeHost::Mode::kDeterministic};
  std::unique_ptr<TestStore> store_;
};

TEST_F(StorageFile, IsReadableByItsOwnerAlone) {
  const mode_t before = ::umask(0);
  ASSERT_EQ(start().status, CM_OK);
  ASSERT_TRUE(store_->execute("CREATE TABLE t(x)").ok());
  EXPECT_EQ(mode_of(folder_.file("a")), 0700U);
  EXPECT_EQ(mode_of(folder_.file("a/b")), 0700U);
  for (const char* suffix : {"", "-wal", "-shm", ".lock"}) {
    EXPECT_EQ(mode_of(path_ + suffix), 0600U) << suffix;
  }
  ::umask(before);
}

TEST_F(StorageFile, AnOpenModeIsTightenedWithAWarning) {
  ASSERT_EQ(start().status, CM_OK);
  store_.reset();
  ASSERT_EQ(::chmod(path_.c_str(), 0644), 0);
  ASSERT_EQ(start().status, CM_OK);
  EXPECT_EQ(mode_of(path_), 0600U);
  EXPECT_TRUE(host_.logged("could be read by other users"));
}

TEST_F(StorageFile, ASecondInstanceIsRefusedUntilTheFirstIsGone) {
  ASSERT_EQ(start().status, CM_OK);
  FakeHost other(FakeHost::Mode::kDeterministic);
  other.texts["path"] = path_;
  {
    TestStore second(other);
    const Answer refused = second.start();
    EXPECT_EQ(refused.status, CM_BUSY);
    EXPECT_NE(refused.text.find("in use by process " + std::to_string(::getpid())), std::string::npos) << refused.text;
  }
  ASSERT_TRUE(store_->execute("CREATE TABLE t(x)").ok()) << "the refused one disturbed the first";
  store_.reset();
  TestStore third(other);
  EXPECT_EQ(third.start().status, CM_OK);
}

TEST_F(StorageFile, ASecondProcessIsRefused) {
  std::filesystem::create_directories(folder_.file("a/b"));
  int ready[2];
  ASSERT_EQ(::pipe(ready), 0);
  const pid_t child = ::fork();
  ASSERT_GE(child, 0);
  if (child == 0) {
    std::string notes;
    const auto claimed = storage::DatabaseFile::claim(path_, &notes);
    const char answer = claimed.ok() ? 'y' : 'n';
    static_cast<void>(::write(ready[1], &answer, 1) == 1);
    ::pause();
    ::_exit(0);
  }
  char answer = 0;
  ASSERT_EQ(::read(ready[0], &answer, 1), 1);
  ASSERT_EQ(answer, 'y');
  expect_refused(CM_BUSY, {path_, "in use by process " + std::to_string(child), "end the other one"});
  ASSERT_EQ(::kill(child, SIGKILL), 0);
  ASSERT_EQ(::waitpid(child, nullptr, 0), child);
  ::close(ready[0]);
  ::close(ready[1]);
  EXPECT_EQ(start().status, CM_OK) << "the lock of a killed process must not count";
}

// Run as another user, because root may write anywhere.
TEST_F(StorageFile, AFolderThatCannotBeWrittenIsRefused) {
  const std::string locked = folder_.file("locked");
  std::filesystem::create_directories(locked);
  ASSERT_EQ(::chmod(locked.c_str(), 0555), 0);
  ASSERT_EQ(::chmod(folder_.path().c_str(), 0755), 0);
  const bool root = ::geteuid() == 0;
  if (root) {
    ASSERT_EQ(::seteuid(65534), 0);
  }
  host_.texts["path"] = locked + "/mesh.db";
  expect_refused(CM_DENIED, {locked + "/mesh.db", "Permission denied", "check its permissions"});
  host_.texts["path"] = locked + "/below/mesh.db";
  expect_refused(CM_DENIED, {locked + "/below", "cannot be made"});
  if (root) {
    ASSERT_EQ(::seteuid(0), 0);
  }
  EXPECT_TRUE(std::filesystem::is_empty(locked));
}

TEST_F(StorageFile, AFileOfAnotherUserIsRefused) {
  if (::geteuid() != 0) {
    GTEST_SKIP() << "only root can give a file away";
  }
  ASSERT_EQ(start().status, CM_OK);
  store_.reset();
  ASSERT_EQ(::chown(path_.c_str(), 65534, 65534), 0);
  expect_refused(CM_DENIED, {"belongs to user 65534", "chown"});
}

TEST_F(StorageFile, AFolderInPlaceOfTheFileIsRefused) {
  std::filesystem::create_directories(path_);
  expect_refused(CM_IO, {path_});
}

TEST_F(StorageFile, AFileThatIsNoDatabaseIsRefused) {
  std::filesystem::create_directories(folder_.file("a/b"));
  std::ofstream(path_) << std::string(8'192, 'z');
  expect_refused(CM_IO, {path_, "not a database", "restore a backup"});
  EXPECT_EQ(std::filesystem::file_size(path_), 8'192U) << "the file was touched";
}

// Overwrites pages in the middle of a sound file.
void damage(const std::string& path) {
  std::fstream file(path, std::ios::in | std::ios::out | std::ios::binary);
  file.seekp(4'096 * 3);
  file << std::string(4'096 * 20, '\x5a');
}

void fill(TestStore& store) {
  ASSERT_TRUE(store.execute("CREATE TABLE t(x TEXT)").ok());
  ASSERT_TRUE(
      store
          .execute("INSERT INTO t WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 2000) "
                   "SELECT hex(randomblob(100)) FROM n")
          .ok());
  ASSERT_EQ(store.drain().status, CM_OK);
}

TEST_F(StorageFile, ADamagedFileIsRefusedAtTheStart) {
  ASSERT_EQ(start().status, CM_OK);
  fill(*store_);
  store_.reset();
  damage(path_);
  expect_refused(CM_IO, {path_, "damaged", "restore a backup"});
}

TEST_F(StorageFile, DamageFoundWhileRunningStopsWritesAndSaysWhy) {
  ASSERT_EQ(start().status, CM_OK);
  fill(*store_);
  store_.reset();
  damage(path_);
  host_.texts["integrity_check"] = "off";
  host_.bools["self_check"] = false;
  ASSERT_EQ(start().status, CM_OK);
  const Status found = store_->execute("UPDATE t SET x = x || 'a'");
  ASSERT_FALSE(found.ok());
  EXPECT_EQ(found.error().code, ErrorCode::kIo);
  EXPECT_EQ(host_.metric("storage_degraded"), 1);
  EXPECT_TRUE(host_.logged("malformed", CM_LOG_CRITICAL));
  bool ran = false;
  const Status refused = store_->run([&ran](SqlTransaction&) -> Status {
    ran = true;
    return {};
  });
  ASSERT_FALSE(refused.ok());
  EXPECT_EQ(refused.error().code, ErrorCode::kIo);
  EXPECT_NE(refused.error().message.find("no more writes are taken"), std::string::npos) << refused.error().message;
  EXPECT_FALSE(ran);
}

// Another program, like the sqlite3 shell, holds the write lock.
TEST_F(StorageFile, AForeignWriteLockIsBusyAndPasses) {
  host_.ints["busy_timeout"] = 20;
  ASSERT_EQ(start().status, CM_OK);
  ASSERT_TRUE(store_->execute("CREATE TABLE t(x)").ok());
  sqlite3* foreign = nullptr;
  ASSERT_EQ(sqlite3_open(path_.c_str(), &foreign), SQLITE_OK);
  ASSERT_EQ(sqlite3_exec(foreign, "BEGIN IMMEDIATE", nullptr, nullptr, nullptr), SQLITE_OK);
  int busy = 0;
  host_.hold_workers(true);
  const cm_statement insert = store_->sql("INSERT INTO t VALUES(1)");
  for (int i = 0; i < 100; ++i) {
    store_->client().submit(
        [insert](SqlTransaction& transaction) -> Status {
          auto changes = transaction.execute(insert);
          return changes.ok() ? Status() : Status(changes.error());
        },
        [&busy](Status status) { busy += !status.ok() && status.error().code == ErrorCode::kBusy ? 1 : 0; });
  }
  host_.hold_workers(false);
  EXPECT_TRUE(host_.run_until([&] { return busy == 100; }, 1'000)) << "each work waited for the lock anew";
  ASSERT_EQ(sqlite3_exec(foreign, "COMMIT", nullptr, nullptr, nullptr), SQLITE_OK);
  sqlite3_close(foreign);
  EXPECT_TRUE(store_->execute("INSERT INTO t VALUES(1)").ok());
  EXPECT_EQ(store_->count("SELECT count(*) FROM t"), 1);
}

}  // namespace
}  // namespace cm::test
