// Goal: HTTP and WebSocket through the ABI, end to end. Method: the C echo plugin in a real host and real sockets.
#include "host/net/websocket.hpp"
#include "host/services/http_listeners.hpp"
#include "host_fixture.hpp"

namespace cm::host {
namespace {

using testing::HasSubstr;

class HttpTest : public HostFixture {
 protected:
  // Runs the test's own loop until `done`, at most until the deadline.
  bool run_until(const std::function<bool()>& done) {
    const auto deadline = std::chrono::steady_clock::now() + kTestDeadline;
    while (!done()) {
      if (std::chrono::steady_clock::now() > deadline) {
        return false;
      }
      loop_.run_once(20);
    }
    return true;
  }

  struct Peer {
    std::shared_ptr<net::WsClient> client;
    std::shared_ptr<net::WsConnection> connection;
    std::vector<std::string> texts;
    std::vector<std::string> binaries;
    int closed_code = 0;
    std::string error;
  };
  void connect(Peer& peer, const std::string& target = "/ws") {
    net::WsHandlers handlers;
    handlers.on_messages = [&peer](net::WsConnection&, std::span<const net::WsMessage> messages) {
      for (const net::WsMessage& message : messages) {
        (message.text ? peer.texts : peer.binaries).emplace_back(message.data);
      }
    };
    handlers.on_closed = [&peer](net::WsConnection&, std::uint16_t code, std::string_view, bool) {
      peer.closed_code = code;
    };
    net::WsConnectOptions options;
    peer.client = net::WsClient::connect(loop_, url(target), std::move(options), std::move(handlers),
                                         [&peer](net::WsConnectResult result) {
                                           peer.connection = result.connection;
                                           peer.error = result.error.message;
                                           peer.closed_code = result.connection != nullptr ? 0 : 1;
                                         });
    ASSERT_TRUE(run_until([&peer] { return peer.connection != nullptr || peer.closed_code != 0; }));
  }

  net::Loop loop_{"test"};
};

TEST_F(HttpTest, RequestsReachTheirRoutes) {
  start_host(echo());
  EXPECT_EQ(request(url("/hello?name=a%20b")).body, "hello a b");
  EXPECT_EQ(request(url("/items/x%2Fy")).body, "x/y");
  EXPECT_EQ(request(url("/echo"), "POST", std::string(100'000, 'z')).body, std::string(100'000, 'z'));
  EXPECT_EQ(request(url("/stream")).body, "data: 1\n\ndata: 2\n\n");
  EXPECT_EQ(request(url("/nothing")).status, 404);
  const Answer wrong_method = request(url("/echo"));
  EXPECT_EQ(wrong_method.status, 405);
  EXPECT_THAT(wrong_method.body, HasSubstr("POST"));
  EXPECT_EQ(request(url("/ws")).status, 426);
}

TEST_F(HttpTest, AnUnansweredRequestGets503AndIsMisbehaviour) {
  Host& host = make_host(echo());
  host.services().unanswered_request_ms = 50;
  ASSERT_TRUE(host.start().ok());
  EXPECT_EQ(request(url("/silent")).status, 503);
  EXPECT_TRUE(log_->wait_for("plugin-misbehaving [echo]", "the request GET /silent was not answered within 50 ms"));
  EXPECT_EQ(host.services().counters.unanswered_requests.load(), 1u);
  EXPECT_EQ(request(url("/hello")).status, 200);
}

TEST_F(HttpTest, TheHostAnswersWhatAStoppedPluginLeftOpen) {
  start_host(echo());
  std::thread stopper([this] {
    const auto requests = [this] {
      return host_->metrics_text().find("callback=\"http_request\"} 1\n") != std::string::npos;
    };
    while (!requests()) {
      std::this_thread::yield();
    }
    stop_host();
  });
  const Answer answer = request(url("/silent"));
  stopper.join();
  EXPECT_EQ(answer.status, 503) << answer.body;
}

TEST_F(HttpTest, WebSocketMessagesComeBackInOrderAndInKind) {
  start_host(echo());
  Peer peer;
  connect(peer);
  ASSERT_NE(peer.connection, nullptr) << peer.error;
  std::vector<std::string> sent;
  for (int i = 0; i < 200; ++i) {
    sent.push_back("message " + std::to_string(i));
    peer.connection->send_text(sent.back());
  }
  const std::string large(200'000, 'b');
  peer.connection->send(net::SharedBuffer::copy(large), false);
  ASSERT_TRUE(run_until([&peer] { return peer.texts.size() == 200 && peer.binaries.size() == 1; }));
  EXPECT_EQ(peer.texts, sent);
  EXPECT_EQ(peer.binaries[0], large);
  // send_buffer shared the bytes and gave its reference back.
  EXPECT_EQ(host_->services().buffers.alive(), 0u);
  EXPECT_THAT(host_->metrics_text(), HasSubstr("test_echo_message_bytes_count{plugin=\"echo\"} 201\n"));
  peer.connection->close(1000, "bye");
  ASSERT_TRUE(run_until([&peer] { return peer.closed_code != 0; }));
  EXPECT_EQ(peer.closed_code, 1000);
}

TEST_F(HttpTest, AStopDropsOpenSocketsAndNamesThemLeftBehind) {
  start_host(echo());
  Peer peer;
  connect(peer);
  ASSERT_NE(peer.connection, nullptr) << peer.error;
  stop_host();
  ASSERT_TRUE(run_until([&peer] { return peer.closed_code != 0; }));
  EXPECT_EQ(peer.closed_code, 1006);
  EXPECT_TRUE(log_->has("plugin-misbehaving [echo]", "1 sockets")) << log_->text();
}

TEST_F(HttpTest, AnAddressInUseIsNamedInTheError) {
  start_host("");
  const std::string address = "unix:" + (folder_ / "held.sock").string();
  net::HttpServer holder(loop_, {}, [](std::shared_ptr<net::HttpRequest>) {});
  net::UnixListenerOptions options;
  options.path = (folder_ / "held.sock").string();
  ASSERT_TRUE(holder.listen_unix(options).ok());
  stop_host();
  Host& host = make_host(instance("echo", "test_echo", "listen = \"" + address + "\"\n"));
  const Status started = host.start();
  ASSERT_FALSE(started.ok());
  EXPECT_THAT(started.error().message, HasSubstr("instance \"echo\": start failed (busy)"));
  EXPECT_THAT(started.error().message, HasSubstr("held.sock"));
  host.join();
  EXPECT_TRUE(log_->has("error [echo] cannot listen"));
}

TEST(ListenAddress, IsParsedStrictly) {
  EXPECT_EQ(parse_listen_address("127.0.0.1:7900")->port, 7900);
  EXPECT_EQ(parse_listen_address("[::1]:0")->host, "::1");
  EXPECT_EQ(parse_listen_address("unix:/a/b.sock")->unix_path, "/a/b.sock");
  for (const char* bad : {"", "127.0.0.1", ":80", "127.0.0.1:", "127.0.0.1:x", "127.0.0.1:70000", "::1:80",
                          "unix:", "unix:relative", "127.0.0.1:80 "}) {
    EXPECT_FALSE(parse_listen_address(bad)) << bad;
  }
}

}  // namespace
}  // namespace cm::host
