// The whole daemon on the fake host: real SQL, real files in a temporary home, and a transport that the test plays.
#pragma once

#include <gtest/gtest.h>
#include <stdlib.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "plugins/peer_daemon/src/daemon.hpp"
#include "protocol/box.hpp"
#include "protocol/json.hpp"
#include "protocol/keys.hpp"
#include "tests/support/fake_host.hpp"
#include "tests/support/fake_storage.hpp"
#include "tests/support/temporary_folder.hpp"

namespace cm::daemon {

// cm.transport/1 in the hands of the test.
class FakeTransport {
 public:
  struct Outbound {
    std::string id;
    std::string fingerprint;
    std::string target;
    std::string nonce;
    std::string ciphertext;
  };
  struct Request {
    std::string json;
    cm_reply_callback callback;
    void* user;
  };
  struct Link {
    cm_handle handle;
    std::uint32_t kind;
    std::string url;
    std::string mesh_id;
    std::string session_pubkey;
    std::string groups_json;
    cm_link_callbacks callbacks;
    void* user;
    bool closed = false;
    bool open = false;
    std::vector<Outbound> sent;
    std::vector<std::string> acknowledged;
    std::vector<Request> requests;

    void state(std::uint32_t value, std::string_view detail = "{}") {
      open = value == CM_LINK_OPEN;
      callbacks.state(user, handle, value, to_hview(detail));
    }
    void result(const std::string& id, std::uint32_t outcome, const std::string& code = "",
                const std::string& message_id = "broker-1", std::uint64_t retry_after_ms = 0) {
      cm_send_result answer = {sizeof(answer), outcome,        to_hview(id),  to_hview(message_id),
                               to_hview(code), to_hview(code), retry_after_ms};
      callbacks.sent(user, handle, &answer, 1);
    }
    void accept_all() {
      for (const Outbound& message : std::vector<Outbound>(sent)) {
        result(message.id, CM_SEND_ACCEPTED);
      }
    }
    void reply_last(std::string_view json) {
      const Request request = requests.back();
      requests.pop_back();
      request.callback(request.user, CM_OK, to_hview(json));
    }
  };

  void provide(testing::FakeHost& host, const std::string& name) {
    static const cm_transport_v1 kTable = {
        sizeof(cm_transport_v1), 0, &name_of, &open, &close, &send, &acknowledge, &request};
    host.provide(name, CM_TRANSPORT_ID, this, &kTable);
  }
  // The newest link that is not closed, of the mesh with that id; null when there is none.
  Link* find(const std::string& mesh_id, std::uint32_t kind = CM_LINK_MEMBER) {
    for (auto link = links.rbegin(); link != links.rend(); ++link) {
      if (!(*link)->closed && (*link)->mesh_id == mesh_id && (*link)->kind == kind) {
        return link->get();
      }
    }
    return nullptr;
  }
  std::vector<std::unique_ptr<Link>> links;

