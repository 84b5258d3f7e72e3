// Goal: cm.process/1 runs real programs, holds them to their limits, and nothing of them outlives the instance: no
// process, no zombie, no descriptor. The far end is asked: the kernel, and what the shells say.
#include <sys/wait.h>

#include <cerrno>
#include <csignal>
#include <thread>

#include "host_fixture.hpp"

namespace cm::host {
namespace {

class ChildrenTest : public HostFixture {
 protected:
  std::string children(const std::string& options) const { return instance("c", "test_children", options); }
  std::string script(const std::string& text, const std::string& more = {}) const {
    return children("script = '''" + text + "'''\n" + more);
  }
  // Runs until the child has ended and answers the line that tells how.
  std::string run(const std::string& configuration) {
    start_host(configuration);
    EXPECT_TRUE(log_->wait_for("exited reason")) << log_->text();
    stop_host();
    const std::string text = log_->text();
    const std::size_t begin = text.find("exited reason");
    return begin == std::string::npos ? text : text.substr(begin, text.find('\n', begin) - begin);
  }
  // The number after "pid " in what the script printed.
  pid_t told_pid() {
    EXPECT_TRUE(log_->wait_for("told pid ")) << log_->text();
    const std::string text = log_->text();
    const std::size_t at = text.find("told pid ");
    return at == std::string::npos ? -1 : static_cast<pid_t>(std::stol(text.substr(at + 9)));
  }
  // The same under a limit of time that begins before the script has set its trap: with a longer one, until the script
  // was in time to say "ready".
  std::string run_with_limit(const std::string& text, const std::string& more = {}) {
    std::string end;
    for (std::uint64_t limit_ms = 100; limit_ms <= 20'000; limit_ms *= 2) {
      end = run(script(text, "time_ms = " + std::to_string(limit_ms) + "\n" + more));
      if (end.find("ready") != std::string::npos) {
        EXPECT_THAT(end, testing::HasSubstr("took longer than " + std::to_string(limit_ms) + " ms")) << end;
        return end;
      }
    }
    ADD_FAILURE() << "the script was never ready in time: " << end;
    return end;
  }
  // Waits until the process is gone and not even a zombie is left.
  static bool gone(pid_t pid) {
    const auto deadline = std::chrono::steady_clock::now() + kTestDeadline;
    while (::kill(pid, 0) == 0 && std::chrono::steady_clock::now() < deadline) {
      std::this_thread::yield();
    }
    return ::kill(pid, 0) != 0 && errno == ESRCH;
  }
  static bool has_no_children() { return ::waitpid(-1, nullptr, WNOHANG) < 0 && errno == ECHILD; }
  static std::size_t open_descriptors() {
    std::size_t count = 0;
    for ([[maybe_unused]] const auto& entry : std::filesystem::directory_iterator("/proc/self/fd")) {
      ++count;
    }
    return count;
  }
};

TEST_F(ChildrenTest, OutputErrorAndCodeArrive) {
  const std::string end = run(script("echo out; echo err >&2; exit 3"));
  EXPECT_THAT(end, testing::HasSubstr("exited reason 1 code 3 signal 0 [ended by itself with code 3]"));
  EXPECT_THAT(end, testing::HasSubstr("out <out\\n> err <err\\n> ends 2 peak 1 cpu 1")) << end;
}

TEST_F(ChildrenTest, TheEnvironmentAndFolderAreThoseOfTheOptionsAndNothingElse) {
  ::setenv("CM_TEST_LEAK", "leaked", 1);
  const std::string end =
      run(script("printf '%s %s %s|' \"$GREETING\" \"$PWD\" \"${CM_TEST_LEAK:-none}\"; ls /proc/self/fd | tr '\\n' ' '",
                 "folder = \"/usr\"\n"));
  // 3 is the folder that ls itself reads.
  EXPECT_THAT(end, testing::HasSubstr("out <good day /usr none|0 1 2 3 >")) << end;
}

TEST_F(ChildrenTest, MergedStreamsKeepTheOrderOfWriting) {
  const std::string end = run(script("echo a; echo b >&2; echo c", "merge = true\n"));
  EXPECT_THAT(end, testing::HasSubstr("out <a\\nb\\nc\\n> err <> ends 1")) << end;
}

TEST_F(ChildrenTest, InputArrivesAndEnds) {
  EXPECT_THAT(run(script("cat", "input = \"one two\"\n")), testing::HasSubstr("out <one two> err <>"));
}

TEST_F(ChildrenTest, LaterInputArrivesInOrder) {
  const std::string end = run(script("echo pid 0; cat", "reply = \"abc\"\n"));
  EXPECT_THAT(end, testing::HasSubstr("out <pid 0\\nabcabc>")) << end;
}

TEST_F(ChildrenTest, InputThatTheChildDoesNotReadIsBounded) {
  // The second does not fit beside the first, which nobody can have read in the same turn of the loop.
  start_host(script("echo pid 0; wc -c", "reply = \"0123456789\"\nreply_times = 60000\ninput_bytes = 700000\n"));
  ASSERT_TRUE(log_->wait_for("wrote 0 then 4")) << log_->text();
  ASSERT_TRUE(log_->wait_for("drained"));
  ASSERT_TRUE(log_->wait_for("exited reason 1 code 0"));
  stop_host();
  EXPECT_TRUE(log_->has("600000")) << log_->text();
}

TEST_F(ChildrenTest, WhatIsLongerThanOnePieceArrivesWhole) {
  EXPECT_THAT(run(script("head -c 1000000 /dev/zero")), testing::HasSubstr("after 1000000 bytes"));
}

TEST_F(ChildrenTest, AFloodEndsAtItsLimitAndNotInMemory) {
  const std::string end = run(script("yes", "output_bytes = 100000\n"));
  EXPECT_THAT(end, testing::HasSubstr("exited reason 5 code -1 signal 9 [wrote more than 100000 bytes")) << end;
  EXPECT_THAT(end, testing::HasSubstr("after 100000 bytes"));
  EXPECT_EQ(host_->services().counters.process_limit_kills.load(), 1u);
}

TEST_F(ChildrenTest, TheTimeLimitAsksFirst) {
  const std::string end = run_with_limit("trap 'echo asked; exit 7' TERM; echo ready; while :; do sleep 0.01; done");
  EXPECT_THAT(end, testing::HasSubstr("exited reason 4 code 7 signal 0 [took longer than")) << end;
  EXPECT_THAT(end, testing::HasSubstr("out <ready\\nasked\\n>"));
}

TEST_F(ChildrenTest, WhoIgnoresTheQuestionIsKilledAfterTheGrace) {
  const std::string end = run_with_limit("trap '' TERM; echo ready; while :; do sleep 0.01; done", "grace_ms = 100\n");
  EXPECT_THAT(end, testing::HasSubstr("exited reason 4 code -1 signal 9")) << end;
}

TEST_F(ChildrenTest, ProcessorTimeIsLimited) {
  const std::string end = run(script("while :; do :; done", "cpu_ms = 1000\n"));
  EXPECT_THAT(end, testing::HasSubstr("exited reason 2 code -1 signal 24")) << end;
  EXPECT_THAT(end, testing::HasSubstr("the limit of processor time"));
}

TEST_F(ChildrenTest, MemoryIsLimited) {
  // dd reads one block of 512 MiB into memory.
  const std::string command = "dd if=/dev/zero of=/dev/null bs=512M count=1 2>/dev/null && echo enough";
  EXPECT_THAT(run(script(command, "memory = 1000000000\n")), testing::HasSubstr("out <enough\\n>"));
  EXPECT_THAT(run(script(command, "memory = 100000000\n")), testing::HasSubstr("reason 1 code 1"));
}

TEST_F(ChildrenTest, ATermIsEnoughForWhoListens) {
  const std::string end =
      run(script("trap 'exit 0' TERM; echo pid $$; while :; do sleep 0.01; done", "kill_grace_ms = 20000\n"));
  EXPECT_THAT(end, testing::HasSubstr("exited reason 3 code 0 signal 0 [was ended on request")) << end;
}

TEST_F(ChildrenTest, KillWithoutGraceIsAtOnce) {
  const std::string end = run(script("trap '' TERM; echo pid $$; sleep 600", "kill_grace_ms = 0\n"));
  EXPECT_THAT(end, testing::HasSubstr("exited reason 3 code -1 signal 9")) << end;
}

TEST_F(ChildrenTest, AProgramThatDoesNotExistIsAnEndAndNotAnError) {
  const std::string end = run(children("program = \"/nonexistent/program\"\n"));
  EXPECT_THAT(end, testing::HasSubstr("exited reason 6 code -1 signal 0 [cannot execute the program "
                                      "/nonexistent/program: No such file or directory]"));
  EXPECT_EQ(host_->services().spawner->failed(), 1u);
}

TEST_F(ChildrenTest, AFolderThatDoesNotExistIsNamed) {
  const std::string end = run(script("echo never", "folder = \"/nonexistent\"\n"));
  EXPECT_THAT(end, testing::HasSubstr("cannot enter the working folder /nonexistent")) << end;
}

TEST_F(ChildrenTest, ARelativeProgramIsRefused) {
  start_host(children("program = \"sh\"\n"));
  EXPECT_TRUE(log_->wait_for("refused:")) << log_->text();
  stop_host();
}

TEST_F(ChildrenTest, WhileOutputIsPausedTheChildWaits) {
  start_host(script("echo pid 0; head -c 1000000 /dev/zero", "pause = true\n"));
  ASSERT_TRUE(log_->wait_for("exited reason 1 code 0")) << log_->text();
  stop_host();
  EXPECT_TRUE(log_->has("after 1000006 bytes")) << log_->text();
  EXPECT_TRUE(log_->has("nothing came while paused")) << log_->text();
}

TEST_F(ChildrenTest, GrandchildrenDoNotHoldUpTheEndAndDieWithIt) {
  start_host(script("(trap '' TERM HUP; exec sleep 600) & echo pid $!"));
  const pid_t grandchild = told_pid();
  ASSERT_GT(grandchild, 0);
  EXPECT_TRUE(log_->wait_for("exited reason 1 code 0")) << log_->text();
  EXPECT_TRUE(has_died(grandchild));
  stop_host();
}

TEST_F(ChildrenTest, NothingOutlivesTheInstance) {
  start_host(script("trap '' TERM; echo pid $$; while :; do sleep 1; done"));
  const pid_t child = told_pid();
  ASSERT_EQ(::kill(child, 0), 0);
  stop_host();
  EXPECT_TRUE(gone(child));
  EXPECT_TRUE(has_no_children());
  EXPECT_TRUE(log_->has("plugin-misbehaving [c]", "1 child processes")) << log_->text();
}

TEST_F(ChildrenTest, ChildrenThatThePluginGaveUpAreNoMisbehaviour) {
  start_host(script("echo pid $$; sleep 600", "at_end = \"kill\"\n"));
  const pid_t child = told_pid();
  stop_host();
  EXPECT_TRUE(gone(child));
  EXPECT_THAT(log_->accusations(), testing::IsEmpty());
}

TEST_F(ChildrenTest, AStopWhileTheyAreBeingStartedLeavesNothing) {
  const std::size_t before = open_descriptors();
  for (int round = 0; round < 5; ++round) {
    start_host(script("sleep 600", "count = 20\nat_end = \"kill\"\n"));
    stop_host();
    host_.reset();
    EXPECT_TRUE(has_no_children());
  }
  EXPECT_LE(open_descriptors(), before + 2);  // the captured log and gtest may hold one
}

TEST_F(ChildrenTest, MoreThanTheLimitIsBusy) {
  start_host(script("read line", "count = 257\nat_end = \"kill\"\n"));
  EXPECT_TRUE(log_->wait_for("refused: the host refused to start /bin/sh"));
  stop_host();
  EXPECT_TRUE(has_no_children());
}

}  // namespace
}  // namespace cm::host
