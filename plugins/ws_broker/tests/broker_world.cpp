#include "plugins/ws_broker/tests/broker_world.hpp"

#include <gtest/gtest.h>

#include <array>
#include <cstdlib>
#include <filesystem>

#include "protocol/canonical.hpp"
#include "protocol/invite.hpp"

namespace cm::broker::test {

namespace {

constexpr const char* kAddress = "127.0.0.1:7900";

}  // namespace

std::string text_of(const JsonValue& frame, std::string_view name) {
  const JsonValue* value = frame.find(name);
  const std::string* text = value == nullptr ? nullptr : value->as_string();
  return text == nullptr ? std::string() : *text;
}

bool bool_of(const JsonValue& frame, std::string_view name) {
  const JsonValue* value = frame.find(name);
  const bool* flag = value == nullptr ? nullptr : value->as_bool();
  return flag != nullptr && *flag;
}

// --- Client ---

Client::Client(BrokerWorld& world, sim::NodeName node) : world_(world) {
  sim::HttpExchange upgrade;
  upgrade.method = "GET";
  upgrade.target = "/ws";
  connection_ = world.world().network().connect(node, kAddress, upgrade, this);
}

Client::~Client() {
  if (connection_ && !closed_) {
    connection_->abandon(0, true);
  }
}

void Client::send(const std::string& frame) {
  connection_->send(0, CM_WEBSOCKET_TEXT, frame);
}

void Client::hello(const MemberInfo& member, const std::string& session_id, const std::string& extra) {
  const std::int64_t now_ms = world_.unix_ms();
  const std::string signature = protocol::sign_hello(member.keys.secret_key, member.mesh.id, member.id, now_ms);
  send(R"({"type":"hello","meshId":")" + member.mesh.id + R"(","memberId":")" + member.id + R"(","pubkey":")" +
       member.pubkey() + R"(","sessionId":")" + session_id + R"(","pid":1,"cwd":"/","timestamp":)" +
       std::to_string(now_ms) + R"(,"signature":")" + signature + "\"" + extra + "}");
}

void Client::message(const std::string& target, const std::string& id, const std::string& extra) {
  send(R"({"type":"send","id":")" + id + R"(","targetSpec":")" + target +
       R"(","priority":"next","nonce":"n","ciphertext":"c")" + extra + "}");
}

void Client::client_ack(const std::string& message_id) {
  send(R"({"type":"client_ack","brokerMessageId":")" + message_id + "\"}");
}

void Client::close() {
  connection_->close(0, 1000, "");
}

void Client::vanish() {
  connection_->abandon(0, true);
  closed_ = true;
}

void Client::deliver_messages(std::vector<std::pair<std::uint32_t, std::string>> messages) {
  for (const auto& [kind, text] : messages) {
    auto parsed = protocol::parse_json(text);
    ASSERT_TRUE(parsed.ok()) << text;
    frames_.push_back(std::move(*parsed));
  }
}

void Client::deliver_closed(std::uint32_t code, const std::string& reason, bool) {
  closed_ = true;
  close_code_ = code;
  close_reason_ = reason;
}

std::optional<JsonValue> Client::wait(std::string_view type, std::string_view name, std::string_view value,
                                      std::uint64_t timeout_ms) {
  std::optional<JsonValue> found;
  world_.run_until(
      [&] {
        for (auto frame = frames_.begin(); frame != frames_.end(); ++frame) {
          if (text_of(*frame, "type") == type && (name.empty() || text_of(*frame, name) == value)) {
            found = std::move(*frame);
            frames_.erase(frame);
            return true;
          }
        }
        return closed_;
      },
      timeout_ms);
  return found;
}

std::vector<std::string> Client::take_pushes() {
  std::vector<std::string> ids;
  std::erase_if(frames_, [&](const JsonValue& frame) {
    const bool push = text_of(frame, "type") == "push" && text_of(frame, "subtype").empty();
    if (push) {
      ids.push_back(text_of(frame, "messageId"));
    }
    return push;
  });
  return ids;
}

std::size_t Client::count(std::string_view event) const {
  std::size_t number = 0;
  for (const JsonValue& frame : frames_) {
    number += text_of(frame, "event") == event ? 1 : 0;
  }
  return number;
}

// --- BrokerWorld ---

