// The link when the broker refuses, is silent, or goes away.
#include "plugins/broker_link/tests/link_fixture.hpp"

namespace cm::broker_link {
namespace {

TEST_F(LinkTest, HelloWithoutAnswerIsGivenUpAfterFiveSeconds) {
  open();
  socket().open();
  host_.run_for_ms(4'999);
  EXPECT_TRUE(socket().alive);
  host_.run_for_ms(2);
  EXPECT_TRUE(host_.sockets[0]->terminated);
  EXPECT_EQ(state(), CM_LINK_RECONNECTING);
  EXPECT_NE(log_.states.back().detail.find("hello_ack_timeout"), std::string::npos);
  EXPECT_TRUE(host_.run_until([&] { return host_.sockets.size() == 2; }, 1'000)) << "the first cap is one second";
}

TEST_F(LinkTest, RefusedHelloNamesTheReason) {
  open();
  socket().open();
  socket().deliver({R"({"type":"error","code":"unauthorized","message":"pubkey not found in mesh"})"});
  socket().close(1008, "unauthorized");
  EXPECT_EQ(state(), CM_LINK_RECONNECTING);
  EXPECT_NE(log_.states.back().detail.find("pubkey not found in mesh"), std::string::npos);
  EXPECT_NE(log_.states.back().detail.find("unauthorized"), std::string::npos);
}

TEST_F(LinkTest, AWrongClockIsNamedAndTheLinkOpensWhenItIsRight) {
  open();
  socket().open();
  socket().deliver({R"({"type":"error","code":"timestamp_skew","message":"hello rejected: timestamp_skew"})"});
  socket().close(1008, "timestamp_skew");
  EXPECT_EQ(state(), CM_LINK_RECONNECTING);
  EXPECT_NE(log_.states.back().detail.find("hello rejected: timestamp_skew; the clocks"), std::string::npos);
  host_.unix_ms_at_zero += 120'000;
  EXPECT_TRUE(host_.run_until([&] { return host_.sockets.size() == 2; }, 60'000));
  handshake();
  EXPECT_EQ(state(), CM_LINK_OPEN);
  EXPECT_EQ(log_.states.back().detail.find("clocks"), std::string::npos) << log_.states.back().detail;
}

TEST_F(LinkTest, BannedLinkIsRefusedAndTriesOnlySlowly) {
  open();
  handshake();
  socket().close(4002, "banned");
  EXPECT_EQ(state(), CM_LINK_REFUSED);
  host_.run_for_ms(899'000);
  EXPECT_EQ(host_.sockets.size(), 1U);
  host_.run_for_ms(2'000);
  EXPECT_EQ(host_.sockets.size(), 2U);
}

TEST_F(LinkTest, UnconnectableAddressBacksOff) {
  host_.connect_status = CM_INVALID;
  open();
  EXPECT_EQ(state(), CM_LINK_RECONNECTING);
  EXPECT_NE(log_.states.back().detail.find("brokerUrl"), std::string::npos);
  host_.connect_status = CM_OK;
  EXPECT_TRUE(host_.run_until([&] { return host_.sockets.size() == 1; }, 60'000));
}

TEST_F(LinkTest, CloseAnswersEveryOutstandingSend) {
  open();
  handshake();
  send("1");
  send("2");
  socket().close(1006, "");
  ASSERT_EQ(log_.sent.size(), 2U);
  EXPECT_EQ(log_.sent[0].outcome, CM_SEND_RETRY);
  EXPECT_EQ(log_.sent[0].code, "closed");
  EXPECT_EQ(send("3"), CM_GONE);
}

TEST_F(LinkTest, MissingAckTimesOutAfterFifteenSeconds) {
  open();
  handshake();
  send("1");
  host_.run_for_ms(14'999);
  EXPECT_TRUE(log_.sent.empty());
  host_.run_for_ms(2);
  ASSERT_EQ(log_.sent.size(), 1U);
  EXPECT_EQ(log_.sent[0].code, "timeout");
  socket().deliver({R"({"type":"ack","id":"1","messageId":"b","queued":true})"});
  EXPECT_EQ(log_.sent.size(), 1U) << "a late ack is not a second answer";
}

TEST_F(LinkTest, NegativeAcksAreClassified) {
  open();
  handshake();
  send("1");
  send("2");
  socket().deliver({R"({"type":"ack","id":"1","messageId":"","queued":false,"error":"rate_limit: max 60 msg/min"})",
                    R"({"type":"ack","id":"2","messageId":"","queued":false,"code":"idempotency_key_reused",)"
                    R"("error":"reused","retryable":false})"});
  ASSERT_EQ(log_.sent.size(), 2U);
  EXPECT_EQ(log_.sent[0].outcome, CM_SEND_RETRY);
  EXPECT_GE(log_.sent[0].retry_after_ms, 1'000U);
  EXPECT_EQ(log_.sent[1].outcome, CM_SEND_REJECTED);
  EXPECT_EQ(log_.sent[1].code, "idempotency_key_reused");
}

TEST_F(LinkTest, TooLargeFrameIsRejectedHereAndNotSent) {
  open();
  handshake();
  const std::size_t frames = socket().sent.size();
  EXPECT_EQ(send("big", std::string(4'096, 'A')), CM_OK);
  host_.settle();
  ASSERT_EQ(log_.sent.size(), 1U);
  EXPECT_EQ(log_.sent[0].outcome, CM_SEND_REJECTED);
  EXPECT_EQ(log_.sent[0].code, "payload_too_large");
  EXPECT_EQ(socket().sent.size(), frames);
}

TEST_F(LinkTest, PingsAndDropsASilentConnection) {
  open();
  handshake();
  host_.run_for_ms(30'001);
  EXPECT_EQ(socket().pings, 1);
  socket().pong();
  host_.run_for_ms(60'000);
  EXPECT_TRUE(socket().alive) << "the pong was heard";
  host_.run_for_ms(30'000);
  EXPECT_TRUE(host_.sockets[0]->terminated);
  EXPECT_EQ(state(), CM_LINK_RECONNECTING);
}

TEST_F(LinkTest, RequestsAreAnsweredWhenTheConnectionBreaks) {
  open();
  handshake();
  cm_status got = CM_OK;
  const auto callback = [](void* user, cm_status status, cm_text_hview) noexcept {
    *static_cast<cm_status*>(user) = status;
  };
  table_->request(plugin_->instance(), link_, to_pview(R"({"type":"x"})"), 5'000, callback, &got);
  socket().close(1006, "");
  EXPECT_EQ(got, CM_IO);
}

TEST_F(LinkTest, ClosedLinkSaysGoodbyeAndNothingMore) {
  open();
  handshake();
  send("1");
  table_->close(plugin_->instance(), link_);
  EXPECT_EQ(socket().close_code, 1000U);
  const std::size_t states = log_.states.size();
  socket().close(1000, "");
  host_.run_for_ms(100'000);
  EXPECT_EQ(log_.states.size(), states);
  EXPECT_TRUE(log_.sent.empty());
  EXPECT_EQ(host_.sockets.size(), 1U);
  EXPECT_EQ(send("2"), CM_GONE);
}

TEST_F(LinkTest, UnreadableFramesAreSkipped) {
  open();
  handshake();
  socket().deliver({"not json", R"({"no":"type"})", R"({"type":"ack"})", "[1]"});
  EXPECT_EQ(state(), CM_LINK_OPEN);
  EXPECT_GE(plugin_->metrics["cm_link_bad_frames_total"], 3);
}

}  // namespace
}  // namespace cm::broker_link
