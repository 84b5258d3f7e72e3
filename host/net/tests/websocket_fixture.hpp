// A WebSocket server, a client for it and raw peers, on one loop: shared by the WebSocket tests.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "host/net/tests/net_test_support.hpp"
#include "host/net/websocket.hpp"

namespace cm::net::test {

struct Closed {
  int calls = 0;
  std::uint16_t code = 0;
  std::string reason;
  bool clean = false;
};

inline std::string client_frame(int first_byte, std::string payload) {
  const std::uint8_t mask[4] = {1, 2, 3, 4};
  const auto head = ws_frame_head(WsOpcode::kText, true, payload.size(), mask);
  std::string out(reinterpret_cast<const char*>(head.bytes.data()), head.size);
  out[0] = static_cast<char>(first_byte);
  ws_apply_mask({reinterpret_cast<std::uint8_t*>(payload.data()), payload.size()}, mask);
  return out + payload;
}

inline const std::string kUpgrade =
    "GET /ws HTTP/1.1\r\nHost: h\r\nUpgrade: websocket\r\nConnection: keep-alive, Upgrade\r\n"
    "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";

class NetWebSocket : public ::testing::Test {
 protected:
  void SetUp() override {
    server = std::make_unique<HttpServer>(loop, HttpServerOptions{}, [this](std::shared_ptr<HttpRequest> request) {
      auto accepted = accept_websocket(request, server_options, server_handlers());
      if (accepted.ok()) {
        server_side = *accepted;
        server_side->pause_reading(pause_at_once);
      } else {
        accept_error = accepted.error().message;
      }
    });
    auto opened = server->listen_tcp({});
    ASSERT_TRUE(opened.ok());
    info = *opened;
    url = "ws://127.0.0.1:" + std::to_string(info.port) + "/ws";
  }
  void TearDown() override {
    if (server_side != nullptr) {
      server_side->terminate();
    }
    if (client_side != nullptr) {
      client_side->terminate();
    }
    run_until(loop, [&] { return counters().ws_open.value() == 0; });
    EXPECT_EQ(counters().ws_open.value(), 0u);
  }

  WsHandlers server_handlers() {
    WsHandlers handlers;
    handlers.on_messages = [this](WsConnection& connection, std::span<const WsMessage> messages) {
      batches.push_back(messages.size());
      for (const WsMessage& message : messages) {
        received.emplace_back(message.data);
        padding_sum += static_cast<unsigned>(message.data.data()[message.data.size() + kBufferPadding - 1]);
        if (echo) {
          connection.send(SharedBuffer::copy(message.data), message.text);
        }
      }
      if (on_batch) {
        on_batch(connection);
      }
    };
    handlers.on_drain = [this](WsConnection&) { ++drained; };
    handlers.on_pong = [this](WsConnection&, std::string_view payload) { pong = std::string(payload); };
    handlers.on_closed = note(server_closed);
    return handlers;
  }

  static UniqueFunction<void(WsConnection&, std::uint16_t, std::string_view, bool)> note(Closed& into) {
    return [&into](WsConnection& connection, std::uint16_t code, std::string_view reason, bool clean) {
      EXPECT_FALSE(connection.open());
      ++into.calls;
      into.code = code;
      into.reason = std::string(reason);
      into.clean = clean;
    };
  }

  WsConnectResult connect(WsConnectOptions options = {}) {
    options.proxy = {};
    WsHandlers handlers;
    handlers.on_messages = [this](WsConnection&, std::span<const WsMessage> messages) {
      for (const WsMessage& message : messages) {
        client_received.emplace_back(message.data);
      }
    };
    handlers.on_pong = [this](WsConnection&, std::string_view payload) { client_pong = std::string(payload); };
    handlers.on_closed = note(client_closed);
    std::optional<WsConnectResult> result;
    const auto attempt = WsClient::connect(loop, url, std::move(options), std::move(handlers),
                                           [&](WsConnectResult answer) { result = std::move(answer); });
    EXPECT_FALSE(result.has_value()) << "never inside the call";
    EXPECT_TRUE(run_until(loop, [&] { return result.has_value(); }));
    client_side = result->connection;
    return std::move(*result);
  }

  // A raw peer that has upgraded.
  std::unique_ptr<RawPeer> raw(const std::string& after = "") {
    auto peer = std::make_unique<RawPeer>(info);
    peer->send(kUpgrade + "\r\n" + after);
    EXPECT_TRUE(peer->wait_for(loop, "\r\n\r\n"));
    EXPECT_NE(peer->received().find("Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo="), std::string::npos)
        << "the example of RFC 6455";
    peer->received().erase(0, peer->received().find("\r\n\r\n") + 4);
    return peer;
  }

  const NetCounters& counters() const { return *server->counters(); }

  Loop loop;
  WsOptions server_options;
  std::unique_ptr<HttpServer> server;
  ListenerInfo info;
  std::string url;
  std::shared_ptr<WsConnection> server_side;
  std::shared_ptr<WsConnection> client_side;
  std::string accept_error;
  std::vector<std::string> received;
  std::vector<std::string> client_received;
  std::vector<std::size_t> batches;
  unsigned padding_sum = 0;
  UniqueFunction<void(WsConnection&)> on_batch;
  Closed server_closed;
  Closed client_closed;
  std::string pong;
  std::string client_pong;
  int drained = 0;
  std::vector<std::shared_ptr<HttpRequest>> held;
  bool echo = false;
  bool pause_at_once = false;
};

}  // namespace cm::net::test
