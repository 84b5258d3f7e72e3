#include "plugins/ws_broker/src/path_pattern.hpp"

#include <gtest/gtest.h>

namespace cm::broker {
namespace {

TEST(PathPattern, TakesLiteralsNamesAndTheRest) {
  const auto pattern = PathPattern::parse("/hook/:mesh/*rest");
  ASSERT_TRUE(pattern.has_value());
  const auto matched = pattern->match("/hook/a%2Fb/c/d");
  ASSERT_TRUE(matched.has_value());
  const PathPattern::Parameters expected = {{"mesh", "a/b"}, {"rest", "c/d"}};
  EXPECT_EQ(*matched, expected);
  EXPECT_FALSE(pattern->match("/hook//c").has_value());
  EXPECT_FALSE(pattern->match("/hooks/a/c").has_value());
  EXPECT_FALSE(PathPattern::parse("/a")->match("/a/b").has_value());
  EXPECT_FALSE(PathPattern::parse("/a/b")->match("/a").has_value());
}

TEST(PathPattern, RefusesWhatIsNone) {
  for (const char* text : {"", "a", "/:", "/*", "/*rest/more"}) {
    EXPECT_FALSE(PathPattern::parse(text).has_value()) << text;
  }
}

TEST(PathPattern, PrefersLiterals) {
  EXPECT_TRUE(PathPattern::parse("/a/b")->more_literal_than(*PathPattern::parse("/a/:x")));
  EXPECT_TRUE(PathPattern::parse("/a/:x")->more_literal_than(*PathPattern::parse("/*r")));
  EXPECT_FALSE(PathPattern::parse("/:x/b")->more_literal_than(*PathPattern::parse("/a/:x")));
}

TEST(PathPattern, DecodesOnlyEscapes) {
  EXPECT_EQ(percent_decode("a%41%4"), "aA%4");
  EXPECT_EQ(percent_decode("%zz%"), "%zz%");
}

}  // namespace
}  // namespace cm::broker
