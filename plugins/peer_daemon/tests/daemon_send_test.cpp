// The way of a sent message through the whole daemon.
#include "plugins/peer_daemon/tests/daemon_fixture.hpp"

namespace cm::daemon {
namespace {

TEST_F(DaemonTest, MessageToAKeyGoesFromTheApiToDone) {
  start_open();
  const Answer accepted = send(bob_key_, "hello", "c1");
  EXPECT_EQ(accepted.status, 202U);
  EXPECT_EQ(accepted.body, R"({"client_message_id":"c1","status":"queued"})");
  settle();
  ASSERT_EQ(link().sent.size(), 1U);
  const FakeTransport::Outbound& message = link().sent[0];
  EXPECT_EQ(message.id, "c1");
  EXPECT_EQ(message.target, bob_key_);
  EXPECT_EQ(*protocol::decrypt_from(message.nonce, message.ciphertext, me_.public_key, bob_.secret_key), "hello");
  EXPECT_EQ(ask("GET", "/v1/outbox?status=inflight").json().find("items")->as_array()->size(), 1U);
  link().result("c1", CM_SEND_ACCEPTED, "", "broker-9");
  settle();
  EXPECT_EQ(status_of("c1"), "done");
  EXPECT_EQ(storage_.value("SELECT broker_message_id FROM outbox"), "broker-9");
  EXPECT_EQ(storage_.value("SELECT ciphertext FROM outbox"), "NULL") << "nothing is kept that is not needed";
}

TEST_F(DaemonTest, PlaintextIsNeverInTheOutbox) {
  start_open();
  send(bob_key_, "the-secret-text", "c1");
  for (const std::string& column : storage_.query("SELECT name FROM pragma_table_info('outbox')")) {
    EXPECT_EQ(storage_.value("SELECT CAST(" + column + " AS TEXT) FROM outbox").find("the-secret-text"),
              std::string::npos)
        << column;
  }
}

TEST_F(DaemonTest, AcceptedMeansDurable) {
  start_open();
  storage_.hold_answers = true;
  const auto answer = call("POST", "/v1/send", send_body(bob_key_, "hello", "c1"));
  host_.run_for_ms(50);
  EXPECT_FALSE(answer->done);
  EXPECT_TRUE(link().sent.empty()) << "nothing leaves before it is durable";
  storage_.release();
  host_.run_for_ms(5);
  EXPECT_EQ(answer->status, 202U);
  EXPECT_EQ(link().sent.size(), 1U);
}

TEST_F(DaemonTest, FullOrFailingStoreRefusesAndConsumesNoId) {
  start_open();
  storage_.submit_status = CM_BUSY;
  EXPECT_EQ(send(bob_key_, "hello", "c1").status, 503U);
  storage_.submit_status = CM_OK;
  storage_.commit_status = CM_IO;
  EXPECT_EQ(send(bob_key_, "hello", "c1").text("error"), "storage_unavailable");
  storage_.commit_status = CM_OK;
  EXPECT_EQ(status_of("c1"), "(no row)");
  EXPECT_EQ(send(bob_key_, "hello", "c1").status, 202U);
}

TEST_F(DaemonTest, IdempotencyTableEndToEnd) {
  write_config({"alpha"});
  ASSERT_EQ(start_daemon(), CM_OK);
  const auto check = [&](const std::string& state, std::uint32_t match_status, const std::string& match_word) {
    const Answer match = send(bob_key_, "hello", "c1");
    EXPECT_EQ(match.status, match_status) << state;
    EXPECT_EQ(match.text(match_status == 409 ? "conflict" : "status"), match_word) << state;
    const Answer mismatch = send(bob_key_, "other", "c1");
    EXPECT_EQ(mismatch.status, 409U) << state;
    EXPECT_EQ(mismatch.text("conflict"), "outbox_" + state + "_fingerprint_mismatch");
  };
  EXPECT_EQ(send(bob_key_, "hello", "c1").status, 202U);
  check("pending", 202, "queued");
  link().state(CM_LINK_OPEN);
  settle();
  ASSERT_EQ(link().sent.size(), 1U);
  check("inflight", 202, "inflight");
  link().result("c1", CM_SEND_ACCEPTED);
  settle();
  check("done", 200, "");
  EXPECT_EQ(link().sent.size(), 1U) << "no repetition reached the broker";

  send(bob_key_, "hello", "c2");
  settle();
  link().result("c2", CM_SEND_REJECTED, "blocked");
  settle();
  const Answer dead = send(bob_key_, "hello", "c2");
  EXPECT_EQ(dead.text("conflict"), "outbox_dead_fingerprint_match");
  EXPECT_NE(dead.text("reason").find("blocked"), std::string::npos);
  EXPECT_EQ(send(bob_key_, "other", "c2").text("conflict"), "outbox_dead_fingerprint_mismatch");
  const std::string row = storage_.value("SELECT id FROM outbox WHERE client_message_id = 'c2'");
  EXPECT_EQ(ask("POST", "/v1/outbox/requeue", R"({"id":")" + row + "\"}").status, 200U);
  EXPECT_EQ(send(bob_key_, "hello", "c2").text("conflict"), "outbox_aborted_fingerprint_match");
  EXPECT_EQ(send(bob_key_, "other", "c2").text("conflict"), "outbox_aborted_fingerprint_mismatch");
}

TEST_F(DaemonTest, RepetitionSucceedsThoughThePeerIsGone) {
  start_open();
  const auto first = call("POST", "/v1/send", send_body("Bob", "hello", "c1"));
  host_.run_for_ms(1);
  ASSERT_EQ(link().requests.size(), 1U);
  link().reply_last(R"({"type":"peers_list","peers":[{"pubkey":")" + bob_key_ + R"(","memberPubkey":")" + bob_key_ +
                    R"(","displayName":"bob","peerRole":"session"}]})");
  host_.run_for_ms(2);
  EXPECT_EQ(first->status, 202U);
  EXPECT_EQ(link().sent.at(0).target, bob_key_);
  link().state(CM_LINK_RECONNECTING);
  EXPECT_EQ(send("Bob", "hello", "c1").status, 202U);
  EXPECT_EQ(send("Somebody", "hello", "c9").status, 502U) << "while a new name cannot be resolved";
}

