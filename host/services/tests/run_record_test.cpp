// Goal: how a run ended is read from its record, and only crashes at start count towards safe mode.
#include "host/services/run_record.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include "tests/support/temporary_folder.hpp"

namespace cm::host {
namespace {

using testing::HasSubstr;

FormerRun crash_at_start() {
  FormerRun run;
  run.pid = 7;
  run.boot_id = "boot";
  run.began_s = 1000;
  run.ended_s = 1001;
  run.phase = "starting";
  run.instance = "guard";
  run.crashed = true;
  return run;
}

TEST(RunRecord, CrashesAtStartAddUp) {
  FormerRun run = crash_at_start();
  EXPECT_EQ(count_start_crashes(run, "boot", 1002), 1u);
  run.start_crashes = 2;
  EXPECT_EQ(count_start_crashes(run, "boot", 1002), 3u);
}

TEST(RunRecord, AKillDuringTheStartCountsAndAKillLaterDoesNot) {
  FormerRun run = crash_at_start();
  run.crashed = false;
  EXPECT_EQ(count_start_crashes(run, "boot", 1002), 1u);
  run.phase = "running";
  run.start_crashes = 2;
  EXPECT_EQ(count_start_crashes(run, "boot", 1002), 0u);
}

TEST(RunRecord, ACrashSoonAfterTheStartCountsAndALaterOneDoesNot) {
  FormerRun run = crash_at_start();
  run.phase = "running";
  EXPECT_EQ(count_start_crashes(run, "boot", 1002), 1u);
  run.ended_s = run.began_s + kStartCrashSeconds;
  EXPECT_EQ(count_start_crashes(run, "boot", run.ended_s), 0u);
}

TEST(RunRecord, TheMachinesEndAndOldCrashesDoNotAddUp) {
  FormerRun run = crash_at_start();
  run.start_crashes = 2;
  EXPECT_EQ(count_start_crashes(run, "another boot", 1002), 0u);
  EXPECT_EQ(count_start_crashes(run, "boot", run.ended_s + kStartCrashWindowSeconds), 1u);
}

TEST(RunRecord, TheDescriptionNamesWhoseTurnItWas) {
  FormerRun run = crash_at_start();
  EXPECT_THAT(describe_former_run(run, "boot"),
              HasSubstr("(process 7) crashed while it started the instance \"guard\""));
  run.crashed = false;
  EXPECT_THAT(describe_former_run(run, "boot"), HasSubstr("was killed while"));
  EXPECT_THAT(describe_former_run(run, "another boot"), HasSubstr("was cut off with the machine"));
}

TEST(RunRecord, TheFileSurvivesAProcessAndGoesWithACleanEnd) {
  const test::TemporaryFolder temporary;
  const std::filesystem::path folder = temporary.path() / "data";
  std::string why_not;
  auto record = RunRecord::open(folder, "/etc/broker.toml", why_not);
  ASSERT_NE(record, nullptr) << why_not;
  EXPECT_FALSE(record->unclean());
  record->write("starting", "a rather long name of an instance", 2);
  record->write("starting", "guard", 2);
  EXPECT_EQ(RunRecord::open(folder, "/etc/broker.toml", why_not), nullptr) << "one process at a time";
  EXPECT_THAT(why_not, HasSubstr("another process runs this configuration"));
  EXPECT_NE(RunRecord::open(folder, "/etc/daemon.toml", why_not), nullptr) << "one record for each configuration";
  record->leave();  // as a crash leaves it
  record = RunRecord::open(folder, "/etc/broker.toml", why_not);
  ASSERT_NE(record, nullptr);
  EXPECT_TRUE(record->unclean());
  EXPECT_EQ(record->former().pid, ::getpid());
  EXPECT_EQ(record->former().phase, "starting");
  EXPECT_EQ(record->former().instance, "guard");
  EXPECT_EQ(record->former().start_crashes, 2u);
  EXPECT_EQ(record->former().boot_id, record->boot_id());
  record->remove();
  record = RunRecord::open(folder, "/etc/broker.toml", why_not);
  ASSERT_NE(record, nullptr);
  EXPECT_FALSE(record->unclean());
}

}  // namespace
}  // namespace cm::host
