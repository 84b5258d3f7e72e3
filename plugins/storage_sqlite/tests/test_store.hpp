// One storage instance on a fake host, and a caller of it.
#pragma once

#include <claudemesh/ext/storage.h>

#include <memory>
#include <string>
#include <vector>

#include <claudemesh/cpp/storage.hpp>

#include "plugins/storage_sqlite/tests/fake_host.hpp"
#include "tests/support/temporary_folder.hpp"

namespace cm::test {

struct Answer {
  cm_status status = CM_OK;
  std::string text;
};

// The life cycle of one plugin instance, step by step. The destructor stops and destroys it.
class TestStore {
 public:
  // The options are those of `host`; they are read in start().
  explicit TestStore(FakeHost& host);
  ~TestStore();
  TestStore(const TestStore&) = delete;
  TestStore& operator=(const TestStore&) = delete;

  Answer start();
  Answer drain(std::uint64_t deadline_ms = 10'000);
  // stop, wait for the jobs, destroy.
  void stop();
  // Both phases of a reload, with the options that the host has now.
  void reload(bool commit);

  FakeHost& host() noexcept { return host_; }
  StorageClient& client() noexcept { return client_; }
  const HostApi& caller() const noexcept { return *caller_; }
  const cm_storage_v1* api() const noexcept { return static_cast<const cm_storage_v1*>(host_.provided.table); }
  void* instance() const noexcept { return host_.provided.instance; }

  cm_statement sql(std::string_view text) { return client_.statement(text); }
  // Submit, or read, and wait for the answer.
  Status run(SqlWork work);
  Status read(SqlWork work);
  Status execute(std::string_view text);
  Status migrate(const std::string& schema, const std::vector<SqlMigration>& migrations);
  Status backup(const std::string& path);
  std::int64_t count(std::string_view query);

 private:
  FakeHost& host_;
  const cm_host* storage_host_ = nullptr;
  cm_instance* raw_ = nullptr;
  const cm_instance_table_v1* table_ = nullptr;
  std::unique_ptr<HostApi> caller_;
  StorageClient client_;
  bool started_ = false;
};

}  // namespace cm::test
