// cm.storage/1 for tests: real SQL on a real SQLite database, single-threaded and synchronous; answers are posted by
// the fake host. The database outlives the instances that use it, as a disk outlives a process.
#pragma once

#include <claudemesh/ext/storage.h>

#include <cstdint>
#include <functional>
#include <map>
#include <string>
#include <vector>

#include "tests/support/fake_host.hpp"

struct sqlite3;

namespace cm::testing {

class FakeStorage {
 public:
  explicit FakeStorage(FakeHost& host);
  FakeStorage(const FakeStorage&) = delete;
  FakeStorage& operator=(const FakeStorage&) = delete;
  ~FakeStorage();

  // Offers itself under `name`.
  void provide(const std::string& name);

  // Runs SQL on the side; the first column of each row, as text.
  std::vector<std::string> query(const std::string& sql);
  std::string value(const std::string& sql);

  cm_status submit_status = CM_OK;  // what the next submits answer: CM_BUSY refuses them
  cm_status commit_status = CM_OK;  // CM_IO: the work is rolled back and reported as failed
  bool hold_answers = false;        // committed, but `done` waits for release()
  void release();
  std::uint64_t commits = 0;

 private:
  friend struct FakeStorageTable;
  struct Answer {
    cm_storage_done done;
    void* user;
    cm_status status;
    std::string error;
  };
  void deliver(Answer answer);
  cm_status run(cm_storage_work work, cm_storage_done done, void* user, bool write);

  FakeHost& host_;
  sqlite3* database_ = nullptr;
  std::vector<std::string> statements_;
  std::map<std::string, std::uint32_t> applied_;  // schema -> migrations
  std::vector<Answer> held_;
  std::string last_error_;
};

}  // namespace cm::testing
