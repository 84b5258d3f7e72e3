// Goal: group commit carries the load of a broker. Method: 128 works of three inserts each in flight, answered and
// replaced on one loop; prints works per second. Fails when that is far below what any disk with a cache gives, unless
// the disk is so slow, or so busy with something else, that nothing but sharing its syncs can help, and they are
// shared.
#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <cstdio>

#include "plugins/storage_sqlite/tests/test_store.hpp"

namespace cm::test {
namespace {

constexpr int kInFlight = 128;
constexpr double kWorksPerSecondMin = 500;
constexpr double kWorksPerCommitMin = 16;       // on a slow disk
constexpr std::uint64_t kBeginUs = 30'000'000;  // no work is begun later

#if defined(__SANITIZE_THREAD__)
constexpr int kWorks = 2'000;
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer) || __has_feature(address_sanitizer)
constexpr int kWorks = 2'000;
#else
constexpr int kWorks = 60'000;
#endif
#else
constexpr int kWorks = 60'000;
#endif

struct Load {
  TestStore* store = nullptr;
  cm_statement message = 0;
  cm_statement history = 0;
  cm_statement delivery = 0;
  std::uint64_t started_us = 0;
  int begun = 0;
  int finished = 0;
};

// As a plugin in C would do it: one object per work, nothing allocated for the statements.
struct Work {
  Load* load = nullptr;
  std::int64_t id = 0;
  std::uint64_t submitted_us = 0;
};

cm_value integer(std::int64_t number) {
  cm_value value = {};
  value.type = CM_VALUE_INT;
  value.integer = number;
  return value;
}

cm_value bytes(std::uint32_t type, std::string_view text) {
  cm_value value = {};
  value.type = type;
  value.data = reinterpret_cast<const std::uint8_t*>(text.data());
  value.data_size = text.size();
  return value;
}

TEST(StorageThroughput, ThreeInsertsPerWork) {
  TemporaryFolder folder;
  FakeHost host;
  host.texts["path"] = folder.file("mesh.db");
  TestStore store(host);
  ASSERT_EQ(store.start().status, CM_OK);
  ASSERT_TRUE(store.execute("CREATE TABLE message(id TEXT PRIMARY KEY, sender TEXT, body BLOB) STRICT").ok());
  ASSERT_TRUE(store.execute("CREATE TABLE history(seq INTEGER PRIMARY KEY, id TEXT, at INTEGER) STRICT").ok());
  ASSERT_TRUE(store.execute("CREATE TABLE delivery(seq INTEGER PRIMARY KEY, recipient TEXT, id TEXT) STRICT").ok());
  Load load;
  load.store = &store;
  load.message = store.sql("INSERT INTO message(id, sender, body) VALUES(?1, ?2, ?3)");
  load.history = store.sql("INSERT INTO history(id, at) VALUES(?1, ?2)");
  load.delivery = store.sql("INSERT INTO delivery(recipient, id) VALUES(?1, ?2)");
  static std::vector<std::uint64_t> latencies_us;
  latencies_us.clear();
  latencies_us.reserve(kWorks);
  static constexpr std::string_view kKey = "6f1de4a2b6f84cbb9c1d2f0e7a5b3c4d6f1de4a2b6f84cbb9c1d2f0e7a5b3c4d";
  static const std::string body(256, '\x7f');

  const cm_storage_work work = [](void* user, cm_storage_transaction* transaction,
                                  const cm_storage_sql_v1* sql) noexcept {
    const auto* self = static_cast<Work*>(user);
    char id[32];
    const int size = std::snprintf(id, sizeof(id), "%016llx", static_cast<unsigned long long>(self->id * 7919));
    const std::string_view name(id, static_cast<std::size_t>(size));
    const cm_value message[] = {bytes(CM_VALUE_TEXT, name), bytes(CM_VALUE_TEXT, kKey), bytes(CM_VALUE_BLOB, body)};
    const cm_value history[] = {bytes(CM_VALUE_TEXT, name), integer(self->id)};
    const cm_value delivery[] = {bytes(CM_VALUE_TEXT, kKey), bytes(CM_VALUE_TEXT, name)};
    cm_status status = sql->execute(transaction, self->load->message, message, 3, nullptr);
    status = status != CM_OK ? status : sql->execute(transaction, self->load->history, history, 2, nullptr);
    return status != CM_OK ? status : sql->execute(transaction, self->load->delivery, delivery, 2, nullptr);
  };
  static constexpr cm_storage_work kNone = nullptr;
  static cm_storage_work work_function = kNone;
  work_function = work;
  static cm_storage_done done_function = nullptr;
  done_function = [](void* user, cm_status status, cm_text_hview) noexcept {
    auto* self = static_cast<Work*>(user);
    EXPECT_EQ(status, CM_OK);
    Load& all = *self->load;
    ++all.finished;
    const std::uint64_t now_us = all.store->caller().monotonic_us();
    latencies_us.push_back(now_us - self->submitted_us);
    if (all.begun < kWorks && now_us < all.started_us + kBeginUs) {
      self->id = all.begun++;
      self->submitted_us = now_us;
      all.store->api()->submit(all.store->instance(), all.store->caller().self(), work_function, done_function, self);
    }
  };

  std::vector<Work> works(kInFlight);
  load.started_us = store.caller().monotonic_us();
  for (Work& one : works) {
    one = Work{&load, load.begun++, load.started_us};
    ASSERT_EQ(store.api()->submit(store.instance(), store.caller().self(), work, done_function, &one), CM_OK);
  }
  ASSERT_TRUE(host.run_until([&load] { return load.finished == load.begun; }, 110'000));
  const double seconds = static_cast<double>(store.caller().monotonic_us() - load.started_us) / 1e6;
  const double per_second = load.finished / seconds;
  const double per_commit = load.finished / static_cast<double>(host.metric("storage_commits_total"));
  std::sort(latencies_us.begin(), latencies_us.end());
  const auto percentile = [](double part) {
    const auto last = static_cast<double>(latencies_us.size() - 1);
    return static_cast<unsigned long long>(latencies_us[static_cast<std::size_t>(part * last)]);
  };
  std::printf("%d works of 3 inserts, %d in flight: %.0f works/s, %.1f works per commit, p50 %llu us, p99 %llu us\n",
              load.finished, kInFlight, per_second, per_commit, percentile(0.5), percentile(0.99));
  EXPECT_TRUE(per_second > kWorksPerSecondMin || per_commit > kWorksPerCommitMin);
  EXPECT_EQ(store.count("SELECT count(*) FROM delivery"), load.finished);
}

}  // namespace
}  // namespace cm::test
