// Goal: a plugin that answers every ping and still takes too much is ended, named, counted and started again.
#include "host/isolation/tests/isolation_fixture.hpp"

namespace cm::host {
namespace {

using ::testing::HasSubstr;

class Limits : public IsolationFixture {
 protected:
  std::string prober(const std::string& more) const {
    return ops_table() + plugin("prober", "iso_prober", true, more) + asker("hook = \"prober\"\n");
  }
  // Ended for what it used: a new process runs, and the old one is told of.
  void expect_overuse(pid_t first, const std::string& reason) {
    // A second of processor time can be long in coming on a busy machine.
    bool ended = false;
    for (int i = 0; i < 3 && !ended; ++i) {
      ended = eventually([this] { return isolation_of("prober").restarts >= 1 && running("prober"); });
    }
    ASSERT_TRUE(ended) << log_->text();
    EXPECT_FALSE(process_exists(first));
    EXPECT_NE(isolation_of("prober").pid, first);
    EXPECT_EQ(isolation_of("prober").overuses, 1U);
    EXPECT_EQ(isolation_of("prober").crashes, 0U);
    EXPECT_EQ(isolation_of("prober").hangs, 0U);
    EXPECT_THAT(isolation_of("prober").last_failure, HasSubstr(reason));
    EXPECT_TRUE(log_->wait_for("prober", reason)) << log_->text();
    EXPECT_THAT(ops("/metrics").body, HasSubstr("claudemesh_isolation_overuses_total{plugin=\"prober\"} 1\n"));
    EXPECT_THAT(get("/events"), HasSubstr("plugin.crashed {\"instance\":\"prober\""));
  }
};

TEST_F(Limits, ProcessorTimeBeyondTheLimitEndsItThoughItAnswers) {
  start_host(prober("isolation_cpu_seconds = 1\nisolation_hang_timeout = \"60s\"\n"));
  const pid_t first = isolation_of("prober").pid;
  // A worker spins; the loop of the child goes on to answer pings and questions.
  EXPECT_EQ(ask("burn"), "replace:burning");
  EXPECT_EQ(ask("events"), "replace:");
  expect_overuse(first, "used more than its 1 s of processor time in a minute");
  EXPECT_EQ(ask("events"), "replace:") << "the next one answers";
}

TEST_F(Limits, MoreMemoryThanTheLimitIsSeenByTheSampler) {
  start_host(prober("isolation_memory_max = \"16MiB\"\nisolation_hang_timeout = \"10s\"\n"));
  const pid_t first = isolation_of("prober").pid;
  // It takes what it gets, and 8 MiB that the runner has in reserve, and lives on, so that only the sample can end it.
  ask("hoard");
  expect_overuse(first, "MiB of memory, more than its isolation_memory_max");
}

}  // namespace
}  // namespace cm::host
