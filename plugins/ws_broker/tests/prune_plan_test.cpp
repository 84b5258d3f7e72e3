// How SQLite runs what retention asks for, on the schema that the migrations make.
#include <gtest/gtest.h>
#include <sqlite3.h>

#include "plugins/ws_broker/src/store.hpp"

namespace cm::broker {
namespace {

class PrunePlanTest : public ::testing::Test {
 protected:
  PrunePlanTest() {
    sqlite3* opened = nullptr;
    EXPECT_EQ(sqlite3_open(":memory:", &opened), SQLITE_OK);
    db_.reset(opened);
    for (const SqlMigration& migration : broker_migrations()) {
      EXPECT_EQ(sqlite3_exec(db_.get(), migration.sql.c_str(), nullptr, nullptr, nullptr), SQLITE_OK)
          << migration.name << ": " << sqlite3_errmsg(db_.get());
    }
  }

  std::string plan(const char* sql) {
    std::string text;
    const std::string explain = std::string("EXPLAIN QUERY PLAN ") + sql;
    const auto row = [](void* out, int columns, char** values, char**) {
      *static_cast<std::string*>(out) += std::string(values[columns - 1]) + "\n";
      return 0;
    };
    EXPECT_EQ(sqlite3_exec(db_.get(), explain.c_str(), row, &text, nullptr), SQLITE_OK) << sqlite3_errmsg(db_.get());
    return text;
  }

  struct Close {
    void operator()(sqlite3* db) const { sqlite3_close(db); }
  };
  std::unique_ptr<sqlite3, Close> db_;
};

TEST_F(PrunePlanTest, OldRowsAreFoundThroughTheIndexOnTheTime) {
  for (const char* sql : {PruneSql::kExpireDeliveries, PruneSql::kForgetHistory, PruneSql::kDeleteDeliveries,
                          PruneSql::kDeleteMessages}) {
    const std::string text = plan(sql);
    EXPECT_NE(text.find("USING COVERING INDEX message_created (created_at_ms"), std::string::npos) << sql << "\n"
                                                                                                   << text;
    EXPECT_EQ(text.find("SCAN message"), std::string::npos) << sql << "\n" << text;
    EXPECT_EQ(text.find("SCAN m\n"), std::string::npos) << sql << "\n" << text;
    EXPECT_EQ(text.find("SCAN delivery"), std::string::npos) << sql << "\n" << text;
    EXPECT_EQ(text.find("SCAN d\n"), std::string::npos) << sql << "\n" << text;
    EXPECT_EQ(text.find("TEMP B-TREE"), std::string::npos) << "it would sort all old rows\n" << text;
  }
}

}  // namespace
}  // namespace cm::broker
