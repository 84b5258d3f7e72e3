#include "protocol/wire_reader.hpp"

#include <gtest/gtest.h>

#include "protocol/wire_write.hpp"

namespace cm::protocol {
namespace {

constexpr const char* kSend =
    R"({"type":"send","id":"i1","targetSpec":"*","priority":"now","nonce":"bm9uY2U=","ciphertext":"Y3Q="})";

std::string send_error(std::string_view text) {
  FrameReader reader;
  const auto opened = reader.open_copy(text);
  if (!opened.ok()) {
    return "open: " + opened.error().message;
  }
  const auto send = reader.send();
  return send.ok() ? "ok" : send.error().message;
}

TEST(WireReader, ReadsASendFrom137) {
  FrameReader reader;
  const auto type = reader.open_copy(
      R"({"type":"send","id":"c1","client_message_id":"c1","request_fingerprint":"ff","targetSpec":"#t",)"
      R"("priority":"low",)"
      R"( "nonce":"","ciphertext":"Y3Q=","mentions":["a","b",7],"replyToId":"r","bodyVersion":2,)"
      R"("unknown":{"type":"x"}})");
  ASSERT_TRUE(type.ok()) << type.error().message;
  EXPECT_EQ(*type, WireType::kSend);
  EXPECT_EQ(reader.id(), "c1");
  const auto send = reader.send();
  ASSERT_TRUE(send.ok()) << send.error().message;
  EXPECT_EQ(send->target_spec, "#t");
  EXPECT_EQ(send->priority, Priority::kLow);
  EXPECT_EQ(send->nonce, "");
  EXPECT_EQ(send->mentions, (std::vector<std::string_view>{"a", "b"}));
  EXPECT_EQ(send->reply_to_id, "r");
  EXPECT_EQ(send->body_version, 2);
  EXPECT_EQ(send->client_message_id, "c1");
  EXPECT_EQ(send->request_fingerprint, "ff");
}

TEST(WireReader, ReadsPaddedTextInPlace) {
  std::string buffer = kSend;
  const std::size_t size = buffer.size();
  buffer.append(kParsePadding, '}');  // what stands in the padding must not matter
  FrameReader reader;
  ASSERT_TRUE(reader.open(std::string_view(buffer).substr(0, size)).ok());
  const auto send = reader.send();
  ASSERT_TRUE(send.ok());
  EXPECT_EQ(send->ciphertext, "Y3Q=");
  EXPECT_GE(send->ciphertext.data(), buffer.data());
  EXPECT_LT(send->ciphertext.data(), buffer.data() + size) << "a string without escapes is not copied";
}

TEST(WireReader, EscapesInNamesAndValues) {
  FrameReader reader;
  const auto type = reader.open_copy(
      R"({"t\u0079pe":"\u0073end","id":"a\"b\\\n\u20ac","targetSpec":"@gr\u00fcn","priority":"n\u006fw",)"
      R"("nonce":"x"   ,"ciphertext" : "y\/z" })");
  ASSERT_TRUE(type.ok()) << type.error().message;
  EXPECT_EQ(*type, WireType::kSend);
  const auto send = reader.send();
  ASSERT_TRUE(send.ok()) << send.error().message;
  EXPECT_EQ(send->id, "a\"b\\\n\xE2\x82\xAC");
  EXPECT_EQ(send->target_spec, "@gr\xC3\xBCn");
  EXPECT_EQ(send->priority, Priority::kNow);
  EXPECT_EQ(send->nonce, "x");
  EXPECT_EQ(send->ciphertext, "y/z");
}

TEST(WireReader, LastDuplicateWinsAndNullIsAbsent) {
  FrameReader reader;
  ASSERT_TRUE(reader
                  .open_copy(R"({"type":"list_peers","type":"send","id":null,"targetSpec":"a","targetSpec":"b",)"
                             R"("priority":"next","nonce":"","ciphertext":"","replyToId":null,"client_message_id":"",)"
                             R"("mentions":["x"],"mentions":null})")
                  .ok());
  const auto send = reader.send();
  ASSERT_TRUE(send.ok()) << send.error().message;
  EXPECT_EQ(send->id, "");
  EXPECT_EQ(send->target_spec, "b");
  EXPECT_FALSE(send->reply_to_id);
  EXPECT_FALSE(send->client_message_id);
  EXPECT_TRUE(send->mentions.empty());
}

TEST(WireReader, NamesTheFieldThatIsWrong) {
  EXPECT_EQ(send_error(R"({"type":"send","priority":"now","nonce":"","ciphertext":""})"),
            "send: \"targetSpec\" is missing, expected a string");
  EXPECT_EQ(send_error(R"({"type":"send","targetSpec":5,"priority":"now","nonce":"","ciphertext":""})"),
            "send: \"targetSpec\" is a number, expected a string");
  EXPECT_NE(send_error(R"({"type":"send","targetSpec":"*","priority":"soon","nonce":"","ciphertext":""})")
                .find("\"priority\""),
            std::string::npos);
  EXPECT_NE(send_error(R"({"type":"send","targetSpec":"*","priority":"now","nonce":{},"ciphertext":""})")
                .find("\"nonce\" is an object"),
            std::string::npos);
  EXPECT_NE(
      send_error(R"({"type":"send","targetSpec":"*","priority":"now","nonce":"","ciphertext":"","bodyVersion":1.5})")
          .find("\"bodyVersion\""),
      std::string::npos);
  EXPECT_NE(send_error(R"({"type":"send","targetSpec":"*","priority":"now","nonce":"","ciphertext":"","mentions":"x"})")
                .find("\"mentions\""),
            std::string::npos);
  EXPECT_EQ(send_error(R"({"type":"ack"})"), "the frame is a ack, expected a send");
  EXPECT_EQ(send_error(kSend), "ok");
}

TEST(WireReader, RefusesWhatIsNoFrame) {
  FrameReader reader;
  for (const char* bad :
       {"", " ", "[]", "null", "\"send\"", "{", "{}", "{\"type\":5}", "{\"type\":\"send\"", "{\"type\":\"send\"}x",
        "{\"type\":\"send\"}{}", "{\"type\":\"send\",}", "{\"type\" \"send\"}", "{\"id\":\"x\"}", "{\"type\":\"a\nb\"}",
        "{\"type\":\"\xFF\"}", "{\"type\":\"send\",\"queued\":tru}", "{\"type\":\"\\ud800\"}"}) {
    EXPECT_FALSE(reader.open_copy(bad).ok()) << bad;
    EXPECT_EQ(reader.type(), WireType::kUnknown);
    EXPECT_FALSE(reader.send().ok());
  }
  // The reader is usable after every failure.
  EXPECT_TRUE(reader.open_copy(kSend).ok());
  EXPECT_TRUE(reader.send().ok());
}

TEST(WireReader, UnknownTypesAreNoError) {
  FrameReader reader;
  const auto type = reader.open_copy(R"({"type":"from_the_future","_reqId":"q"})");
  ASSERT_TRUE(type.ok());
  EXPECT_EQ(*type, WireType::kUnknown);
  EXPECT_EQ(reader.type_name(), "from_the_future");
  EXPECT_EQ(reader.req_id(), "q");
  EXPECT_TRUE(reader.tree().ok());
}

TEST(WireReader, SizeIsBounded) {
  FrameReader reader(200);
  EXPECT_TRUE(reader.open_copy(kSend).ok());
  const std::string large = R"({"type":"send","id":")" + std::string(300, 'a') + "\"}";
  EXPECT_EQ(reader.open_copy(large).error().code, ErrorCode::kInvalid);
  FrameReader broker;
  std::string exact = R"({"type":"send","id":""})";
  exact.insert(exact.size() - 2, kMaxMessageBytes - exact.size(), 'a');
  EXPECT_TRUE(broker.open_copy(exact).ok());
  exact.insert(exact.size() - 2, 1, 'a');
  EXPECT_FALSE(broker.open_copy(exact).ok());
}

