#include "protocol/json.hpp"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>

#include "protocol/tests/support.hpp"

namespace cm::protocol {
namespace {

std::string round_trip(std::string_view text) {
  const auto value = parse_json(text);
  return value.ok() ? to_json(*value) : "error: " + value.error().message;
}

TEST(Json, RoundTripsCompactText) {
  for (const char* text :
       {"null", "true", "false", "0", "-1.5", "\"\"", "[]", "{}", "[1,[2,[3]]]", "{\"b\":1,\"a\":{}}",
        "\"\\u0000\\b\\f\\n\\r\\t\\\"\\\\/\"", "\"gr\xC3\xBC\xC3\x9F\"", "[1e+21,1e-7]"}) {
    EXPECT_EQ(round_trip(text), text);
  }
  EXPECT_EQ(round_trip(" [ 1 , 2 ]\n"), "[1,2]");
  EXPECT_EQ(round_trip("\"\\u0041\\/\\ud83d\\ude00\""), "\"A/\xF0\x9F\x98\x80\"");
}

TEST(Json, RefusesWhatIsNoJson) {
  for (const char* bad : {"",
                          " ",
                          "{",
                          "}",
                          "[",
                          "]",
                          "[1,]",
                          "[,1]",
                          "[1 2]",
                          "{\"a\":1,}",
                          "{,\"a\":1}",
                          "{\"a\" 1}",
                          "{\"a\":}",
                          "{a:1}",
                          "{'a':1}",
                          "tru",
                          "nul",
                          "True",
                          "NaN",
                          "Infinity",
                          "-",
                          "01",
                          "-01",
                          "1.",
                          ".5",
                          "+1",
                          "1e",
                          "1e+",
                          "0x1",
                          "\"",
                          "\"a",
                          "\"\\x\"",
                          "\"\\u12\"",
                          "\"\\u12g4\"",
                          "\"a\nb\"",
                          "1 2",
                          "null null",
                          "[1]]",
                          "\xEF\xBB\xBF{}",
                          "\"\xFF\"",
                          "\"\xED\xA0\x80\"",
                          "1e400",
                          "-1e400",
                          "{\"a\":1 \"b\":2}",
                          "\"\\",
                          "\"\\u"}) {
    const auto value = parse_json(bad);
    ASSERT_FALSE(value.ok()) << bad;
    EXPECT_EQ(value.error().code, ErrorCode::kInvalid);
  }
  EXPECT_FALSE(parse_json(std::string_view("1\0", 2)).ok());
  EXPECT_FALSE(parse_json(std::string_view("\"\0\"", 3)).ok());
}

TEST(Json, NumbersAreNearestDoubles) {
  EXPECT_EQ(*parse_json("1e-400")->as_number(), 0.0);
  EXPECT_EQ(*parse_json("0.0000000000000000000000000000000000000000001e-400")->as_number(), 0.0);
  EXPECT_EQ(*parse_json("5e-324")->as_number(), 5e-324);
  EXPECT_EQ(*parse_json("9007199254740993")->as_number(), 9007199254740992.0);
  EXPECT_EQ(*parse_json("2.2250738585072011e-308")->as_number(), 2.2250738585072011e-308);
  EXPECT_EQ(*parse_json("0e999999999999999999999")->as_number(), 0.0);
  EXPECT_TRUE(std::signbit(*parse_json("-0")->as_number()));
  EXPECT_EQ(round_trip("-0"), "0");
}

TEST(Json, DuplicatesKeepFirstPlaceAndLastValue) {
  EXPECT_EQ(round_trip("{\"a\":1,\"b\":2,\"a\":3}"), "{\"a\":3,\"b\":2}");
  EXPECT_EQ(round_trip("{\"a\":1,\"a\":2,\"a\":3,\"c\":4,\"b\":5,\"c\":6}"), "{\"a\":3,\"c\":6,\"b\":5}");
}

TEST(Json, ManyDuplicatesAreNotQuadratic) {
  std::string text = "{";
  for (int i = 0; i < 200'000; ++i) {
    text += (i == 0 ? "\"k" : ",\"k") + std::to_string(i % 100'000) + "\":" + std::to_string(i);
  }
  text += "}";
  const auto value = parse_json(text);
  ASSERT_TRUE(value.ok());
  EXPECT_EQ(value->as_object()->size(), 100'000u);
  EXPECT_EQ(*value->find("k7")->as_number(), 100'007);
}

TEST(Json, BoundsAreEnforced) {
  const std::string nested_ok = std::string(64, '[') + std::string(64, ']');
  const std::string nested_bad = std::string(65, '[') + std::string(65, ']');
  EXPECT_TRUE(parse_json(nested_ok).ok());
  EXPECT_FALSE(parse_json(nested_bad).ok());
  EXPECT_FALSE(parse_json(std::string(1'000'000, '[')).ok());
  std::string objects;
  for (int i = 0; i < 65; ++i) {
    objects += "{\"a\":";
  }
  EXPECT_FALSE(parse_json(objects).ok());
  JsonLimits limits;
  limits.max_bytes = 4;
  EXPECT_TRUE(parse_json("1234", limits).ok());
  EXPECT_FALSE(parse_json("12345", limits).ok());
}

TEST(Json, LoneSurrogatesByPolicy) {
  const auto with = [](LoneSurrogates policy) {
    JsonLimits limits;
    limits.lone_surrogates = policy;
    return limits;
  };
  EXPECT_FALSE(parse_json("\"\\ud800\"", with(LoneSurrogates::kReject)).ok());
  EXPECT_EQ(*parse_json("\"a\\udc00\"", with(LoneSurrogates::kReplace))->as_string(), "a\xEF\xBF\xBD");
  EXPECT_EQ(to_json(*parse_json("\"\\uD800x\"", with(LoneSurrogates::kKeep))), "\"\\ud800x\"");
  EXPECT_EQ(to_json(*parse_json("\"\\ud83d\\ud83d\\ude00\"", with(LoneSurrogates::kKeep))),
            "\"\\ud83d\xF0\x9F\x98\x80\"");
  EXPECT_EQ(to_json(*parse_json("\"\\ud83d\\n\"", with(LoneSurrogates::kKeep))), "\"\\ud83d\\n\"");
}

TEST(Json, WriterRepairsInvalidUtf8) {
  std::string out;
  append_json_string(out, "a\xFF\xC3");
  EXPECT_EQ(out, "\"a\xEF\xBF\xBD\xEF\xBF\xBD\"");
  EXPECT_TRUE(parse_json(out).ok());
  out.clear();
  append_json_number(out, std::nan(""));
  EXPECT_EQ(out, "null");
}

// Each special character at each place of a text longer than the block that the writer looks at.
TEST(Json, WriterEscapesAtEveryPlace) {
  for (std::size_t place = 0; place < 40; ++place) {
    for (int byte = 0; byte < 0x80; ++byte) {
      std::string text(40, 'a');
      text[place] = static_cast<char>(byte);
      std::string out;
      append_json_string(out, text);
      const bool special = byte < 0x20 || byte == '"' || byte == '\\';
      EXPECT_EQ(out.size() > text.size() + 2, special) << byte << " at " << place;
      const auto back = parse_json(out);
      ASSERT_TRUE(back.ok()) << byte << " at " << place;
      EXPECT_EQ(*back->as_string(), text);
    }
    std::string text(40, 'a');
    text.replace(place, 1, "\xF0\x9F\x98\x80");
    EXPECT_EQ(*parse_json(to_json(JsonValue(text)))->as_string(), text);
  }
}

TEST(Json, FindAndSet) {
  JsonValue value;
  value.set("a", JsonValue(1.0));
  value.set("b", JsonValue("x"));
  value.set("a", JsonValue(true));
  EXPECT_EQ(to_json(value), "{\"a\":true,\"b\":\"x\"}");
  EXPECT_EQ(value.find("c"), nullptr);
  EXPECT_EQ(JsonValue("text").find("c"), nullptr);
}

TEST(Json, ErrorsNameThePlaceNotTheContent) {
  const auto value = parse_json("{\"secret\":hunter2}");
  ASSERT_FALSE(value.ok());
  EXPECT_NE(value.error().message.find("byte 10"), std::string::npos) << value.error().message;
  EXPECT_EQ(value.error().message.find("hunter2"), std::string::npos);
}

}  // namespace
}  // namespace cm::protocol
