// The example with made up programs: what they answer, and that no program can hold the daemon up.
#include <claudemesh/ext/hook.h>
#include <gtest/gtest.h>

#include <string>

#include "sdk/simhost/world.hpp"

namespace {

using cm::sim::ProgramRun;
using cm::sim::Script;

class AskProgramTest : public ::testing::Test {
 protected:
  AskProgramTest()
      : node(world.add_node("laptop", "[plugins.ask]\nfile = \"" ASK_PROGRAM_LIBRARY
                                      "\"\nprogram = \"/opt/judge\"\narguments = [\"--strict\"]\ntime_max = \"1s\"\n"
                                      "at_once_max = 2\n")) {}
  void SetUp() override {
    ASSERT_TRUE(world.boot(node)) << node.last_error;
    ASSERT_TRUE(world.run_for_ms(1'000, [this] { return node.running(); })) << node.last_error;
    table = static_cast<const cm_hook_v1*>(node.find("ask")->extension(CM_HOOK_ID));
  }
  std::uint32_t ask(const std::string& text) {
    const std::string point = "daemon.send";
    const std::string facts = R"({"mesh":"m","to":"bob","priority":"next"})";
    const cm_hook_event event{sizeof(cm_hook_event),
                              0,
                              ++ticket,
                              {point.data(), point.size()},
                              {facts.data(), facts.size()},
                              {reinterpret_cast<const std::uint8_t*>(text.data()), text.size()}};
    const cm_hook_reply reply{sizeof(cm_hook_reply), 0, this, &AskProgramTest::set_payload, &AskProgramTest::finish};
    return table->invoke(node.find("ask")->raw(), &event, &reply);
  }
  // Asks and waits for the late answer.
  std::uint32_t judge(const std::string& text) {
    answers = 0;
    EXPECT_EQ(ask(text), CM_HOOK_DEFER);
    EXPECT_TRUE(world.run_for_ms(5'000, [this] { return answers == 1; }));
    return answer;
  }
  static void set_payload(void* context, cm_handle, cm_bytes_pview bytes) noexcept {
    static_cast<AskProgramTest*>(context)->reason.assign(reinterpret_cast<const char*>(bytes.data), bytes.size);
  }
  static cm_status finish(void* context, cm_handle, std::uint32_t result, cm_bytes_pview bytes) noexcept {
    auto* self = static_cast<AskProgramTest*>(context);
    ++self->answers;
    self->answer = result;
    self->reason.assign(reinterpret_cast<const char*>(bytes.data), bytes.size);
    return CM_OK;
  }

  cm::sim::World world{cm::sim::WorldOptions{}};
  cm::sim::Node& node;
  const cm_hook_v1* table = nullptr;
  cm_handle ticket = 0;
  int answers = 0;
  std::uint32_t answer = 0;
  std::string reason;
};

TEST_F(AskProgramTest, TheProgramDecides) {
  node.add_program("/opt/judge", [](ProgramRun& run) {
    run.on_input([&run](std::string_view bytes) {
      const bool strict = run.start().arguments.at(0) == "--strict";
      const bool has_facts = run.start().environment.at(0).starts_with("CM_FACTS={\"mesh\"");
      if (strict && has_facts && bytes.find("password") != std::string_view::npos) {
        run.out("that looks like a password");
        run.exit(1);
      } else if (bytes.empty()) {
        run.exit(0);
      }
    });
  });
  EXPECT_EQ(judge("good morning"), CM_HOOK_CONTINUE);
  EXPECT_EQ(judge("the password is 1234"), CM_HOOK_DENY);
  EXPECT_EQ(reason, "that looks like a password");
}

TEST_F(AskProgramTest, AProgramThatHangsIsEnded) {
  node.add_program("/opt/judge", Script().ignore_terminate().hang());
  const std::uint64_t begin_us = world.scheduler().now_us();
  EXPECT_EQ(judge("x"), CM_HOOK_DENY);
  EXPECT_LT(world.scheduler().now_us() - begin_us, 1'300'000u);
  EXPECT_NE(reason.find("took longer than 1000 ms"), std::string::npos) << reason;
}

TEST_F(AskProgramTest, AProgramThatIsMissingCrashesOrFloodsRefuses) {
  EXPECT_EQ(judge("x"), CM_HOOK_DENY);
  EXPECT_NE(reason.find("/opt/judge"), std::string::npos) << reason;
  node.add_program("/opt/judge", Script().crash(11));
  EXPECT_EQ(judge("x"), CM_HOOK_DENY);
  node.add_program("/opt/judge", Script().out(std::string(1'000'000, 'x')).exit(0));
  EXPECT_EQ(judge("x"), CM_HOOK_DENY);
  EXPECT_NE(reason.find("wrote more than"), std::string::npos) << reason;
  node.add_program("/opt/judge", Script().exit(3));
  EXPECT_EQ(judge("x"), CM_HOOK_DENY);
}

TEST_F(AskProgramTest, NotMoreThanSoManyAtOnce) {
  node.add_program("/opt/judge", Script().wait_ms(100));
  EXPECT_EQ(ask("a"), CM_HOOK_DEFER);
  EXPECT_EQ(ask("b"), CM_HOOK_DEFER);
  EXPECT_EQ(ask("c"), CM_HOOK_DENY);
  world.run_for_ms(200);
  EXPECT_EQ(answers, 2);
  EXPECT_EQ(ask("d"), CM_HOOK_DEFER);
}

TEST_F(AskProgramTest, NothingRunsAfterTheStop) {
  node.add_program("/opt/judge", Script().hang());
  EXPECT_EQ(ask("a"), CM_HOOK_DEFER);
  world.run_for_ms(50);
  std::string left;
  world.shut_down(node, [&] { left = node.find("ask")->holdings().text(); });
  world.run_for_ms(5'000);
  EXPECT_EQ(left, "");
  EXPECT_EQ(answers, 0);
}

}  // namespace
