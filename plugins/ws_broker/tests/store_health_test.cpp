#include "plugins/ws_broker/src/store_health.hpp"

#include <gtest/gtest.h>

#include "plugins/ws_broker/tests/fake_host.hpp"

namespace cm::broker {
namespace {

const Error kDiskFull = make_error(ErrorCode::kIo, "disk full");

TEST(FailureLogTest, OneLineAtTheStartAndOneAMinuteWithTheCounts) {
  FailureLog log;
  const auto first = log.failed(1'000, 3);
  ASSERT_TRUE(first.has_value());
  EXPECT_EQ(first->failures, 1u);
  EXPECT_EQ(first->items, 3u);
  for (std::int64_t second = 1; second < 60; ++second) {
    EXPECT_FALSE(log.failed(1'000 + second * 1'000, 2).has_value()) << second;
  }
  const auto later = log.failed(61'000, 1);
  ASSERT_TRUE(later.has_value());
  EXPECT_EQ(later->failures, 60u);
  EXPECT_EQ(later->items, 59u * 2 + 1);
}

TEST(FailureLogTest, RecoveryHasOneLineAndTheNextFailureItsOwn) {
  FailureLog log;
  EXPECT_FALSE(log.succeeded().has_value());
  log.failed(0, 1);
  log.failed(1, 4);
  const auto recovered = log.succeeded();
  ASSERT_TRUE(recovered.has_value());
  EXPECT_EQ(recovered->items, 4u) << "what no line has told yet";
  EXPECT_FALSE(log.succeeded().has_value());
  EXPECT_TRUE(log.failed(2, 1).has_value()) << "a new change of state";
}

TEST(StoreHealthTest, ReasonNamesWhatFails) {
  test::FakeHost host;
  const HostApi api(host.raw());
  const Metrics metrics;
  StoreHealth health(api, metrics);
  EXPECT_EQ(health.reason(), "");
  health.write_ended(kDiskFull);
  EXPECT_EQ(health.reason(), "db_write_failed");
  health.read_ended(kDiskFull);
  EXPECT_EQ(health.reason(), "db_down");
  health.read_ended(Status());
  EXPECT_FALSE(health.ok()) << "a full disk can be read";
  health.write_ended(Status());
  EXPECT_TRUE(health.ok());
}

TEST(StoreHealthTest, OnlyASuccessfulLastWriteSparesTheProbe) {
  test::FakeHost host;
  const HostApi api(host.raw());
  const Metrics metrics;
  StoreHealth health(api, metrics);
  EXPECT_FALSE(health.take_written());
  health.write_ended(Status());
  EXPECT_TRUE(health.take_written());
  EXPECT_FALSE(health.take_written()) << "asked once";
  health.write_ended(Status());
  health.write_ended(kDiskFull);
  EXPECT_FALSE(health.take_written());
}

}  // namespace
}  // namespace cm::broker