BrokerWorld::BrokerWorld(std::uint64_t seed, const std::string& options)
    : world_([seed] {
        sim::WorldOptions world_options;
        world_options.seed = seed;
        return world_options;
      }()) {
  broker_ = &world_.add_node("broker",
                             "[plugins.store]\nuse = \"storage_sqlite\"\npath = \"/cmsim/broker/broker.db\"\n"
                             "vfs = \"cmsim\"\n[plugins.broker]\nuse = \"ws_broker\"\nstore = \"store\"\n"
                             "listen = \"" +
                                 std::string(kAddress) + "\"\noperator_socket = \"" + root_ +
                                 "/operator.sock\"\npublic_url = \"ws://127.0.0.1:7900/ws\"\n" + options);
}

BrokerWorld::~BrokerWorld() = default;

bool BrokerWorld::boot() {
  const bool running = world_.boot(*broker_) && run_until([this] { return broker_->running(); }, 30'000);
  EXPECT_TRUE(running) << broker_->last_error;
  return running;
}

void BrokerWorld::crash() {
  world_.crash(*broker_);
}

sim::HttpAnswer BrokerWorld::http(const std::string& address, const std::string& method, const std::string& target,
                                  const std::string& body) {
  sim::HttpExchange exchange;
  exchange.method = method;
  exchange.target = target;
  exchange.headers = {{"Content-Type", "application/json"}, {"Host", "localhost"}};
  exchange.body = body;
  auto answer = std::make_shared<std::optional<sim::HttpAnswer>>();
  world_.http(address, std::move(exchange), [answer](sim::HttpAnswer result) { *answer = std::move(result); });
  run_until([answer] { return answer->has_value(); }, 30'000);
  return answer->value_or(sim::HttpAnswer());
}

sim::HttpAnswer BrokerWorld::operate(const std::string& method, const std::string& target, const std::string& body) {
  return http("unix:" + root_ + "/operator.sock", method, target, body);
}

sim::HttpAnswer BrokerWorld::ask(const std::string& method, const std::string& target, const std::string& body) {
  return http(kAddress, method, target, body);
}

MeshInfo BrokerWorld::create_mesh(const std::string& slug) {
  const sim::HttpAnswer answer = operate("POST", "/v1/meshes", R"({"name":"Mesh","slug":")" + slug + "\"}");
  EXPECT_EQ(answer.status, 201u) << answer.body;
  const auto json = protocol::parse_json(answer.body);
  return json.ok() ? MeshInfo{text_of(*json, "id"), slug} : MeshInfo();
}

MemberInfo BrokerWorld::join(const MeshInfo& mesh, const std::string& name, const std::string& role) {
  const sim::HttpAnswer invited =
      operate("POST", "/v1/meshes/" + mesh.slug + "/invites", R"({"role":")" + role + "\"}");
  EXPECT_EQ(invited.status, 201u) << invited.body;
  const auto invite = protocol::parse_json(invited.body);
  const std::string token = invite.ok() ? text_of(*invite, "token") : std::string();
  const auto payload = protocol::base64url_decode(token);
  const std::string payload_json =
      payload ? std::string(protocol::as_text(*payload)) : std::string("null");  // the token is its JSON
  std::array<std::uint8_t, protocol::kSeedBytes> seed{};
  for (std::uint8_t& byte : seed) {
    byte = static_cast<std::uint8_t>(world_.fault_random().next());
  }
  MemberInfo member{mesh, {}, name, protocol::KeyPair::from_seed(seed)};
  const sim::HttpAnswer joined =
      ask("POST", "/join",
          R"({"invite_token":")" + token + R"(","invite_payload":)" + payload_json + R"(,"peer_pubkey":")" +
              member.pubkey() + R"(","display_name":")" + name + "\"}");
  EXPECT_EQ(joined.status, 200u) << joined.body;
  const auto answer = protocol::parse_json(joined.body);
  member.id = answer.ok() ? text_of(*answer, "memberId") : std::string();
  return member;
}

std::unique_ptr<Client> BrokerWorld::connect() {
  auto client = std::make_unique<Client>(*this, "");
  EXPECT_TRUE(run_until([&] { return client->open(); }));
  return client;
}

std::unique_ptr<Client> BrokerWorld::member_client(const MemberInfo& member, const std::string& session_id,
                                                   const std::string& extra) {
  auto client = connect();
  client->hello(member, session_id, extra);
  EXPECT_TRUE(client->wait("hello_ack").has_value()) << member.name;
  return client;
}

}  // namespace cm::broker::test
