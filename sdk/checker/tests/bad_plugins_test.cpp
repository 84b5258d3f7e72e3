// Each check is able to fail: for every one of them there is a plugin that does one thing wrong and is found by it. The
// plugin that does nothing wrong passes them all, so that it is the badness that is found.
#include <gtest/gtest.h>

#include <filesystem>
#include <map>
#include <ostream>
#include <set>
#include <string>

#include "sdk/checker/runner.hpp"

namespace cm::checker {
namespace {

struct BadPlugin {
  const char* library;
  const char* check;  // a name, a pattern, or empty for all
};

void PrintTo(const BadPlugin& bad, std::ostream* out) {
  *out << bad.library << " and " << bad.check;
}

constexpr BadPlugin kBadPlugins[] = {
#include "sdk/checker/tests/bad_plugins.inc"
};

std::filesystem::path library_of(const std::string& name) {
  return std::filesystem::path(CM_BAD_DIR) / (name + ".so");
}

std::vector<CheckResult> run(const std::string& library, const std::string& only) {
  // Stores are put on the simulated disk, as the product's own.
  const std::filesystem::path config = library.starts_with("store_")
                                           ? std::filesystem::path(CM_BAD_CONFIG_DIR) / "storage_sqlite.toml"
                                           : std::filesystem::path();
  auto subject = load_subject(library_of(library), config);
  if (!subject) {
    ADD_FAILURE() << subject.error().message;
    return {};
  }
  RunOptions options;
  options.file = library_of(library);
  options.config_file = config;
  options.only = only;
  options.slowness = 2;
  return run_checks(*subject, options, [](const CheckResult&) {});
}

class BadPluginTest : public ::testing::TestWithParam<BadPlugin> {};

TEST_P(BadPluginTest, IsFound) {
  const auto results = run(GetParam().library, GetParam().check);
  ASSERT_EQ(results.size(), 1U) << "no check is called so";
  const Outcome& outcome = results[0].outcome;
  EXPECT_EQ(outcome.verdict, Verdict::kFailed) << outcome.found;
  EXPECT_FALSE(outcome.found.empty());
  EXPECT_FALSE(outcome.expected.empty());
  EXPECT_FALSE(outcome.remedy.empty());
}
INSTANTIATE_TEST_SUITE_P(All, BadPluginTest, ::testing::ValuesIn(kBadPlugins));

// The plugins without their badness, and the checks that look at it.
class GoodPluginTest : public ::testing::TestWithParam<BadPlugin> {};

TEST_P(GoodPluginTest, Passes) {
  for (const CheckResult& result : run(GetParam().library, GetParam().check)) {
    EXPECT_NE(result.outcome.verdict, Verdict::kFailed) << result.check->name << ": " << result.outcome.found;
  }
}
INSTANTIATE_TEST_SUITE_P(All, GoodPluginTest,
                         ::testing::Values(BadPlugin{"good", ""}, BadPlugin{"good_with_store", ""},
                                           BadPlugin{"good_with_process", ""},
                                           BadPlugin{"good_with_slow_job", "threads.does_not_block"},
                                           BadPlugin{"store_good", "storage.*"}, BadPlugin{"link_good", "transport.*"},
                                           BadPlugin{"bridge_good", "bridge.*"}));

TEST(ChecksTest, EachCanFail) {
  std::set<std::string> proved;
  for (const BadPlugin& bad : kBadPlugins) {
    EXPECT_NE(find_check(bad.check), nullptr) << bad.check;
    proved.insert(bad.check);
  }
  for (const Check& check : all_checks()) {
    EXPECT_TRUE(proved.contains(std::string(check.name)))
        << check.name << " is not proved to be able to fail; add a bad plugin";
  }
}

TEST(ChecksTest, HaveNamesOfTheirOwnAndRules) {
  std::set<std::string_view> names;
  for (const Check& check : all_checks()) {
    EXPECT_TRUE(names.insert(check.name).second) << check.name;
    EXPECT_GE(check.rule, 1U);
    EXPECT_LE(check.rule, 20U);
    EXPECT_TRUE(check.says.ends_with(".")) << check.name;
  }
  EXPECT_GE(names.size(), 50U);
}

TEST(FuzzTest, FindsWhatSomeSeedBringsAndReplaysIt) {
  auto subject = load_subject(library_of("many_failures"), {});
  ASSERT_TRUE(subject);
  RunOptions options;
  options.file = library_of("many_failures");
  options.slowness = 5;
  const FuzzReport report = run_fuzz(*subject, options, 1, 10);
  ASSERT_FALSE(report.findings.empty());
  const FuzzReport again = run_fuzz(*subject, options, report.findings[0].seed, 0);
  ASSERT_EQ(again.findings.size(), 1U);
  EXPECT_EQ(again.findings[0].seed, report.findings[0].seed);
}

}  // namespace
}  // namespace cm::checker

int main(int argc, char** argv) {
  cm::checker::become_child_if_asked(argc, argv);
  ::testing::InitGoogleTest(&argc, argv);
  return RUN_ALL_TESTS();
}
