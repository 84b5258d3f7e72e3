// How to test a store in the deterministic host: what was reported done survives a power cut at any step.
#include <claudemesh/ext/storage.h>
#include <gtest/gtest.h>

#include <cstring>
#include <string>
#include <string_view>

#include "sdk/simhost/world.hpp"

namespace {

// The store under test twice: the second instance stands for the store's user, to whose loop answers are posted.
constexpr const char* kConfiguration = R"(
[plugins.store]
use = "storage_sqlite"
path = "/cmsim/laptop/a.db"
vfs = "cmsim"
[plugins.user]
use = "storage_sqlite"
path = "/cmsim/laptop/b.db"
vfs = "cmsim"
)";

struct Answer {
  bool done = false;
  cm_status status = CM_INTERNAL;
};
void on_done(void* user, cm_status status, cm_text_hview) noexcept {
  *static_cast<Answer*>(user) = Answer{true, status};
}

class StorageTest : public ::testing::Test {
 protected:
  explicit StorageTest() : node(world.add_node("laptop", kConfiguration)) {}

  void boot() {
    ASSERT_TRUE(world.boot(node)) << node.last_error;
    ASSERT_TRUE(world.run_for_ms(60'000, [this] { return node.running(); })) << node.last_error;
    cm::sim::Instance& instance = *node.find("store");
    table = static_cast<const cm_storage_v1*>(instance.extension(CM_STORAGE_ID));
    store = instance.raw();
    const cm_migration migration = {1, 0, text("0001_notes"), text("CREATE TABLE notes (id INTEGER PRIMARY KEY);")};
    Answer migrated;
    ASSERT_EQ(table->migrate(store, caller(), text("notes"), &migration, 1, on_done, &migrated), CM_OK);
    world.run_for_ms(10'000, [&] { return migrated.done; });
    ASSERT_EQ(migrated.status, CM_OK);
    ASSERT_EQ(table->statement(store, text("INSERT INTO notes (id) VALUES (?1)"), &insert), CM_OK);
    ASSERT_EQ(table->statement(store, text("SELECT count(*) FROM notes"), &count), CM_OK);
  }

  static cm_text_pview text(std::string_view view) { return {view.data(), view.size()}; }
  cm_handle caller() { return node.find("user")->self(); }

  struct Insert {
    StorageTest* test;
    std::int64_t id;
    Answer answer;
    static cm_status work(void* user, cm_storage_transaction* transaction, const cm_storage_sql_v1* sql) noexcept {
      auto* self = static_cast<Insert*>(user);
      cm_value id = {};
      id.type = CM_VALUE_INT;
      id.integer = self->id;
      return sql->execute(transaction, self->test->insert, &id, 1, nullptr);
    }
    static void done(void* user, cm_status status, cm_text_hview) noexcept {
      static_cast<Insert*>(user)->answer = Answer{true, status};
    }
  };

  std::int64_t rows() {
    struct Count {
      StorageTest* test;
      std::int64_t value = -1;
      Answer answer;
    } counted{this, -1, {}};
    const auto work = [](void* user, cm_storage_transaction* transaction, const cm_storage_sql_v1* sql) noexcept {
      const auto take = [](void* context, const cm_value* columns, std::uint32_t) noexcept {
        static_cast<Count*>(context)->value = columns[0].integer;
        return true;
      };
      return sql->query(transaction, static_cast<Count*>(user)->test->count, nullptr, 0, take, user);
    };
    const auto done = [](void* user, cm_status status, cm_text_hview) noexcept {
      static_cast<Count*>(user)->answer = Answer{true, status};
    };
    table->read(store, caller(), work, done, &counted);
    world.run_for_ms(10'000, [&] { return counted.answer.done; });
    return counted.value;
  }

  cm::sim::World world{cm::sim::WorldOptions{}};
  cm::sim::Node& node;
  const cm_storage_v1* table = nullptr;
  void* store = nullptr;
  cm_statement insert = 0;
  cm_statement count = 0;
};

TEST_F(StorageTest, KeepsWhatIsDoneOverAPowerCut) {
  boot();
  Insert first{this, 1, {}};
  Insert second{this, 2, {}};
  ASSERT_EQ(table->submit(store, caller(), &Insert::work, &Insert::done, &first), CM_OK);
  ASSERT_TRUE(world.run_for_ms(10'000, [&] { return first.answer.done; }));
  EXPECT_EQ(first.answer.status, CM_OK);
  ASSERT_EQ(table->submit(store, caller(), &Insert::work, &Insert::done, &second), CM_OK);
  node.crash_after_steps(5);  // in the middle of the second
  world.run_for_ms(1'000, [this] { return !node.alive(); });
  world.crash(node);
  boot();
  EXPECT_GE(rows(), second.answer.done && second.answer.status == CM_OK ? 2 : 1);
}

TEST_F(StorageTest, ReportsAFullDisk) {
  boot();
  node.disk().faults.full = true;
  Insert refused{this, 1, {}};
  ASSERT_EQ(table->submit(store, caller(), &Insert::work, &Insert::done, &refused), CM_OK);
  ASSERT_TRUE(world.run_for_ms(60'000, [&] { return refused.answer.done; }));
  EXPECT_NE(refused.answer.status, CM_OK);
  node.disk().faults.full = false;
  EXPECT_EQ(rows(), 0);
}

}  // namespace
