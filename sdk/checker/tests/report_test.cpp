// What people, programs and build servers get to read.
#include "sdk/checker/report.hpp"

#include <gtest/gtest.h>

#include <boost/json.hpp>
#include <sstream>

#include "sdk/checker/check_config.hpp"

namespace cm::checker {
namespace {

std::vector<CheckResult> results() {
  return {CheckResult{&all_checks()[0], ok(), 5}, CheckResult{&all_checks()[1], failed("a <b> & \"c\"", "d", "e"), 7},
          CheckResult{&all_checks()[2], skipped("not for it"), 0}};
}

TEST(ReportTest, TellsPeopleWhatToDo) {
  std::ostringstream out;
  for (const CheckResult& result : results()) {
    print_result(out, result);
  }
  print_totals(out, results(), 1'234);
  const std::string text = out.str();
  EXPECT_NE(text.find("found:    a <b> & \"c\""), std::string::npos) << text;
  EXPECT_NE(text.find("expected: d"), std::string::npos);
  EXPECT_NE(text.find("to do:    e"), std::string::npos);
  EXPECT_NE(text.find("rule 17"), std::string::npos);
  EXPECT_NE(text.find("skipped  symbols.exports_one: not for it"), std::string::npos);
  EXPECT_NE(text.find("3 checks in 1.2 s: 1 ok, 1 failed, 1 skipped"), std::string::npos);
}

TEST(ReportTest, TellsOneReasonOnce) {
  const Outcome first = failed("it does not start: its configure answered CM_DENIED: no clock", "d", "e");
  const Outcome other = failed("a host without cm.log/1: its configure answered CM_DENIED: no clock", "x", "y");
  EXPECT_EQ(reason_of(first), reason_of(other));
  EXPECT_EQ(reason_of(failed("it crashed with signal 11 while: a", "", "")),
            reason_of(failed("it crashed with signal 11 while: b", "", "")));
  EXPECT_NE(reason_of(first), reason_of(failed("its configure answered CM_DENIED: no timer", "", "")));
  EXPECT_EQ(reason_of(failed("it does not start: /check.toml:8:7: no plugin \"x\", expected one in /tmp/1", "", "")),
            reason_of(failed("life 1: /check.toml:8:7: no plugin \"x\", expected one in /tmp/2", "", "")));
  std::ostringstream out;
  print_result(out, CheckResult{&all_checks()[1], other, 7}, "symbols.is_library");
  EXPECT_EQ(out.str(), "FAILED   symbols.is_trusted: for the same reason as symbols.is_library\n");
}

TEST(ReportTest, IsJson) {
  const boost::json::value json = boost::json::parse(to_json(Subject{}, results(), nullptr));
  EXPECT_EQ(json.at("failed").as_int64(), 1);
  EXPECT_EQ(json.at("checks").as_array().size(), 3U);
  EXPECT_EQ(json.at("checks").at(1).at("found").as_string(), "a <b> & \"c\"");
  EXPECT_EQ(json.at("checks").at(2).at("reason").as_string(), "not for it");
}

TEST(ReportTest, IsJunit) {
  const std::string xml = to_junit(Subject{}, results());
  EXPECT_NE(xml.find("tests=\"3\" failures=\"1\" skipped=\"1\""), std::string::npos) << xml;
  EXPECT_NE(xml.find("<failure message=\"a &lt;b&gt; &amp; &quot;c&quot;\">"), std::string::npos) << xml;
}

TEST(PatternTest, TakesStarsAnywhere) {
  EXPECT_TRUE(matches("faults.*", "faults.loop_calls"));
  EXPECT_TRUE(matches("*loop*", "faults.loop_calls"));
  EXPECT_TRUE(matches("*", "x"));
  EXPECT_FALSE(matches("faults", "faults.loop_calls"));
  EXPECT_FALSE(matches("hook.*", "faults.loop_calls"));
}

TEST(ValuesTest, SpellsTextForToml) {
  EXPECT_EQ(toml_text("a\"b\\\n"), "\"a\\\"b\\\\\\u000a\"");
}

}  // namespace
}  // namespace cm::checker
