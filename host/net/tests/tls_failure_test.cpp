// Goal: whoever loses a TLS handshake is told how. Method: raw TCP peers that end it at different points.
#include <optional>

#include "host/net/http_client.hpp"
#include "host/net/tests/make_certificate.hpp"
#include "host/net/tests/net_test_support.hpp"

namespace cm::net {
namespace {

using std::string_literals::operator""s;
using test::run_until;

// Records of RFC 8446 section 5.1 and 6: type, version, length, then level and description.
const std::string kHandshakeFailure = "\x15\x03\x03\x00\x02\x02\x28"s;
const std::string kUnknownCa = "\x15\x03\x03\x00\x02\x02\x30"s;
const std::string kCloseNotify = "\x15\x03\x03\x00\x02\x01\x00"s;

class NetTlsFailure : public ::testing::Test {
 protected:
  // --- our client against a raw server ---

  // What the client says after the server has read its first flight, sent `answer` and ended the connection.
  std::string client_error(const std::string& answer, bool reset = false) {
    const int listener = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t size = sizeof address;
    EXPECT_EQ(::bind(listener, reinterpret_cast<const sockaddr*>(&address), sizeof address), 0);
    EXPECT_EQ(::listen(listener, 1), 0);
    EXPECT_EQ(::getsockname(listener, reinterpret_cast<sockaddr*>(&address), &size), 0);
    const auto trust = TlsClientContext::create({true, false, ""});
    HttpClient client(loop, {.tls = *trust, .proxy = {}});
    HttpClientRequest request;
    request.url = "https://127.0.0.1:" + std::to_string(ntohs(address.sin_port)) + "/";
    std::optional<Result<HttpClientResponse>> result;
    client.send(std::move(request), [&](Result<HttpClientResponse> given) { result = std::move(given); });
    int peer = -1;
    EXPECT_TRUE(run_until(loop, [&] { return (peer = ::accept(listener, nullptr, nullptr)) >= 0; }));
    ::close(listener);  // a second attempt would be another error
    char hello[4096];
    EXPECT_TRUE(run_until(loop, [&] { return ::recv(peer, hello, sizeof hello, MSG_DONTWAIT) > 0; }));
    EXPECT_EQ(::send(peer, answer.data(), answer.size(), MSG_NOSIGNAL), static_cast<ssize_t>(answer.size()));
    if (reset) {
      const linger now{1, 0};
      ::setsockopt(peer, SOL_SOCKET, SO_LINGER, &now, sizeof now);
    }
    ::close(peer);
    EXPECT_TRUE(run_until(loop, [&] { return result.has_value(); }));
    if (!result || result->ok()) {
      ADD_FAILURE() << "no error";
      return {};
    }
    return result->error().message;
  }

  // --- our server against a raw client ---

  // Without a limit that a handshake on a busy machine could reach, unless it is the limit that is looked at.
  void serve(std::uint64_t header_timeout_ms = 60'000) {
    HttpServerOptions options;
    options.limits.header_timeout_ms = header_timeout_ms;
    options.on_tls_failure = [this](const RemoteAddress& remote, std::string_view reason) {
      EXPECT_EQ(remote.host, "127.0.0.1");
      reasons.emplace_back(reason);
    };
    server = std::make_unique<HttpServer>(loop, std::move(options), [](std::shared_ptr<HttpRequest>) {});
    TcpListenerOptions listener;
    listener.tls = *TlsServerContext::load(folder.certificate(), folder.key());
    const auto opened = server->listen_tcp(listener);
    ASSERT_TRUE(opened.ok());
    info = *opened;
  }
  // What the server says of a client that sends these bytes and, if told so, ends its direction.
  std::string server_reason(const std::string& bytes, bool ends = true) {
    reasons.clear();
    test::RawPeer peer(info);
    peer.send(bytes);
    if (ends) {
      peer.shutdown_write();
    }
    EXPECT_TRUE(run_until(loop, [&] { return !reasons.empty(); }));
    EXPECT_TRUE(peer.wait_end(loop));
    return reasons.size() == 1 ? reasons[0] : std::to_string(reasons.size()) + " reasons";
  }

  Loop loop;
  test::CertificateFolder folder;
  std::unique_ptr<HttpServer> server;
  ListenerInfo info;
  std::vector<std::string> reasons;
};

bool says(const std::string& text, std::string_view part) {
  return text.find(part) != std::string::npos;
}

TEST_F(NetTlsFailure, ClientIsToldThatTheServerLeft) {
  const std::string left = "the TLS handshake failed: the peer closed the connection during the TLS handshake";
  std::string text = client_error("");
  EXPECT_TRUE(says(text, left)) << text;
  text = client_error("\x16\x03\x03\x00\x50\x02"s);  // the beginning of a ServerHello
  EXPECT_TRUE(says(text, left)) << text;
  text = client_error(kCloseNotify);
  EXPECT_TRUE(says(text, left)) << text;
}

TEST_F(NetTlsFailure, ClientIsToldTheAlertOfTheServer) {
  const std::string text = client_error(kHandshakeFailure);
  EXPECT_TRUE(says(text, "the peer sent the TLS alert 'handshake failure' (40)")) << text;
}

TEST_F(NetTlsFailure, ClientIsToldOfAReset) {
  const std::string text = client_error("", true);
  EXPECT_TRUE(says(text, "the connection broke during the TLS handshake: Connection reset by peer")) << text;
}

TEST_F(NetTlsFailure, ClientIsToldThatThePortSpeaksSomethingElse) {
  const std::string text = client_error("HTTP/1.1 400 Bad Request\r\n\r\n");
  EXPECT_TRUE(says(text, "wrong version number")) << text;
  EXPECT_TRUE(says(text, "check that the port speaks TLS")) << text;
}

TEST_F(NetTlsFailure, ServerIsToldHowAClientLeft) {
  serve();
  const std::string left = "the peer closed the connection during the TLS handshake";
  EXPECT_EQ(server_reason(""), left);
  EXPECT_EQ(server_reason("\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"s), left);
  EXPECT_EQ(server_reason(kUnknownCa), "unexpected message") << "an alert before there was anything to refuse";
  EXPECT_EQ(server_reason("GET / HTTP/1.1\r\n\r\n"), "http request");
  EXPECT_EQ(server->counters()->tls_handshake_failures.value(), 4u);
  serve(100);
  EXPECT_EQ(server_reason("", false), "the peer did not finish the TLS handshake within 100 ms");
  EXPECT_EQ(server->counters()->tls_handshake_failures.value(), 1u);
}

TEST_F(NetTlsFailure, ServerIsToldTheAlertOfAClientThatDoesNotTrustIt) {
  serve();
  HttpClient client(loop, {.tls = *TlsClientContext::create({true, false, ""}), .proxy = {}});
  HttpClientRequest request;
  request.url = "https://localhost:" + std::to_string(info.port) + "/";
  std::optional<Result<HttpClientResponse>> result;
  client.send(std::move(request), [&](Result<HttpClientResponse> given) { result = std::move(given); });
  ASSERT_TRUE(run_until(loop, [&] { return result.has_value() && !reasons.empty(); }));
  EXPECT_EQ(result->error().code, ErrorCode::kDenied);
  EXPECT_TRUE(says(result->error().message, "certificate verification failed")) << result->error().message;
  EXPECT_EQ(reasons[0], "the peer sent the TLS alert 'unknown CA' (48)");
}

}  // namespace
}  // namespace cm::net
