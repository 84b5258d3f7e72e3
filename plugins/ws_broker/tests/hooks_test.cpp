#include "plugins/ws_broker/src/hooks.hpp"

#include <gtest/gtest.h>

#include "plugins/ws_broker/tests/fake_host.hpp"

namespace cm::broker {
namespace {

// A hook whose answer the test sets; remembers what it saw.
struct TestHook {
  TestHook(test::FakeHost& host, const std::string& name, std::uint32_t kind, std::int32_t order) {
    table.size = sizeof(table);
    table.kind = kind;
    table.order = order;
    table.timeout_ms = 100;
    table.invoke = [](void* instance, const cm_hook_event* event, const cm_hook_reply* given) noexcept {
      auto* hook = static_cast<TestHook*>(instance);
      hook->seen.push_back(std::string(to_view(event->payload)));
      hook->facts = std::string(to_view(event->json));
      hook->ticket = event->ticket;
      hook->reply = *given;
      if (!hook->payload.empty()) {
        given->set_payload(given->context, event->ticket, to_bytes_pview(hook->payload));
      }
      return hook->answer;
    };
    host.provide(name, this, &table);
  }
  cm_status finish(std::uint32_t result, std::string_view text = {}) const {
    return reply.finish(reply.context, ticket, result, to_bytes_pview(text));
  }

  cm_hook_v1 table = {};
  std::uint32_t answer = CM_HOOK_CONTINUE;
  std::string payload;
  std::vector<std::string> seen;
  std::string facts;
  cm_handle ticket = CM_NO_HANDLE;
  cm_hook_reply reply = {};
};

class HooksTest : public ::testing::Test {
 protected:
  void open() { ASSERT_TRUE(chain_.open({"late", "early"}).ok()); }
  void run() {
    outcome_.reset();
    chain_.run("broker.accept", R"({"bytes":1})", "body",
               [this](HookOutcome outcome) { outcome_ = std::move(outcome); });
  }

  test::FakeHost host_;
  HostApi api_{host_.raw()};
  TestHook late_{host_, "late", CM_HOOK_OBSERVER, 20};
  TestHook early_{host_, "early", CM_HOOK_GUARD, 10};
  HookChain chain_{api_};
  std::optional<HookOutcome> outcome_;
};

TEST_F(HooksTest, RunInAscendingOrderAndPassReplacementsOn) {
  open();
  early_.answer = CM_HOOK_REPLACE;
  early_.payload = "changed";
  run();
  ASSERT_TRUE(outcome_.has_value());
  EXPECT_TRUE(outcome_->allowed);
  EXPECT_EQ(outcome_->payload, "changed");
  EXPECT_EQ(late_.seen, std::vector<std::string>{"changed"});
  EXPECT_EQ(late_.facts, R"({"bytes":1})");
}

TEST_F(HooksTest, WithoutChangeThereIsNoPayload) {
  open();
  run();
  ASSERT_TRUE(outcome_.has_value());
  EXPECT_FALSE(outcome_->payload.has_value());
}

TEST_F(HooksTest, DenyEndsTheChainWithItsText) {
  open();
  early_.answer = CM_HOOK_DENY;
  early_.payload = "no attachments on Sundays";
  run();
  ASSERT_TRUE(outcome_.has_value());
  EXPECT_FALSE(outcome_->allowed);
  EXPECT_EQ(outcome_->text, "no attachments on Sundays");
  EXPECT_TRUE(late_.seen.empty());
}

TEST_F(HooksTest, DeferredAnswerGoesOn) {
  open();
  early_.answer = CM_HOOK_DEFER;
  run();
  EXPECT_FALSE(outcome_.has_value());
  host_.advance_ms(50);
  EXPECT_EQ(early_.finish(CM_HOOK_CONTINUE), CM_OK);
  ASSERT_TRUE(outcome_.has_value());
  EXPECT_TRUE(outcome_->allowed);
  EXPECT_EQ(late_.seen.size(), 1u);
  EXPECT_EQ(early_.finish(CM_HOOK_DENY), CM_GONE) << "only the first answer counts";
}

TEST_F(HooksTest, GuardThatMissesItsDeadlineDenies) {
  open();
  early_.answer = CM_HOOK_DEFER;
  run();
  host_.advance_ms(100);
  ASSERT_TRUE(outcome_.has_value());
  EXPECT_FALSE(outcome_->allowed);
  EXPECT_EQ(early_.finish(CM_HOOK_CONTINUE), CM_GONE);
}

TEST_F(HooksTest, ObserverThatMissesItsDeadlineIsPassedOver) {
  open();
  late_.answer = CM_HOOK_DEFER;
  run();
  host_.advance_ms(100);
  ASSERT_TRUE(outcome_.has_value());
  EXPECT_TRUE(outcome_->allowed);
}

TEST_F(HooksTest, UnknownAnswerOfAGuardDeniesOfAnObserverContinues) {
  open();
  late_.answer = 77;
  run();
  EXPECT_TRUE(outcome_->allowed);
  early_.answer = 77;
  run();
  EXPECT_FALSE(outcome_->allowed);
}

TEST_F(HooksTest, MissingHookIsAnErrorAtStart) {
  const Status status = chain_.open({"nobody"});
  ASSERT_FALSE(status.ok());
  EXPECT_NE(status.error().message.find("nobody"), std::string::npos);
}

TEST_F(HooksTest, ClosedChainAnswersNobody) {
  open();
  early_.answer = CM_HOOK_DEFER;
  run();
  chain_.close();
  host_.advance_ms(1'000);
  EXPECT_FALSE(outcome_.has_value());
}

}  // namespace
}  // namespace cm::broker
