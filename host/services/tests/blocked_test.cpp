// Goal: a plugin that holds its loop holds up nothing else: not a reload, not the drain of the others, not their
// answers. Method: a plugin that waits in one of its callbacks until the test writes to a FIFO.
#include <fcntl.h>
#include <sys/stat.h>

#include <algorithm>
#include <functional>
#include <future>
#include <limits>
#include <utility>

#include "host_fixture.hpp"

namespace cm::host {
namespace {

using testing::AllOf;
using testing::Contains;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::Not;

class BlockedTest : public HostFixture {
 protected:
  BlockedTest() { EXPECT_EQ(::mkfifo(gate().c_str(), 0600), 0); }
  // The fixture ends the host, which waits for its loops.
  ~BlockedTest() override {
    release();
    host_.reset();
    ::close(writer_);
  }

  std::string gate() const { return (folder_ / "gate").string(); }
  // Lets go of whoever waits at the gate, and of everybody who comes later.
  void release() {
    if (writer_ < 0) {
      writer_ = ::open(gate().c_str(), O_RDWR | O_CLOEXEC);
      std::filesystem::remove(gate());
    }
  }

  static std::string host_section(const std::string& more) {
    return "[host]\nthreads = 2\nreload_timeout = \"2s\"\n" + more;
  }
  std::string holder(const std::string& name, int loop, const std::string& hold, const std::string& more = {}) const {
    return instance(name, "test_holder",
                    "loop = " + std::to_string(loop) + "\nhold = \"" + hold + "\"\ngate = \"" + gate() + "\"\n" + more);
  }
  bool wait_until_held(const std::string& name, const std::string& where) {
    return log_->wait_for("[" + name + "]", "holds in " + where);
  }

  std::vector<std::string> steps_of(const std::string& name) const {
    std::vector<std::string> steps;
    for (const std::string& line : journal()) {
      if (line.starts_with(name + " ")) {
        steps.push_back(line.substr(name.size() + 1));
      }
    }
    return steps;
  }