 private:
  static FakeTransport* of(void* instance) { return static_cast<FakeTransport*>(instance); }
  static Link* link_of(void* instance, cm_handle handle) {
    for (const auto& link : of(instance)->links) {
      if (link->handle == handle && !link->closed) {
        return link.get();
      }
    }
    return nullptr;
  }
  static cm_text_hview name_of(void*) noexcept { return to_hview("broker"); }
  static cm_status open(void* instance, const cm_link_identity* identity, const cm_link_callbacks* callbacks,
                        void* user, cm_handle* out) noexcept {
    auto link = std::make_unique<Link>();
    link->handle = of(instance)->links.size() + 1;
    link->kind = identity->kind;
    link->url = std::string(to_view(identity->url));
    link->mesh_id = std::string(to_view(identity->mesh_id));
    link->session_pubkey = std::string(to_view(identity->session_pubkey));
    link->groups_json = std::string(to_view(identity->groups_json));
    link->callbacks = *callbacks;
    link->user = user;
    *out = link->handle;
    of(instance)->links.push_back(std::move(link));
    return CM_OK;
  }
  static void close(void* instance, cm_handle handle) noexcept {
    if (Link* link = link_of(instance, handle)) {
      link->closed = true;
    }
  }
  static cm_status send(void* instance, cm_handle handle, const cm_outbound* messages, std::uint64_t count,
                        std::uint64_t* taken) noexcept {
    Link* link = link_of(instance, handle);
    if (link == nullptr || !link->open) {
      return CM_GONE;
    }
    for (std::uint64_t i = 0; i < count; ++i) {
      const auto text = [](cm_text_pview value) { return std::string(to_view(value)); };
      link->sent.push_back({text(messages[i].client_message_id), text(messages[i].request_fingerprint),
                            text(messages[i].target), text(messages[i].nonce), text(messages[i].ciphertext)});
    }
    *taken = count;
    return CM_OK;
  }
  static cm_status acknowledge(void* instance, cm_handle handle, cm_text_pview message_id,
                               cm_text_pview client_id) noexcept {
    Link* link = link_of(instance, handle);
    if (link == nullptr) {
      return CM_GONE;
    }
    link->acknowledged.push_back(std::string(to_view(message_id)) + "/" + std::string(to_view(client_id)));
    return CM_OK;
  }
  static cm_status request(void* instance, cm_handle handle, cm_text_pview json, std::uint64_t,
                           cm_reply_callback callback, void* user) noexcept {
    Link* link = link_of(instance, handle);
    if (link == nullptr || !link->open) {
      return CM_GONE;
    }
    link->requests.push_back({std::string(to_view(json)), callback, user});
    return CM_OK;
  }
};

inline protocol::KeyPair pair_of(std::uint8_t seed) {
  std::array<std::uint8_t, 32> bytes{};
  bytes.fill(seed);
  return protocol::KeyPair::from_seed(bytes);
}

// A push as the link reports it; owns its text.
struct TestPush {
  std::string message_id = "m1";
  std::string client_message_id = "c1";
  std::string sender_pubkey;
  std::string sender_member_pubkey;
  std::string sender_name = "Alice";
  std::string topic;
  std::string subtype;
  std::string nonce;
  std::string ciphertext;
  std::string event;
  std::string event_json;

  static TestPush sealed(const protocol::KeyPair& from, const protocol::PublicKey& to, const std::string& text,
                         const std::string& id = "c1") {
    const protocol::Envelope envelope = *protocol::encrypt_for(text, to, from.secret_key, protocol::system_random());
    TestPush push;
    push.message_id = "b-" + id;
    push.client_message_id = id;
    push.sender_pubkey = from.public_key.hex();
    push.nonce = envelope.nonce;
    push.ciphertext = envelope.ciphertext;
    return push;
  }
  void deliver(FakeTransport::Link& link) const {
    cm_inbound raw = {};
    raw.size = sizeof(raw);
    raw.priority = CM_PRIORITY_NEXT;
    raw.message_id = to_hview(message_id);
    raw.client_message_id = to_hview(client_message_id);
    raw.sender_pubkey = to_hview(sender_pubkey);
    raw.sender_member_pubkey = to_hview(sender_member_pubkey);
    raw.sender_name = to_hview(sender_name);
    raw.topic = to_hview(topic);
    raw.subtype = to_hview(subtype);
    raw.nonce = to_hview(nonce);
    raw.ciphertext = to_hview(ciphertext);
    raw.event = to_hview(event);
    raw.event_json = to_hview(event_json);
    link.callbacks.inbound(link.user, link.handle, &raw, 1);
  }
};

class DaemonTest : public ::testing::Test {
 protected:
  DaemonTest() : storage_(host_) {
    std::filesystem::create_directory(home_);
    std::filesystem::permissions(home_, std::filesystem::perms::owner_all);
    storage_.provide("store");
    transport_.provide(host_, "link");
    host_.now_us = 0;
  }
  ~DaemonTest() override {
    if (daemon_ != nullptr) {
      daemon_->stop();
    }
    daemon_.reset();
    host_.settle();
  }

