// Goal: WebSocket server and client against each other and against raw peers: batches, fragmentation, back-pressure,
// slow consumers, closing in every order, pings, lost peers.
#include "host/net/tests/websocket_fixture.hpp"

namespace cm::net {
namespace {

using test::client_frame;
using test::kUpgrade;
using test::NetWebSocket;
using test::RawPeer;
using test::run_until;

TEST_F(NetWebSocket, EchoesAllSizes) {
  echo = true;
  server_options.max_message_bytes = 8 << 20;
  WsConnectOptions options;
  options.ws.max_message_bytes = 8 << 20;
  options.ws.hard_limit_bytes = 64 << 20;
  const auto result = connect(std::move(options));
  ASSERT_NE(client_side, nullptr) << result.error.message;
  EXPECT_EQ(result.http_status, 101);
  std::vector<std::string> sent;
  for (const std::size_t size : {0u, 1u, 125u, 126u, 65535u, 65536u, 300'000u, 5'000'000u}) {
    sent.emplace_back(size, static_cast<char>('a' + sent.size()));
    EXPECT_NE(client_side->send(SharedBuffer::copy(sent.back()), false), WsSend::kClosed);
  }
  ASSERT_TRUE(run_until(loop, [&] { return client_received.size() == sent.size(); }));
  EXPECT_EQ(client_received, sent);
}

TEST_F(NetWebSocket, OneReadIsOneBatchAndOneTurnIsOneAnswer) {
  echo = true;
  std::string frames;
  for (int i = 0; i < 500; ++i) {
    frames += client_frame(0x81, "message " + std::to_string(i));
  }
  const auto peer = raw(frames);
  ASSERT_TRUE(run_until(loop, [&] { return received.size() == 500; }));
  EXPECT_EQ(batches.size(), 1u) << "frames that came with the upgrade are one batch";
  const std::uint64_t sent_before = counters().ws_messages_sent.value();
  peer->send(frames);
  ASSERT_TRUE(run_until(loop, [&] { return received.size() == 1000; }));
  EXPECT_EQ(batches.size(), 2u);
  ASSERT_TRUE(
      run_until(loop, [&] { return peer->poll() || counters().ws_messages_sent.value() == sent_before + 500; }));
  ASSERT_TRUE(peer->wait_for(loop, "message 499"));
}

TEST_F(NetWebSocket, FragmentsByteByByteWithPingBetween) {
  const auto peer = raw();
  const std::string bytes = client_frame(0x01, "Hel") + client_frame(0x89, "p") + client_frame(0x80, "lo");
  for (const char c : bytes) {
    peer->send({&c, 1});
    loop.run_once(1);
  }
  ASSERT_TRUE(run_until(loop, [&] { return received.size() == 1; }));
  EXPECT_EQ(received[0], "Hello");
  ASSERT_TRUE(peer->wait_for(loop, std::string("\x8A\x01p", 3)));
}

TEST_F(NetWebSocket, RefusesBadUpgrades) {
  const auto answer = [&](const std::string& request) {
    RawPeer peer(info);
    peer.send(request);
    EXPECT_TRUE(peer.wait_end(loop));
    return peer.received();
  };
  EXPECT_EQ(answer("GET /ws HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n").substr(9, 3), "400");
  std::string bad_version = kUpgrade + "\r\n";
  bad_version.replace(bad_version.find("13"), 2, "12");
  const std::string outdated = answer(bad_version);
  EXPECT_EQ(outdated.substr(9, 3), "426");
  EXPECT_NE(outdated.find("Sec-WebSocket-Version: 13"), std::string::npos);
  std::string bad_key = kUpgrade + "\r\n";
  bad_key.replace(bad_key.find("dGhl"), 4, "!!!!");
  EXPECT_EQ(answer(bad_key).substr(9, 3), "400");
  EXPECT_EQ(answer("POST" + kUpgrade.substr(3) + "\r\n").substr(9, 3), "400");
  EXPECT_EQ(counters().ws_refused.value(), 4u);
  EXPECT_NE(accept_error, "");
}

TEST_F(NetWebSocket, ViolationsCloseWithTheirCode) {
  server_options.max_message_bytes = 1000;
  struct Case {
    std::string bytes;
    std::uint16_t code;
    const Counter NetCounters::* counter;
  };
  const Case cases[] = {
      {client_frame(0x83, "x"), 1002, &NetCounters::ws_protocol_errors},
      {client_frame(0x81, "\xFF"), 1007, &NetCounters::ws_invalid_text},
      {client_frame(0x82, std::string(1001, 'x')), 1009, &NetCounters::ws_message_too_big},
  };
  int calls = 0;
  for (const Case& bad : cases) {
    const auto peer = raw();
    peer->send(client_frame(0x81, "good") + bad.bytes + std::string(200'000, 'x'));
    ASSERT_TRUE(peer->wait_end(loop)) << bad.code;
    EXPECT_FALSE(peer->reset()) << "the close frame must arrive although more was sent";
    ASSERT_GE(peer->received().size(), 4u);
    EXPECT_EQ(static_cast<std::uint8_t>(peer->received()[0]), 0x88);
    const int code =
        static_cast<std::uint8_t>(peer->received()[2]) << 8 | static_cast<std::uint8_t>(peer->received()[3]);
    EXPECT_EQ(code, bad.code);
    EXPECT_EQ(server_closed.code, bad.code);
    EXPECT_FALSE(server_closed.clean);
    EXPECT_EQ(server_closed.calls, ++calls);
    EXPECT_EQ((counters().*bad.counter).value(), 1u);
  }
  EXPECT_EQ(received.size(), 3u) << "what came before the violation was delivered";
}

TEST_F(NetWebSocket, ServerCloses) {
  connect();
  ASSERT_TRUE(run_until(loop, [&] { return server_side != nullptr; }));
  server_side->send_text("last words");
  server_side->close(4001, "session replaced");
  EXPECT_EQ(server_side->send_text("too late"), WsSend::kClosed);
  EXPECT_EQ(server_closed.calls, 0) << "never inside the call";
  ASSERT_TRUE(run_until(loop, [&] { return client_closed.calls == 1 && server_closed.calls == 1; }));
  EXPECT_EQ(client_received, std::vector<std::string>{"last words"});
  EXPECT_EQ(client_closed.code, 4001);
  EXPECT_EQ(client_closed.reason, "session replaced");
  EXPECT_TRUE(client_closed.clean);
  EXPECT_EQ(server_closed.code, 4001);
  EXPECT_TRUE(server_closed.clean);
}

TEST_F(NetWebSocket, ClientClosesAndBothClose) {
  connect();
  client_side->close(1000, "");
  ASSERT_TRUE(run_until(loop, [&] { return client_closed.calls == 1 && server_closed.calls == 1; }));
  EXPECT_EQ(server_closed.code, 1000);
  EXPECT_TRUE(server_closed.clean && client_closed.clean);
  server_side = nullptr;
  connect();
  ASSERT_TRUE(run_until(loop, [&] { return server_side != nullptr; }));
  client_side->close(4002, "a");
  server_side->close(4003, "b");
  ASSERT_TRUE(run_until(loop, [&] { return client_closed.calls == 2 && server_closed.calls == 2; }));
  EXPECT_TRUE(server_closed.clean && client_closed.clean);
}

TEST_F(NetWebSocket, PeerThatVanishes) {
  {
    const auto peer = raw(client_frame(0x81, "hi").substr(0, 4));  // dies inside a frame
    ASSERT_TRUE(run_until(loop, [&] { return server_side != nullptr; }));
  }
  ASSERT_TRUE(run_until(loop, [&] { return server_closed.calls == 1; }));
  EXPECT_EQ(server_closed.code, kWsCloseAbnormal);
  EXPECT_FALSE(server_closed.clean);
}

TEST_F(NetWebSocket, CloseWithoutAnAnswerTimesOut) {
  server_options.close_timeout_ms = 40;
  const auto peer = raw();
  ASSERT_TRUE(run_until(loop, [&] { return server_side != nullptr; }));
  server_side->close(1001, "bye");
  ASSERT_TRUE(run_until(loop, [&] { return server_closed.calls == 1; }));
  EXPECT_EQ(server_closed.code, kWsCloseAbnormal);
  EXPECT_EQ(counters().ws_close_timeouts.value(), 1u);
}

TEST_F(NetWebSocket, TerminateInsideTheHandler) {
  on_batch = [](WsConnection& connection) { connection.terminate(); };
  const auto peer = raw();
  peer->send(client_frame(0x81, "a") + client_frame(0x88, ""));
  ASSERT_TRUE(run_until(loop, [&] { return server_closed.calls == 1; }));
  EXPECT_EQ(server_closed.code, kWsCloseAbnormal);
  EXPECT_TRUE(peer->wait_end(loop));
}

TEST_F(NetWebSocket, HandlersCanBeReplacedInsideTheHandler) {
  std::vector<std::string> second;
  on_batch = [&](WsConnection& connection) {
    WsHandlers handlers;
    handlers.on_messages = [&second](WsConnection&, std::span<const WsMessage> messages) {
      second.emplace_back(messages[0].data);
    };
    connection.set_handlers(std::move(handlers));
  };
  const auto peer = raw(client_frame(0x81, "hello"));
  ASSERT_TRUE(run_until(loop, [&] { return received.size() == 1; }));
  peer->send(client_frame(0x81, "next"));
  ASSERT_TRUE(run_until(loop, [&] { return second.size() == 1; }));
  EXPECT_EQ(received.size(), 1u);
}

TEST_F(NetWebSocket, PingsBothWays) {
  connect();
  ASSERT_TRUE(run_until(loop, [&] { return server_side != nullptr; }));
  const std::int64_t before_ns = Loop::now_ns();
  EXPECT_TRUE(server_side->send_ping("from server"));
  EXPECT_TRUE(client_side->send_ping("from client"));
  ASSERT_TRUE(run_until(loop, [&] { return !pong.empty() && !client_pong.empty(); }));
  EXPECT_EQ(pong, "from server");
  EXPECT_EQ(client_pong, "from client");
  EXPECT_GE(server_side->last_receive_ns(), before_ns);
}

TEST_F(NetWebSocket, WatermarksAndDrain) {
  server_options.high_watermark_bytes = 1 << 20;
  server_options.low_watermark_bytes = 64 << 10;
  server_options.hard_limit_bytes = 64 << 20;
  const auto peer = raw();
  ASSERT_TRUE(run_until(loop, [&] { return server_side != nullptr; }));
  const auto payload = SharedBuffer::adopt(std::string(100'000, 'p'));
  int sent = 0;
  WsSend state = WsSend::kOk;
  while (state == WsSend::kOk && sent < 1000) {
    state = server_side->send(payload, false);
    ++sent;
    loop.run_once(0);
  }
  EXPECT_EQ(state, WsSend::kPaused);
  EXPECT_GE(server_side->buffered_bytes(), 1u << 20);
  EXPECT_GT(payload.use_count(), 5u) << "queued by reference";
  EXPECT_EQ(drained, 0);
  ASSERT_TRUE(run_until(loop, [&] { return peer->poll() || drained == 1; }));
  ASSERT_TRUE(run_until(
      loop, [&] { return peer->poll() || peer->received().size() >= static_cast<std::size_t>(sent) * 100'010; }));
  EXPECT_EQ(payload.use_count(), 1u);
}

TEST_F(NetWebSocket, SlowConsumerIsClosedAndCounted) {
  server_options.hard_limit_bytes = 4 << 20;
  server_options.slow_consumer_code = kWsClosePolicy;
  const auto peer = raw();
  ASSERT_TRUE(run_until(loop, [&] { return server_side != nullptr; }));
  const auto payload = SharedBuffer::adopt(std::string(500'000, 'p'));
  int sent = 0;
  while (server_side->send(payload, false) != WsSend::kClosed && sent < 1000) {
    ++sent;
    loop.run_once(0);
  }
  EXPECT_LT(sent, 1000);
  EXPECT_EQ(counters().ws_slow_consumers.value(), 1u);
  EXPECT_LE(payload.use_count(), 3u) << "what had not begun to leave was dropped";
  const std::string close_frame = std::string("\x88\x0F\x03\xF0", 4) + "slow consumer";
  ASSERT_TRUE(run_until(loop, [&] { return peer->poll() || peer->received().ends_with(close_frame); }));
  EXPECT_TRUE(peer->received().ends_with(close_frame)) << "framing stays intact up to the close frame";
  peer->close();
  ASSERT_TRUE(run_until(loop, [&] { return server_closed.calls == 1; }));
  EXPECT_EQ(server_closed.code, kWsClosePolicy);
  EXPECT_FALSE(server_closed.clean);
}

TEST_F(NetWebSocket, PausedReadingHoldsMessagesBack) {
  const auto peer = raw();
  ASSERT_TRUE(run_until(loop, [&] { return server_side != nullptr; }));
  server_side->pause_reading(true);
  peer->send(client_frame(0x81, "later"));
  for (int i = 0; i < 5; ++i) {
    loop.run_once(1);
  }
  EXPECT_TRUE(received.empty());
  server_side->pause_reading(false);
  ASSERT_TRUE(run_until(loop, [&] { return received.size() == 1; }));
}

TEST_F(NetWebSocket, PausedReadingSlowsTheSenderDownAndLosesNothing) {
  const auto peer = raw();
  ASSERT_TRUE(run_until(loop, [&] { return server_side != nullptr; }));
  server_side->pause_reading(true);
  constexpr int kFrames = 2'000;  // 128 MB: more than any kernel buffers
  std::string output;
  int begun = 0;
  const auto write_more = [&] {
    while (begun < kFrames || !output.empty()) {
      if (output.empty()) {
        output = client_frame(0x82, std::to_string(begun++) + std::string(64'000, 'f'));
      }
      const ssize_t sent = ::send(peer->fd(), output.data(), output.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
      if (sent < 0) {
        return errno == EAGAIN;
      }
      output.erase(0, static_cast<std::size_t>(sent));
    }
    return false;
  };
  // Turns of the server between the writes: what it reads makes room again.
  for (int refused = 0; refused < 50;) {
    refused = write_more() ? refused + 1 : 50;
    loop.run_once(0);
  }
  ASSERT_LT(begun, kFrames) << "the sender was never slowed down";
  EXPECT_TRUE(received.empty());
  EXPECT_TRUE(server_side->send_ping("still here")) << "the other direction goes on";
  ASSERT_TRUE(peer->wait_for(loop, "still here"));
  int next = 0;
  on_batch = [&](WsConnection&) {
    for (const std::string& text : received) {
      ASSERT_EQ(text, std::to_string(next) + std::string(64'000, 'f'));
      ++next;
    }
    received.clear();
  };
  server_side->pause_reading(false);
  EXPECT_TRUE(run_until(loop, [&] {
    write_more();
    return next == kFrames;
  }));
}

TEST_F(NetWebSocket, PauseBeforeTheFirstTurnHoldsBackWhatCameWithTheUpgrade) {
  pause_at_once = true;
  const auto peer = std::make_unique<RawPeer>(info);
  // In one segment, so that the server has read the frames before anybody could pause.
  peer->send(kUpgrade + "\r\n" + client_frame(0x81, "first") + client_frame(0x81, "second").substr(0, 8));
  ASSERT_TRUE(run_until(loop, [&] { return server_side != nullptr; }));
  peer->send(client_frame(0x81, "second").substr(8) + client_frame(0x81, "third"));
  for (int i = 0; i < 5; ++i) {
    loop.run_once(1);
  }
  EXPECT_TRUE(received.empty());
  server_side->pause_reading(false);
  ASSERT_TRUE(run_until(loop, [&] { return received.size() == 3; }));
  EXPECT_EQ(received, (std::vector<std::string>{"first", "second", "third"}));
}

TEST_F(NetWebSocket, CloseWhilePausedStillSeesTheEndOfThePeer) {
  const auto peer = raw();
  ASSERT_TRUE(run_until(loop, [&] { return server_side != nullptr; }));
  server_side->pause_reading(true);
  peer->send(client_frame(0x81, "unread") + client_frame(0x88, std::string("\x03\xE8", 2)));
  for (int i = 0; i < 5; ++i) {
    loop.run_once(1);
  }
  EXPECT_EQ(server_closed.calls, 0) << "nobody reads, so nobody sees the close";
  server_side->close(1001, "");
  ASSERT_TRUE(run_until(loop, [&] { return server_closed.calls == 1; }));
  EXPECT_TRUE(server_closed.clean);
  EXPECT_TRUE(received.empty()) << "messages that nobody waits for any more";
}

TEST_F(NetWebSocket, PeerThatLeavesWhilePausedIsHeardOutAfterwards) {
  const auto peer = raw();
  ASSERT_TRUE(run_until(loop, [&] { return server_side != nullptr; }));
  server_side->pause_reading(true);
  peer->send(client_frame(0x81, "last words"));
  peer->close();
  for (int i = 0; i < 5; ++i) {
    loop.run_once(1);
  }
  EXPECT_EQ(server_closed.calls, 0);
  server_side->pause_reading(false);
  ASSERT_TRUE(run_until(loop, [&] { return server_closed.calls == 1; }));
  EXPECT_EQ(received, std::vector<std::string>{"last words"});
  EXPECT_EQ(server_closed.code, kWsCloseAbnormal);
}

TEST_F(NetWebSocket, SubprotocolAndHeaders) {
  server_options.subprotocol = "mesh.v1";
  server_options.response_headers.add("X-Broker", "one");
  WsConnectOptions options;
  options.subprotocols = {"other", "mesh.v1"};
  const auto result = connect(std::move(options));
  ASSERT_NE(client_side, nullptr) << result.error.message;
  EXPECT_EQ(client_side->subprotocol(), "mesh.v1");
  EXPECT_EQ(result.response_headers.get("x-broker"), "one");
  client_side->terminate();
  const auto refused = connect();
  EXPECT_EQ(refused.connection, nullptr);
  EXPECT_EQ(refused.http_status, 400);
}

TEST_F(NetWebSocket, ConnectFailuresAreTold) {
  url = "ws://127.0.0.1:1/";
  auto result = connect();
  EXPECT_EQ(result.error.code, ErrorCode::kIo);
  EXPECT_EQ(result.http_status, 0);
  url = "http://127.0.0.1/";
  EXPECT_EQ(connect().error.code, ErrorCode::kInvalid);
  url = "ws://127.0.0.1:" + std::to_string(info.port) + "/ws";
  WsConnectOptions options;
  options.headers.add("X", "a\nb");
  EXPECT_EQ(connect(std::move(options)).error.code, ErrorCode::kInvalid);
}

TEST_F(NetWebSocket, SilentServerTimesOutAndCancelIsSilent) {
  HttpServer silent(loop, {}, [this](std::shared_ptr<HttpRequest> request) { held.push_back(std::move(request)); });
  const auto opened = silent.listen_tcp({});
  ASSERT_TRUE(opened.ok());
  url = "ws://127.0.0.1:" + std::to_string(opened->port) + "/";
  WsConnectOptions options;
  options.handshake_timeout_ms = 40;
  EXPECT_EQ(connect(std::move(options)).error.code, ErrorCode::kBusy);
  bool called = false;
  const auto attempt =
      WsClient::connect(loop, url, WsConnectOptions{}, WsHandlers{}, [&](WsConnectResult) { called = true; });
  loop.run_once(5);
  attempt->cancel();
  for (int i = 0; i < 5; ++i) {
    loop.run_once(1);
  }
  EXPECT_FALSE(called);
  held.clear();
}

}  // namespace
}  // namespace cm::net
