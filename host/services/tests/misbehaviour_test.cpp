// Goal: a plugin that breaks the contract is named, counted and contained.
#include "host_fixture.hpp"

namespace cm::host {
namespace {

using testing::HasSubstr;

using MisbehaviourTest = HostFixture;

TEST_F(MisbehaviourTest, TheWatchdogNamesWhoBlocksWhileItStillBlocks) {
  start_host("[host]\nthreads = 2\n[ops]\nlisten = \"127.0.0.1:0\"\n" + echo() +
             instance("blocker", "test_misbehaving", "mode = \"block\"\n"));
  ASSERT_TRUE(log_->wait_for("plugin-misbehaving [blocker]", "in the callback timer since")) << log_->text();
  EXPECT_FALSE(log_->has("held its loop for"));
  // It is still inside: the ops loop can tell so, and the other loop goes on.
  EXPECT_EQ(ops("/healthz").status, 503);
  EXPECT_THAT(ops("/healthz").body, HasSubstr("blocker in timer"));
  EXPECT_EQ(ops("/readyz").status, 503);
  EXPECT_EQ(request(url("/hello")).status, 200);
  ASSERT_TRUE(log_->wait_for("plugin-misbehaving [blocker]", "held its loop for"));
  EXPECT_THAT(host_->metrics_text(), HasSubstr("claudemesh_watchdog_hits_total 1\n"));
  EXPECT_THAT(host_->metrics_text(),
              HasSubstr("claudemesh_plugin_call_overruns_total{plugin=\"blocker\",callback=\"timer\"} 1\n"));
  EXPECT_TRUE(host_->ready());
}

TEST_F(MisbehaviourTest, WhatIsLeftBehindIsListedAndFreed) {
  start_host(instance("leaker", "test_misbehaving", "mode = \"leak\"\n"));
  EXPECT_EQ(host_->services().buffers.alive(), 1u);
  stop_host();
  EXPECT_TRUE(log_->has("plugin-misbehaving [leaker]",
                        "left behind at destroy and freed by the host: 2 timers, 1 subscriptions, 1 worker queues, 1 "
                        "buffers"))
      << log_->text();
  EXPECT_EQ(host_->services().buffers.alive(), 0u);
}

TEST_F(MisbehaviourTest, ALoopFunctionOnAnotherThreadIsRefused) {
  start_host(instance("stray", "test_misbehaving", "mode = \"wrong_thread\"\n"));
  ASSERT_TRUE(log_->wait_for("plugin-misbehaving [stray]", "cm.timer/1 start was called outside"));
  stop_host();
  EXPECT_THAT(journal(), testing::Contains("stray refused"));
  EXPECT_EQ(host_->services().counters.wrong_thread_calls.load(), 1u);
}

TEST_F(MisbehaviourTest, ATableThatIsNotGrantedIsNotThere) {
  Host& host = make_host("[log]\nlevel = \"debug\"\n" +
                         echo("echo",
                              "permissions = [\"cm.config/1\", \"cm.http.server/1\", \"cm.metrics/1\", "
                              "\"cm.buffer/1\"]\n"));
  const Status started = host.start();
  ASSERT_FALSE(started.ok());
  EXPECT_THAT(started.error().message, HasSubstr("a host table is missing"));
  host.join();
  EXPECT_TRUE(log_->has("debug [echo]", "cm.websocket/1 is not granted")) << log_->text();
  EXPECT_FALSE(log_->has("cm.buffer/1 is not granted"));
}

using MisbehaviourDeathTest = HostFixture;

TEST_F(MisbehaviourDeathTest, AnEscapedExceptionNamesThePlugin) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  EXPECT_DEATH(
      {
        start_host(instance("thrower", "test_misbehaving", "mode = \"throw\"\n"));
        host_->join();
      },
      "an exception escaped inside plugin thrower .org.claudemesh.test.misbehaving, callback timer.: thrown on "
      "purpose");
}

TEST_F(MisbehaviourDeathTest, ACrashNamesThePlugin) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  EXPECT_DEATH(
      {
        start_host(instance("crasher", "test_misbehaving", "mode = \"crash\"\n"));
        host_->join();
      },
      "SIGABRT: crashed inside plugin crasher .org.claudemesh.test.misbehaving, callback timer.");
}

}  // namespace
}  // namespace cm::host
