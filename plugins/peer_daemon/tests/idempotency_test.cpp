#include "plugins/peer_daemon/src/idempotency.hpp"

#include <gtest/gtest.h>

#include "protocol/json.hpp"

namespace cm::daemon {
namespace {

struct Row {
  OutboxStatus status;
  bool match;
  std::uint32_t http;
  std::string word;  // the status or the conflict
};

TEST(Idempotency, TheWholeTable) {
  const std::vector<Row> table = {
      {OutboxStatus::kPending, true, 202, "queued"},
      {OutboxStatus::kPending, false, 409, "outbox_pending_fingerprint_mismatch"},
      {OutboxStatus::kInflight, true, 202, "inflight"},
      {OutboxStatus::kInflight, false, 409, "outbox_inflight_fingerprint_mismatch"},
      {OutboxStatus::kDone, true, 200, ""},
      {OutboxStatus::kDone, false, 409, "outbox_done_fingerprint_mismatch"},
      {OutboxStatus::kDead, true, 409, "outbox_dead_fingerprint_match"},
      {OutboxStatus::kDead, false, 409, "outbox_dead_fingerprint_mismatch"},
      {OutboxStatus::kAborted, true, 409, "outbox_aborted_fingerprint_match"},
      {OutboxStatus::kAborted, false, 409, "outbox_aborted_fingerprint_mismatch"},
  };
  protocol::Fingerprint ours{};
  ours.fill(0xab);
  for (const Row& row : table) {
    ExistingSend existing;
    existing.status = row.status;
    existing.fingerprint = ours;
    existing.fingerprint[31] ^= row.match ? 0 : 1;
    existing.broker_message_id = "broker-1";
    existing.last_error = "blocked";
    const ApiAnswer answer = answer_existing("c1", ours, existing);
    EXPECT_EQ(answer.status, row.http) << row.word;
    const protocol::JsonValue body = *protocol::parse_json(answer.json);
    const protocol::JsonValue* word = body.find(row.http == 409 ? "conflict" : "status");
    if (row.http == 200) {
      EXPECT_TRUE(*body.find("duplicate")->as_bool());
      EXPECT_EQ(*body.find("broker_message_id")->as_string(), "broker-1");
      EXPECT_NE(body.find("history_id"), nullptr);
      continue;
    }
    ASSERT_NE(word, nullptr) << row.word;
    EXPECT_EQ(*word->as_string(), row.word);
    if (row.http == 409) {
      EXPECT_EQ(*body.find("error")->as_string(), "idempotency_key_reused");
      EXPECT_EQ(*body.find("daemon_fingerprint_prefix")->as_string(), "abababababababab");
    }
    const bool gives_reason = row.status == OutboxStatus::kDead && row.match;
    EXPECT_EQ(body.find("reason") != nullptr, gives_reason) << row.word;
  }
}

TEST(SendRequestParser, RefusalsHaveTheTextsOf1370) {
  const auto error = [](std::string_view body) {
    const ParsedOr<SendRequest> parsed = parse_send_request(body, "");
    EXPECT_FALSE(parsed.value.has_value()) << body;
    EXPECT_EQ(parsed.refusal.status, 400U);
    return *protocol::parse_json(parsed.refusal.json)->find("error")->as_string();
  };
  EXPECT_EQ(error("nope"), "Error: invalid_json");
  EXPECT_EQ(error("[]"), "expected JSON object");
  EXPECT_EQ(error("{}"), "missing 'to'");
  EXPECT_EQ(error(R"({"to":"a"})"), "missing 'message'");
  EXPECT_EQ(error(R"({"to":"a","message":"b","priority":"soon"})"), "priority must be 'now' | 'next' | 'low'");
  EXPECT_EQ(error(R"({"to":"a","message":"b","meta":[]})"), "'meta' must be an object");
}

TEST(SendRequestParser, TheBodysIdWinsOverTheHeader) {
  EXPECT_EQ(parse_send_request(R"({"to":"a","message":"b"})", "h").value->client_message_id, "h");
  EXPECT_EQ(parse_send_request(R"({"to":"a","message":"b","client_message_id":"c"})", "h").value->client_message_id,
            "c");
}

TEST(SendRequestParser, FingerprintSeparatesWhatMustDiffer) {
  const auto of = [](std::string_view body) {
    return protocol::fingerprint_hex(*fingerprint_of(*parse_send_request(body, "").value));
  };
  const std::string base = of(R"({"to":"a","message":"b"})");
  EXPECT_EQ(base, of(R"({"message":"b","to":"a","priority":"next","mesh":"elsewhere"})"));
  EXPECT_NE(base, of(R"({"to":"A","message":"b"})"));
  EXPECT_NE(base, of(R"({"to":"a","message":"c"})"));
  EXPECT_NE(base, of(R"({"to":"a","message":"b","priority":"now"})"));
  EXPECT_NE(base, of(R"({"to":"a","message":"b","meta":{}})"));
  EXPECT_NE(base, of(R"({"to":"a","message":"b","reply_to_id":"x"})"));
}

}  // namespace
}  // namespace cm::daemon
