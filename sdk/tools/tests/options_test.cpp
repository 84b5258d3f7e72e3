#include "sdk/tools/options.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace cm::options {
namespace {

using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;
using Members = std::map<std::string, RawValue, std::less<>>;

OptionSpec make(Members members) {
  members.emplace("doc", std::string("A test option."));
  members.emplace("name", std::string("option"));
  std::vector<SpecProblem> problems;
  OptionSpec spec = make_option_spec(members, problems);
  for (const auto& problem : problems) {
    ADD_FAILURE() << problem.key << ": " << problem.text;
  }
  return spec;
}

std::vector<SpecProblem> problems_of(Members members) {
  members.emplace("doc", std::string("A test option."));
  members.emplace("name", std::string("option"));
  std::vector<SpecProblem> problems;
  make_option_spec(members, problems);
  return problems;
}

TEST(OptionText, ReadsDurations) {
  const std::vector<std::pair<std::string_view, std::int64_t>> good{
      {"0", 0},          {"250ms", 250},      {"30s", 30'000},     {"5m", 300'000},
      {"2h", 7'200'000}, {"7d", 604'800'000}, {"1h30m", 5'400'000}};
  for (const auto& [text, expected_ms] : good) {
    const auto parsed = parse_duration_ms(text);
    ASSERT_TRUE(parsed.ok()) << text;
    EXPECT_EQ(*parsed, expected_ms) << text;
    EXPECT_EQ(format_duration_ms(expected_ms), text);
  }
  for (const std::string_view bad : {"", "5", "-5s", "5 s", "s", "5x", "30m1h", "1h1h", "1.5h", "99999999999999999999s",
                                     "9223372036854775807d", "5s "}) {
    EXPECT_FALSE(parse_duration_ms(bad).ok()) << bad;
  }
}

TEST(OptionText, ReadsSizes) {
  const std::vector<std::pair<std::string_view, std::int64_t>> good{
      {"0", 0}, {"512", 512}, {"64KiB", 65'536}, {"1MiB", 1 << 20}, {"3TiB", 3LL << 40}};
  for (const auto& [text, expected_bytes] : good) {
    const auto parsed = parse_size_bytes(text);
    ASSERT_TRUE(parsed.ok()) << text;
    EXPECT_EQ(*parsed, expected_bytes) << text;
    EXPECT_EQ(format_size_bytes(expected_bytes), text);
  }
  for (const std::string_view bad : {"", "1MB", "KiB", "-1", "1.5MiB", "9999999999TiB", "1 KiB"}) {
    EXPECT_FALSE(parse_size_bytes(bad).ok()) << bad;
  }
}

TEST(OptionText, ReadsAddresses) {
  const auto v4 = parse_address("127.0.0.1:8080");
  ASSERT_TRUE(v4.ok());
  EXPECT_EQ(v4->host, "127.0.0.1");
  EXPECT_EQ(v4->port, 8080);
  const auto v6 = parse_address("[::1]:0");
  ASSERT_TRUE(v6.ok());
  EXPECT_EQ(v6->host, "::1");
  const auto local = parse_address("unix:/run/a.sock");
  ASSERT_TRUE(local.ok());
  EXPECT_EQ(local->path, "/run/a.sock");
  for (const std::string_view bad : {"", "host", ":80", "host:", "host:65536", "::1:80", "[::1]", "[x]:1",
                                     "unix:", "ho st:1", "host:+1", "host:1x"}) {
    const auto parsed = parse_address(bad);
    ASSERT_FALSE(parsed.ok()) << bad;
    EXPECT_THAT(parsed.error().message, HasSubstr("found"));
    EXPECT_THAT(parsed.error().message, HasSubstr("expected"));
  }
}

TEST(OptionText, KnowsNames) {
  EXPECT_TRUE(is_plugin_id("org.example.hello"));
  EXPECT_TRUE(is_table_id("cm.http.server/1"));
  EXPECT_TRUE(is_version("1.4.0-rc1"));
  for (const std::string_view bad : {"", "hello", "org.", ".org", "org..x", "Org.x", "1org.x", "org.-x"}) {
    EXPECT_FALSE(is_plugin_id(bad)) << bad;
  }
  for (const std::string_view bad : {"cm.timer", "cm.timer/0", "cm.timer/", "timer/1", "cm.timer/1x"}) {
    EXPECT_FALSE(is_table_id(bad)) << bad;
  }
  for (const std::string_view bad : {"", "1", "1.2", "1.2.3.4", "1.2.3-", "a.b.c", "1.2.3 "}) {
    EXPECT_FALSE(is_version(bad)) << bad;
  }
}

TEST(OptionText, FindsTheNearestName) {
  const std::vector<std::string> names{"listen", "queue_max", "path"};
  EXPECT_EQ(nearest_name("lisen", names), "listen");
  EXPECT_EQ(nearest_name("queue_maximum", names), "queue_max");
  EXPECT_EQ(nearest_name("quue_max", names), "queue_max");
  EXPECT_EQ(nearest_name("ptah", names), "path");
  EXPECT_EQ(nearest_name("zzzzzz", names), "");
}

TEST(OptionSchema, ConvertsToCanonicalUnits) {
  const OptionSpec duration =
      make({{"type", std::string("duration")}, {"min", std::string("10ms")}, {"max", std::string("1m")}});
  EXPECT_EQ(std::get<std::int64_t>(*coerce_value(duration, std::string("30s"))), 30'000);
  for (const RawValue& bad : {RawValue(std::int64_t{30}), RawValue(std::string("2m")), RawValue(true), RawValue()}) {
    const auto result = coerce_value(duration, bad);
    ASSERT_FALSE(result.ok());
    EXPECT_THAT(result.error().message, HasSubstr("from 10ms to 1m"));
  }
  const OptionSpec size = make({{"type", std::string("size")}});
  EXPECT_EQ(std::get<std::int64_t>(*coerce_value(size, std::int64_t{512})), 512);
  EXPECT_FALSE(coerce_value(size, std::int64_t{-1}).ok());
}

TEST(OptionSchema, RefusesWrongChoicesWithTheNearest) {
  const OptionSpec spec =
      make({{"type", std::string("choice")}, {"choices", std::vector<std::string>{"json", "text"}}});
  const auto result = coerce_value(spec, std::string("jsn"));
  ASSERT_FALSE(result.ok());
  EXPECT_THAT(result.error().message, HasSubstr("did you mean \"json\""));
}

TEST(OptionSchema, NeverShowsASecret) {
  const OptionSpec spec = make({{"type", std::string("secret")}, {"min", std::int64_t{32}}});
  const auto result = coerce_value(spec, std::string("hunter2"));
  ASSERT_FALSE(result.ok());
  EXPECT_THAT(result.error().message, Not(HasSubstr("hunter2")));
}

TEST(OptionSchema, NamesTheBadListElement) {
  const OptionSpec spec = make({{"type", std::string("list")}, {"list_of", std::string("address")}});
  const auto result = coerce_value(spec, std::vector<std::string>{"a:1", "b"});
  ASSERT_FALSE(result.ok());
  EXPECT_THAT(result.error().message, HasSubstr("element 2"));
}

TEST(OptionSchema, RefusesInconsistentSchemas) {
  const std::vector<Members> bad{
      {{"type", std::string("durations")}},
      {{"type", std::string("int")}, {"min", std::int64_t{5}}, {"max", std::int64_t{1}}},
      {{"type", std::string("int")}, {"max", std::int64_t{5}}, {"default", std::int64_t{6}}},
      {{"type", std::string("choice")}},
      {{"type", std::string("bool")}, {"min", std::int64_t{1}}},
      {{"type", std::string("int")}, {"secret", true}},
      {{"type", std::string("int")}, {"same_loop", true}},
      {{"type", std::string("int")}, {"required", true}, {"default", std::int64_t{1}}},
      {{"type", std::string("int")}, {"defalt", std::int64_t{1}}},
      {{"type", std::string("int")}, {"name", std::string("sha256")}},
  };
  for (const Members& members : bad) {
    EXPECT_THAT(problems_of(members), Not(IsEmpty())) << spell_raw(members.at("type"));
  }
}

TEST(OptionSchema, RefusesDoubledNames) {
  const OptionSpec first =
      make({{"type", std::string("int")}, {"name", std::string("a")}, {"alias", std::string("b")}});
  const OptionSpec second = make({{"type", std::string("int")}, {"name", std::string("b")}});
  std::vector<SpecProblem> problems;
  check_unique_names(std::vector<OptionSpec>{first, second}, problems);
  ASSERT_EQ(problems.size(), 1U);
  EXPECT_EQ(problems[0].key, "b");
}

TEST(OptionJson, IsCanonical) {
  const OptionSpec spec =
      make({{"type", std::string("duration")}, {"default", std::string("5s")}, {"max", std::string("90s")}});
  EXPECT_EQ(options_to_json(std::vector<OptionSpec>{spec}),
            R"([{"default":"5s","doc":"A test option.","max":"1m30s","name":"option","type":"duration"}])");
  EXPECT_EQ(sha256_hex("abc"), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
}

}  // namespace
}  // namespace cm::options
