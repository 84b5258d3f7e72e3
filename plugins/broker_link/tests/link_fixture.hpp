// A link plugin on the fake host, with the test as its owner and as the broker.
#pragma once

#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <vector>

#include "plugins/broker_link/src/broker_link.hpp"
#include "protocol/canonical.hpp"
#include "protocol/json.hpp"
#include "protocol/keys.hpp"
#include "tests/support/fake_host.hpp"

namespace cm::broker_link {

// What the callbacks told, in order.
struct LinkLog {
  struct State {
    std::uint32_t state;
    std::string detail;
  };
  struct Sent {
    std::uint32_t outcome;
    std::string id;
    std::string message_id;
    std::string code;
    std::uint64_t retry_after_ms;
  };
  std::vector<State> states;
  std::vector<Sent> sent;
  std::vector<std::string> inbound;  // message ids
  int inbound_calls = 0;
  protocol::KeyPair member;
  protocol::KeyPair session;
};

class LinkTest : public ::testing::Test {
 protected:
  LinkTest() {
    const auto random = [](std::span<std::uint8_t> bytes) { std::fill(bytes.begin(), bytes.end(), 7); };
    const auto other = [](std::span<std::uint8_t> bytes) { std::fill(bytes.begin(), bytes.end(), 9); };
    log_.member = protocol::KeyPair::generate(random);
    log_.session = protocol::KeyPair::generate(other);
    plugin_ = std::make_unique<testing::FakeInstance>(
        host_, "link",
        std::map<std::string, testing::OptionValue>{{"window", std::int64_t{4}},
                                                    {"ack_timeout", std::int64_t{15'000}},
                                                    {"hello_timeout", std::int64_t{5'000}},
                                                    {"negotiation_timeout", std::int64_t{3'000}},
                                                    {"refused_retry", std::int64_t{900'000}},
                                                    {"frame_bytes_max", std::int64_t{2'048}},
                                                    {"receive_bytes_max", std::int64_t{1 << 20}},
                                                    {"requests_max", std::int64_t{2}},
                                                    {"hostname", std::string("box")}});
    EXPECT_EQ(plugin_->create<BrokerLink>(), CM_OK);
    EXPECT_EQ(plugin_->configure(), CM_OK);
    EXPECT_EQ(plugin_->start(), CM_OK);
    table_ = static_cast<const cm_transport_v1*>(plugin_->table()->get_extension(plugin_->instance(), CM_TRANSPORT_ID));
  }
  ~LinkTest() override {
    plugin_->stop();
    plugin_.reset();
  }

  void open(std::string features = "", bool session = false) {
    const std::string member = log_.member.public_key.hex();
    const std::string key = session ? log_.session.public_key.hex() : std::string();
    cm_link_identity identity = {};
    identity.size = sizeof(identity);
    identity.kind = session ? CM_LINK_SESSION : CM_LINK_MEMBER;
    identity.url = to_pview("ws://broker/ws");
    identity.mesh_id = to_pview("mesh1");
    identity.member_id = to_pview("member1");
    identity.member_pubkey = to_pview(member);
    identity.session_pubkey = to_pview(key);
    identity.session_id = to_pview("session-1");
    identity.cwd = to_pview("/work");
    identity.features_json = to_pview(features);
    identity.pid = 42;
    cm_link_callbacks callbacks = {sizeof(callbacks), 0, &on_state, &on_inbound, &on_sent, &on_sign};
    ASSERT_EQ(table_->open(plugin_->instance(), &identity, &callbacks, this, &link_), CM_OK);
    host_.settle();
  }
  // Connects the newest socket and answers its hello.
  void handshake() {
    socket().open();
    ASSERT_FALSE(socket().sent.empty());
    socket().deliver({R"({"type":"hello_ack","presenceId":"p1","memberDisplayName":"me"})"});
  }
  testing::FakeSocket& socket() { return *host_.sockets.back(); }
  protocol::JsonValue frame(std::size_t index) { return *protocol::parse_json(socket().sent.at(index)); }
  std::string field(std::size_t index, std::string_view name) {
    const protocol::JsonValue value = frame(index);
    const protocol::JsonValue* member = value.find(name);
    return member == nullptr || member->as_string() == nullptr ? "(none)" : *member->as_string();
  }
  std::uint32_t state() const { return log_.states.empty() ? 0 : log_.states.back().state; }

  cm_status send(const std::string& id, const std::string& ciphertext = "Y2lwaGVy", std::uint64_t* taken = nullptr) {
    cm_outbound message = {};
    message.size = sizeof(message);
    message.priority = CM_PRIORITY_NOW;
    message.client_message_id = to_pview(id);
    message.request_fingerprint = to_pview(fingerprint_);
    message.target = to_pview("target");
    message.nonce = to_pview("nonce");
    message.ciphertext = to_pview(ciphertext);
    std::uint64_t count = 0;
    const cm_status status = table_->send(plugin_->instance(), link_, &message, 1, taken == nullptr ? &count : taken);
    return status;
  }

  static void on_state(void* user, cm_handle, std::uint32_t state, cm_text_hview detail) noexcept {
    self(user)->log_.states.push_back({state, std::string(to_view(detail))});
  }
  static void on_inbound(void* user, cm_handle, const cm_inbound* messages, std::uint64_t count) noexcept {
    ++self(user)->log_.inbound_calls;
    for (std::uint64_t i = 0; i < count; ++i) {
      self(user)->log_.inbound.emplace_back(to_view(messages[i].message_id));
    }
  }
  static void on_sent(void* user, cm_handle, const cm_send_result* results, std::uint64_t count) noexcept {
    for (std::uint64_t i = 0; i < count; ++i) {
      self(user)->log_.sent.push_back({results[i].outcome, std::string(to_view(results[i].client_message_id)),
                                       std::string(to_view(results[i].message_id)),
                                       std::string(to_view(results[i].code)), results[i].retry_after_ms});
    }
  }
  static cm_status on_sign(void* user, cm_handle, std::uint32_t key, cm_text_hview text, std::uint8_t* out) noexcept {
    const protocol::KeyPair& pair = key == CM_SIGN_MEMBER ? self(user)->log_.member : self(user)->log_.session;
    const protocol::Signature signature = protocol::sign(pair.secret_key, to_view(text));
    std::copy(signature.begin(), signature.end(), out);
    return CM_OK;
  }
  static LinkTest* self(void* user) { return static_cast<LinkTest*>(user); }

  testing::FakeHost host_;
  std::unique_ptr<testing::FakeInstance> plugin_;
  const cm_transport_v1* table_ = nullptr;
  cm_handle link_ = CM_NO_HANDLE;
  LinkLog log_{{},
               {},
               {},
               0,
               protocol::KeyPair::from_seed(std::array<std::uint8_t, 32>{}),
               protocol::KeyPair::from_seed(std::array<std::uint8_t, 32>{})};
  std::string fingerprint_ = std::string(64, 'a');
};

}  // namespace cm::broker_link
