#include "plugins/ws_broker/src/text.hpp"

#include <gtest/gtest.h>

#include <set>

#include "protocol/ids.hpp"

namespace cm::broker {
namespace {

TEST(Text, IsoTimeHasThreeDigitsAndZ) {
  EXPECT_EQ(iso_time(0), "1970-01-01T00:00:00.000Z");
  EXPECT_EQ(iso_time(1'776'254'400'007), "2026-04-15T12:00:00.007Z");
  EXPECT_EQ(iso_time(1'709'251'199'999), "2024-02-29T23:59:59.999Z");
}

TEST(Text, WildcardAddresses) {
  for (const char* address : {"0.0.0.0:7900", "[::]:7900", ":7900", "*:7900"}) {
    EXPECT_TRUE(is_wildcard_address(address)) << address;
  }
  for (const char* address : {"127.0.0.1:7900", "[::1]:7900", "10.0.0.0:80", "mesh.example.org:443"}) {
    EXPECT_FALSE(is_wildcard_address(address)) << address;
  }
}

TEST(SortableIds, GrowAndStayBase62) {
  SortableIds ids;
  const protocol::RandomSource random = protocol::system_random();
  std::string last;
  // Many in one millisecond, then a clock that steps back, then one that goes on.
  for (const std::int64_t now_ms : {1'750'000'000'000, 1'749'999'000'000, 1'750'000'100'000}) {
    for (int i = 0; i < 200; ++i) {
      const std::string id = ids.next(now_ms, random);
      EXPECT_TRUE(protocol::is_row_id(id)) << id;
      EXPECT_LT(last, id);
      last = id;
    }
  }
}

TEST(SortableIds, DifferInTheirPrefix) {
  SortableIds ids;
  const protocol::RandomSource random = protocol::system_random();
  std::set<std::string> prefixes;
  for (int i = 0; i < 500; ++i) {
    prefixes.insert(ids.next(1'750'000'000'000, random).substr(0, protocol::kMessageIdPrefixMin));
  }
  EXPECT_EQ(prefixes.size(), 500u);
}

TEST(Text, MembersOfJson) {
  const auto json = protocol::parse_json(R"({"a":"x","b":"","c":3})");
  ASSERT_TRUE(json.ok());
  EXPECT_EQ(text_member(*json, "a"), "x");
  EXPECT_EQ(text_member(*json, "c"), "");
  EXPECT_EQ(text_member(*json, "none"), "");
  EXPECT_EQ(text_if_set(*json, "a"), "x");
  EXPECT_FALSE(text_if_set(*json, "b").has_value());
}

}  // namespace
}  // namespace cm::broker
