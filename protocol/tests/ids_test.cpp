#include "protocol/ids.hpp"

#include <gtest/gtest.h>

#include <set>
#include <unordered_set>

#include "protocol/tests/support.hpp"

namespace cm::protocol {
namespace {

TEST(Ids, GeneratedIdsHaveTheirShapeAndDiffer) {
  const RandomSource random = system_random();
  std::set<std::string> seen;
  for (int i = 0; i < 500; ++i) {
    const std::string row = generate_row_id(random);
    EXPECT_TRUE(is_row_id(row)) << row;
    EXPECT_TRUE(is_message_id_or_prefix(row));
    const std::string uuid = generate_uuid_v4(random);
    EXPECT_TRUE(is_uuid(uuid)) << uuid;
    EXPECT_EQ(uuid[14], '4');
    EXPECT_NE(std::string("89ab").find(uuid[19]), std::string::npos);
    EXPECT_EQ(generate_invite_code(random).size(), kInviteCodeLength);
    EXPECT_TRUE(is_hex(generate_hex(random, 8), 16, HexCase::kLowerOnly));
    EXPECT_TRUE(seen.insert(row).second);
    EXPECT_TRUE(seen.insert(uuid).second);
  }
}

TEST(Ids, InviteCodesAvoidLookAlikes) {
  const RandomSource random = test::seeded_random(3);
  for (int i = 0; i < 200; ++i) {
    EXPECT_EQ(generate_invite_code(random).find_first_of("01lIO"), std::string::npos);
  }
}

TEST(Ids, SymbolsAreUniform) {
  // 62 symbols, 62'000 draws: each is expected 1000 times; five standard deviations are about 160.
  const RandomSource random = test::seeded_random(11);
  std::array<int, 256> count{};
  for (int i = 0; i < 1000; ++i) {
    for (const char c : generate_base62(random, 62)) {
      ++count[static_cast<unsigned char>(c)];
    }
  }
  int symbols = 0;
  for (const int n : count) {
    if (n != 0) {
      ++symbols;
      EXPECT_NEAR(n, 1000, 160);
    }
  }
  EXPECT_EQ(symbols, 62);
}

TEST(Ids, RandomBelowStaysBelow) {
  const RandomSource random = test::seeded_random(5);
  for (const std::uint64_t bound : {1ull, 2ull, 3ull, 1000ull, 0x8000000000000001ull}) {
    for (int i = 0; i < 200; ++i) {
      EXPECT_LT(random_below(random, bound), bound);
    }
  }
}

TEST(Ids, UlidKnownTime) {
  // The example time of the ULID specification: 1469918176385 is 01ARYZ6S41.
  UlidGenerator generator(test::fixed_random(Bytes(10, 0)));
  EXPECT_EQ(generator.next(1'469'918'176'385), "01ARYZ6S410000000000000000");
  EXPECT_EQ(generator.next(1'469'918'176'385), "01ARYZ6S410000000000000001");
}

TEST(Ids, UlidsGrowEvenWhenTheClockStepsBack) {
  UlidGenerator generator(test::seeded_random(1));
  std::string last;
  const std::int64_t times[] = {1000, 1000, 1000, 999, 5, 1001, 1001, 2'000'000'000'000, 3};
  for (const std::int64_t now : times) {
    const std::string next = generator.next(now);
    EXPECT_TRUE(is_ulid(next)) << next;
    EXPECT_GT(next, last);
    last = next;
  }
}

TEST(Ids, ValidatorsRefuse) {
  EXPECT_FALSE(is_message_id_or_prefix("1234567"));
  EXPECT_TRUE(is_message_id_or_prefix("12345678"));
  EXPECT_FALSE(is_message_id_or_prefix(std::string(33, 'a')));
  EXPECT_FALSE(is_message_id_or_prefix("1234-678"));
  EXPECT_FALSE(is_base62(""));
  EXPECT_FALSE(is_uuid("123e4567-e89b-12d3-a456-42661417400"));
  EXPECT_FALSE(is_uuid("123e4567ae89b-12d3-a456-426614174000"));
  EXPECT_TRUE(is_uuid("123E4567-e89b-12d3-a456-426614174000"));
  EXPECT_FALSE(is_ulid("81ARYZ6S410000000000000000"));
  EXPECT_FALSE(is_ulid("01ARYZ6S41000000000000000U"));
  EXPECT_FALSE(is_client_message_id(""));
  EXPECT_FALSE(is_client_message_id("a\nb"));
  EXPECT_FALSE(is_client_message_id(std::string(257, 'a')));
  EXPECT_TRUE(is_client_message_id(std::string(256, 'a')));
  EXPECT_FALSE(is_client_message_id("\xFF"));
  EXPECT_TRUE(is_mesh_slug("My-mesh_1.x"));
  EXPECT_FALSE(is_mesh_slug("a/b"));
  EXPECT_FALSE(is_mesh_slug(""));
}

TEST(Ids, StrongTextsCompareAndHash) {
  std::unordered_set<MeshId> set;
  set.insert(MeshId("a"));
  EXPECT_TRUE(set.contains(MeshId(std::string("a"))));
  EXPECT_FALSE(set.contains(MeshId("b")));
  EXPECT_LT(MessageId("a"), MessageId("b"));
  static_assert(!std::is_convertible_v<MeshId, MemberId> && !std::is_constructible_v<MemberId, MeshId>);
}

}  // namespace
}  // namespace cm::protocol
