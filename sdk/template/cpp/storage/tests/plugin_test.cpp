// Loads the plugin and keeps a few rows in it, as a broker would.
#include <claudemesh/ext/storage.h>
#include <claudemesh/testing/mini_host.h>

#include <string>

namespace {

const cm_storage_v1* store;
cm_status last = CM_INTERNAL;
cm_statement insert_one, count_all;
long long counted = -1;

void done(void*, cm_status status, cm_text_hview) CM_NOEXCEPT {
  last = status;
}

cm_status insert(void* user, cm_storage_transaction* transaction, const cm_storage_sql_v1* sql) CM_NOEXCEPT {
  cm_value value = {};
  value.type = CM_VALUE_INT;
  value.integer = 7;
  const cm_status status = sql->execute(transaction, insert_one, &value, 1, nullptr);
  return status != CM_OK ? status : *static_cast<cm_status*>(user);
}
bool row(void*, const cm_value* columns, std::uint32_t) CM_NOEXCEPT {
  counted = columns[0].integer;
  return true;
}
cm_status count(void*, cm_storage_transaction* transaction, const cm_storage_sql_v1* sql) CM_NOEXCEPT {
  return sql->query(transaction, count_all, nullptr, 0, row, nullptr);
}

cm_status submit(cm_status answer) {
  CM_TEST(store->submit(cm_test.instance, 1, insert, done, &answer) == CM_OK);
  cm_test_run();
  return last;
}
long long rows() {
  CM_TEST(store->read(cm_test.instance, 1, count, done, nullptr) == CM_OK);
  cm_test_run();
  return last == CM_OK ? counted : -1;
}

}  // namespace

int main(int, char** argv) {
  cm_test_open(argv[1]);
  cm_test_option("queue_max", "100");
  CM_TEST(cm_test_begin() == CM_OK);
  store = static_cast<const cm_storage_v1*>(cm_test_extension(CM_STORAGE_ID));

  cm_migration migration = {};
  migration.number = 1;
  migration.name = cm_test_pview("0001_things");
  migration.sql = cm_test_pview("CREATE TABLE things (n INTEGER NOT NULL)");
  for (int twice = 0; twice < 2; ++twice) {
    CM_TEST(store->migrate(cm_test.instance, 1, cm_test_pview("test"), &migration, 1, done, nullptr) == CM_OK);
    cm_test_run();
    CM_TEST(last == CM_OK);
  }
  store->statement(cm_test.instance, cm_test_pview("INSERT INTO things (n) VALUES (?)"), &insert_one);
  store->statement(cm_test.instance, cm_test_pview("SELECT count(*) FROM things"), &count_all);

  CM_TEST(submit(CM_OK) == CM_OK);
  CM_TEST(rows() == 1);
  CM_TEST(submit(CM_DENIED) == CM_DENIED);  // rolled back
  CM_TEST(rows() == 1);
  cm_status answer = CM_OK;
  CM_TEST(store->read(cm_test.instance, 1, insert, done, &answer) == CM_OK);  // a reader may not write
  cm_test_run();
  CM_TEST(last == CM_INVALID);
  CM_TEST(rows() == 1);
  return cm_test_end();
}