TEST_F(DaemonTest, UnknownNameIsLookedUpAgainAndThenRefused) {
  start_open();
  const auto answer = call("POST", "/v1/send", send_body("Carol", "hello", "c1"));
  host_.run_for_ms(1);
  link().reply_last(R"({"type":"peers_list","peers":[]})");
  host_.run_until([&] { return answer->done; }, 100);
  EXPECT_EQ(answer->status, 502U);
  EXPECT_EQ(answer->body, R"({"error":"route_failed","detail":"Error: peer \"Carol\" not found"})");
  EXPECT_EQ(status_of("c1"), "(no row)") << "the id is free";
}

TEST_F(DaemonTest, TopicNamesAndMulticast) {
  start_open();
  const auto answer = call("POST", "/v1/send", send_body("#general", "hi all", ""));
  host_.run_for_ms(1);
  link().reply_last(
      R"({"type":"topic_list_response","topics":[{"id":"abcdefghijklmnopqrstuvwxyz012345","name":"general"}]})");
  host_.run_until([&] { return answer->done; }, 100);
  EXPECT_EQ(answer->status, 202U);
  EXPECT_EQ(send("*", "to everybody").status, 202U);
  settle();
  ASSERT_EQ(link().sent.size(), 2U);
  EXPECT_EQ(link().sent[0].target, "#abcdefghijklmnopqrstuvwxyz012345");
  EXPECT_EQ(link().sent[1].target, "*");
  EXPECT_EQ(*protocol::decode_plain(link().sent[1].ciphertext), "to everybody");
}

TEST_F(DaemonTest, ACrashBetweenSendAndAckSendsTheSameBytesAgain) {
  start_open();
  send(bob_key_, "hello", "c1");
  send(bob_key_, "world", "c2");
  settle();
  const std::vector<FakeTransport::Outbound> before = link().sent;
  ASSERT_EQ(before.size(), 2U);
  crash();
  storage_.query(
      "UPDATE outbox SET status = 'inflight' WHERE client_message_id = 'c2'");  // as another writer leaves it
  ASSERT_EQ(start_daemon(), CM_OK) << daemon_->error;
  link().state(CM_LINK_OPEN);
  settle();
  ASSERT_EQ(link().sent.size(), 2U);
  for (std::size_t i = 0; i < 2; ++i) {
    EXPECT_EQ(link().sent[i].id, before[i].id) << "in their order";
    EXPECT_EQ(link().sent[i].ciphertext, before[i].ciphertext);
    EXPECT_EQ(link().sent[i].nonce, before[i].nonce);
    EXPECT_EQ(link().sent[i].fingerprint, before[i].fingerprint);
  }
  link().result("c1", CM_SEND_DUPLICATE);
  settle();
  EXPECT_EQ(status_of("c1"), "done");
}

