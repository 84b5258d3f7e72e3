// A world with one broker (the real plugin and the real storage) and clients that speak the wire protocol, on virtual
// time.
#pragma once

#include <deque>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "protocol/json.hpp"
#include "protocol/keys.hpp"
#include "sdk/simhost/world.hpp"
#include "tests/support/temporary_folder.hpp"

namespace cm::broker::test {

using protocol::JsonValue;

struct MeshInfo {
  std::string id;
  std::string slug;
};

struct MemberInfo {
  MeshInfo mesh;
  std::string id;
  std::string name;
  protocol::KeyPair keys;
  std::string pubkey() const { return keys.public_key.hex(); }
};

class BrokerWorld;

// One WebSocket. Frames are kept until the test takes them.
class Client final : public sim::SocketEnd {
 public:
  Client(BrokerWorld& world, sim::NodeName node);
  ~Client() override;

  void send(const std::string& frame);
  void hello(const MemberInfo& member, const std::string& session_id, const std::string& extra = {});
  // A `send`; `extra` are further members, with a leading comma.
  void message(const std::string& target, const std::string& id, const std::string& extra = {});
  void client_ack(const std::string& message_id);
  void close();
  // The connection is gone and nobody is told.
  void vanish();

  bool open() const noexcept { return open_ && !closed_; }
  std::uint32_t close_code() const noexcept { return close_code_; }
  const std::string& close_reason() const noexcept { return close_reason_; }
  // The first frame of that type (and, if given, with that member text), removed; waits up to `timeout_ms`.
  std::optional<JsonValue> wait(std::string_view type, std::string_view name = {}, std::string_view value = {},
                                std::uint64_t timeout_ms = 5'000);
  // All message pushes that are there, removed, as their ids.
  std::vector<std::string> take_pushes();
  std::size_t count(std::string_view event) const;
  // Bytes that the broker has not read yet.
  std::size_t unread_bytes() const { return connection_->waiting_bytes(1); }

  void deliver_open() override { open_ = true; }
  void deliver_messages(std::vector<std::pair<std::uint32_t, std::string>> messages) override;
  void deliver_pong() override {}
  void deliver_closed(std::uint32_t code, const std::string& reason, bool clean) override;

 private:
  BrokerWorld& world_;
  std::shared_ptr<sim::Connection> connection_;
  bool open_ = false;
  bool closed_ = false;
  std::uint32_t close_code_ = 0;
  std::string close_reason_;
  std::deque<JsonValue> frames_;
};

class BrokerWorld {
 public:
  // `options`: further lines of [plugins.broker].
  explicit BrokerWorld(std::uint64_t seed = 1, const std::string& options = {});
  ~BrokerWorld();

  // Boots the broker and waits until it listens; false after a failure.
  bool boot();
  void crash();
  bool alive() const { return broker_->alive(); }
  void run_ms(std::uint64_t ms) { world_.run_for_ms(ms); }
  bool run_until(const std::function<bool()>& done, std::uint64_t timeout_ms = 5'000) {
    return world_.run_for_ms(timeout_ms, done);
  }

  sim::HttpAnswer http(const std::string& address, const std::string& method, const std::string& target,
                       const std::string& body = {});
  sim::HttpAnswer operate(const std::string& method, const std::string& target, const std::string& body = {});
  sim::HttpAnswer ask(const std::string& method, const std::string& target, const std::string& body = {});

  MeshInfo create_mesh(const std::string& slug);
  // Through an invite and POST /join.
  MemberInfo join(const MeshInfo& mesh, const std::string& name, const std::string& role = "member");
  std::unique_ptr<Client> connect();
  // Connected and past its hello. `extra` as in Client::hello.
  std::unique_ptr<Client> member_client(const MemberInfo& member, const std::string& session_id,
                                        const std::string& extra = {});

  sim::World& world() noexcept { return world_; }
  sim::Node& broker() noexcept { return *broker_; }
  // The broker's clock, which clients share.
  std::int64_t unix_ms() const { return broker_->unix_ms(); }

 private:
  const cm::test::TemporaryFolder folder_;
  const std::string root_ = folder_.path().string();
  sim::World world_;
  sim::Node* broker_ = nullptr;
};

std::string text_of(const JsonValue& frame, std::string_view name);
bool bool_of(const JsonValue& frame, std::string_view name);

}  // namespace cm::broker::test
