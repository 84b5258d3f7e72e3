// Goal: the blocking client against a server that runs on a thread of its own.
#include "host/net/http_client_sync.hpp"

#include <thread>

#include "host/net/tests/net_test_support.hpp"

namespace cm::net {
namespace {

// The blocking face needs a server on another thread.
class NetHttpClientSync : public ::testing::Test {
 protected:
  void SetUp() override {
    server = std::make_unique<HttpServer>(loop, HttpServerOptions{}, [this](std::shared_ptr<HttpRequest> request) {
      if (request->path() == "/events") {
        stream = *request->start_stream(200, {{"Content-Type", kSseContentType}});
        for (int i = 0; i < 3; ++i) {
          stream->write(format_sse("tick", std::to_string(i), "n" + std::to_string(i)));
        }
      } else if (request->path() == "/denied") {
        ASSERT_TRUE(request->respond(401, {}, "no token").ok());
      } else {
        ASSERT_TRUE(request->respond(200, {}, request->body()).ok());
      }
    });
    ASSERT_TRUE(server->listen_unix({.path = path}).ok());
    runner = std::thread([this] { loop.run(); });
  }
  void TearDown() override {
    loop.post([this] {
      stream.reset();
      server.reset();
    });
    loop.stop();
    runner.join();
  }
  HttpClientRequest request(const std::string& target) const {
    HttpClientRequest made;
    made.url = "unix://" + path + ":" + target;
    return made;
  }

  test::TemporaryFolder folder;
  std::string path = folder.file("sync.sock");
  Loop loop;
  std::unique_ptr<HttpServer> server;
  std::shared_ptr<ResponseStream> stream;
  std::thread runner;
};

TEST_F(NetHttpClientSync, SendsAndReadsEvents) {
  HttpClientSync client;
  HttpClientRequest post = request("/echo");
  post.method = "POST";
  post.body = SharedBuffer::copy(std::string_view("hello"));
  const auto answer = client.send(std::move(post));
  ASSERT_TRUE(answer.ok()) << answer.error().message;
  EXPECT_EQ(answer->body.view(), "hello");
  std::string seen;
  const Status read = client.read_events(request("/events"), [&](const SseEvent& event) {
    seen += event.event + event.id + event.data + ";";
    return event.id != "2";
  });
  EXPECT_TRUE(read.ok());
  EXPECT_EQ(seen, "tick0n0;tick1n1;tick2n2;");
  const Status denied = client.read_events(request("/denied"), [](const SseEvent&) { return true; });
  ASSERT_FALSE(denied.ok());
  EXPECT_EQ(denied.error().code, ErrorCode::kDenied);
  EXPECT_NE(denied.error().message.find("no token"), std::string::npos);
}

TEST_F(NetHttpClientSync, StopFlagEndsReading) {
  HttpClientSync client;
  std::atomic<bool> stop{false};
  int events = 0;
  const Status read = client.read_events(
      request("/events"),
      [&](const SseEvent&) {
        stop = ++events == 3;
        return true;
      },
      &stop);
  EXPECT_TRUE(read.ok());
  EXPECT_EQ(events, 3);
}

}  // namespace
}  // namespace cm::net