TEST_F(DaemonTest, DeadMeshDoesNotDisturbTheOther) {
  write_config({"alpha", "beta"});
  ASSERT_EQ(start_daemon(), CM_OK);
  link("alpha").state(CM_LINK_OPEN);
  link("beta").state(CM_LINK_REFUSED, R"({"reason":"banned","code":"4002"})");
  EXPECT_EQ(send(bob_key_, "hello").text("error"), "mesh_required");
  for (const char* slug : {"beta", "alpha"}) {
    EXPECT_EQ(ask("POST", "/v1/send",
                  R"({"to":")" + bob_key_ + R"(","message":"x","mesh":")" + slug + R"(","client_message_id":")" +
                      std::string(slug) + "\"}")
                  .status,
              202U);
  }
  settle();
  EXPECT_EQ(link("alpha").sent.size(), 1U);
  link("alpha").accept_all();
  settle();
  EXPECT_EQ(status_of("alpha"), "done");
  EXPECT_EQ(status_of("beta"), "pending");
  const Answer health = ask("GET", "/v1/health");
  EXPECT_EQ(*health.json().find("links")->find("beta")->find("state")->as_string(), "refused");
  EXPECT_EQ(*health.json().find("links")->find("beta")->find("reason")->as_string(), "banned");
  EXPECT_EQ(*health.json().find("outbox")->find("pending")->as_number(), 1);
}

TEST_F(DaemonTest, RetriesAreWokenNotPolledAndRejectionIsFinal) {
  start_open();
  send(bob_key_, "hello", "c1");
  settle();
  link().result("c1", CM_SEND_RETRY, "timeout");
  host_.run_for_ms(400);
  EXPECT_EQ(link().sent.size(), 1U);
  host_.run_for_ms(700);
  EXPECT_EQ(link().sent.size(), 2U);
  EXPECT_EQ(link().sent[1].ciphertext, link().sent[0].ciphertext);
  EXPECT_EQ(storage_.value("SELECT attempts FROM outbox"), "1");
  EXPECT_EQ(storage_.value("SELECT last_error FROM outbox"), "timeout: timeout");
  link().result("c1", CM_SEND_REJECTED, "idempotency_key_reused");
  settle();
  EXPECT_EQ(status_of("c1"), "dead");
  host_.run_for_ms(3'600'000);
  EXPECT_EQ(link().sent.size(), 2U);
  EXPECT_EQ(*ask("GET", "/v1/health").json().find("outbox")->find("dead")->as_number(), 1);
}

TEST_F(DaemonTest, AbsentRecipientIsServedWhenItComes) {
  start_open();
  send(bob_key_, "hello", "c1");
  settle();
  link().result("c1", CM_SEND_RETRY, "no_recipient");
  settle();
  TestPush joined;
  joined.subtype = "system";
  joined.sender_pubkey = "system";
  joined.event = "peer_joined";
  joined.event_json = R"({"name":"bob","pubkey":")" + bob_key_ + "\"}";
  joined.deliver(link());
  settle();
  EXPECT_EQ(link().sent.size(), 2U);
}

