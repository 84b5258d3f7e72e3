#include <gtest/gtest.h>

#include <cmath>

#include "protocol/close_codes.hpp"
#include "protocol/wire_parse.hpp"
#include "protocol/wire_reader.hpp"
#include "protocol/wire_write.hpp"

namespace cm::protocol {
namespace {

JsonValue tree(std::string_view text) {
  return parse_json(text).value();
}

// Property: write, parse, write gives the same bytes.
template <typename T>
std::string rewritten(const std::string& text, Result<T> (*parse)(const JsonValue&),
                      void (*write)(std::string&, const T&)) {
  auto parsed = parse(tree(text));
  if (!parsed.ok()) {
    return parsed.error().message;
  }
  std::string out;
  write(out, *parsed);
  return out;
}

TEST(WireMessages, HelloRoundTrip) {
  const std::string text =
      R"({"type":"hello","meshId":"m","memberId":"i","pubkey":"aa","sessionPubkey":"bb","displayName":"n",)"
      R"("sessionId":"s",)"
      R"("pid":7,"cwd":"/w","hostname":"h","peerType":"ai","channel":"claude-code","model":"x",)"
      R"("groups":[{"name":"g","role":"lead"},{"name":"h"}],"timestamp":1717459200000,"signature":"cc"})";
  EXPECT_EQ(rewritten<Hello>(text, parse_hello, write_hello), text);
  const auto hello = parse_hello(text);
  EXPECT_EQ(hello->groups[0].role, "lead");
  EXPECT_EQ(hello->timestamp_ms, 1717459200000.0);
}

TEST(WireMessages, HelloIsLenientSoThatTheCheckOrderDecides) {
  const auto hello =
      parse_hello(R"({"type":"hello","pubkey":5,"timestamp":"now","groups":[1,{"role":"x"}],"extra":1})");
  ASSERT_TRUE(hello.ok());
  EXPECT_EQ(hello->pubkey, "");
  EXPECT_EQ(hello->cwd, "");
  EXPECT_TRUE(std::isnan(hello->timestamp_ms));
  EXPECT_TRUE(hello->groups.empty());
  EXPECT_EQ(verify_hello(hello->mesh_id, hello->member_id, hello->pubkey, hello->timestamp_ms, hello->signature, 0),
            VerifyOutcome::kTimestampSkew);
  EXPECT_FALSE(parse_hello("[]").ok());
  EXPECT_FALSE(parse_hello("{").ok());
}

TEST(WireMessages, HelloSessionKeyClaims) {
  const auto claim = [](const char* value) {
    return parse_hello(R"({"type":"hello","sessionPubkey":)" + std::string(value) + "}")->session_pubkey;
  };
  EXPECT_FALSE(claim("null"));
  EXPECT_FALSE(claim("\"\""));
  EXPECT_EQ(claim("\"zz\""), "zz");
  ASSERT_TRUE(claim("5"));
  EXPECT_FALSE(PublicKey::from_hex(*claim("5")).ok());
}

TEST(WireMessages, SessionHelloRoundTrip) {
  const std::string text =
      R"({"type":"session_hello","meshId":"m","parentMemberId":"p","parentMemberPubkey":"aa","sessionPubkey":"bb",)"
      R"("parentAttestation":{"sessionPubkey":"bb","parentMemberPubkey":"aa","expiresAt":1717459200000,)"
      R"("signature":"dd"},)"
      R"("displayName":"n","sessionId":"s","pid":7,"cwd":"/w","groups":[],"role":"r","timestamp":1,"signature":"cc"})";
  EXPECT_EQ(rewritten<SessionHello>(text, parse_session_hello, write_session_hello), text);
  const auto hello = parse_session_hello(text);
  ASSERT_TRUE(hello->groups);
  EXPECT_TRUE(hello->groups->empty()) << "an empty list is kept";
  EXPECT_FALSE(parse_session_hello(R"({"parentAttestation":5})")->parent_attestation);
  EXPECT_FALSE(parse_session_hello(R"({"parentMemberId":""})")->parent_member_id);
  EXPECT_FALSE(parse_session_hello(R"({})")->groups);
}

TEST(WireMessages, AttestationWithCapabilities) {
  SessionAttestation attestation;
  attestation.session_pubkey = "bb";
  attestation.parent_member_pubkey = "aa";
  attestation.expires_at_ms = 5;
  attestation.signature = "s";
  attestation.version = 2;
  std::string out;
  write_attestation(out, attestation);
  EXPECT_NE(out.find("\"version\":2,\"allowed_caps\":[]"), std::string::npos);
  attestation.allowed_caps = {"dm", "ban"};
  out.clear();
  write_attestation(out, attestation);
  const auto back = parse_attestation(tree(out));
  EXPECT_EQ(back->version, 2);
  EXPECT_EQ(back->allowed_caps, attestation.allowed_caps);
  EXPECT_FALSE(parse_attestation(tree("[]")).ok());
}

TEST(WireMessages, HelloAckRoundTrip) {
  const std::string text =
      R"({"type":"hello_ack","presenceId":"p","memberDisplayName":"n","memberProfile":{"roleTag":null,"groups":[],)"
      R"("messageMode":"push"},"meshPolicy":{"selfEditable":{"displayName":true}},"restored":true,"lastSummary":"s",)"
      R"("lastSeenAt":"t","restoredGroups":[{"name":"g"}],"restoredStats":{"messagesIn":1,"messagesOut":2,)"
      R"("toolCalls":3,)"
      R"("errors":4},"services":[{"name":"x","tools":[]}]})";
  EXPECT_EQ(rewritten<HelloAck>(text, parse_hello_ack, write_hello_ack), text);
  const std::string small = R"({"type":"hello_ack","presenceId":"p","memberDisplayName":"n"})";
  EXPECT_EQ(rewritten<HelloAck>(small, parse_hello_ack, write_hello_ack), small);
  EXPECT_FALSE(parse_hello_ack(R"({"type":"hello_ack"})").ok());
}

TEST(WireMessages, ErrorRoundTrip) {
  const std::string text =
      R"({"type":"error","code":"no_hello","message":"must send hello first","id":"i","_reqId":"q"})";
  EXPECT_EQ(rewritten<ErrorFrame>(text, parse_error, write_error), text);
  EXPECT_FALSE(parse_error(tree(R"({"message":"m"})")).ok());
}

TEST(WireMessages, PeersListRoundTrip) {
  const std::string text =
      R"({"type":"peers_list","peers":[{"pubkey":"aa","memberPubkey":"bb","displayName":"n","status":"dnd",)"
      R"("summary":null,)"
      R"("groups":[],"sessionId":"s","connectedAt":"t","cwd":"/","peerRole":"session","hostname":"h","peerType":"ai",)"
      R"("channel":"c","model":"m","stats":{"messagesIn":1},"visible":false,"profile":{"title":"x"}}],)"
      R"("_reqId":"pl-1"})";
  EXPECT_EQ(rewritten<PeersList>(text, parse_peers_list, write_peers_list), text);
  const auto lenient = parse_peers_list(R"({"peers":[{"pubkey":"aa"}]})");
  ASSERT_TRUE(lenient.ok());
  EXPECT_EQ(lenient->peers[0].status, "idle");
  EXPECT_EQ(parse_peers_list(R"({"peers":[{"pubkey":5}]})").error().message,
            "peers_list entry: \"pubkey\" is a number, expected a string");
  EXPECT_FALSE(parse_peers_list(R"({})").ok());
  EXPECT_FALSE(parse_peers_list(R"([])").ok());
  EXPECT_FALSE(parse_peers_list(R"({"peers":[7]})").ok());
}

TEST(WireMessages, SmallRequests) {
  const std::string list = R"({"type":"list_peers","_reqId":"pl-1"})";
  EXPECT_EQ(rewritten<ListPeers>(list, parse_list_peers, write_list_peers), list);
  EXPECT_EQ(rewritten<ListPeers>(R"({"type":"list_peers"})", parse_list_peers, write_list_peers),
            R"({"type":"list_peers"})");
  const std::string status = R"({"type":"message_status","messageId":"abcdefgh","_reqId":"q"})";
  EXPECT_EQ(rewritten<MessageStatusRequest>(status, parse_message_status, write_message_status), status);
}

TEST(WireMessages, MessageStatusResultRoundTrip) {
  const std::string text =
      R"({"type":"message_status_result","messageId":"m","targetSpec":"*","delivered":false,"deliveredAt":null,)"
      R"("recipients":[{"name":"n","pubkey":"p","status":"held"}],"_reqId":"q"})";
  EXPECT_EQ(rewritten<MessageStatusResult>(text, parse_message_status_result, write_message_status_result), text);
  EXPECT_FALSE(parse_message_status_result(tree(R"({"messageId":"m","delivered":1,"recipients":[]})")).ok());
}

TEST(WireMessages, TreeOfAFrameReader) {
  FrameReader reader;
  ASSERT_TRUE(reader.open_copy(R"({"type":"message_status","messageId":"abc","_reqId":"q1"})").ok());
  const auto request = parse_message_status(reader.tree().value());
  ASSERT_TRUE(request.ok());
  EXPECT_EQ(request->message_id, "abc");
  EXPECT_EQ(request->req_id, "q1");
}

TEST(WireMessages, HostileTextsStayJson) {
  ErrorFrame error;
  error.code = "x\"},{\"type\":\"push";
  error.message = std::string("\0\x01\xFF\n", 4);
  std::string out;
  write_error(out, error);
  const auto back = parse_error(tree(out));
  ASSERT_TRUE(back.ok());
  EXPECT_EQ(back->code, error.code);
}

TEST(CloseCodes, OnlyKickBanAndFeaturesAreTerminal) {
  for (const std::uint16_t code : {1000, 1001, 1006, 1008, 1009, 1011, 4000, 4009}) {
    EXPECT_FALSE(is_terminal_close(code)) << code;
  }
  for (const std::uint16_t code : {4001, 4002, 4010}) {
    EXPECT_TRUE(is_terminal_close(code)) << code;
  }
}

}  // namespace
}  // namespace cm::protocol
