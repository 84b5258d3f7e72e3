#include "plugins/ws_broker/src/claimed_keys.hpp"

#include <gtest/gtest.h>

#include <functional>
#include <optional>

namespace cm::broker {
namespace {

TEST(ClaimedKeysTest, KeyIsFreeWhenTheLastCopyIsGone) {
  ClaimedKeys keys;
  auto claim = keys.claim("slug");
  ASSERT_NE(claim, nullptr);
  EXPECT_EQ(keys.claim("slug"), nullptr);
  EXPECT_NE(keys.claim("other"), nullptr);
  std::function<void()> callback = [claim = std::move(claim)] {};
  EXPECT_TRUE(keys.taken("slug"));
  callback = nullptr;  // the write ended, or nobody will ever hear of it
  EXPECT_FALSE(keys.taken("slug"));
  EXPECT_NE(keys.claim("slug"), nullptr);
}

TEST(ClaimedKeysTest, ClaimMayOutliveTheKeys) {
  auto keys = std::make_optional<ClaimedKeys>();
  const auto claim = keys->claim("slug");
  keys.reset();
  EXPECT_NE(claim, nullptr);
}

}  // namespace
}  // namespace cm::broker