TEST(WireReader, SendRoundTrip) {
  Send send;
  send.id = "i\"1";
  send.target_spec = "*";
  send.priority = Priority::kNow;
  send.nonce = "n";
  send.ciphertext = std::string(5000, 'A');
  send.mentions = {"x", "y"};
  send.reply_to_id = "r";
  send.body_version = 2;
  send.client_message_id = "c";
  send.request_fingerprint = "f";
  std::string text;
  write_send(text, send);
  FrameReader reader;
  ASSERT_TRUE(reader.open_copy(text).ok());
  const Send back = to_owned(reader.send().value());
  std::string again;
  write_send(again, back);
  EXPECT_EQ(again, text);
  EXPECT_EQ(back.mentions, send.mentions);
  std::string from_view;
  write_send(from_view, reader.send().value());
  EXPECT_EQ(from_view, text);
}

TEST(WireReader, AckRoundTrip) {
  Ack ack;
  ack.id = "i";
  ack.message_id = "m";
  ack.queued = true;
  ack.error = "e";
  ack.req_id = "q";
  ack.duplicate = true;
  ack.client_message_id = "c";
  ack.history_available = false;
  ack.first_seen_at = "2026-01-01T00:00:00.000Z";
  ack.code = std::string(kAckIdempotencyKeyReused);
  ack.broker_fingerprint_prefix = "0011223344556677";
  ack.retryable = false;
  ack.retry_after_ms = 1500;
  std::string text;
  write_ack(text, ack);
  FrameReader reader;
  ASSERT_TRUE(reader.open_copy(text).ok());
  const Ack back = to_owned(reader.ack().value());
  EXPECT_EQ(back.retry_after_ms, 1500);
  EXPECT_EQ(back.duplicate, true);
  EXPECT_EQ(back.code, "idempotency_key_reused");
  std::string again;
  write_ack(again, back);
  EXPECT_EQ(again, text);
}

