// Goal: what a WebSocket costs (heap when idle, time per message) and that nothing outlives its loop.
#include <malloc.h>
#include <sys/resource.h>

#include <algorithm>

#include "host/net/tests/websocket_fixture.hpp"

namespace cm::net {
namespace {

using test::client_frame;
using test::kUpgrade;
using test::RawPeer;
using test::run_until;

class NetWebSocketFigures : public test::NetWebSocket {};

TEST(NetWebSocketLife, OpenConnectionsAndConnectsEndWithTheirLoop) {
  const auto token = std::make_shared<int>(0);
  {
    Loop loop;
    std::shared_ptr<WsConnection> accepted;
    HttpServer server(loop, {}, [&](std::shared_ptr<HttpRequest> request) {
      WsHandlers handlers;
      handlers.on_messages = [token](WsConnection&, std::span<const WsMessage>) {};
      accepted = *accept_websocket(request, {}, std::move(handlers));
    });
    const auto opened = server.listen_tcp({});
    ASSERT_TRUE(opened.ok());
    const std::string url = "ws://127.0.0.1:" + std::to_string(opened->port) + "/";
    WsConnectOptions options;
    options.proxy = {};
    bool connected = false;
    WsHandlers handlers;
    handlers.on_messages = [token](WsConnection&, std::span<const WsMessage>) {};
    WsClient::connect(loop, url, options, std::move(handlers), [&](WsConnectResult) { connected = true; });
    ASSERT_TRUE(run_until(loop, [&] { return connected; }));
    WsClient::connect(loop, url, options, {}, [token](WsConnectResult) {});
  }
  EXPECT_EQ(token.use_count(), 1) << "nothing keeps itself alive beyond the loop";
}

// The figures of the design: at most 4 KiB of heap per idle server-side connection.
TEST_F(NetWebSocketFigures, IdleConnectionsAreSmall) {
  constexpr std::size_t kPeers = 1000;
  rlimit limit{};
  ::getrlimit(RLIMIT_NOFILE, &limit);
  limit.rlim_cur = std::min<rlim_t>(limit.rlim_max, 4096);
  ::setrlimit(RLIMIT_NOFILE, &limit);
  std::vector<std::unique_ptr<RawPeer>> peers;
  for (int i = 0; i < 20; ++i) {  // warm the pools
    peers.push_back(raw(client_frame(0x81, "hello")));
  }
  loop.run_once(1);
  for (std::size_t i = 0; i < kPeers; ++i) {
    peers.push_back(std::make_unique<RawPeer>(info));
    ASSERT_TRUE(peers.back()->connected());
  }
  const std::size_t before_connections = mallinfo2().uordblks;
  for (std::size_t i = 20; i < peers.size(); ++i) {
    peers[i]->send(kUpgrade + "\r\n" + client_frame(0x81, "hello"));
  }
  ASSERT_TRUE(run_until(loop, [&] { return received.size() == kPeers + 20; }));
  loop.run_once(1);
  const std::size_t used = mallinfo2().uordblks;
  const double each = (static_cast<double>(used) - static_cast<double>(before_connections)) / kPeers;
  std::printf(
      "[ FIGURE   ] idle WebSocket connection: %.0f bytes of heap (accept queue to idle, one message handled)\n", each);
  EXPECT_LE(each, 4096.0);
  server_closed.calls = 0;
  peers.clear();
  ASSERT_TRUE(run_until(loop, [&] { return counters().ws_open.value() == 0; }));
}

TEST_F(NetWebSocketFigures, EchoSpeed) {
  echo = true;
  connect();
  ASSERT_NE(client_side, nullptr);
  constexpr std::size_t kMessages = 200'000;
  constexpr std::size_t kWindow = 512;
  const auto payload = SharedBuffer::adopt(std::string(64, 'm'));
  received.reserve(kMessages);
  client_received.reserve(kMessages);
  std::size_t sent = 0;
  const std::int64_t begin = Loop::now_ns();
  while (client_received.size() < kMessages) {
    while (sent < kMessages && sent - client_received.size() < kWindow) {
      client_side->send(payload, true);
      ++sent;
    }
    loop.run_once(10);
    ASSERT_LT(Loop::now_ns() - begin, 30'000'000'000);
  }
  const double seconds = static_cast<double>(Loop::now_ns() - begin) / 1e9;
  std::printf("[ FIGURE   ] echo of 64-byte messages, client and server on one loop: %.0f msg/s\n",
              kMessages / seconds);
}

}  // namespace
}  // namespace cm::net