 private:
  int writer_ = -1;
};

TEST_F(BlockedTest, TheWatchdogNamesWhoBlocksWhileItStillBlocks) {
  start_host(host_section("[ops]\nlisten = \"127.0.0.1:0\"\n") + echo("echo", "loop = 1\n") +
             holder("blocker", 0, "timer"));
  ASSERT_TRUE(log_->wait_for("plugin-misbehaving [blocker]", "in the callback timer since")) << log_->text();
  EXPECT_FALSE(log_->has("the callback timer held its loop for"));
  // It is still inside: the ops loop can tell so, and the other loop goes on.
  EXPECT_EQ(ops("/healthz").status, 503);
  EXPECT_THAT(ops("/healthz").body, HasSubstr("blocker in timer"));
  EXPECT_EQ(ops("/readyz").status, 503);
  EXPECT_EQ(request(url("/hello")).status, 200);
  release();
  ASSERT_TRUE(log_->wait_for("plugin-misbehaving [blocker]", "the callback timer held its loop for"));
  EXPECT_THAT(host_->metrics_text(), HasSubstr("claudemesh_watchdog_hits_total 1\n"));
  EXPECT_THAT(host_->metrics_text(),
              HasSubstr("claudemesh_plugin_call_overruns_total{plugin=\"blocker\",callback=\"timer\"} 1\n"));
  EXPECT_TRUE(host_->ready());
}

TEST_F(BlockedTest, AReloadNamesWhoHoldsTheLoopAndChangesNothing) {
  const std::string held = holder("culprit", 0, "timer");
  const auto text = [&](const std::string& greeting) {
    return host_section({}) + echo("free", "loop = 1\ngreeting = \"" + greeting + "\"\n") +
           echo("victim", "loop = 0\ngreeting = \"" + greeting + "\"\n") + held;
  };
  start_host(text("hello"));
  ASSERT_TRUE(wait_until_held("culprit", "timer"));
  next_text_ = text("good day");
  const Status reloaded = host_->reload();
  ASSERT_FALSE(reloaded.ok());
  EXPECT_EQ(reloaded.error().code, ErrorCode::kBusy);
  const auto names_it = AllOf(HasSubstr("instance \"victim\""), HasSubstr("[host] reload_timeout"),
                              HasSubstr("instance \"culprit\" holds loop-0 in its callback timer for "));
  EXPECT_THAT(reloaded.error().message, names_it);
  EXPECT_EQ(host_->reload_error(), reloaded.error().message);
  EXPECT_TRUE(log_->wait_for("reload refused, nothing has changed: " + reloaded.error().message));
  EXPECT_EQ(request(url("/hello", "free")).body, "hello world");
  EXPECT_THAT(steps_of("free"), ElementsAre("configure", "start", "reload_prepare", "reload_abort"));
  EXPECT_THAT(host_->metrics_text(), HasSubstr("claudemesh_late_steps_total 1\n"));
  EXPECT_THAT(steps_of("culprit"), Not(Contains("timer"))) << "it is still inside";
  release();
  ASSERT_TRUE(host_->reload().ok()) << host_->reload_error();
  EXPECT_EQ(host_->reload_error(), "");
  EXPECT_EQ(request(url("/hello", "free")).body, "good day world");
  EXPECT_EQ(request(url("/hello", "victim")).body, "good day world");
  EXPECT_THAT(steps_of("victim"), ElementsAre("configure", "start", "reload_prepare", "reload_commit"))
      << "what had not begun in time never begins";
}

TEST_F(BlockedTest, APrepareThatAnswersLateIsAborted) {
  start_host(host_section({}) + holder("slow", 0, "prepare"));
  next_text_ = host_section({}) + holder("slow", 0, "prepare", "text = \"new\"\n");
  const Status reloaded = host_->reload();
  ASSERT_FALSE(reloaded.ok());
  EXPECT_THAT(reloaded.error().message, HasSubstr("instance \"slow\" holds loop-0 in its callback reload_prepare"));
  EXPECT_THAT(steps_of("slow"), ElementsAre("create", "configure", "start"));
  release();
  ASSERT_TRUE(log_->wait_for("[slow]", "passed abort"));
  ASSERT_TRUE(host_->reload().ok()) << host_->reload_error();
  EXPECT_THAT(steps_of("slow"), ElementsAre("create", "configure", "start", "prepare", "abort", "prepare", "commit"));
}

TEST_F(BlockedTest, ACommitThatAnswersLateDoesNotHoldUpTheReload) {
  start_host(host_section({}) + holder("slow", 0, "commit") + echo("free", "loop = 1\n"));
  next_text_ = host_section({}) + holder("slow", 0, "commit", "text = \"new\"\n") +
               echo("free", "loop = 1\ngreeting = \"good day\"\n");
  ASSERT_TRUE(host_->reload().ok()) << host_->reload_error();
  EXPECT_TRUE(log_->wait_for("instance \"slow\" uses its new options as soon as its loop answers",
                             "instance \"slow\" holds loop-0 in its callback reload_finish"))
      << log_->text();
  EXPECT_EQ(request(url("/hello", "free")).body, "good day world");
  release();
  EXPECT_TRUE(log_->wait_for("[slow]", "passed commit"));
}

// Whatever was made for a refused reload goes away as soon as its loop answers, and only then the next one may begin.
TEST_F(BlockedTest, AnInstanceThatHoldsItsLoopWhileItIsMadeIsTakenDownLater) {
  for (const std::string where : {"create", "configure", "start"}) {
    SCOPED_TRACE(where);
    const std::string before = host_section("start_timeout = \"2s\"\n") + echo("echo", "loop = 0\n");
    start_host(before);
    next_text_ = before + holder("added_" + where, 1, where);
    const std::string name = "added_" + where;
    const Status reloaded = host_->reload();
    ASSERT_FALSE(reloaded.ok());
    EXPECT_THAT(reloaded.error().message, HasSubstr("instance \"" + name + "\" holds loop-1 in its callback " + where));
    EXPECT_EQ(host_->instances().size(), 1u);
    EXPECT_EQ(request(url("/hello")).body, "hello world");
    const Status again = host_->reload();
    ASSERT_FALSE(again.ok());
    EXPECT_THAT(again.error().message, AllOf(HasSubstr("what a refused reload made cannot be taken down yet"),
                                             HasSubstr("holds loop-1 in its callback " + where)));
    EXPECT_THAT(journal(), Not(Contains(name + " destroy")));
    const int writer = ::open(gate().c_str(), O_RDWR | O_CLOEXEC);  // the gate stays for the next round
    ASSERT_TRUE(log_->wait_for("[" + name + "]", "passed destroy")) << log_->text();
    EXPECT_THAT(steps_of(name), Not(Contains("stop"))) << "a failed step is followed by destroy alone";
    ASSERT_TRUE(host_->reload().ok()) << host_->reload_error();
    EXPECT_EQ(host_->instances().size(), 2u);
    EXPECT_TRUE(host_->ready());
    stop_host();
    ::close(writer);
    host_.reset();
  }
}

// Nothing is stopped before the loops of all that end have answered.
TEST_F(BlockedTest, AnInstanceThatHoldsItsLoopIsNotReplacedMeanwhile) {
  start_host(host_section({}) + echo("echo", "loop = 1\n") + holder("culprit", 0, "timer"));
  ASSERT_TRUE(wait_until_held("culprit", "timer"));
  next_text_ = host_section({}) + echo("young", "loop = 1\n");
  ASSERT_FALSE(host_->reload().ok());
  EXPECT_THAT(host_->reload_error(), HasSubstr("instance \"culprit\" holds loop-0 in its callback timer"));
  EXPECT_EQ(request(url("/hello")).status, 200);
  EXPECT_EQ(request(url("/hello", "young")).status, 0);
  EXPECT_THAT(journal(), Not(Contains("echo drain")));
  release();
  ASSERT_TRUE(host_->reload().ok()) << host_->reload_error();
  EXPECT_EQ(request(url("/hello", "young")).status, 200);
  EXPECT_EQ(steps_of("culprit").back(), "destroy");
}

TEST_F(BlockedTest, TheDrainOfOthersDoesNotWaitForAHeldLoop) {
  start_host("[host]\nthreads = 2\ndrain_timeout = \"50ms\"\n" + holder("free", 1, "none") +
             holder("culprit", 0, "timer"));
  ASSERT_TRUE(wait_until_held("culprit", "timer"));
  host_->request_stop();
  ASSERT_TRUE(log_->wait_for("instance \"culprit\": drain failed (busy): its loop did not answer within",
                             "instance \"culprit\" holds loop-0 in its callback timer"))
      << log_->text();
  ASSERT_TRUE(log_->wait_for("[free]", "passed drain"));
  EXPECT_THAT(steps_of("culprit"), Not(Contains("timer"))) << "it is still inside";
  release();
  host_->join();
  EXPECT_THAT(steps_of("culprit"), ElementsAre("create", "configure", "start", "timer", "drain", "stop", "destroy"));
}

TEST_F(BlockedTest, AStopEndsAReloadThatWaitsForALoop) {
  const auto text = [this](const std::string& value) {
    return "[host]\nthreads = 2\nreload_timeout = \"1h\"\n" + holder("free", 1, "none", value) +
           holder("culprit", 0, "timer", value);
  };
  start_host(text({}));
  ASSERT_TRUE(wait_until_held("culprit", "timer"));
  next_text_ = text("text = \"new\"\n");
  std::future<Status> reloaded = std::async(std::launch::async, [this] { return host_->reload(); });
  EXPECT_TRUE(log_->wait_for("[free]", "passed prepare"));
  host_->request_stop();
  EXPECT_EQ(reloaded.wait_for(kTestDeadline), std::future_status::ready);
  release();
  const Status status = reloaded.get();
  ASSERT_FALSE(status.ok());
  EXPECT_THAT(status.error().message, HasSubstr("the host was told to stop meanwhile"));
}

// What a plugin does to the others, as the others' clients see it.
class LatencyTest : public BlockedTest {
 protected:
  static constexpr int kRequests = 300;
  static constexpr std::chrono::seconds kPatience{30};

