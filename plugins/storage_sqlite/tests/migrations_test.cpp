// Goal: migrations are applied once, in order, whole, and refused with a text that helps when files and database
// disagree. Method: the pure plan, then a real database that is opened again and again.
#include "plugins/storage_sqlite/src/migrations.hpp"

#include <gtest/gtest.h>

#include "plugins/storage_sqlite/tests/test_store.hpp"

namespace cm::storage {
namespace {

using cm::test::FakeHost;
using cm::test::TemporaryFolder;
using cm::test::TestStore;

std::vector<MigrationFile> files(std::initializer_list<const char*> texts) {
  std::vector<MigrationFile> result;
  for (const char* text : texts) {
    const auto number = static_cast<std::uint32_t>(result.size() + 1);
    result.push_back(MigrationFile{number, "000" + std::to_string(number) + "_x", text, sha256_hex(text)});
  }
  return result;
}

std::vector<AppliedMigration> applied(const std::vector<MigrationFile>& from, std::size_t count) {
  std::vector<AppliedMigration> rows;
  for (std::size_t i = 0; i < count; ++i) {
    rows.push_back(AppliedMigration{from[i].number, from[i].name, from[i].sha256});
  }
  return rows;
}

TEST(StorageMigrationPlan, Sha256IsTheStandardOne) {
  EXPECT_EQ(sha256_hex("abc"), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
}

TEST(StorageMigrationPlan, CountsWhatIsApplied) {
  const auto three = files({"a", "b", "c"});
  for (std::size_t count = 0; count <= 3; ++count) {
    const Result<std::size_t> plan = plan_migrations("s", three, applied(three, count));
    ASSERT_TRUE(plan.ok());
    EXPECT_EQ(*plan, count);
  }
}

TEST(StorageMigrationPlan, NamesBothChecksumsOfAChangedFile) {
  const auto before = files({"a", "b"});
  const auto after = files({"a", "B"});
  const Result<std::size_t> plan = plan_migrations("s", after, applied(before, 2));
  ASSERT_FALSE(plan.ok());
  EXPECT_EQ(plan.error().code, ErrorCode::kInvalid);
  for (const std::string& part :
       {std::string("0002_x"), before[1].sha256, after[1].sha256, std::string("put the file back")}) {
    EXPECT_NE(plan.error().message.find(part), std::string::npos) << plan.error().message;
  }
}

TEST(StorageMigrationPlan, RefusesANewerDatabase) {
  const auto three = files({"a", "b", "c"});
  const auto one = files({"a"});
  const Result<std::size_t> plan = plan_migrations("s", one, applied(three, 3));
  ASSERT_FALSE(plan.ok());
  EXPECT_NE(plan.error().message.find("the database is at migration 3"), std::string::npos) << plan.error().message;
  EXPECT_NE(plan.error().message.find("newer program"), std::string::npos) << plan.error().message;
}

TEST(StorageMigrationPlan, RefusesAGapInTheDatabase) {
  const auto three = files({"a", "b", "c"});
  auto rows = applied(three, 3);
  rows.erase(rows.begin() + 1);
  const Result<std::size_t> plan = plan_migrations("s", three, rows);
  ASSERT_FALSE(plan.ok());
  EXPECT_NE(plan.error().message.find("lacks migration 2"), std::string::npos) << plan.error().message;
}

class StorageMigrations : public testing::Test {
 protected:
  StorageMigrations() {
    host_.texts["path"] = folder_.file("mesh.db");
    EXPECT_EQ(store_.start().status, CM_OK);
  }
  std::string failure(const std::vector<SqlMigration>& migrations) {
    const Status status = store_.migrate("app", migrations);
    EXPECT_FALSE(status.ok());
    EXPECT_EQ(status.ok() ? ErrorCode::kInternal : status.error().code, ErrorCode::kInvalid);
    return status.ok() ? std::string() : status.error().message;
  }
  std::int64_t level() { return store_.count("SELECT count(*) FROM cm_migrations WHERE schema = 'app'"); }

  const SqlMigration first_{1, "0001_a", "CREATE TABLE a(x INTEGER PRIMARY KEY); -- note\nCREATE TABLE b(x);"};
  const SqlMigration second_{2, "0002_b", "INSERT INTO a VALUES(1); INSERT INTO a VALUES(2);"};
  TemporaryFolder folder_;
  FakeHost host_{FakeHost::Mode::kDeterministic};
  TestStore store_{host_};
};

TEST_F(StorageMigrations, AreAppliedOnceAndPerSchema) {
  ASSERT_TRUE(store_.migrate("app", {first_}).ok());
  EXPECT_EQ(level(), 1);
  ASSERT_TRUE(store_.migrate("app", {first_, second_}).ok());
  ASSERT_TRUE(store_.migrate("app", {first_, second_}).ok());
  EXPECT_EQ(level(), 2);
  EXPECT_EQ(store_.count("SELECT count(*) FROM a"), 2);
  ASSERT_TRUE(store_.migrate("other", {SqlMigration{1, "0001_o", "CREATE TABLE o(x)"}}).ok());
  EXPECT_EQ(store_.count("SELECT count(*) FROM cm_migrations"), 3);
  EXPECT_EQ(store_.count("SELECT count(*) FROM cm_migrations WHERE applied_at_ms > 1600000000000"), 3);
}

TEST_F(StorageMigrations, AChangedFileChangesNothing) {
  ASSERT_TRUE(store_.migrate("app", {first_}).ok());
  SqlMigration changed = first_;
  changed.sql += " ";
  EXPECT_NE(failure({changed, second_}).find("checksum"), std::string::npos);
  EXPECT_EQ(level(), 1);
  EXPECT_EQ(store_.count("SELECT count(*) FROM a"), 0);
}

TEST_F(StorageMigrations, AGapOrAWrongNumberIsRefused) {
  SqlMigration third = second_;
  third.number = 3;
  EXPECT_NE(failure({first_, third}).find("number 2"), std::string::npos);
  EXPECT_NE(failure({second_}).find("number 1"), std::string::npos);
  EXPECT_EQ(store_.count("SELECT count(*) FROM sqlite_schema WHERE name IN ('a', 'b')"), 0);
}

TEST_F(StorageMigrations, AnOlderProgramIsRefused) {
  ASSERT_TRUE(store_.migrate("app", {first_, second_}).ok());
  EXPECT_NE(failure({first_}).find("newer program"), std::string::npos);
}

TEST_F(StorageMigrations, AFailureKeepsTheOnesBeforeAndNothingOfItself) {
  const SqlMigration bad{2, "0002_bad", "CREATE TABLE c(x); INSERT INTO nowhere VALUES(1);"};
  const std::string text = failure({first_, bad});
  EXPECT_NE(text.find("0002_bad"), std::string::npos) << text;
  EXPECT_NE(text.find("no such table: nowhere"), std::string::npos) << text;
  EXPECT_EQ(level(), 1);
  EXPECT_EQ(store_.count("SELECT count(*) FROM sqlite_schema WHERE name = 'c'"), 0);
  EXPECT_TRUE(store_.migrate("app", {first_, second_}).ok()) << "the corrected file is refused";
}

TEST_F(StorageMigrations, ACommitInAFileIsRefused) {
  const SqlMigration bad{1, "0001_commit", "CREATE TABLE c(x); COMMIT; CREATE TABLE d(x);"};
  EXPECT_NE(failure({bad}).find("not authorized"), std::string::npos);
  EXPECT_EQ(store_.count("SELECT count(*) FROM sqlite_schema WHERE name IN ('c', 'd')"), 0);
}

// Rebuilding a parent table must not delete its children, and must not leave orphans.
TEST_F(StorageMigrations, ATableMayBeRebuilt) {
  const SqlMigration make{1, "0001_make",
                          "CREATE TABLE p(id INTEGER PRIMARY KEY);"
                          "CREATE TABLE k(p_id INTEGER REFERENCES p(id) ON DELETE CASCADE);"
                          "INSERT INTO p VALUES(1); INSERT INTO k VALUES(1);"};
  const SqlMigration rebuild{2, "0002_rebuild",
                             "CREATE TABLE p2(id INTEGER PRIMARY KEY, note TEXT); INSERT INTO p2(id) SELECT id FROM p;"
                             "DROP TABLE p; ALTER TABLE p2 RENAME TO p;"};
  const Status done = store_.migrate("app", {make, rebuild});
  ASSERT_TRUE(done.ok()) << done.error().message;
  EXPECT_EQ(store_.count("SELECT count(*) FROM k"), 1);
  const SqlMigration orphan{3, "0003_orphan", "INSERT INTO k VALUES(77);"};
  EXPECT_NE(failure({make, rebuild, orphan}).find("rows of table k"), std::string::npos);
  EXPECT_FALSE(store_.execute("INSERT INTO k VALUES(78)").ok()) << "foreign keys stayed off";
}

}  // namespace
}  // namespace cm::storage
