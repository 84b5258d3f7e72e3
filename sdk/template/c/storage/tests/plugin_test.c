/* Loads the plugin and keeps a few rows in it, as a broker would. */
#include <claudemesh/ext/storage.h>
#include <claudemesh/testing/mini_host.h>

static const cm_storage_v1* store;
static cm_status last = CM_INTERNAL;
static cm_statement insert_one, count_all;
static long long counted = -1;

static void done(void* user, cm_status status, cm_text_hview error) {
  (void)user;
  (void)error;
  last = status;
}
static cm_status insert(void* user, cm_storage_transaction* transaction, const cm_storage_sql_v1* sql) {
  cm_value value;
  memset(&value, 0, sizeof value);
  value.type = CM_VALUE_INT;
  value.integer = 7;
  const cm_status status = sql->execute(transaction, insert_one, &value, 1, NULL);
  return status != CM_OK ? status : *(cm_status*)user;
}
static bool row(void* user, const cm_value* columns, uint32_t count) {
  (void)user;
  CM_TEST(count == 1);
  counted = columns[0].integer;
  return true;
}
static cm_status count(void* user, cm_storage_transaction* transaction, const cm_storage_sql_v1* sql) {
  (void)user;
  return sql->query(transaction, count_all, NULL, 0, row, NULL);
}
static cm_status submit(cm_status answer) {
  CM_TEST(store->submit(cm_test.instance, 1, insert, done, &answer) == CM_OK);
  cm_test_run();
  return last;
}
static long long rows(void) {
  CM_TEST(store->read(cm_test.instance, 1, count, done, NULL) == CM_OK);
  cm_test_run();
  return last == CM_OK ? counted : -1;
}

int main(int argc, char** argv) {
  cm_migration migration;
  cm_status answer = CM_OK;
  (void)argc;
  cm_test_open(argv[1]);
  cm_test_option("queue_max", "100");
  CM_TEST(cm_test_begin() == CM_OK);
  store = cm_test_extension(CM_STORAGE_ID);

  memset(&migration, 0, sizeof migration);
  migration.number = 1;
  migration.name = cm_test_pview("0001_things");
  migration.sql = cm_test_pview("CREATE TABLE things (n INTEGER NOT NULL)");
  for (int twice = 0; twice < 2; ++twice) {
    CM_TEST(store->migrate(cm_test.instance, 1, cm_test_pview("test"), &migration, 1, done, NULL) == CM_OK);
    cm_test_run();
    CM_TEST(last == CM_OK);
  }
  store->statement(cm_test.instance, cm_test_pview("INSERT INTO things (n) VALUES (?)"), &insert_one);
  store->statement(cm_test.instance, cm_test_pview("SELECT count(*) FROM things"), &count_all);

  CM_TEST(submit(CM_OK) == CM_OK);
  CM_TEST(rows() == 1);
  CM_TEST(submit(CM_DENIED) == CM_DENIED); /* rolled back */
  CM_TEST(rows() == 1);
  CM_TEST(store->read(cm_test.instance, 1, insert, done, &answer) == CM_OK); /* a reader may not write */
  cm_test_run();
  CM_TEST(last == CM_INVALID);
  CM_TEST(rows() == 1);
  return cm_test_end();
}
