#include "cli/output.hpp"

#include <gtest/gtest.h>

#include <sstream>

#include "cli/json_fields.hpp"

namespace cm::cli {
namespace {

TEST(Output, PrintableKeepsTextAndRemovesWhatMovesACursor) {
  EXPECT_EQ(printable("größe ✔"), "größe ✔");
  EXPECT_EQ(printable("a\x1b[31mb"), "a\xEF\xBF\xBD[31mb");
  EXPECT_EQ(printable("a\nb"),
            "a\xEF\xBF\xBD"
            "b");
  EXPECT_EQ(printable("a\nb\tc", true), "a\nb\tc");
  EXPECT_EQ(printable("\xC2\x9B"), "\xEF\xBF\xBD") << "the eight-bit form of ESC [";
  EXPECT_EQ(printable("\xE2\x80\xAE"
                      "cod"),
            "\xEF\xBF\xBD"
            "cod")
      << "right-to-left override";
  EXPECT_EQ(printable("\xFFx\xC3"), "\xEF\xBF\xBDx\xEF\xBF\xBD");
}

TEST(Output, PrettyJsonIsThatOfJavaScript) {
  const JsonValue value = object_of({{"a", json_number(1)},
                                     {"b", JsonValue(JsonValue::Array{json_text("x"), JsonValue()})},
                                     {"c", JsonValue(JsonValue::Object())},
                                     {"d", JsonValue(JsonValue::Array())}});
  EXPECT_EQ(pretty_json(value), "{\n  \"a\": 1,\n  \"b\": [\n    \"x\",\n    null\n  ],\n  \"c\": {},\n  \"d\": []\n}");
}

TEST(Output, AFailureHasThreePartsAndReturnsItsCode) {
  std::ostringstream out;
  std::ostringstream err;
  const Output output{out, err, false, false};
  EXPECT_EQ(output.fail({ExitCode::kNotFound, "found this", "that", "do this"}), 5);
  EXPECT_EQ(err.str(), "  ✘ found this; expected that\n    → do this\n");
  EXPECT_EQ(out.str(), "");
}

TEST(Output, ColourOnlyOnDemand) {
  std::ostringstream out;
  std::ostringstream err;
  Output{out, err, false, false}.success("x");
  EXPECT_EQ(out.str().find('\x1b'), std::string::npos);
  Output{out, err, true, false}.success("x");
  EXPECT_NE(out.str().find('\x1b'), std::string::npos);
}

TEST(Output, Durations) {
  EXPECT_EQ(duration_text(350), "350 ms");
  EXPECT_EQ(duration_text(12'900), "12 s");
  EXPECT_EQ(duration_text(5 * 60'000), "5 min");
  EXPECT_EQ(duration_text(3 * 3'600'000.0), "3 h");
  EXPECT_EQ(duration_text(49 * 3'600'000.0), "2 d");
}

TEST(Output, BriefKeepsTheFirstClause) {
  EXPECT_EQ(brief("cannot connect: refused; expected a server"), "cannot connect: refused");
  EXPECT_EQ(brief("one clause"), "one clause");
}

}  // namespace
}  // namespace cm::cli