TEST(WireReader, PlainAckHasTheOriginalsShape) {
  Ack ack;
  ack.id = "i";
  ack.message_id = "m";
  ack.queued = true;
  std::string text;
  write_ack(text, ack);
  EXPECT_EQ(text, R"({"type":"ack","id":"i","messageId":"m","queued":true})");
}

TEST(WireReader, AckRetryAfterIsBounded) {
  FrameReader reader;
  for (const char* bad : {"-1", "1.5", "1e300", "86400001", "\"5\""}) {
    ASSERT_TRUE(reader.open_copy(R"({"type":"ack","id":"i","retry_after_ms":)" + std::string(bad) + "}").ok());
    EXPECT_FALSE(reader.ack().ok()) << bad;
  }
}

TEST(WireReader, PushRoundTrip) {
  Push push;
  push.message_id = "m";
  push.mesh_id = "mesh";
  push.sender_pubkey = "system";
  push.sender_member_pubkey = "k";
  push.sender_member_id = "id";
  push.sender_name = "n";
  push.topic = "general";
  push.reply_to_id = "r";
  push.priority = Priority::kLow;
  push.created_at = "2026-01-01T00:00:00.000Z";
  push.body_version = 2;
  push.client_message_id = "c";
  push.request_fingerprint = "f";
  push.subtype = "system";
  push.event = "peer_joined";
  push.event_data_json = R"({"name":"a","list":[1,{"x":null}]})";
  std::string text;
  write_push(text, push);
  FrameReader reader;
  ASSERT_TRUE(reader.open_copy(text).ok());
  const Push back = to_owned(reader.push().value());
  EXPECT_EQ(back.event_data_json, push.event_data_json);
  std::string again;
  write_push(again, back);
  EXPECT_EQ(again, text);
}

TEST(WireReader, PushEventDataHasNoSurroundingSpace) {
  FrameReader reader;
  ASSERT_TRUE(
      reader.open_copy(R"({"type":"push","messageId":"m","eventData": { "a" : [ 1 ] }  , "event":"e" } )").ok());
  EXPECT_EQ(reader.push()->event_data_json, R"({ "a" : [ 1 ] })");
  EXPECT_EQ(reader.push()->event, "e");
  ASSERT_TRUE(reader.open_copy(R"({"type":"push","messageId":"m","eventData":[1,[2]] })").ok());
  EXPECT_EQ(reader.push()->event_data_json, "[1,[2]]");
  ASSERT_TRUE(reader.open_copy(R"({"type":"push","messageId":"m","eventData":7})").ok());
  EXPECT_FALSE(reader.push()->event_data_json);
}

TEST(WireReader, ClientAckRoundTrip) {
  FrameReader reader;
  ASSERT_TRUE(reader.open_copy(R"({"type":"client_ack","clientMessageId":"c","brokerMessageId":"b"})").ok());
  EXPECT_EQ(reader.client_ack()->client_message_id, "c");
  EXPECT_EQ(reader.client_ack()->broker_message_id, "b");
  ASSERT_TRUE(reader.open_copy(R"({"type":"client_ack","clientMessageId":""})").ok());
  EXPECT_FALSE(reader.client_ack()->client_message_id);
  EXPECT_FALSE(reader.client_ack()->broker_message_id);
  std::string text;
  write_client_ack(text, ClientAck{"c", std::nullopt});
  EXPECT_EQ(text, R"({"type":"client_ack","clientMessageId":"c"})");
}

TEST(WireReader, DeepUnknownFieldsAreSkippedWithoutRecursion) {
  const std::string deep(20'000, '[');
  const std::string close(20'000, ']');
  FrameReader reader;
  const auto opened = reader.open_copy(R"({"x":)" + deep + close + R"(,"type":"client_ack"})");
  ASSERT_TRUE(opened.ok());
  EXPECT_EQ(*opened, WireType::kClientAck);
  EXPECT_FALSE(reader.tree().ok()) << "the tree has a depth bound";
}

}  // namespace
}  // namespace cm::protocol
