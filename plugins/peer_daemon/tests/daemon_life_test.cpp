// Start, reload, health, hooks, the extension for bridges, and what the broker is asked.
#include <sys/stat.h>

#include "plugins/peer_daemon/src/host_fingerprint.hpp"
#include "plugins/peer_daemon/tests/daemon_fixture.hpp"

namespace cm::daemon {
namespace {

TEST_F(DaemonTest, RunsWithoutAMeshAndTakesOneLater) {
  ASSERT_EQ(start_daemon(), CM_OK) << daemon_->error;
  EXPECT_EQ(send(bob_key_, "hello").status, 503U);
  write_config({"alpha"});
  EXPECT_EQ(ask("POST", "/v1/meshes/reload").body, R"({"added":["alpha"],"removed":[],"meshes":["alpha"]})");
  write_config({"beta", "alpha"});
  FakeTransport::Link* alpha = &link("alpha");
  EXPECT_EQ(ask("POST", "/v1/meshes/reload").body, R"({"added":["beta"],"removed":[],"meshes":["alpha","beta"]})");
  EXPECT_FALSE(alpha->closed) << "the others are not disturbed";
  write_config({"beta"});
  EXPECT_EQ(ask("POST", "/v1/meshes/reload").body, R"({"added":[],"removed":["alpha"],"meshes":["beta"]})");
  EXPECT_TRUE(alpha->closed);
}

TEST_F(DaemonTest, LeavingAMeshKeepsItsMessages) {
  start_open();
  send(bob_key_, "hello", "c1");
  settle();
  write_config({});
  ask("POST", "/v1/meshes/reload");
  EXPECT_EQ(status_of("c1"), "pending");
  write_config({"alpha"});
  ask("POST", "/v1/meshes/reload");
  link().state(CM_LINK_OPEN);
  settle();
  EXPECT_EQ(link().sent.size(), 1U);
}

TEST_F(DaemonTest, LeavingAMeshAnswersTheRequestsThatWaitForIt) {
  start_open();
  const auto sending = call("POST", "/v1/send", send_body("Bob", "hello", "c1"));
  const auto peers = call("GET", "/v1/peers");
  host_.run_for_ms(1);
  EXPECT_FALSE(sending->done || peers->done);
  write_config({});
  ask("POST", "/v1/meshes/reload");
  EXPECT_EQ(sending->status, 502U);
  EXPECT_EQ(peers->status, 502U);
  EXPECT_EQ(status_of("c1"), "(no row)");
}

TEST_F(DaemonTest, SecondDaemonOnTheSameHomeIsRefused) {
  start_open();
  auto first = std::move(daemon_);
  EXPECT_NE(start_daemon(), CM_OK);
  EXPECT_TRUE(daemon_->error.starts_with("daemon already running (pid ")) << daemon_->error;
  daemon_ = std::move(first);
}

TEST_F(DaemonTest, FilesArePrivate) {
  start_open();
  for (const char* name : {"/daemon/daemon.pid", "/daemon/local-token", "/daemon/host_fingerprint.json"}) {
    struct stat info{};
    ASSERT_EQ(::stat((home_ + name).c_str(), &info), 0) << name;
    EXPECT_EQ(info.st_mode & 0777U, 0600U) << name;
  }
  struct stat info{};
  ::stat((home_ + "/daemon").c_str(), &info);
  EXPECT_EQ(info.st_mode & 0777U, 0700U);
}

TEST_F(DaemonTest, CopiedDirectoryIsRefused) {
  start_open();
  crash();
  ASSERT_TRUE(write_private_file(home_ + "/daemon/host_fingerprint.json",
                                 format_fingerprint(HostFacts{"linux:elsewhere", "00:00:00:00:00:01"}, 0))
                  .ok());
  EXPECT_EQ(start_daemon(), CM_DENIED);
  EXPECT_NE(daemon_->error.find("accept-host"), std::string::npos);
}

TEST_F(DaemonTest, DegradedBrokerIsVisible) {
  start_open();
  link().state(CM_LINK_OPEN, R"({"features":{},"degraded":["client_message_id_dedupe"]})");
  const protocol::JsonValue health = ask("GET", "/v1/health").json();
  EXPECT_TRUE(*health.find("ok")->as_bool());
  EXPECT_EQ(*health.find("brokers")->find("alpha")->as_string(), "open");
  const protocol::JsonValue* state = health.find("links")->find("alpha");
  EXPECT_EQ(*state->find("degraded")->as_array()->front().as_string(), "client_message_id_dedupe");
}

TEST_F(DaemonTest, GuardAndUnknownRoutes) {
  start_open();
  EXPECT_EQ(ask("GET", "/v1/nothing").body, R"({"error":"not found"})");
  EXPECT_EQ(ask("GET", "/v1/version?token=x").status, 400U);
  testing::FakeRequest evil;
  evil.method = "GET";
  evil.target = "/v1/inbox";
  evil.headers = {{"Origin", "https://evil.example"}};
  EXPECT_EQ(host_.http("unix:" + home_ + "/daemon/daemon.sock", evil)->status, 403U);
  EXPECT_NE(ask("GET", "/v1/version").body.find("\"ipc_api\":\"v1\""), std::string::npos);
}

TEST_F(DaemonTest, PeersOfAllMeshesAndSilenceIsNoEmptyList) {
  write_config({"alpha", "beta"});
  ASSERT_EQ(start_daemon(), CM_OK);
  link("alpha").state(CM_LINK_RECONNECTING);
  link("beta").state(CM_LINK_RECONNECTING, R"({"reason":"connection refused"})");
  const Answer refused = ask("GET", "/v1/peers");
  EXPECT_EQ(refused.text("error"), "broker_unreachable");
  EXPECT_NE(refused.text("detail").find("connection refused"), std::string::npos) << refused.body;
  link("alpha").state(CM_LINK_OPEN);
  const auto answer = call("GET", "/v1/peers");
  host_.run_for_ms(1);
  link("alpha").reply_last(R"({"type":"peers_list","peers":[{"pubkey":"k","displayName":"bob","cwd":"/x"}]})");
  EXPECT_EQ(answer->body,
            R"({"peers":[{"pubkey":"k","displayName":"bob","cwd":"/x","mesh":"alpha"}],"unreachable":["beta"]})");
}

// Whoever starts the daemon and asks at once must not be told that the broker is away: nobody has tried yet.
TEST_F(DaemonTest, RequestsWaitForTheFirstAttemptToConnect) {
  write_config({"alpha"});
  ASSERT_EQ(start_daemon(), CM_OK);
  const std::vector<std::shared_ptr<testing::FakeAnswer>> reads = {
      call("GET", "/v1/peers"),       call("GET", "/v1/messages/abcdefgh12345678/status"),
      call("GET", "/v1/state?key=k"), call("GET", "/v1/state"),
      call("GET", "/v1/memory?q=x"),  call("GET", "/v1/skills"),
      call("GET", "/v1/skills/s"),    call("POST", "/v1/memory", R"({"content":"c"})"),
      call("DELETE", "/v1/memory/m")};
  const auto wrote = call("POST", "/v1/state", R"({"key":"k","value":1})");
  const auto profile = call("POST", "/v1/profile", R"({"summary":"s","visible":true})");
  const auto sent = call("POST", "/v1/send", send_body("bob", "hi", "c1"));
  host_.run_for_ms(100);
  for (const auto& answer : reads) {
    EXPECT_FALSE(answer->done) << answer->body;
  }
  EXPECT_FALSE(wrote->done || profile->done || sent->done);
  link().state(CM_LINK_OPEN);
  host_.run_for_ms(1);
  EXPECT_EQ(wrote->status, 200U) << wrote->body;
  EXPECT_EQ(profile->body, R"({"ok":true,"applied":["summary","visible"],"meshes":["alpha"]})");
  EXPECT_EQ(link().requests.size(), reads.size() + 4) << "one state, two of the profile, one list for the send";
}

TEST_F(DaemonTest, RequestsAreRefusedWhenTheFirstAttemptFails) {
  write_config({"alpha"});
  ASSERT_EQ(start_daemon(), CM_OK);
  const auto peers = call("GET", "/v1/peers");
  const auto wrote = call("POST", "/v1/state", R"({"key":"k","value":1})");
  host_.run_for_ms(100);
  EXPECT_FALSE(peers->done || wrote->done);
  link().state(CM_LINK_RECONNECTING, R"({"reason":"connection refused"})");
  host_.run_for_ms(1);
  EXPECT_EQ(peers->status, 502U);
  EXPECT_NE(peers->body.find("connection refused"), std::string::npos) << peers->body;
  EXPECT_EQ(wrote->status, 502U);
}

TEST_F(DaemonTest, RequestsWaitForTheFirstAttemptOnlySoLong) {
  write_config({"alpha"});
  ASSERT_EQ(start_daemon(), CM_OK);
  const auto peers = call("GET", "/v1/peers");
  const auto wrote = call("POST", "/v1/state", R"({"key":"k","value":1})");
  host_.run_for_ms(kFirstAttemptMs - 100);
  EXPECT_FALSE(peers->done || wrote->done);
  host_.run_for_ms(101);
  EXPECT_EQ(peers->status, 502U) << peers->body;
  EXPECT_EQ(wrote->status, 502U) << wrote->body;
  EXPECT_EQ(ask("GET", "/v1/peers").status, 502U) << "the time counts from the opening of the link";
}

TEST_F(DaemonTest, WaitingRequestsAreAnsweredWhenTheirMeshGoes) {
  write_config({"alpha", "beta"});
  ASSERT_EQ(start_daemon(), CM_OK);
  const auto state = call("GET", "/v1/state?key=k&mesh=alpha");
  host_.run_for_ms(1);
  EXPECT_FALSE(state->done);
  write_config({"beta"});
  EXPECT_EQ(ask("POST", "/v1/meshes/reload").status, 200U);
  EXPECT_EQ(state->status, 502U) << state->body;
}

// Both commands wrote config.json before they asked: each must get the outcome of a reading that saw its own line.
TEST_F(DaemonTest, ReloadsAtTheSameTimeSeeTheNewestFile) {
  write_config({"alpha"});
  ASSERT_EQ(start_daemon(), CM_OK);
  write_config({"alpha", "beta"});
  const auto first = call("POST", "/v1/meshes/reload");
  write_config({"alpha", "beta", "gamma"});
  const auto second = call("POST", "/v1/meshes/reload");
  ASSERT_TRUE(host_.run_until([&] { return first->done && second->done; }, 100));
  EXPECT_NE(first->body.find("\"beta\""), std::string::npos) << first->body;
  EXPECT_NE(second->body.find("\"meshes\":[\"alpha\",\"beta\",\"gamma\"]"), std::string::npos) << second->body;
}

TEST_F(DaemonTest, MessageStatusPassesThrough) {
  start_open();
  EXPECT_EQ(ask("GET", "/v1/messages/short/status").status, 400U);
  const auto answer = call("GET", "/v1/messages/abcdefgh12345678/status");
  host_.run_for_ms(1);
  link().reply_last(R"({"type":"message_status_result","messageId":"abcdefgh12345678","delivered":true,"_reqId":"r"})");
  EXPECT_EQ(answer->body, R"({"messageId":"abcdefgh12345678","delivered":true,"mesh":"alpha"})");
  const auto missing = call("GET", "/v1/messages/abcdefgh12345678/status");
  host_.run_for_ms(1);
  link().reply_last(R"({"type":"error","code":"not_found","message":"message not found"})");
  EXPECT_EQ(missing->status, 404U);
}

TEST_F(DaemonTest, StateAndMemoryUnderstandBothFamilies) {
  start_open();
  const auto state = call("GET", "/v1/state?key=k");
  host_.run_for_ms(1);
  link().reply_last(R"({"type":"state_result","key":"k","value":{"a":1},"updatedBy":"bob","updatedAt":"t"})");
  EXPECT_EQ(state->body, R"({"state":{"key":"k","value":{"a":1},"updatedBy":"bob","updatedAt":"t","mesh":"alpha"}})");
  const auto missing = call("GET", "/v1/state?key=k");
  host_.run_for_ms(1);
  link().reply_last(R"({"type":"state_result","key":"k","value":null,"updatedBy":"","updatedAt":""})");
  EXPECT_EQ(missing->body, R"({"error":"state_not_found","key":"k"})");
  const auto stored = call("POST", "/v1/memory", R"({"content":"remember me"})");
  host_.run_for_ms(1);
  link().reply_last(R"({"type":"memory_stored","id":"mem1"})");
  EXPECT_EQ(stored->body, R"({"id":"mem1","mesh":"alpha"})");
  EXPECT_EQ(ask("POST", "/v1/state", R"({"key":"k","value":[1]})").status, 200U);
  EXPECT_EQ(link().requests.back().json, R"({"type":"set_state","key":"k","value":[1]})");
  link().state(CM_LINK_RECONNECTING);
  EXPECT_EQ(ask("POST", "/v1/state", R"({"key":"k","value":1})").status, 502U) << "a lost write is no success";
}

// A guard that answers as the text tells it.
struct TestHook {
  static std::uint32_t invoke(void*, const cm_hook_event* event, const cm_hook_reply* reply) noexcept {
    if (to_view(event->point) != "daemon.send") {
      return CM_HOOK_CONTINUE;
    }
    if (to_view(event->payload) == "forbidden") {
      reply->set_payload(reply->context, event->ticket, to_bytes_pview("not today"));
      return CM_HOOK_DENY;
    }
    if (to_view(event->payload) == "silence") {
      return CM_HOOK_DEFER;
    }
    reply->set_payload(reply->context, event->ticket, to_bytes_pview("replaced"));
    return CM_HOOK_REPLACE;
  }
};

TEST_F(DaemonTest, HooksReplaceAndDenyAndFailClosed) {
  static const cm_hook_v1 kHook = {sizeof(cm_hook_v1), CM_HOOK_GUARD, 0, 1'000, &TestHook::invoke};
  host_.provide("guard", CM_HOOK_ID, this, &kHook);
  hooks_ = {"guard"};
  start_open();
  EXPECT_EQ(send(bob_key_, "forbidden", "c1").body, R"({"error":"denied_by_hook","detail":"not today"})");
  EXPECT_EQ(status_of("c1"), "(no row)");
  EXPECT_EQ(send(bob_key_, "hello", "c2").status, 202U);
  settle();
  EXPECT_EQ(
      *protocol::decrypt_from(link().sent.at(0).nonce, link().sent.at(0).ciphertext, me_.public_key, bob_.secret_key),
      "replaced");
  EXPECT_EQ(send(bob_key_, "hello", "c2").status, 202U) << "the fingerprint is of what was asked for";
  const auto silent = call("POST", "/v1/send", send_body(bob_key_, "silence", "c3"));
  host_.run_for_ms(1'100);
  EXPECT_EQ(silent->status, 403U);
}

TEST_F(DaemonTest, BridgesSendAndListen) {
  start_open();
  const auto* table = static_cast<const cm_peer_v1*>(daemon_->table()->get_extension(daemon_->instance(), CM_PEER_ID));
  ASSERT_NE(table, nullptr);
  struct Seen {
    std::uint32_t status = 0;
    std::vector<std::string> kinds;
  } seen;
  cm_handle subscription = CM_NO_HANDLE;
  table->subscribe(
      daemon_->instance(),
      [](void* user, cm_text_hview kind, cm_text_hview) noexcept {
        static_cast<Seen*>(user)->kinds.emplace_back(to_view(kind));
      },
      &seen, &subscription);
  cm_peer_message message = {};
  message.size = sizeof(message);
  message.to = to_pview(bob_key_);
  message.text = to_pview("from a bridge");
  message.client_message_id = to_pview("bridge-1");
  EXPECT_EQ(
      table->send(
          daemon_->instance(), &message,
          [](void* user, std::uint32_t status, cm_text_hview) noexcept { static_cast<Seen*>(user)->status = status; },
          &seen),
      CM_OK);
  settle();
  EXPECT_EQ(seen.status, 202U);
  EXPECT_EQ(link().sent.at(0).id, "bridge-1");
  TestPush::sealed(bob_, me_.public_key, "answer").deliver(link());
  settle();
  EXPECT_EQ(seen.kinds, std::vector<std::string>{"message"});
  table->unsubscribe(daemon_->instance(), subscription);
  link().state(CM_LINK_RECONNECTING);
  EXPECT_EQ(seen.kinds.size(), 1U);
}

TEST_F(DaemonTest, NothingSecretInLogsOrAnswers) {
  start_open();
  send(bob_key_, "hello", "c1");
  TestPush::sealed(bob_, me_.public_key, "hi").deliver(link());
  settle();
  std::string everything = ask("GET", "/v1/health").body + ask("GET", "/v1/outbox").body + ask("GET", "/v1/inbox").body;
  for (const std::string& line : host_.log) {
    everything += line;
  }
  std::ifstream token_file(home_ + "/daemon/local-token");
  std::string token;
  std::getline(token_file, token);
  ASSERT_EQ(token.size(), 43U);
  EXPECT_EQ(everything.find(me_.secret_key.hex().substr(0, 64)), std::string::npos);
  EXPECT_EQ(everything.find(token), std::string::npos);
}

}  // namespace
}  // namespace cm::daemon