  std::string blocker(int loop) const {
    return "[host]\nthreads = 2\n" + echo("echo", "loop = 1\n") + holder("blocker", loop, "timer");
  }
  // In microseconds, of requests on connections of their own, sorted; at most kRequests, as long as `go_on` and all
  // are answered. What `go_on` takes is part of the time.
  std::vector<std::int64_t> measure(const std::function<bool()>& go_on) {
    std::vector<std::int64_t> times;
    int status = 200;
    while (static_cast<int>(times.size()) < kRequests && status == 200) {
      const std::int64_t began_ns = net::Loop::now_ns();
      if (!go_on()) {
        break;
      }
      status = request(url("/hello")).status;
      EXPECT_EQ(status, 200);
      times.push_back((net::Loop::now_ns() - began_ns) / 1000);
    }
    std::sort(times.begin(), times.end());
    return times;
  }
  std::vector<std::int64_t> measure() {
    return measure([] { return true; });
  }
  static std::int64_t p99(const std::vector<std::int64_t>& times) {
    return times.empty() ? 0 : times.at(times.size() * 99 / 100);
  }
};

// While one plugin blocks its loop for more than a second, the 99th percentile of the others stays within twice what it
// is right afterwards, in the same process. A machine that is busy with something else proves nothing: the best of all
// rounds counts, and a host that lets the others wait fails the first.
TEST_F(LatencyTest, OthersKeepTheirLatencyWhileOneBlocksItsOwnLoop) {
  const auto deadline = std::chrono::steady_clock::now() + kPatience;
  double best = std::numeric_limits<double>::max();
  while (best > 2 && std::chrono::steady_clock::now() < deadline) {
    host_.reset();
    start_host(blocker(0));
    ASSERT_TRUE(log_->wait_for("plugin-misbehaving [blocker]", "in the callback timer since"));
    const std::vector<std::int64_t> beside = measure();
    ASSERT_EQ(beside.size(), kRequests);
    ASSERT_FALSE(log_->has("[blocker]", "passed timer")) << "it was not blocked all the time";
    const int writer = ::open(gate().c_str(), O_RDWR | O_CLOEXEC);  // the gate stays for the next round
    ASSERT_TRUE(log_->wait_for("[blocker]", "the callback timer held its loop for"));
    ::close(writer);
    const std::vector<std::int64_t> alone = measure();
    best =
        std::min(best, static_cast<double>(p99(beside)) / static_cast<double>(std::max<std::int64_t>(1, p99(alone))));
    RecordProperty("p99_alone_us", std::to_string(p99(alone)));
    RecordProperty("p99_beside_us", std::to_string(p99(beside)));
  }
  EXPECT_LE(best, 2.0);
}

// The measurement sees it when they do wait: on the blocker's own loop they must.
TEST_F(LatencyTest, OthersOfTheSameLoopWaitForIt) {
  constexpr std::chrono::milliseconds kHeld{500};
  start_host(blocker(1));
  ASSERT_TRUE(wait_until_held("blocker", "timer"));
  std::promise<void> began;
  bool first = true;
  std::future<std::vector<std::int64_t>> measured = std::async(std::launch::async, [&] {
    return measure([&] {
      if (first) {
        began.set_value();
      }
      return std::exchange(first, false);
    });
  });
  began.get_future().wait();
  EXPECT_EQ(measured.wait_for(kHeld), std::future_status::timeout) << "somebody answered on a loop that is held";
  release();
  const std::vector<std::int64_t> times = measured.get();
  ASSERT_EQ(times.size(), 1u);
  EXPECT_GE(times.back(), std::chrono::microseconds(kHeld).count());
}

}  // namespace
}  // namespace cm::host
