// The keys of process isolation: defaults, bounds, and what is refused because it cannot cross.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "host/config/tests/fake_source.hpp"

namespace cm::config {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

TEST(ConfigIsolation, IsOffByDefault) {
  const LoadReport report = load_text("[plugins.every]\n");
  ASSERT_TRUE(report.config) << all_text(report);
  EXPECT_EQ(report.config->instances[0].isolation, IsolationSettings());
}

TEST(ConfigIsolation, ReadsEveryKey) {
  const LoadReport report = load_text(R"([plugins.every]
isolation = "process"
isolation_memory_max = "64MiB"
isolation_file_max = "1MiB"
isolation_descriptors_max = 32
isolation_cpu_seconds = 20
isolation_network = true
isolation_hang_timeout = "2s"
isolation_failures_max = 3
isolation_failure_window = "1m"
isolation_restart_delay = "50ms"
isolation_read = ["/srv/words", "near"]
isolation_write = ["~/notes"]
)");
  ASSERT_TRUE(report.config) << all_text(report);
  const IsolationSettings expected{true,
                                   64u << 20,
                                   1u << 20,
                                   32,
                                   20,
                                   true,
                                   2'000,
                                   3,
                                   60'000,
                                   50,
                                   {{"/srv/words", false, "isolation_read"},
                                    {"/etc/cm/near", false, "isolation_read"},
                                    {"/home/someone/notes", true, "isolation_write"}}};
  EXPECT_EQ(report.config->instances[0].isolation, expected);
}

TEST(ConfigIsolation, PathsInThePluginsTableAreGrantedItsDefaultsAreNot) {
  // Its option file_name has a default, which is the author's choice, not the operator's.
  const LoadReport by_default = load_text("[plugins.every]\nisolation = \"process\"\n");
  ASSERT_TRUE(by_default.config) << all_text(by_default);
  EXPECT_TRUE(by_default.config->instances[0].isolation.files.empty());
  const LoadReport given = load_text("[plugins.every]\nisolation = \"process\"\nfile_name = \"/srv/x\"\n");
  ASSERT_TRUE(given.config) << all_text(given);
  EXPECT_THAT(given.config->instances[0].isolation.files, ElementsAre(FileGrant{"/srv/x", true, "file_name"}));
  // In the host nothing is confined.
  const LoadReport in_host = load_text("[plugins.every]\nfile_name = \"/srv/x\"\n");
  EXPECT_TRUE(in_host.config->instances[0].isolation.files.empty());
}

TEST(ConfigIsolation, RefusesWhatCannotCross) {
  const LoadReport provides = load_text("[plugins.store]\npath = \"x\"\nisolation = \"process\"\n");
  EXPECT_THAT(all_text(provides), HasSubstr("store provides cm.storage/1, which cannot cross"));
  EXPECT_THAT(all_text(provides), HasSubstr("cm.bridge/1, cm.hook/1, cm.transport/1"));
  const LoadReport uses =
      load_text("[plugins.store]\npath = \"x\"\n[plugins.user]\nstorage = \"store\"\nisolation = \"process\"\n");
  EXPECT_THAT(all_text(uses), HasSubstr("the option storage uses cm.storage/1 of another plugin"));
  EXPECT_THAT(all_text(uses), HasSubstr("cm.hook/1, cm.peer/1"));
}

TEST(ConfigIsolation, RefusesAPluginThatStartsPrograms) {
  auto starter = make_manifest("starter", {});
  starter->host_tables.push_back("cm.process/1");
  FakeSource source({starter});
  const LoadReport refused = load_text("[plugins.starter]\nisolation = \"process\"\n", source);
  EXPECT_FALSE(refused.config);
  EXPECT_EQ(
      all_text(refused),
      "/etc/cm/test.toml:2:13: [plugins.starter] isolation: found \"process\", but starter asks for cm.process/1, "
      "and a plugin in a process of its own may start no programs; expected \"none\"; take the key out, or list in "
      "`permissions` the tables that it gets without cm.process/1\n");
  // One that is not granted it loses nothing by the other tier, and in the host it may.
  EXPECT_TRUE(load_text("[plugins.starter]\nisolation = \"process\"\npermissions = [\"cm.log/1\"]\n", source).config);
  EXPECT_TRUE(load_text("[plugins.starter]\n", source).config);
}

TEST(ConfigIsolation, RefusesValuesOutsideTheBounds) {
  const LoadReport report = load_text(
      "[plugins.every]\nisolation = \"container\"\nisolation_memory_max = \"1KiB\"\nisolation_failures_max = 0\n");
  EXPECT_THAT(all_text(report), HasSubstr("isolation_memory_max"));
  EXPECT_THAT(all_text(report), HasSubstr("isolation_failures_max"));
  EXPECT_THAT(all_text(report), HasSubstr("\"container\""));
}

TEST(ConfigIsolation, AnotherTierIsAnotherInstance) {
  const LoadReport before = load_text("[plugins.every]\n");
  const LoadReport after = load_text("[plugins.every]\nisolation = \"process\"\n");
  EXPECT_THAT(diff_configs(*before.config, *after.config).restarted, ElementsAre("every"));
}

}  // namespace
}  // namespace cm::config
