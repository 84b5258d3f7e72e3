#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "host/config/tests/fake_source.hpp"

namespace cm::config {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

HostConfig must_load(const std::string& toml) {
  LoadReport report = load_text(toml);
  EXPECT_TRUE(report.config) << all_text(report);
  return report.config ? std::move(*report.config) : HostConfig();
}

constexpr const char* kBase =
    "[plugins.disk]\nuse = \"store\"\npath = \"/x\"\n"
    "[plugins.u]\nuse = \"user\"\nstorage = \"disk\"\n"
    "[plugins.every]\n";

TEST(ConfigDiff, FindsNothingInTheSameFile) {
  EXPECT_TRUE(diff_configs(must_load(kBase), must_load(kBase)).empty());
}

TEST(ConfigDiff, ReconfiguresForReloadableOptionsOnly) {
  const ConfigDiff diff = diff_configs(must_load(kBase), must_load(std::string(kBase) + "count = 5\n"));
  EXPECT_THAT(diff.reconfigured, ElementsAre("every"));
  EXPECT_THAT(diff.restarted, IsEmpty());
  const ConfigDiff both = diff_configs(must_load(kBase), must_load(std::string(kBase) + "count = 5\nflag = true\n"));
  EXPECT_THAT(both.reconfigured, IsEmpty());
  EXPECT_THAT(both.restarted, ElementsAre("every"));
}

TEST(ConfigDiff, RestartsUsersOfARestartedProvider) {
  std::string changed = kBase;
  changed.replace(changed.find("/x"), 2, "/y");
  EXPECT_THAT(diff_configs(must_load(kBase), must_load(changed)).restarted, ElementsAre("disk", "u"));
}

TEST(ConfigDiff, AddsAndRemovesInOrder) {
  const HostConfig small = must_load("[plugins.every]\n");
  const HostConfig large = must_load(kBase);
  EXPECT_THAT(diff_configs(small, large).added, ElementsAre("disk", "u"));
  EXPECT_THAT(diff_configs(large, small).removed, ElementsAre("u", "disk"));
}

TEST(ConfigDiff, SeesChangedSecrets) {
  const ConfigDiff diff =
      diff_configs(must_load("[plugins.every]\ntoken = \"aaaa\"\n"), must_load("[plugins.every]\ntoken = \"bbbb\"\n"));
  EXPECT_THAT(diff.restarted, ElementsAre("every"));
}

TEST(ConfigDiff, NamesWhatNeedsANewProcess) {
  const ConfigDiff diff =
      diff_configs(must_load("[host]\ndrain_timeout = \"1s\"\n[plugins.every]\n"),
                   must_load("[host]\nthreads = 2\n[ops]\nlisten = \"127.0.0.1:1\"\n[plugins.every]\n"));
  EXPECT_THAT(diff.host_keys, ElementsAre("host.threads", "ops.listen"));  // drain_timeout is reloadable
  EXPECT_THAT(diff.restarted, IsEmpty());
}

TEST(ConfigDiff, SeesReplacedLibraries) {
  const HostConfig before = must_load("[plugins.every]\n");
  HostConfig after = must_load("[plugins.every]\n");
  auto manifest = std::make_shared<Manifest>(*after.instances[0].manifest);
  manifest->json = "{\"version\":\"2\"}";
  after.instances[0].manifest = manifest;
  EXPECT_THAT(diff_configs(before, after).host_keys, ElementsAre("plugins.every.file"));
}

TEST(ConfigDiff, SeesLogLevels) {
  EXPECT_TRUE(
      diff_configs(must_load("[plugins.every]\n"), must_load("[log.levels]\nevery = \"debug\"\n[plugins.every]\n"))
          .log_changed);
}

}  // namespace
}  // namespace cm::config
