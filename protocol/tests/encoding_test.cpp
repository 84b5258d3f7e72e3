#include "protocol/encoding.hpp"

#include <gtest/gtest.h>

#include "protocol/tests/support.hpp"

namespace cm::protocol {
namespace {

using test::load_vectors;
using test::text_of;

TEST(Encoding, AgreesWithKnownAnswers) {
  const JsonValue vectors = load_vectors("encoding.json");
  ASSERT_GE(vectors.as_array()->size(), 5u);
  for (const JsonValue& sample : *vectors.as_array()) {
    const Bytes bytes = test::bytes_of(sample, "hex");
    EXPECT_EQ(hex_encode(bytes), text_of(sample, "hex"));
    EXPECT_EQ(base64_encode(bytes), text_of(sample, "base64"));
    EXPECT_EQ(base64url_encode(bytes), text_of(sample, "base64url"));
    EXPECT_EQ(base64_decode(text_of(sample, "base64")), bytes);
    EXPECT_EQ(base64url_decode(text_of(sample, "base64url")), bytes);
  }
}

TEST(Encoding, RoundTripsEveryLength) {
  const RandomSource random = test::seeded_random(7);
  for (std::size_t size = 0; size < 200; ++size) {
    Bytes bytes(size);
    random(bytes);
    EXPECT_EQ(hex_decode(hex_encode(bytes), HexCase::kLowerOnly), bytes);
    EXPECT_EQ(base64_decode(base64_encode(bytes)), bytes);
    EXPECT_EQ(base64url_decode(base64url_encode(bytes)), bytes);
  }
}

TEST(Encoding, HexIsStrict) {
  EXPECT_FALSE(hex_decode("abc", HexCase::kAny));
  EXPECT_FALSE(hex_decode("zz", HexCase::kAny));
  EXPECT_FALSE(hex_decode("AB", HexCase::kLowerOnly));
  EXPECT_EQ(hex_decode("AbcD", HexCase::kAny), (Bytes{0xab, 0xcd}));
  EXPECT_FALSE(hex_decode("0x", HexCase::kAny));
  EXPECT_TRUE(is_hex(std::string(64, 'a'), 64, HexCase::kLowerOnly));
  EXPECT_FALSE(is_hex(std::string(64, 'A'), 64, HexCase::kLowerOnly));
  EXPECT_FALSE(is_hex(std::string(63, 'a'), 64, HexCase::kLowerOnly));
  std::array<std::uint8_t, 2> two{};
  EXPECT_FALSE(hex_decode_into("ab", HexCase::kAny, two));
}

TEST(Encoding, Base64IsStrict) {
  for (const char* bad :
       {"Zg", "Zg=", "Z===", "Zh==", "Zm9=", "Zg==Zg==", "Zg\n=", "Zm 9v", "Zm-v", "=", "====", "Zg=a"}) {
    EXPECT_FALSE(base64_decode(bad)) << bad;
  }
  for (const char* bad : {"Z", "Zg==", "Zm9vY", "Zh", "Zm+v", "Zm/v", "Zm9 "}) {
    EXPECT_FALSE(base64url_decode(bad)) << bad;
  }
  EXPECT_EQ(base64_decode(""), Bytes{});
  EXPECT_EQ(base64url_decode("-_8"), (Bytes{0xfb, 0xff}));
}

TEST(Encoding, Utf8RejectsWhatRfc3629Forbids) {
  for (const char* good : {"", "abc", "gr\xC3\xBC\xC3\x9F", "\xE2\x82\xAC", "\xF0\x9F\x98\x80", "\xF4\x8F\xBF\xBF"}) {
    EXPECT_TRUE(is_valid_utf8(good)) << good;
  }
  for (const char* bad : {"\x80", "\xC0\xAF", "\xC1\xBF", "\xE0\x80\x80", "\xED\xA0\x80", "\xF0\x80\x80\x80",
                          "\xF4\x90\x80\x80", "\xF5\x80\x80\x80", "\xE2\x82", "a\xFF"}) {
    EXPECT_FALSE(is_valid_utf8(bad));
  }
}

TEST(Encoding, Utf8PrefixNeverCutsACharacter) {
  const std::string text = "a\xE2\x82\xAC\xF0\x9F\x98\x80z";
  for (std::size_t max = 0; max <= text.size() + 1; ++max) {
    const std::string_view prefix = utf8_prefix(text, max);
    EXPECT_LE(prefix.size(), max);
    EXPECT_TRUE(is_valid_utf8(prefix)) << max;
  }
  EXPECT_EQ(utf8_prefix(text, 7), "a\xE2\x82\xAC");
}

TEST(Encoding, Utf16LengthCountsAsJavaScript) {
  EXPECT_EQ(utf16_length("abc"), 3u);
  EXPECT_EQ(utf16_length("\xE2\x82\xAC"), 1u);
  EXPECT_EQ(utf16_length("\xF0\x9F\x98\x80"), 2u);
}

TEST(Encoding, ConstantTimeComparison) {
  EXPECT_TRUE(equal_constant_time("secret", "secret"));
  EXPECT_FALSE(equal_constant_time("secret", "secreT"));
  EXPECT_FALSE(equal_constant_time("secret", "secre"));
}

}  // namespace
}  // namespace cm::protocol
