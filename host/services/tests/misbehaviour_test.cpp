// Goal: a plugin that breaks the contract is named, counted and contained.
#include <algorithm>

#include "host_fixture.hpp"

namespace cm::host {
namespace {

using testing::HasSubstr;

class MisbehaviourTest : public HostFixture {
 protected:
  std::string listen_for(const std::string& name) const {
    return "listen = \"unix:" + (folder_ / (name + ".sock")).string() + "\"\n";
  }
  // The real storage, under the name "store".
  std::string store_for(const std::string& name) const {
    return "[plugins.store]\nfile = \"" CM_STORAGE_PLUGIN "\"\npath = \"" + (folder_ / (name + ".db")).string() +
           "\"\n";
  }
};

TEST_F(MisbehaviourTest, ASpinningPluginIsNamedLikeASleepingOne) {
  start_host("[host]\nthreads = 2\n" + echo() + instance("spinner", "test_misbehaving", "mode = \"spin\"\n"));
  ASSERT_TRUE(log_->wait_for("plugin-misbehaving [spinner]", "in the callback timer since")) << log_->text();
  EXPECT_FALSE(host_->ready());
  EXPECT_EQ(request(url("/hello")).status, 200);
  std::ofstream(folder_ / "journal.enough").close();
  ASSERT_TRUE(log_->wait_for("plugin-misbehaving [spinner]", "the callback timer held its loop for"));
  EXPECT_TRUE(host_->ready());
}

// Rule 12: the C++ layer catches everything; the instance goes on, and everybody can see what happened.
TEST_F(MisbehaviourTest, AnExceptionOfTheCppLayerStopsAtTheBoundary) {
  for (const std::string where : {"timer", "post", "job", "http_request", "drain", "stop"}) {
    SCOPED_TRACE(where);
    start_host(instance(where, "test_thrower", "where = \"" + where + "\"\n" + listen_for(where)));
    EXPECT_EQ(request(url("/", where)).status, where == "http_request" ? 500 : 200);
    if (where == "drain" || where == "stop") {
      stop_host();
    }
    EXPECT_TRUE(log_->wait_for("plugin-misbehaving [" + where + "]",
                               "an exception left the callback " + where + ": thrown on purpose in " + where));
    host_.reset();
  }
}

// The place that throws, and the callback of the host that it is found in.
struct Thrown {
  std::string where;
  std::string callback;
};

TEST_F(MisbehaviourTest, AnExceptionInACallbackOfStorageProcessOrHttpClientStopsAtTheBoundary) {
  const std::vector<Thrown> all = {{"process_output", "process_output"},
                                   {"process_exited", "process_exited"},
                                   {"http_result", "http_result"},
                                   {"storage_work", "storage_work"},
                                   {"storage_row", "storage_work"},
                                   {"storage_done", "storage_done"},
                                   {"task", "timer"}};
  for (const auto& [where, callback] : all) {
    SCOPED_TRACE(where);
    start_host("[ops]\nlisten = \"127.0.0.1:0\"\n" + store_for(where) +
               instance(where, "test_thrower", "store = \"store\"\nwhere = \"" + where + "\"\n" + listen_for(where)));
    EXPECT_TRUE(log_->wait_for("plugin-misbehaving [" + where + "]",
                               "an exception left the callback " + callback + ": thrown on purpose in " + where));
    // What else was in flight goes on, and the instance answers.
    EXPECT_TRUE(log_->wait_for("[" + where + "]", "the child succeeded"));
    EXPECT_TRUE(log_->wait_for("[" + where + "]", "read went well"));
    EXPECT_EQ(request(url("/", where)).status, 200);
    const std::string metrics = host_->metrics_text();
    const std::string of_plugin = "{plugin=\"" + where + "\"} ";
    // More than one on a machine that is so busy that a callback took too long.
    EXPECT_NE(metrics.find("claudemesh_plugin_misbehaviour_total" + of_plugin), std::string::npos);
    EXPECT_EQ(metrics.find("claudemesh_plugin_misbehaviour_total" + of_plugin + "0\n"), std::string::npos);
    EXPECT_NE(metrics.find("claudemesh_plugin_degraded" + of_plugin + "1\n"), std::string::npos);
    EXPECT_EQ(ops("/readyz").status, 200);
    host_.reset();
  }
}

TEST_F(MisbehaviourTest, AWorkThatThrowsIsRolledBackAndItsSubmitterIsTold) {
  for (const std::string where : {"storage_work", "storage_row"}) {
    start_host(store_for(where) +
               instance(where, "test_thrower", "store = \"store\"\nwhere = \"" + where + "\"\n" + listen_for(where)));
    EXPECT_TRUE(log_->wait_for("[" + where + "]", "submit failed: an exception left the work, so it was rolled back"));
    EXPECT_TRUE(log_->wait_for("[" + where + "]", "notes count=0")) << log_->text();
    host_.reset();
  }
}

TEST_F(MisbehaviourTest, AnExceptionInTheStartIsAFailedStart) {
  for (const std::string where : {"configure", "start"}) {
    Host& host = make_host(instance("thrower", "test_thrower", "where = \"" + where + "\"\n"));
    const Status started = host.start();
    ASSERT_FALSE(started.ok());
    EXPECT_THAT(started.error().message, HasSubstr("instance \"thrower\": " + where + " failed (internal)"));
    host.join();
    host_.reset();
  }
}

TEST_F(MisbehaviourTest, AFloodOfLinesIsCutCountedAndTold) {
  start_host("[log]\nlines_per_second = 10\n" + instance("chatty", "test_misbehaving", "mode = \"flood\"\n") + echo());
  const auto flooded = [this] {
    const std::vector<std::string> lines = journal();
    return std::find(lines.begin(), lines.end(), "chatty flooded") != lines.end();
  };
  ASSERT_TRUE(log_->wait_for("[chatty]", "the same line again"));
  stop_host();
  ASSERT_TRUE(flooded());
  const std::string text = log_->text();
  std::size_t written = 0;
  for (std::size_t at = text.find("the same line again"); at != std::string::npos;
       at = text.find("the same line again", at + 1)) {
    ++written;
  }
  // 20 at once and 10 for each second that the loop took; the test's own time-out is far below 100 s.
  EXPECT_LT(written, 1000u);
  EXPECT_TRUE(log_->has("warn [chatty] dropped ", "lines_per_second")) << text.substr(0, 2000);
  EXPECT_THAT(host_->metrics_text(), testing::Not(HasSubstr("log_lines_dropped_total{plugin=\"chatty\"} 0\n")));
}

TEST_F(MisbehaviourTest, AStatusThatDoesNotExistIsAFailureAndMisbehaviour) {
  Host& host = make_host(instance("liar", "test_misbehaving", "mode = \"garbage_status\"\n"));
  const Status started = host.start();
  ASSERT_FALSE(started.ok());
  EXPECT_THAT(started.error().message, HasSubstr("unknown status 4711"));
  EXPECT_TRUE(log_->wait_for("plugin-misbehaving [liar]", "the callback start answered 4711"));
}

TEST_F(MisbehaviourTest, AnInstanceWithoutATableIsRefused) {
  Host& host = make_host(instance("garbage_create", "test_misbehaving"));
  const Status started = host.start();
  ASSERT_FALSE(started.ok());
  EXPECT_THAT(started.error().message, HasSubstr("create answered OK without an object and a table"));
}

TEST_F(MisbehaviourTest, AnAccusationOfTheHostHasItsOwnSeverityAndCounter) {
  start_host("[ops]\nlisten = \"127.0.0.1:0\"\n" + instance("accuser", "test_misbehaving", "mode = \"accuse\"\n"));
  EXPECT_TRUE(log_->wait_for("host-misbehaving [accuser]", "on a wrong thread"));
  EXPECT_THAT(host_->metrics_text(), HasSubstr("claudemesh_host_misbehaviour_total{plugin=\"accuser\"} 1\n"));
  EXPECT_THAT(host_->metrics_text(), HasSubstr("claudemesh_plugin_degraded{plugin=\"accuser\"} 1\n"));
  EXPECT_THAT(ops("/readyz").body, HasSubstr("\"degraded\":false,\"misbehaving\":true"));
  EXPECT_EQ(ops("/readyz").status, 200) << "marked, but at work";
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

TEST_F(MisbehaviourDeathTest, ASegmentationFaultNamesThePlugin) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  EXPECT_DEATH(
      {
        start_host(instance("faulty", "test_misbehaving", "mode = \"segfault\"\n"));
        host_->join();
      },
      "SIGSEGV: crashed inside plugin faulty .org.claudemesh.test.misbehaving, callback timer.");
}

}  // namespace
}  // namespace cm::host
