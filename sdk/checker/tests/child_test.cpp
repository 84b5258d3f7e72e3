// Goal: whatever a child does with its end of the pipe, its end is noticed, its result is taken and its limit holds.
#include "sdk/checker/child.hpp"

#include <gtest/gtest.h>
#include <unistd.h>

#include <string>
#include <vector>

#include "tests/support/temporary_folder.hpp"

namespace cm::checker {
namespace {

constexpr std::uint64_t kLimitMs = 20'000;

// Waits for the end of a child as the runner does.
Outcome outcome_of(Child& child) {
  for (bool ended = false; !ended;) {
    std::vector<pollfd> polled;
    child.add_polled(polled);
    ::poll(polled.data(), polled.size(), static_cast<int>(child.milliseconds_left()) + 1);
    child.enforce_limit();
    ended = child.read();
  }
  return child.outcome();
}

class ChildTest : public ::testing::Test {
 protected:
  Outcome run(const std::string& behaviour, std::uint64_t limit_ms = kLimitMs) {
    Child child({behaviour}, folder_.path() / "child", limit_ms);
    Outcome outcome = outcome_of(child);
    timed_out_ = child.timed_out();
    return outcome;
  }

  const test::TemporaryFolder folder_;
  bool timed_out_ = false;
};

// Many, since a child may write its result and end between any two looks at it.
TEST_F(ChildTest, AResultThatIsWrittenJustBeforeTheEndIsTaken) {
  for (int i = 0; i < 200; ++i) {
    const Outcome outcome = run("answer");
    ASSERT_EQ(outcome.verdict, Verdict::kSkipped) << outcome.found;
    ASSERT_EQ(outcome.found, "as told");
  }
}

TEST_F(ChildTest, OneWithoutAResultEndedTheProcess) {
  const Outcome outcome = run("leave");
  EXPECT_EQ(outcome.verdict, Verdict::kFailed);
  EXPECT_EQ(outcome.found, "it ended the process with exit code 7");
}

TEST_F(ChildTest, OneThatHasClosedItsReportIsEndedAtItsLimit) {
  const Outcome outcome = run("close and wait", 300);
  EXPECT_EQ(outcome.verdict, Verdict::kFailed);
  EXPECT_TRUE(timed_out_);
}

// Its own child holds the pipe: the end of the pipe never comes.
TEST_F(ChildTest, OneWhosePipeLivesOnHasEnded) {
  const Outcome outcome = run("fork and answer");
  EXPECT_EQ(outcome.verdict, Verdict::kSkipped) << outcome.found;
  EXPECT_FALSE(timed_out_);
}

void answer() {
  const std::string line = result_line(skipped("as told"));
  ::_exit(::write(kReportFd, line.data(), line.size()) < 0 ? 1 : 0);
}

void behave(const std::string& behaviour) {
  if (behaviour == "leave") {
    ::_exit(7);
  }
  if (behaviour == "close and wait") {
    ::close(kReportFd);
  }
  if (behaviour == "fork and answer" && ::fork() != 0) {
    answer();
  }
  if (behaviour == "answer") {
    answer();
  }
  for (;;) {
    ::pause();
  }
}

}  // namespace
}  // namespace cm::checker

int main(int argc, char** argv) {
  if (argc == 3 && std::string(argv[1]) == cm::checker::kChildArgument) {
    cm::checker::behave(argv[2]);
  }
  ::testing::InitGoogleTest(&argc, argv);
  return RUN_ALL_TESTS();
}