  void write_config(const std::vector<std::string>& slugs) {
    std::string meshes;
    for (const std::string& slug : slugs) {
      meshes += meshes.empty() ? "" : ",";
      meshes += R"({"meshId":"id-)" + slug + R"(","memberId":"member","slug":")" + slug + R"(","name":"N","pubkey":")" +
                me_.public_key.hex() + R"(","secretKey":")" + me_.secret_key.hex() +
                R"(","brokerUrl":"wss://broker/ws","joinedAt":"2026-01-01T00:00:00.000Z"})";
    }
    ASSERT_TRUE(write_private_file(home_ + "/config.json", R"({"version":1,"meshes":[)" + meshes + "]}").ok());
  }
  cm_status start_daemon() {
    std::map<std::string, testing::OptionValue> options = {
        {"store", std::string("store")},
        {"transports", std::vector<std::string>{"link"}},
        {"hooks", hooks_},
        {"home", home_},
        {"local_api", true},
        {"tcp_listen", std::string()},
        {"host_fingerprint", std::string("refuse")},
        {"features_require", std::vector<std::string>{}},
        {"features_optional", std::vector<std::string>{"client_message_id_dedupe"}},
        {"outbox_max_age", std::int64_t{7LL * 24 * 3'600'000}},
        {"outbox_rows_max", rows_max_},
        {"inbox_retention", std::int64_t{30LL * 24 * 3'600'000}},
        {"window", std::int64_t{256}},
        {"message_bytes_max", std::int64_t{48'128}},
        {"body_bytes_max", std::int64_t{1 << 20}},
        {"watch_processes", false}};
    daemon_ = std::make_unique<testing::FakeInstance>(host_, "daemon", options);
    EXPECT_EQ(daemon_->create<Daemon>(), CM_OK);
    EXPECT_EQ(daemon_->configure(), CM_OK);
    daemon_->start();
    host_.run_for_ms(5);
    return daemon_->start_status;
  }
  // With mesh "alpha" joined and its link open.
  void start_open() {
    write_config({"alpha"});
    ASSERT_EQ(start_daemon(), CM_OK) << daemon_->error;
    link().state(CM_LINK_OPEN);
  }
  // The process dies: nothing is said to anybody.
  void crash() {
    daemon_->destroy();
    daemon_.reset();
    host_.run_for_ms(5);
    for (const auto& link : transport_.links) {
      link->closed = true;
    }
  }

  FakeTransport::Link& link(const std::string& slug = "alpha", std::uint32_t kind = CM_LINK_MEMBER) {
    FakeTransport::Link* found = transport_.find("id-" + slug, kind);
    EXPECT_NE(found, nullptr) << slug;
    return *found;
  }

  struct Answer {
    std::uint32_t status = 0;
    std::string body;
    std::string text(std::string_view key) const {
      const auto tree = protocol::parse_json(body);
      const protocol::JsonValue* value = tree ? tree->find(key) : nullptr;
      return value != nullptr && value->as_string() != nullptr ? *value->as_string() : std::string();
    }
    protocol::JsonValue json() const { return *protocol::parse_json(body); }
  };
  std::shared_ptr<testing::FakeAnswer> call(const std::string& method, const std::string& target,
                                            const std::string& body = "", const std::string& session = "") {
    testing::FakeRequest request;
    request.method = method;
    request.target = target;
    request.body = body;
    if (!session.empty()) {
      request.headers = {{"Authorization", "ClaudeMesh-Session " + session}};
    }
    return host_.http("unix:" + home_ + "/daemon/daemon.sock", request);
  }
  Answer ask(const std::string& method, const std::string& target, const std::string& body = "",
             const std::string& session = "") {
    const auto answer = call(method, target, body, session);
    EXPECT_TRUE(host_.run_until([&] { return answer->done; }, 100)) << method << " " << target;
    return {answer->status, answer->body};
  }
  Answer send(const std::string& to, const std::string& message, const std::string& id = "",
              const std::string& session = "") {
    return ask("POST", "/v1/send", send_body(to, message, id), session);
  }
  static std::string send_body(const std::string& to, const std::string& message, const std::string& id) {
    return R"({"to":")" + to + R"(","message":")" + message + "\"" +
           (id.empty() ? "" : R"(,"client_message_id":")" + id + "\"") + "}";
  }
  std::string status_of(const std::string& id) {
    return storage_.value("SELECT status FROM outbox WHERE client_message_id = '" + id + "'");
  }
  void settle() { host_.run_for_ms(2); }

  testing::FakeHost host_;
  testing::FakeStorage storage_;
  FakeTransport transport_;
  std::unique_ptr<testing::FakeInstance> daemon_;
  std::vector<std::string> hooks_;
  std::int64_t rows_max_ = 50'000;
  const test::TemporaryFolder folder_;
  const std::string home_ = folder_.file("home");
  protocol::KeyPair me_ = pair_of(1);
  protocol::KeyPair bob_ = pair_of(2);
  const std::string bob_key_ = bob_.public_key.hex();
};

}  // namespace cm::daemon
