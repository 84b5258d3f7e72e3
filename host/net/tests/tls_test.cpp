// Goal: TLS on both ends with a certificate made for the test: https, wss, verification, reload, refusal of the wrong.
#include "host/net/tls.hpp"

#include <cstdio>

#include "host/net/detail/default_trust.hpp"
#include "host/net/http_client.hpp"
#include "host/net/tests/make_certificate.hpp"
#include "host/net/tests/net_test_support.hpp"
#include "host/net/websocket.hpp"

namespace cm::net {
namespace {

using test::make_certificate;
using test::run_until;

class NetTls : public ::testing::Test {
 protected:
  void SetUp() override {
    certificate = folder.file("cert.pem");
    key = folder.file("key.pem");
    make_certificate("localhost", certificate, key);
    auto loaded = TlsServerContext::load(certificate, key);
    ASSERT_TRUE(loaded.ok()) << loaded.error().message;
    server_tls = *loaded;
    auto trust = TlsClientContext::create({true, false, certificate});
    ASSERT_TRUE(trust.ok()) << trust.error().message;
    client_tls = *trust;
    // The first use reads the distribution's CA bundle, which may take longer than a test waits for an answer.
    ASSERT_TRUE(detail::DefaultTrust::get().wait().ok());
    serve(60'000);
  }

  void serve(std::uint64_t header_timeout_ms) {
    HttpServerOptions options;
    options.limits.header_timeout_ms = header_timeout_ms;
    server = std::make_unique<HttpServer>(loop, std::move(options), [this](std::shared_ptr<HttpRequest> request) {
      if (request->wants_websocket()) {
        accept(request);
        return;
      }
      EXPECT_TRUE(request->tls());
      ASSERT_TRUE(request->respond(200, {}, request->body()).ok());
    });
    TcpListenerOptions listener;
    listener.tls = server_tls;
    auto opened = server->listen_tcp(listener);
    ASSERT_TRUE(opened.ok());
    info = *opened;
  }

  void accept(const std::shared_ptr<HttpRequest>& request) {
    WsHandlers handlers;
    handlers.on_messages = [](WsConnection& connection, std::span<const WsMessage> messages) {
      for (const WsMessage& message : messages) {
        connection.send(SharedBuffer::copy(message.data), message.text);
      }
    };
    WsOptions options;
    options.max_message_bytes = 8 << 20;
    options.hard_limit_bytes = 64 << 20;
    auto accepted = accept_websocket(request, std::move(options), std::move(handlers));
    ASSERT_TRUE(accepted.ok()) << accepted.error().message;
    server_side = *accepted;
  }

  Result<HttpClientResponse> get(const std::string& host, const std::shared_ptr<TlsClientContext>& tls,
                                 std::string body = "") {
    HttpClient client(loop, {.tls = tls, .proxy = {}});
    HttpClientRequest request;
    request.method = "POST";
    request.url = "https://" + host + ":" + std::to_string(info.port) + "/x";
    request.body = SharedBuffer::adopt(std::move(body));
    std::optional<Result<HttpClientResponse>> result;
    client.send(std::move(request), [&](Result<HttpClientResponse> answer) { result = std::move(answer); });
    EXPECT_TRUE(run_until(loop, [&] { return result.has_value(); }));
    return std::move(*result);
  }

  Loop loop;
  test::TemporaryFolder folder;
  std::string certificate;
  std::string key;
  std::shared_ptr<TlsServerContext> server_tls;
  std::shared_ptr<TlsClientContext> client_tls;
  std::unique_ptr<HttpServer> server;
  ListenerInfo info;
  std::shared_ptr<WsConnection> server_side;
};

TEST_F(NetTls, HttpsByNameAndByAddress) {
  EXPECT_EQ(info.text().substr(0, 8), "https://");
  const std::string body(900'000, 'b');
  for (const char* host : {"localhost", "127.0.0.1"}) {
    const auto answer = get(host, client_tls, body);
    ASSERT_TRUE(answer.ok()) << answer.error().message;
    EXPECT_EQ(answer->body.view(), body) << host;
  }
}

TEST_F(NetTls, RefusesWhatItCannotVerify) {
  const auto untrusted = get("localhost", nullptr);
  ASSERT_FALSE(untrusted.ok());
  EXPECT_EQ(untrusted.error().code, ErrorCode::kDenied) << untrusted.error().message;
  EXPECT_NE(untrusted.error().message.find("verification"), std::string::npos);
  make_certificate("other.example", folder.file("other.pem"), folder.file("other.key"));
  const auto trust = TlsClientContext::create({true, false, folder.file("other.pem")});
  EXPECT_EQ(get("localhost", *trust).error().code, ErrorCode::kDenied);
  const auto careless = TlsClientContext::create({false, false, ""});
  EXPECT_TRUE(get("localhost", *careless).ok());
  EXPECT_TRUE(run_until(loop, [&] { return server->counters()->tls_handshake_failures.value() == 2; }));
}

TEST_F(NetTls, WrongNameIsRefusedAndReloadTakesEffect) {
  // The new certificate is trusted but names another host (and the address 127.0.0.1).
  make_certificate("other.example", certificate, key);
  const auto trust = TlsClientContext::create({true, false, certificate});
  ASSERT_TRUE(trust.ok());
  EXPECT_FALSE(get("localhost", *trust).ok()) << "the server still shows the old one";
  ASSERT_TRUE(server_tls->reload().ok());
  EXPECT_TRUE(get("127.0.0.1", *trust).ok());
  EXPECT_EQ(get("localhost", *trust).error().code, ErrorCode::kDenied) << "trusted, but for another name";
  std::fclose(std::fopen(key.c_str(), "w"));
  const Status broken = server_tls->reload();
  ASSERT_FALSE(broken.ok());
  EXPECT_NE(broken.error().message.find(key), std::string::npos);
  EXPECT_TRUE(get("127.0.0.1", *trust).ok()) << "a failed reload changes nothing";
}

TEST_F(NetTls, FilesThatCannotBeUsed) {
  EXPECT_EQ(TlsServerContext::load(folder.file("absent"), key).error().code, ErrorCode::kInvalid);
  make_certificate("x", folder.file("x.pem"), folder.file("x.key"));
  EXPECT_FALSE(TlsServerContext::load(certificate, folder.file("x.key")).ok()) << "the key of another certificate";
  EXPECT_FALSE(TlsClientContext::create({true, false, folder.file("absent")}).ok());
}

TEST_F(NetTls, PlainTextAndSilenceAreCut) {
  serve(300);
  test::RawPeer plain(info);
  plain.send("GET / HTTP/1.1\r\nHost: h\r\n\r\n");
  EXPECT_TRUE(plain.wait_end(loop));
  test::RawPeer silent(info);
  EXPECT_TRUE(silent.wait_end(loop));
  EXPECT_EQ(server->counters()->tls_handshake_failures.value(), 2u);
}

TEST_F(NetTls, SecureWebSocketEchoesLargeAndManyMessages) {
  std::vector<std::string> received;
  bool closed_clean = false;
  WsHandlers handlers;
  handlers.on_messages = [&](WsConnection&, std::span<const WsMessage> messages) {
    for (const WsMessage& message : messages) {
      received.emplace_back(message.data);
    }
  };
  handlers.on_closed = [&](WsConnection&, std::uint16_t, std::string_view, bool clean) { closed_clean = clean; };
  WsConnectOptions options;
  options.tls = client_tls;
  options.proxy = {};
  options.ws.max_message_bytes = 8 << 20;
  options.ws.hard_limit_bytes = 64 << 20;
  std::optional<WsConnectResult> result;
  const auto attempt =
      WsClient::connect(loop, "wss://localhost:" + std::to_string(info.port) + "/ws", std::move(options),
                        std::move(handlers), [&](WsConnectResult answer) { result = std::move(answer); });
  ASSERT_TRUE(run_until(loop, [&] { return result.has_value(); }));
  ASSERT_NE(result->connection, nullptr) << result->error.message;
  std::vector<std::string> sent;
  for (int i = 0; i < 3000; ++i) {
    sent.push_back("small " + std::to_string(i));
  }
  sent.emplace_back(5'000'000, 'L');
  sent.emplace_back(70'000, 'M');
  sent.emplace_back("end");
  for (const std::string& text : sent) {
    ASSERT_NE(result->connection->send_text(text), WsSend::kClosed);
  }
  ASSERT_TRUE(run_until(loop, [&] { return received.size() == sent.size(); }));
  EXPECT_EQ(received, sent);
  result->connection->close(1000, "");
  ASSERT_TRUE(run_until(loop, [&] { return closed_clean; }));
}

}  // namespace
}  // namespace cm::net
