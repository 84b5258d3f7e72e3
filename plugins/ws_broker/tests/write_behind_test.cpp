#include "plugins/ws_broker/src/write_behind.hpp"

#include <gtest/gtest.h>

#include "plugins/ws_broker/tests/fake_host.hpp"

namespace cm::broker {
namespace {

class WriteBehindTest : public ::testing::Test {
 protected:
  WriteBehindTest() { storage_ = std::move(*StorageClient::acquire(api_, "store")); }

  void add(int number) {
    writes_.add([this, number](SqlTransaction&) {
      written_.push_back(number);
      return Status();
    });
  }

  test::FakeHost host_;
  test::FakeStorage store_{host_};
  HostApi api_{host_.raw()};
  StorageClient storage_;
  Metrics metrics_;
  std::vector<int> written_;
  StoreHealth health_{api_, metrics_};
  WriteBehind writes_{api_, storage_, metrics_, health_};
};

TEST_F(WriteBehindTest, CollectsAndKeepsTheOrder) {
  add(1);
  add(2);
  EXPECT_EQ(store_.waiting(), 0u) << "it waits a moment for more";
  host_.advance_ms(WriteBehind::kDelayMs);
  ASSERT_EQ(store_.waiting(), 1u) << "one work for both";
  add(3);
  store_.run_one();
  EXPECT_EQ(written_, (std::vector<int>{1, 2}));
  host_.advance_ms(WriteBehind::kDelayMs);
  store_.run_one();
  EXPECT_EQ(written_, (std::vector<int>{1, 2, 3}));
  EXPECT_TRUE(writes_.idle());
}

TEST_F(WriteBehindTest, FlushWaitsForExactlyWhatCameBefore) {
  bool flushed = false;
  writes_.flush([&] { flushed = true; });
  EXPECT_TRUE(flushed) << "nothing waits";
  flushed = false;
  add(1);
  writes_.flush([&] { flushed = true; });
  ASSERT_EQ(store_.waiting(), 1u) << "a flush does not wait for the timer";
  EXPECT_FALSE(flushed);
  add(2);
  store_.run_one();
  EXPECT_TRUE(flushed);
  EXPECT_EQ(written_, std::vector<int>{1});
}

TEST_F(WriteBehindTest, BusyStoreIsTriedAgainInTheSameOrder) {
  add(1);
  add(2);
  bool flushed = false;
  writes_.flush([&] { flushed = true; });
  store_.run_one(CM_BUSY);
  written_.clear();
  EXPECT_FALSE(flushed) << "nothing is durable yet";
  add(3);
  host_.advance_ms(WriteBehind::kRetryMs);
  ASSERT_EQ(store_.waiting(), 1u);
  store_.run_one();
  EXPECT_EQ(written_, (std::vector<int>{1, 2, 3}));
  EXPECT_TRUE(flushed);
}

TEST_F(WriteBehindTest, RefusedWritesDoNotBlockLaterOnes) {
  add(1);
  host_.advance_ms(WriteBehind::kDelayMs);
  store_.run_one(CM_INVALID);
  add(2);
  host_.advance_ms(WriteBehind::kDelayMs);
  store_.run_one();
  EXPECT_EQ(written_.back(), 2);
  EXPECT_TRUE(writes_.idle());
}

TEST_F(WriteBehindTest, FullBatchDoesNotWait) {
  for (std::size_t i = 0; i < WriteBehind::kBatchMax; ++i) {
    add(static_cast<int>(i));
  }
  EXPECT_EQ(store_.waiting(), 1u);
  store_.run_one();
  EXPECT_EQ(written_.size(), WriteBehind::kBatchMax);
}

TEST_F(WriteBehindTest, StopTakesNothingMore) {
  add(1);
  writes_.stop();
  add(2);
  host_.advance_ms(10 * WriteBehind::kRetryMs);
  EXPECT_EQ(store_.waiting(), 0u);
  EXPECT_EQ(host_.timers(), 0u);
}

}  // namespace
}  // namespace cm::broker
