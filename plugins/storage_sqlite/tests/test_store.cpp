#include "plugins/storage_sqlite/tests/test_store.hpp"

#include <gtest/gtest.h>

#include <atomic>
#include <cstdlib>
#include <filesystem>
#include <optional>

extern "C" const cm_plugin_entry_v1 cm_plugin_entry_storage_sqlite;

namespace cm::test {
namespace {

// Several instances may live on one host, one after the other.
cm_handle new_ticket() {
  static std::atomic<cm_handle> next = 1;
  return next++;
}

Status wait_for(FakeHost& host, const std::optional<Status>& answer) {
  if (!host.run_until([&answer] { return answer.has_value(); })) {
    return make_error(ErrorCode::kInternal, "no answer came");
  }
  return *answer;
}

}  // namespace

TestStore::TestStore(FakeHost& host) : host_(host) {
  storage_host_ = host.add_instance("store");
  caller_ = std::make_unique<HostApi>(host.add_instance("caller"));
}

TestStore::~TestStore() {
  stop();
}

Answer TestStore::start() {
  const auto* factory = static_cast<const cm_factory_v1*>(cm_plugin_entry_storage_sqlite.get_factory(CM_FACTORY_ID));
  cm_status status = factory->create(storage_host_, &raw_, &table_);
  if (status == CM_OK) {
    status = table_->configure(raw_);
  }
  if (status != CM_OK) {
    return Answer{status, host_.last_error()};
  }
  host_.provided = cm_extension{raw_, table_->get_extension(raw_, CM_STORAGE_ID), storage_host_->self, 1};
  const cm_handle ticket = new_ticket();
  status = table_->start(raw_, ticket);
  Answer answer{status, host_.last_error()};
  if (status == CM_DEFER) {
    host_.run_until([&] { return host_.completed(ticket, &answer.status, &answer.text); });
  }
  started_ = answer.status == CM_OK;
  auto client = StorageClient::acquire(*caller_, "store");
  if (client.ok()) {
    client_ = std::move(*client);
  }
  return answer;
}

Answer TestStore::drain(std::uint64_t deadline_ms) {
  const cm_handle ticket = new_ticket();
  const cm_status status = table_->drain(raw_, ticket, deadline_ms);
  Answer answer{status, host_.last_error()};
  if (status == CM_DEFER) {
    host_.run_until([&] { return host_.completed(ticket, &answer.status, &answer.text); });
  }
  return answer;
}

void TestStore::stop() {
  if (raw_ == nullptr) {
    return;
  }
  if (started_) {
    table_->stop(raw_);
    host_.stop_instance(storage_host_->self);
  }
  host_.wait_for_jobs();
  client_.release();
  table_->destroy(std::exchange(raw_, nullptr));
}

void TestStore::reload(bool commit) {
  EXPECT_EQ(table_->reload_prepare(raw_), CM_OK);
  table_->reload_finish(raw_, commit);
}

Status TestStore::run(SqlWork work) {
  std::optional<Status> answer;
  client_.submit(std::move(work), [&answer](Status status) { answer = std::move(status); });
  return wait_for(host_, answer);
}

Status TestStore::read(SqlWork work) {
  std::optional<Status> answer;
  client_.read(std::move(work), [&answer](Status status) { answer = std::move(status); });
  return wait_for(host_, answer);
}

Status TestStore::execute(std::string_view text) {
  const cm_statement id = sql(text);
  return run([id](SqlTransaction& transaction) -> Status {
    auto changes = transaction.execute(id);
    return changes.ok() ? Status() : Status(changes.error());
  });
}

Status TestStore::migrate(const std::string& schema, const std::vector<SqlMigration>& migrations) {
  std::optional<Status> answer;
  client_.migrate(schema, migrations, [&answer](Status status) { answer = std::move(status); });
  return wait_for(host_, answer);
}

Status TestStore::backup(const std::string& path) {
  std::optional<Status> answer;
  client_.backup(path, [&answer](Status status) { answer = std::move(status); });
  return wait_for(host_, answer);
}

std::int64_t TestStore::count(std::string_view query) {
  std::int64_t result = -1;
  const cm_statement id = sql(query);
  const Status status = read([id, &result](SqlTransaction& transaction) {
    return transaction.query(id, {}, [&result](const SqlRow& row) { result = row.integer(0); });
  });
  EXPECT_TRUE(status.ok()) << (status.ok() ? "" : status.error().message);
  return result;
}

}  // namespace cm::test
