// The victim of crash_test: writes numbered works until it is killed, and prints each number once it is confirmed.
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <functional>

#include "plugins/storage_sqlite/tests/test_store.hpp"

int main(int argc, char** argv) {
  using namespace cm;
  if (argc != 3) {
    return 2;
  }
  test::FakeHost host;
  host.texts["path"] = argv[1];
  host.ints["wal_autocheckpoint"] = 50;
  test::TestStore store(host);
  const test::Answer started = store.start();
  if (started.status != CM_OK) {
    std::fprintf(stderr, "%s\n", started.text.c_str());
    return 1;
  }
  const SqlMigration table{1, "0001_t", "CREATE TABLE t(id INTEGER, part INTEGER, PRIMARY KEY(id, part)) STRICT;"};
  if (!store.migrate("crash", {table}).ok()) {
    return 1;
  }
  const cm_statement insert = store.sql("INSERT INTO t VALUES(?1, ?2)");
  std::int64_t next = std::atoll(argv[2]);
  std::function<void()> write_next = [&] {
    const std::int64_t id = next++;
    store.client().submit(
        [insert, id](SqlTransaction& transaction) -> Status {
          for (int part = 0; part < 3; ++part) {
            auto changes = transaction.execute(insert, {id, part});
            if (!changes.ok()) {
              return changes.error();
            }
          }
          return {};
        },
        [&write_next, id](Status status) {
          if (!status.ok()) {
            std::fprintf(stderr, "%s\n", status.error().message.c_str());
            ::_exit(1);
          }
          // One write per number: what the parent reads was confirmed before the kill.
          if (::write(STDOUT_FILENO, &id, sizeof(id)) != sizeof(id)) {
            ::_exit(3);
          }
          write_next();
        });
  };
  for (int i = 0; i < 16; ++i) {
    write_next();
  }
  host.run_until([] { return false; }, 60'000);
  return 4;  // nobody killed us
}
