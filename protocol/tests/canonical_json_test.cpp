#include "protocol/canonical_json.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>

#include "protocol/tests/support.hpp"

namespace cm::protocol {
namespace {

using test::load_vectors;
using test::text_of;

TEST(CanonicalJson, AgreesWithKnownAnswers) {
  const JsonValue vectors = load_vectors("canonical_json.json");
  for (const JsonValue& vector : test::list_of(vectors, "texts")) {
    const std::string text = text_of(vector, "text");
    const auto jcs = canonical_json(text);
    if (vector.find("jcs")->is_null()) {
      EXPECT_FALSE(jcs.ok()) << text;
    } else {
      ASSERT_TRUE(jcs.ok()) << text << ": " << jcs.error().message;
      EXPECT_EQ(*jcs, text_of(vector, "jcs"));
    }
    // The answer may hold lone surrogates as escapes; the file has them escaped once more.
    const auto js = canonical_json_js(text);
    ASSERT_TRUE(js.ok()) << text;
    EXPECT_EQ(*js, text_of(vector, "js")) << text;
  }
}

TEST(CanonicalJson, NumbersAgreeWithKnownAnswers) {
  const JsonValue vectors = load_vectors("canonical_json.json");
  ASSERT_GE(test::list_of(vectors, "numbers").size(), 500u);
  for (const JsonValue& vector : test::list_of(vectors, "numbers")) {
    const std::uint64_t bits = std::stoull(text_of(vector, "bits"), nullptr, 16);
    double value = 0;
    std::memcpy(&value, &bits, sizeof(value));
    EXPECT_EQ(ecmascript_number(value), text_of(vector, "text"));
    EXPECT_EQ(*canonical_json(JsonValue(value)), text_of(vector, "text"));
  }
  EXPECT_EQ(ecmascript_number(1717459200000.0), "1717459200000");
  EXPECT_EQ(ecmascript_number(std::nan("")), "NaN");
  EXPECT_EQ(ecmascript_number(-HUGE_VAL), "-Infinity");
}

TEST(CanonicalJson, RefusesNotANumber) {
  EXPECT_FALSE(canonical_json(JsonValue(std::nan(""))).ok());
  EXPECT_FALSE(canonical_json_js(JsonValue(HUGE_VAL)).ok());
  EXPECT_FALSE(canonical_json(JsonValue("\xFF")).ok());
}

TEST(CanonicalJson, DeepTreesAreRefusedNotOverflown) {
  JsonValue value;
  for (int i = 0; i < 10'000; ++i) {
    JsonValue::Array wrap;
    wrap.push_back(std::move(value));
    value = JsonValue(std::move(wrap));
  }
  EXPECT_FALSE(canonical_json(value).ok());
}

// Property: the canonical form is a fixed point, and does not depend on the order of members.
TEST(CanonicalJson, IsAFixedPointAndIgnoresOrder) {
  std::mt19937_64 random(42);
  for (int round = 0; round < 300; ++round) {
    JsonValue::Object members;
    const std::size_t count = random() % 12;
    for (std::size_t i = 0; i < count; ++i) {
      std::string key = random() % 2 == 0 ? std::to_string(random() % 40) : std::string();
      for (std::size_t j = random() % 4; j > 0; --j) {
        const char* const pieces[] = {"a",  "Z", "\xC3\xBC", "\xEF\xBF\xBF", "\xF0\x9F\x98\x80", "\xEE\x80\x80",
                                      "\n", "0"};
        key += pieces[random() % 8];
      }
      const bool known = std::any_of(members.begin(), members.end(), [&](const JsonMember& m) { return m.key == key; });
      if (!known) {
        members.push_back(JsonMember{key, JsonValue(static_cast<double>(random() % 1000) / 7)});
      }
    }
    JsonValue::Object shuffled = members;
    std::shuffle(shuffled.begin(), shuffled.end(), random);
    const JsonValue one(members);
    const JsonValue two(shuffled);
    for (const auto canonical : {static_cast<Result<std::string> (*)(const JsonValue&)>(canonical_json),
                                 static_cast<Result<std::string> (*)(const JsonValue&)>(canonical_json_js)}) {
      const std::string first = canonical(one).value();
      EXPECT_EQ(first, canonical(two).value());
      EXPECT_EQ(first, canonical(parse_json(first).value()).value());
    }
  }
}

TEST(CanonicalJson, NamesAreOrderedByUtf16) {
  EXPECT_LT(compare_utf16("", "a"), 0);
  EXPECT_EQ(compare_utf16("a\xC3\xBC", "a\xC3\xBC"), 0);
  EXPECT_LT(compare_utf16("a", "ab"), 0);
  // U+10000 is D800 DC00 and therefore before U+E000, although its UTF-8 bytes are larger.
  EXPECT_LT(compare_utf16("\xF0\x90\x80\x80", "\xEE\x80\x80"), 0);
  EXPECT_GT(compare_utf16("\xEF\xBF\xBF", "\xF4\x8F\xBF\xBF"), 0);
  // The two differ only in a later byte of one character.
  EXPECT_LT(compare_utf16("x\xE2\x82\xAB", "x\xE2\x82\xAC"), 0);
  EXPECT_LT(compare_utf16("\xF0\x9F\x98\x80", "\xF0\x9F\x98\x81"), 0);
}

TEST(CanonicalJson, TheTwoFormsDifferOnlyInIntegerLikeNames) {
  EXPECT_EQ(*canonical_json("{\"10\":1,\"9\":2,\"!\":3}"), "{\"!\":3,\"10\":1,\"9\":2}");
  EXPECT_EQ(*canonical_json_js("{\"10\":1,\"9\":2,\"!\":3}"), "{\"9\":2,\"10\":1,\"!\":3}");
}

}  // namespace
}  // namespace cm::protocol
