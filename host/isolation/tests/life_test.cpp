// Goal: an unmodified plugin does the same in a process of its own as in the host. Method: a real host and real
// children; each behaviour is looked at from the far end.
#include <fcntl.h>
#include <sys/stat.h>

#include <future>

#include "host/isolation/tests/isolation_fixture.hpp"

namespace cm::host {
namespace {

using ::testing::HasSubstr;

class Isolation : public IsolationFixture {};

std::string guard(bool isolated) {
  std::string text = "[plugins.guard]\nfile = \"" CM_WORD_GUARD "\"\nword = \"password\"\n";
  return text + (isolated ? "isolation = \"process\"\n" : "");
}

TEST_F(Isolation, AnUnmodifiedGuardGivesTheSameAnswersInBothTiers) {
  std::vector<std::vector<std::string>> answers;
  for (const bool isolated : {false, true}) {
    start_host(ops_table() + guard(isolated) + asker("hook = \"guard\"\n"));
    answers.push_back({ask("a harmless text"), ask("my password is"), ask(""), ask(std::string(100'000, 'x')),
                       ask(std::string(100'000, 'x') + "password")});
    // Its counter and its log line come out of the host, wherever it runs.
    EXPECT_TRUE(eventually([this] {
      return ops("/metrics").body.find("word_guard_refused_total{plugin=\"guard\"} 2") != std::string::npos;
    })) << ops("/metrics").body;
    EXPECT_TRUE(log_->wait_for("refused a message", "guard"));
    EXPECT_EQ(isolated, host_->instances()[0].isolation.has_value());
    stop_host();
    host_.reset();
  }
  EXPECT_EQ(answers[0], answers[1]);
  EXPECT_EQ(answers[1][0], "continue:");
  EXPECT_THAT(answers[1][1], HasSubstr("deny:the message contains a word"));
}

TEST_F(Isolation, AnswersMayComeLater) {
  start_host(rogue());
  EXPECT_EQ(ask("later"), "replace:in time");
  EXPECT_EQ(ask("double " + std::string(300'000, 'y')), "replace:" + std::string(600'000, 'y'));
}

TEST_F(Isolation, APluginRunsInAnotherProcessAndStopsWithoutATrace) {
  start_host(rogue());
  const std::string answer = ask("pid");
  const pid_t pid = isolation_of("rogue").pid;
  EXPECT_EQ(answer, "replace:" + std::to_string(pid));
  EXPECT_NE(pid, ::getpid());
  EXPECT_TRUE(process_exists(pid));
  // Standard streams, the socket, the wake-up: nothing of the host's.
  EXPECT_EQ(ask("descriptors"), "replace:5");
  stop_host();
  EXPECT_FALSE(process_exists(pid));
  EXPECT_FALSE(log_->has("did not end in order"));
}

TEST_F(Isolation, ServesHttpAndUsesItFromItsOwnProcess) {
  start_host(ops_table() + asker("", true));
  EXPECT_EQ(post("/echo/some%20name?q=a%20b", std::string(50'000, 'b')), "some name|a b||" + std::string(50'000, 'b'));
  EXPECT_EQ(request(url("/nowhere", "asker")).status, 404);
  EXPECT_EQ(post("/fetch", "http://" + host_->ops_address() + "/healthz"), "ok\n");
  EXPECT_THAT(post("/fetch", "http://127.0.0.1:1/"), HasSubstr("127.0.0.1:1"));
}

TEST_F(Isolation, StopsReadingAWebSocketInBothTiers) {
  for (const bool isolated : {false, true}) {
    start_host(asker("", isolated));
    EXPECT_EQ(post("/talk", "pause"), "sent");
    // Round trips past the loop that has the two messages in front of it.
    for (int i = 0; i < 20; ++i) {
      EXPECT_EQ(get("/heard"), "pause 0 ") << isolated;
    }
    EXPECT_EQ(post("/resume", ""), "0");
    EXPECT_TRUE(eventually([this] { return get("/heard") == "pause 0 1 2 "; })) << get("/heard");
    stop_host();
    host_.reset();
  }
}

TEST_F(Isolation, TalksOverWebSocketsInBothTiers) {
  for (const bool isolated : {false, true}) {
    start_host(asker("", isolated));
    for (const std::size_t size : {1u, 5'000u, 700'000u}) {
      EXPECT_EQ(post("/talk", std::string(size, 'w')), "opened same 1000  clean ponged");
    }
    stop_host();
    EXPECT_THAT(log_->accusations(), testing::IsEmpty());
    host_.reset();
  }
}

TEST_F(Isolation, AsksAHookOfTheHostFromItsOwnProcess) {
  start_host(guard(false) + asker("hook = \"guard\"\n", true));
  EXPECT_EQ(ask("a harmless text"), "continue:");
  EXPECT_THAT(ask("my password is"), HasSubstr("deny:the message contains"));
}

TEST_F(Isolation, BothEndsMayBeIsolated) {
  start_host(plugin("rogue", "iso_rogue", true) + asker("hook = \"rogue\"\n", true));
  EXPECT_EQ(ask("double x"), "replace:xx");
  EXPECT_NE(isolation_of("rogue").pid, isolation_of("asker").pid);
}

TEST_F(Isolation, ATableThatIsNotGrantedIsNotThere) {
  const Status started = make_host(asker("permissions = [\"cm.config/1\", \"cm.log/1\"]\n", true)).start();
  ASSERT_FALSE(started.ok());
  EXPECT_THAT(started.error().message, HasSubstr("asker"));
}

TEST_F(Isolation, ReloadsInTwoPhases) {
  start_host(rogue());
  const pid_t pid = isolation_of("rogue").pid;
  next_text_ = rogue("note = \"second\"\n");
  ASSERT_TRUE(host_->reload().ok());
  EXPECT_EQ(ask("note"), "replace:second");
  next_text_ = rogue("note = \"refuse\"\n");
  const Status refused = host_->reload();
  ASSERT_FALSE(refused.ok());
  EXPECT_THAT(refused.error().message, HasSubstr("not to my taste"));
  EXPECT_EQ(ask("note"), "replace:second");
  EXPECT_EQ(isolation_of("rogue").pid, pid) << "a reload needs no new process";
}

// The consent to a reload that was given up must not count for the next one.
TEST_F(Isolation, ALateAnswerToOneReloadIsNoneToTheNext) {
  const std::string fifo = (folder_ / "gate").string();
  ASSERT_EQ(::mkfifo(fifo.c_str(), 0600), 0);
  const std::string common = "isolation_read = [\"" + folder_.string() + "\"]\n";
  const std::string host = "[host]\nreload_timeout = \"2s\"\n";
  start_host(host + rogue(common));
  next_text_ = host + rogue(common + "note = \"wait:" + fifo + "\"\n");
  const Status late = host_->reload();
  ASSERT_FALSE(late.ok());
  EXPECT_THAT(late.error().message, HasSubstr("did not answer in time"));
  next_text_ = host + rogue(common + "note = \"refuse\"\n");
  std::future<Status> refused = std::async(std::launch::async, [this] { return host_->reload(); });
  EXPECT_EQ(refused.wait_for(std::chrono::milliseconds(100)), std::future_status::timeout) << "the child is held";
  const int gate = ::open(fifo.c_str(), O_RDWR | O_CLOEXEC);
  EXPECT_FALSE(refused.get().ok());
  ::close(gate);
  EXPECT_EQ(ask("note"), "replace:first");
}

TEST_F(Isolation, ARestartedChildHasTheReloadedOptions) {
  start_host(rogue());
  next_text_ = rogue("note = \"second\"\n");
  ASSERT_TRUE(host_->reload().ok());
  ask("exit");
  ASSERT_TRUE(eventually([this] { return running() && isolation_of("rogue").restarts == 1; })) << log_->text();
  EXPECT_EQ(ask("note"), "replace:second");
}

TEST_F(Isolation, AFailureBeforeTheStartIsAFailureOfTheStart) {
  for (const std::string step : {"configure", "start"}) {
    const Status started = make_host(rogue("at = \"" + step + "\"\n")).start();
    ASSERT_FALSE(started.ok());
    EXPECT_THAT(started.error().message, HasSubstr("rogue"));
    EXPECT_THAT(started.error().message, HasSubstr("SIGSEGV"));
    EXPECT_THAT(started.error().message, HasSubstr("in the callback " + step));
    host_.reset();
  }
}

TEST_F(Isolation, ACrashInStopHoldsNothingUp) {
  start_host(rogue("at = \"stop\"\n"));
  stop_host();
  EXPECT_TRUE(log_->has("did not end in order", "SIGSEGV")) << log_->text();
}

}  // namespace
}  // namespace cm::host
