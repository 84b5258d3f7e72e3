// How to test a transport in the deterministic host: the network breaks, and the link comes back by itself.
#include <claudemesh/ext/transport.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "sdk/simhost/world.hpp"

namespace {

// The other end of the link: accepts connections and answers a hello, as a broker does.
class Broker final : public cm::sim::ListenerEnd {
 public:
  explicit Broker(cm::sim::World& world) : world_(world) { world.network().listen("broker", "broker:7900", this); }
  ~Broker() override { world_.network().close_listener("broker:7900"); }
  void deliver_request(cm::sim::HttpExchange, const cm::sim::NodeName&, std::function<void(cm::sim::HttpAnswer)> answer,
                       std::shared_ptr<cm::sim::Connection> upgrade) override {
    if (upgrade == nullptr) {
      answer(cm::sim::HttpAnswer());
      return;
    }
    ends.push_back(std::make_unique<End>(std::move(upgrade)));
  }

  struct End final : public cm::sim::SocketEnd {
    explicit End(std::shared_ptr<cm::sim::Connection> accepted) : connection(std::move(accepted)) {
      connection->attach(1, this);
      connection->opened();
    }
    ~End() override {
      if (connection != nullptr) {
        connection->abandon(1, true);
      }
    }
    void deliver_open() override {}
    void deliver_messages(std::vector<std::pair<std::uint32_t, std::string>> messages) override {
      for (const auto& [kind, text] : messages) {
        if (text.find(R"("type":"hello")") != std::string::npos) {
          connection->send(1, kind, R"({"type":"hello_ack","presenceId":"p","memberDisplayName":"me"})");
        }
      }
    }
    void deliver_pong() override {}
    void deliver_closed(std::uint32_t, const std::string&, bool) override { connection.reset(); }
    std::shared_ptr<cm::sim::Connection> connection;
  };
  std::vector<std::unique_ptr<End>> ends;

 private:
  cm::sim::World& world_;
};

class TransportTest : public ::testing::Test {
 protected:
  TransportTest() : node(world.add_node("laptop", "[plugins.link]\nuse = \"broker_link\"\n")), broker(world) {}
  void SetUp() override {
    ASSERT_TRUE(world.boot(node)) << node.last_error;
    ASSERT_TRUE(world.run_for_ms(60'000, [this] { return node.running(); })) << node.last_error;
    table = static_cast<const cm_transport_v1*>(node.find("link")->extension(CM_TRANSPORT_ID));
    const std::string key(64, 'a');
    cm_link_identity identity = {};
    identity.size = sizeof(identity);
    identity.kind = CM_LINK_MEMBER;
    identity.url = text("ws://broker:7900/ws");
    identity.mesh_id = text("mesh");
    identity.member_id = text("member");
    identity.member_pubkey = text(key);
    identity.session_id = text("session");
    identity.cwd = text("/");
    const auto sign = [](void*, cm_handle, std::uint32_t, cm_text_hview, std::uint8_t* out) noexcept -> cm_status {
      std::fill(out, out + 64, std::uint8_t{1});
      return CM_OK;
    };
    const cm_link_callbacks callbacks = {sizeof(callbacks), 0, &on_state, &on_inbound, &on_sent, sign};
    ASSERT_EQ(table->open(node.find("link")->raw(), &identity, &callbacks, this, &link), CM_OK);
  }

  static cm_text_pview text(std::string_view view) { return {view.data(), view.size()}; }
  static void on_state(void* user, cm_handle, std::uint32_t state, cm_text_hview) noexcept {
    static_cast<TransportTest*>(user)->states.push_back(state);
  }
  static void on_inbound(void*, cm_handle, const cm_inbound*, std::uint64_t) noexcept {}
  static void on_sent(void*, cm_handle, const cm_send_result*, std::uint64_t) noexcept {}
  bool comes_to(std::uint32_t state) {
    return world.run_for_ms(120'000, [this, state] { return !states.empty() && states.back() == state; });
  }

  cm::sim::World world{cm::sim::WorldOptions{}};
  cm::sim::Node& node;
  Broker broker;
  const cm_transport_v1* table = nullptr;
  cm_handle link = CM_NO_HANDLE;
  std::vector<std::uint32_t> states;
};

TEST_F(TransportTest, ComesBackAfterABreak) {
  ASSERT_TRUE(comes_to(CM_LINK_OPEN));
  world.network().reset_connections("laptop");
  ASSERT_TRUE(comes_to(CM_LINK_RECONNECTING));
  EXPECT_TRUE(comes_to(CM_LINK_OPEN));
  EXPECT_EQ(broker.ends.size(), 2u);
}

TEST_F(TransportTest, SaysNothingAfterClose) {
  ASSERT_TRUE(comes_to(CM_LINK_OPEN));
  const std::size_t before = states.size();
  table->close(node.find("link")->raw(), link);
  world.run_for_ms(60'000);
  EXPECT_EQ(states.size(), before);
  world.shut_down(node, [this] { EXPECT_EQ(node.find("link")->holdings().text(), ""); });
}

}  // namespace
