// Goal: whatever an isolated plugin does, it harms itself only: it is named, counted, started again, and put into
// quarantine when it fails too often, while the host and its other instances answer.
#include "host/isolation/tests/isolation_fixture.hpp"

namespace cm::host {
namespace {

using ::testing::HasSubstr;
using ::testing::StartsWith;

struct Crime {
  const char* payload;
  const char* reason;  // in the log line
  const char* counter;
};

class Containment : public IsolationFixture {
 protected:
  static constexpr const char* kLimits = "isolation_failures_max = 20\nisolation_memory_max = \"200MiB\"\n";
};

class EachCrime : public Containment, public testing::WithParamInterface<Crime> {};

TEST_P(EachCrime, IsNamedCountedAndFollowedByARestart) {
  const Crime& crime = GetParam();
  // Short for the one that waits for it; a child of a busy machine may be silent for a while without a fault.
  const std::string hang = std::string(crime.payload) == "spin" ? "isolation_hang_timeout = \"2s\"\n" : "";
  start_host(ops_table() + rogue(kLimits + hang) + plugin("other", "iso_rogue", true) +
             asker("hook = \"other\"\n", false, "bystander"));
  const pid_t first = isolation_of("rogue").pid;
  const pid_t other = isolation_of("other").pid;
  // A guard without its process refuses.
  EXPECT_THAT(ask(crime.payload), StartsWith("deny:"));
  EXPECT_EQ(ask("double x", "bystander"), "replace:xx");
  ASSERT_TRUE(eventually([this] { return isolation_of("rogue").restarts >= 1 && running(); })) << log_->text();
  EXPECT_FALSE(process_exists(first));
  EXPECT_TRUE(log_->wait_for("rogue", crime.reason)) << log_->text();
  EXPECT_TRUE(log_->wait_for("in the callback hook")) << log_->text();
  EXPECT_EQ(ask("double x"), "replace:xx");
  EXPECT_EQ(isolation_of("other").pid, other);
  EXPECT_THAT(ops("/metrics").body, HasSubstr(std::string(crime.counter) + "{plugin=\"rogue\"} 1\n"));
  EXPECT_TRUE(host_->ready());
}

INSTANTIATE_TEST_SUITE_P(All, EachCrime,
                         testing::Values(Crime{"segv", "SIGSEGV", "claudemesh_isolation_crashes_total"},
                                         Crime{"abort", "SIGABRT", "claudemesh_isolation_crashes_total"},
                                         Crime{"throw", "SIGABRT", "claudemesh_isolation_crashes_total"},
                                         Crime{"exit", "exit code 7", "claudemesh_isolation_crashes_total"},
                                         Crime{"spin", "no sign of life", "claudemesh_isolation_hangs_total"}),
                         [](const auto& shown) { return std::string(shown.param.payload); });

TEST_F(Containment, AGarbageFrameEndsTheChildOnly) {
  start_host(rogue(kLimits));
  ask("garbage");
  ASSERT_TRUE(eventually([this] { return isolation_of("rogue").garbage == 1 && running(); })) << log_->text();
  ask("wrong-frame");
  ASSERT_TRUE(eventually([this] { return isolation_of("rogue").garbage == 2 && running(); })) << log_->text();
  EXPECT_EQ(ask("double x"), "replace:xx");
}

TEST_F(Containment, AClosedChannelEndsTheChild) {
  start_host(rogue(kLimits));
  EXPECT_THAT(ask("close"), StartsWith("deny:"));
  ASSERT_TRUE(eventually([this] { return isolation_of("rogue").crashes == 1 && running(); })) << log_->text();
}

TEST_F(Containment, ALeakEndsAtTheLimit) {
  start_host(rogue(kLimits));
  EXPECT_THAT(ask("leak"), StartsWith("deny:"));
  ASSERT_TRUE(eventually([this] { return isolation_of("rogue").restarts == 1 && running(); })) << log_->text();
}

TEST_F(Containment, AFloodOfLogLinesIsThinnedOut) {
  start_host(rogue("isolation_hang_timeout = \"10s\"\n"));
  EXPECT_EQ(ask("flood-log"), "continue:");
  EXPECT_TRUE(eventually([this] { return isolation_of("rogue").log_lines_dropped > 4'000; }));
  EXPECT_TRUE(log_->wait_for("rogue", "were dropped"));
  EXPECT_EQ(ask("double x"), "replace:xx");
  EXPECT_EQ(isolation_of("rogue").restarts, 0U);
}

TEST_F(Containment, AFloodOfFramesIsSlowedDown) {
  start_host(rogue("isolation_hang_timeout = \"60s\"\n") + asker("", false, "bystander"));
  const std::string end = (folder_ / "end-of-the-flood").string();
  std::thread flood([this, end] { ask("flood-frames " + end); });
  // More than once: it is held back, read again, and held back again.
  EXPECT_TRUE(eventually([this] { return isolation_of("rogue").throttled > 2; }));
  // The flood and the bystander share one loop, and the flood goes on.
  net::HttpClientSync other_client;
  net::HttpClientRequest http;
  http.method = "GET";
  http.url = url("/events", "bystander");
  EXPECT_TRUE(other_client.send(std::move(http)).ok());
  std::ofstream(end).close();
  flood.join();
  EXPECT_EQ(ask("double x"), "replace:xx");
  EXPECT_EQ(isolation_of("rogue").restarts, 0U);
  EXPECT_EQ(isolation_of("rogue").garbage, 0U);
}

TEST_F(Containment, SystemCallsOutsideTheListAreRefused) {
  start_host(rogue());
  EXPECT_EQ(ask("try socket"),
            "replace:inet refused: Operation not permitted\nunix refused: Operation not permitted\n");
  const std::string processes = ask("try process");
  for (const char* call : {"fork", "execve", "ptrace", "kill", "mount", "memfd"}) {
    EXPECT_THAT(processes, HasSubstr(std::string(call) + " refused"));
  }
  EXPECT_EQ(ask("try thread"), "replace:thread ran\n");
}

TEST_F(Containment, SocketsAreAllowedWhereTheConfigurationSaysSo) {
  start_host(rogue("isolation_network = true\n"));
  EXPECT_EQ(ask("try socket"), "replace:inet allowed\nunix allowed\n");
}

TEST_F(Containment, AnObserverLetsPassWhileItIsDown) {
  start_host(rogue("kind = \"observer\"\n"));
  EXPECT_EQ(ask("segv"), "continue:");
}

TEST_F(Containment, TooManyFailuresLeadToQuarantineAndAReloadEndsIt) {
  start_host(ops_table() + rogue("isolation_failures_max = 3\n") + asker("", false, "bystander"));
  for (int i = 0; i < 3; ++i) {
    ASSERT_TRUE(eventually([this] { return running(); })) << log_->text();
    ask("segv");
  }
  ASSERT_TRUE(eventually([this] { return isolation_of("rogue").phase == isolation::Phase::kQuarantined; }));
  EXPECT_EQ(isolation_of("rogue").restarts, 2U);
  EXPECT_EQ(isolation_of("rogue").pid, 0);
  EXPECT_THAT(ask("double x"), StartsWith("deny:the plugin that judges this is not running"));
  EXPECT_FALSE(host_->ready());
  EXPECT_EQ(ops("/readyz").status, 503);
  EXPECT_THAT(ops("/metrics").body, HasSubstr("claudemesh_isolation_quarantines_total{plugin=\"rogue\"} 1"));
  EXPECT_TRUE(log_->wait_for("in quarantine")) << log_->text();
  const std::string events = get("/events", "bystander");
  EXPECT_THAT(events, HasSubstr("plugin.crashed {\"instance\":\"rogue\""));
  EXPECT_THAT(events, HasSubstr("plugin.quarantined {\"instance\":\"rogue\""));
  ASSERT_TRUE(host_->reload().ok());
  ASSERT_TRUE(eventually([this] { return running(); }));
  EXPECT_EQ(ask("double x"), "replace:xx");
  EXPECT_TRUE(host_->ready());
}

TEST_F(Containment, AQuarantinedPluginStopsCleanly) {
  start_host(rogue("isolation_failures_max = 1\n"));
  ask("segv");
  ASSERT_TRUE(eventually([this] { return isolation_of("rogue").phase == isolation::Phase::kQuarantined; }));
  stop_host();
}

TEST_F(Containment, AHundredRestartsLeakNoDescriptor) {
  start_host(rogue("isolation_failures_max = 1000\nisolation_failure_window = \"1s\"\n"));
  const auto restart = [this](std::uint64_t number) {
    ::kill(isolation_of("rogue").pid, SIGKILL);
    ASSERT_TRUE(eventually([&] { return isolation_of("rogue").restarts == number && running(); }));
  };
  restart(1);
  const int before = open_descriptors();
  for (std::uint64_t number = 2; number <= 100; ++number) {
    restart(number);
  }
  // Those of a child that has just gone may still be open for a moment.
  EXPECT_TRUE(eventually([before] { return open_descriptors() <= before; })) << open_descriptors() << " of " << before;
}

}  // namespace
}  // namespace cm::host
