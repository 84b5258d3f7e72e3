// The link when all goes well, and with a broker that knows less.
#include "plugins/broker_link/tests/link_fixture.hpp"

namespace cm::broker_link {
namespace {

constexpr std::string_view kAsked = R"({"require":[],"optional":["client_message_id_dedupe","max_payload"]})";

TEST_F(LinkTest, HelloIsSignedByTheMember) {
  open();
  socket().open();
  ASSERT_EQ(socket().sent.size(), 1U);
  EXPECT_EQ(field(0, "type"), "hello");
  EXPECT_EQ(field(0, "sessionId"), "session-1");
  const protocol::JsonValue hello = frame(0);
  const double timestamp = *hello.find("timestamp")->as_number();
  EXPECT_EQ(
      protocol::verify_hello("mesh1", "member1", field(0, "pubkey"), timestamp, field(0, "signature"), host_.unix_ms()),
      protocol::VerifyOutcome::kOk);
  EXPECT_EQ(state(), CM_LINK_CONNECTING);
}

TEST_F(LinkTest, SessionHelloMintsAFreshAttestationAtEveryConnect) {
  open("", true);
  socket().open();
  EXPECT_EQ(field(0, "type"), "session_hello");
  const double first = *frame(0).find("parentAttestation")->find("expiresAt")->as_number();
  const protocol::JsonValue hello = frame(0);
  EXPECT_EQ(
      protocol::verify_session_hello("mesh1", field(0, "parentMemberPubkey"), field(0, "sessionPubkey"),
                                     *hello.find("timestamp")->as_number(), field(0, "signature"), host_.unix_ms()),
      protocol::VerifyOutcome::kOk);
  host_.run_for_ms(1);
  socket().close(1006, "");
  host_.run_for_ms(13 * 3'600'000);
  socket().open();
  const double second = *frame(0).find("parentAttestation")->find("expiresAt")->as_number();
  EXPECT_GT(second, first);
  EXPECT_GT(second, static_cast<double>(host_.unix_ms()));
}

TEST_F(LinkTest, OpensAfterHelloAckWhenNothingIsNegotiated) {
  open();
  handshake();
  EXPECT_EQ(state(), CM_LINK_OPEN);
}

TEST_F(LinkTest, PushesBeforeHelloAckAreDeliveredAndCanBeAcknowledged) {
  open();
  socket().open();
  socket().deliver({R"({"type":"push","messageId":"m1","meshId":"mesh1","senderPubkey":"k","priority":"next",)"
                    R"("nonce":"n","ciphertext":"c","createdAt":"2026-01-01T00:00:00.000Z"})",
                    R"({"type":"push","messageId":"m2","meshId":"mesh1","senderPubkey":"k","priority":"now",)"
                    R"("nonce":"n","ciphertext":"c","createdAt":"2026-01-01T00:00:00.000Z"})"});
  EXPECT_EQ(log_.inbound, (std::vector<std::string>{"m1", "m2"}));
  EXPECT_EQ(log_.inbound_calls, 1) << "one batch per read";
  EXPECT_EQ(table_->acknowledge(plugin_->instance(), link_, to_pview("m1"), to_pview("c1")), CM_OK);
  EXPECT_EQ(socket().sent.back(), R"({"type":"client_ack","clientMessageId":"c1","brokerMessageId":"m1"})");
}

TEST_F(LinkTest, NegotiatedFeaturesAreReported) {
  open(std::string(kAsked));
  handshake();
  EXPECT_EQ(state(), CM_LINK_CONNECTING) << "open only after the negotiation";
  EXPECT_EQ(field(1, "type"), "feature_negotiation_request");
  socket().deliver(
      {R"({"type":"feature_negotiation_response","supported":{"client_message_id_dedupe":{"params":)"
       R"({"version":1,"mode":"permanent","request_fingerprint":true}}},"missing_required":[],"_reqId":")" +
       field(1, "_reqId") + "\"}"});
  ASSERT_EQ(state(), CM_LINK_OPEN);
  const auto detail = *protocol::parse_json(log_.states.back().detail);
  EXPECT_NE(detail.find("features")->find("client_message_id_dedupe"), nullptr);
  ASSERT_EQ(detail.find("degraded")->as_array()->size(), 1U);
  EXPECT_EQ(*detail.find("degraded")->as_array()->front().as_string(), "max_payload");
}

TEST_F(LinkTest, SilentBrokerGivesADegradedLinkAfterThreeSeconds) {
  open(std::string(kAsked));
  handshake();
  host_.run_for_ms(2'999);
  EXPECT_NE(state(), CM_LINK_OPEN);
  host_.run_for_ms(2);
  ASSERT_EQ(state(), CM_LINK_OPEN);
  EXPECT_EQ(protocol::parse_json(log_.states.back().detail)->find("degraded")->as_array()->size(), 2U);
}

TEST_F(LinkTest, ReconnectToASilentBrokerDoesNotWaitAgain) {
  open(std::string(kAsked));
  handshake();
  host_.run_for_ms(10'000);
  socket().close(1001, "shutting down");
  ASSERT_TRUE(host_.run_until([&] { return host_.sockets.size() == 2; }));
  handshake();
  EXPECT_EQ(state(), CM_LINK_OPEN);
  // The broker was upgraded meanwhile: its late answer counts.
  socket().deliver({R"({"type":"feature_negotiation_response","supported":{"client_message_id_dedupe":{"params":)"
                    R"({"version":1,"mode":"permanent","request_fingerprint":true}}},"missing_required":[]})"});
  EXPECT_EQ(protocol::parse_json(log_.states.back().detail)->find("degraded")->as_array()->size(), 1U);
}

TEST_F(LinkTest, UnknownTypeErrorEndsTheNegotiationAtOnce) {
  open(std::string(kAsked));
  handshake();
  socket().deliver(
      {R"({"type":"error","code":"unknown_message_type","message":"?","_reqId":")" + field(1, "_reqId") + "\"}"});
  EXPECT_EQ(state(), CM_LINK_OPEN);
}

TEST_F(LinkTest, MissingRequiredFeatureIsRefusedWith4010) {
  open(R"({"require":["client_message_id_dedupe"],"optional":[]})");
  handshake();
  socket().deliver({R"({"type":"feature_negotiation_response","supported":{},)"
                    R"("missing_required":["client_message_id_dedupe"]})"});
  EXPECT_EQ(socket().close_code, 4010U);
  EXPECT_NE(socket().close_reason.find("client_message_id_dedupe"), std::string::npos);
  socket().close(4010, "");
  EXPECT_EQ(state(), CM_LINK_REFUSED);
  host_.run_for_ms(890'000);
  EXPECT_EQ(host_.sockets.size(), 1U) << "retried only slowly";
  host_.run_for_ms(20'000);
  EXPECT_EQ(host_.sockets.size(), 2U);
}

TEST_F(LinkTest, SilentBrokerIsRefusedWhenSomethingIsRequired) {
  open(R"({"require":["client_message_id_dedupe"],"optional":[]})");
  handshake();
  host_.run_for_ms(3'001);
  EXPECT_EQ(socket().close_code, 4010U);
}

TEST_F(LinkTest, SendCarriesTheFrozenMessageAndItsAckSettlesIt) {
  open();
  handshake();
  ASSERT_EQ(send("c1"), CM_OK);
  const std::size_t last = socket().sent.size() - 1;
  EXPECT_EQ(field(last, "type"), "send");
  EXPECT_EQ(field(last, "id"), "c1");
  EXPECT_EQ(field(last, "client_message_id"), "c1");
  EXPECT_EQ(field(last, "request_fingerprint"), fingerprint_);
  EXPECT_EQ(field(last, "targetSpec"), "target");
  EXPECT_EQ(field(last, "priority"), "now");
  EXPECT_EQ(field(last, "nonce"), "nonce");
  EXPECT_EQ(field(last, "ciphertext"), "Y2lwaGVy");
  socket().deliver({R"({"type":"ack","id":"c1","messageId":"b1","queued":true})"});
  ASSERT_EQ(log_.sent.size(), 1U);
  EXPECT_EQ(log_.sent[0].outcome, CM_SEND_ACCEPTED);
  EXPECT_EQ(log_.sent[0].message_id, "b1");
}

TEST_F(LinkTest, WindowBoundsTheOutstandingSends) {
  open();
  handshake();
  for (const char* id : {"1", "2", "3", "4"}) {
    EXPECT_EQ(send(id), CM_OK);
  }
  std::uint64_t taken = 9;
  EXPECT_EQ(send("5", "x", &taken), CM_BUSY);
  EXPECT_EQ(taken, 9U) << "nothing is written unless the answer is CM_OK";
  socket().deliver({R"({"type":"ack","id":"2","messageId":"b","queued":true})"});
  EXPECT_EQ(send("5"), CM_OK);
}

TEST_F(LinkTest, RequestsGetTheReplyWithTheirId) {
  open();
  handshake();
  std::string reply;
  const auto callback = [](void* user, cm_status status, cm_text_hview text) noexcept {
    *static_cast<std::string*>(user) = std::to_string(status) + std::string(to_view(text));
  };
  ASSERT_EQ(table_->request(plugin_->instance(), link_, to_pview(R"({"type":"list_peers"})"), 5'000, callback, &reply),
            CM_OK);
  const std::string id = field(socket().sent.size() - 1, "_reqId");
  socket().deliver({R"({"type":"peers_list","peers":[],"_reqId":"other"})"});
  EXPECT_EQ(reply, "");
  socket().deliver({R"({"type":"peers_list","peers":[],"_reqId":")" + id + "\"}"});
  EXPECT_EQ(reply.substr(0, 2), "0{");
}

TEST_F(LinkTest, RequestsTimeOutAndAreBounded) {
  open();
  handshake();
  std::string reply;
  const auto callback = [](void* user, cm_status status, cm_text_hview) noexcept {
    *static_cast<std::string*>(user) += std::to_string(status);
  };
  const auto ask = [&] {
    return table_->request(plugin_->instance(), link_, to_pview(R"({"type":"x"})"), 5'000, callback, &reply);
  };
  EXPECT_EQ(ask(), CM_OK);
  EXPECT_EQ(ask(), CM_OK);
  EXPECT_EQ(ask(), CM_BUSY);
  host_.run_for_ms(5'001);
  EXPECT_EQ(reply, "44");
}

}  // namespace
}  // namespace cm::broker_link