TEST_F(DaemonTest, UndeliverableMessageDiesOfAge) {
  write_config({"alpha"});
  ASSERT_EQ(start_daemon(), CM_OK);
  send(bob_key_, "hello", "c1");
  host_.run_for_ms(7ULL * 24 * 3'600'000 - 120'000);
  EXPECT_EQ(status_of("c1"), "pending");
  host_.run_for_ms(240'000);
  EXPECT_EQ(status_of("c1"), "dead");
  EXPECT_EQ(storage_.value("SELECT last_error FROM outbox"), "max_age");
}

// Somebody sets the clock a month ahead, and back again: nothing is too old for that.
TEST_F(DaemonTest, NoMessageDiesByAJumpOfTheClock) {
  constexpr std::int64_t kMonthMs = 30LL * 24 * 3'600'000;
  constexpr std::uint64_t kDayMs = 24ULL * 3'600'000;
  write_config({"alpha"});
  ASSERT_EQ(start_daemon(), CM_OK);
  send(bob_key_, "hello", "c1");
  host_.run_for_ms(3 * kDayMs);
  host_.unix_ms_at_zero += kMonthMs;
  host_.run_for_ms(3 * kDayMs);
  EXPECT_EQ(status_of("c1"), "pending") << "six days old";
  host_.run_for_ms(kDayMs + 120'000);
  EXPECT_EQ(status_of("c1"), "dead") << "seven days old: it keeps the age that it had";
  send(bob_key_, "hello", "c2");
  host_.run_for_ms(120'000);
  host_.unix_ms_at_zero -= kMonthMs;
  host_.run_for_ms(7 * kDayMs - 240'000);
  EXPECT_EQ(status_of("c2"), "pending");
  host_.run_for_ms(360'000);
  EXPECT_EQ(status_of("c2"), "dead") << "no time in the future keeps a message for ever";
}

TEST_F(DaemonTest, OutboxHasALimitButKnownIdsStillAnswer) {
  rows_max_ = 1;
  write_config({"alpha"});
  ASSERT_EQ(start_daemon(), CM_OK);
  EXPECT_EQ(send(bob_key_, "hello", "c1").status, 202U);
  EXPECT_EQ(send(bob_key_, "hello", "c2").text("error"), "outbox_full");
  EXPECT_EQ(send(bob_key_, "hello", "c1").status, 202U);
}

TEST_F(DaemonTest, RequeueKeepsTheAudience) {
  start_open();
  send(bob_key_, "for bob only", "c1");
  settle();
  const FakeTransport::Outbound first = link().sent.at(0);
  const std::string row = storage_.value("SELECT id FROM outbox");
  EXPECT_EQ(ask("POST", "/v1/outbox/requeue", R"({"id":")" + row + "\"}").status, 409U) << "in flight";
  link().result("c1", CM_SEND_REJECTED, "forbidden");
  settle();
  const Answer taken = ask("POST", "/v1/outbox/requeue", R"({"id":")" + row + R"(","new_client_message_id":"c1"})");
  EXPECT_EQ(taken.text("error"), "idempotency_key_reused");
  const Answer requeued = ask("POST", "/v1/outbox/requeue", R"({"id":")" + row + R"(","new_client_message_id":"c2"})");
  EXPECT_EQ(requeued.status, 200U);
  EXPECT_EQ(requeued.text("aborted_row_id"), row);
  settle();
  ASSERT_EQ(link().sent.size(), 2U);
  EXPECT_EQ(link().sent[1].id, "c2");
  EXPECT_EQ(link().sent[1].target, bob_key_);
  EXPECT_EQ(link().sent[1].ciphertext, first.ciphertext);
  EXPECT_EQ(status_of("c1"), "aborted");
  EXPECT_EQ(storage_.value("SELECT superseded_by FROM outbox WHERE client_message_id = 'c1'"),
            requeued.text("new_row_id"));
  EXPECT_EQ(ask("POST", "/v1/outbox/requeue", R"({"id":")" + row + "\"}").text("error"),
            "row not found, already aborted, or already done");
}

TEST_F(DaemonTest, DrainFinishesWhatIsInFlightAndTakesNothingNew) {
  start_open();
  send(bob_key_, "hello", "c1");
  settle();
  EXPECT_EQ(daemon_->drain(10'000), CM_DEFER);
  EXPECT_EQ(send(bob_key_, "late", "c2").text("error"), "shutting_down");
  EXPECT_EQ(send(bob_key_, "hello", "c1").status, 202U) << "a repetition is still answered";
  link().accept_all();
  settle();
  EXPECT_EQ(daemon_->drain_status, CM_OK);
}

TEST_F(DaemonTest, MessageThatFitsNoFrameIsRefusedAtOnce) {
  start_open();
  EXPECT_EQ(send(bob_key_, std::string(48'129, 'x'), "c1").text("error"), "payload_too_large");
  EXPECT_EQ(status_of("c1"), "(no row)");
  EXPECT_EQ(ask("POST", "/v1/send", send_body(bob_key_, std::string(300'000, 'x'), "c1")).body,
            R"({"error":"Error: payload_too_large"})");
}

}  // namespace
}  // namespace cm::daemon
