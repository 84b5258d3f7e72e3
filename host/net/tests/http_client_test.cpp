// Goal: the HTTP clients against our server and against scripted raw servers: pool, retries, redirects, limits,
// time-outs, streams, proxies, cancelling.
#include "host/net/http_client.hpp"

#include <fcntl.h>

#include <thread>

#include "host/net/sse.hpp"
#include "host/net/tests/net_test_support.hpp"
#include "host/net/websocket.hpp"

namespace cm::net {
namespace {

using test::run_until;

// Accepts connections and answers each with fixed bytes once something came, then closes. Lives on the test's loop.
class ScriptedServer {
 public:
  explicit ScriptedServer(Loop& loop, std::vector<std::string> answers) : loop_(loop), answers_(std::move(answers)) {
    fd_ = ::socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    ::bind(fd_, reinterpret_cast<const sockaddr*>(&address), sizeof address);
    ::listen(fd_, 16);
    socklen_t size = sizeof address;
    ::getsockname(fd_, reinterpret_cast<sockaddr*>(&address), &size);
    port_ = ntohs(address.sin_port);
    watch_ = *loop_.watch_fd(fd_, {.readable = true}, [this](FdInterest) { accept(); });
  }
  ~ScriptedServer() {
    loop_.unwatch_fd(watch_);
    ::close(fd_);
  }
  ScriptedServer(const ScriptedServer&) = delete;
  ScriptedServer& operator=(const ScriptedServer&) = delete;

  std::string url() const { return "http://127.0.0.1:" + std::to_string(port_); }
  std::vector<std::string> requests;

 private:
  void accept() {
    const int peer = ::accept4(fd_, nullptr, nullptr, SOCK_CLOEXEC);
    if (peer < 0) {
      return;
    }
    // The client lives on this very loop, so waiting for its request must not block.
    const auto id = std::make_shared<WatchId>();
    *id = *loop_.watch_fd(peer, {.readable = true}, [this, peer, id](FdInterest) {
      loop_.unwatch_fd(*id);
      answer(peer);
    });
  }

  void answer(int peer) {
    char buffer[8192];
    const ssize_t got = ::recv(peer, buffer, sizeof buffer, 0);
    requests.emplace_back(buffer, static_cast<std::size_t>(std::max<ssize_t>(got, 0)));
    const std::string& text = answers_[std::min(requests.size(), answers_.size()) - 1];
    (void)::send(peer, text.data(), text.size(), MSG_NOSIGNAL);
    ::close(peer);
  }

  Loop& loop_;
  std::vector<std::string> answers_;
  int fd_ = -1;
  std::uint16_t port_ = 0;
  WatchId watch_{};
};

class NetHttpClient : public ::testing::Test {
 protected:
  void SetUp() override {
    server = std::make_unique<HttpServer>(loop, HttpServerOptions{}, [this](std::shared_ptr<HttpRequest> request) {
      ++served;
      if (handler) {
        handler(std::move(request));
        return;
      }
      const std::string text =
          std::string(request->method()) + " " + std::string(request->target()) + " " + request->body().to_string();
      ASSERT_TRUE(request->respond(200, {{"X-Agent", request->header("User-Agent")}}, text).ok());
    });
    auto opened = server->listen_tcp({});
    ASSERT_TRUE(opened.ok());
    base = opened->text();
    HttpClientOptions options;
    options.proxy = {};
    client = std::make_unique<HttpClient>(loop, std::move(options));
  }

  Result<HttpClientResponse> send(HttpClientRequest request) {
    std::optional<Result<HttpClientResponse>> result;
    client->send(std::move(request), [&](Result<HttpClientResponse> answer) { result = std::move(answer); });
    EXPECT_FALSE(result.has_value()) << "never inside the call";
    EXPECT_TRUE(run_until(loop, [&] { return result.has_value(); }));
    return std::move(*result);
  }

  static HttpClientRequest get(const std::string& url) {
    HttpClientRequest request;
    request.url = url;
    return request;
  }
  const NetCounters& counters() const { return *client->counters(); }

  Loop loop;
  std::unique_ptr<HttpServer> server;
  std::unique_ptr<HttpClient> client;
  UniqueFunction<void(std::shared_ptr<HttpRequest>)> handler;
  std::string base;
  int served = 0;
};

TEST_F(NetHttpClient, SendsAndReusesConnections) {
  HttpClientRequest post;
  post.method = "POST";
  post.url = base + "/a?b=c#frag";
  post.body = SharedBuffer::copy(std::string_view("payload"));
  const auto first = send(std::move(post));
  ASSERT_TRUE(first.ok()) << first.error().message;
  EXPECT_EQ(first->body.view(), "POST /a?b=c payload");
  EXPECT_EQ(first->headers.get("X-Agent"), "claudemesh");
  EXPECT_EQ(client->pooled(), 1u);
  for (int i = 0; i < 5; ++i) {
    ASSERT_TRUE(send(get(base + "/x")).ok());
  }
  EXPECT_EQ(server->counters()->connections_accepted.value(), 1u);
  EXPECT_EQ(counters().client_pool_reuses.value(), 5u);
  // A server that closes idle connections must not make the next request fail.
  server->close();
  SetUp();
  EXPECT_TRUE(send(get(base + "/again")).ok());
}

TEST_F(NetHttpClient, ClosedPoolConnectionIsNoticed) {
  ASSERT_TRUE(send(get(base + "/x")).ok());
  EXPECT_EQ(client->pooled(), 1u);
  server->close();
  ASSERT_TRUE(run_until(loop, [&] { return client->pooled() == 0; }));
}

TEST_F(NetHttpClient, HeadAndOtherStatuses) {
  HttpClientRequest head = get(base + "/h");
  head.method = "HEAD";
  const auto answer = send(std::move(head));
  ASSERT_TRUE(answer.ok());
  EXPECT_EQ(answer->headers.get("Content-Length"), "8");
  EXPECT_TRUE(answer->body.empty());
  handler = [](std::shared_ptr<HttpRequest> request) { ASSERT_TRUE(request->respond(404, {}, "none").ok()); };
  const auto missing = send(get(base + "/m"));
  ASSERT_TRUE(missing.ok()) << "any status is an answer";
  EXPECT_EQ(missing->status, 404);
}

TEST_F(NetHttpClient, UnixSockets) {
  test::TemporaryFolder folder;
  const std::string path = folder.file("s.sock");
  ASSERT_TRUE(server->listen_unix({.path = path}).ok());
  const auto answer = send(get("unix://" + path + ":/v1/health?x=1"));
  ASSERT_TRUE(answer.ok()) << answer.error().message;
  EXPECT_EQ(answer->body.view(), "GET /v1/health?x=1 ");
  EXPECT_EQ(send(get("unix://" + folder.file("absent") + ":/")).error().code, ErrorCode::kIo);
}

TEST_F(NetHttpClient, ErrorsOfManyKinds) {
  EXPECT_EQ(send(get("nonsense")).error().code, ErrorCode::kInvalid);
  EXPECT_EQ(send(get("ws://h/")).error().code, ErrorCode::kInvalid);
  EXPECT_EQ(send(get("http://127.0.0.1:1/")).error().code, ErrorCode::kIo);
  // A label of more than 63 bytes is no name: it is refused without asking a server, which may be far or silent.
  EXPECT_EQ(send(get("http://" + std::string(64, 'a') + ".invalid/")).error().code, ErrorCode::kIo);
  ScriptedServer noise(loop, {"SSH-2.0-server\r\n"});
  EXPECT_EQ(send(get(noise.url())).error().code, ErrorCode::kUnsupported);
  ScriptedServer cut(loop, {"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc"});
  EXPECT_EQ(send(get(cut.url())).error().code, ErrorCode::kIo);
  ScriptedServer until_end(loop, {"HTTP/1.1 200 OK\r\n\r\nno length"});
  EXPECT_EQ(send(get(until_end.url()))->body.view(), "no length");
  ScriptedServer informed(loop,
                          {"HTTP/1.1 103 Early Hints\r\nA: b\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"});
  EXPECT_EQ(send(get(informed.url()))->body.view(), "ok");
}

TEST_F(NetHttpClient, LimitsAndTimeouts) {
  handler = [](std::shared_ptr<HttpRequest> request) {
    ASSERT_TRUE(request->respond(200, {}, std::string(5000, 'x')).ok());
  };
  HttpClientRequest limited = get(base + "/");
  limited.response_bytes_max = 4999;
  EXPECT_EQ(send(std::move(limited)).error().code, ErrorCode::kBusy);
  EXPECT_EQ(counters().client_response_too_large.value(), 1u);
  std::vector<std::shared_ptr<HttpRequest>> held;
  handler = [&](std::shared_ptr<HttpRequest> request) { held.push_back(std::move(request)); };
  HttpClientRequest slow = get(base + "/");
  slow.total_timeout_ms = 40;
  const auto late = send(std::move(slow));
  EXPECT_EQ(late.error().code, ErrorCode::kBusy);
  EXPECT_NE(late.error().message.find("40 ms"), std::string::npos);
  EXPECT_EQ(counters().client_timeouts.value(), 1u);
  EXPECT_EQ(client->in_flight(), 0u);
}

TEST_F(NetHttpClient, RetriesOnlyWhatMayBeRepeated) {
  const std::string busy = "HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n";
  const std::string fine = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
  const auto attempt = [&](ScriptedServer& target, const std::string& method, bool any_method) {
    HttpClientRequest request = get(target.url());
    request.method = method;
    request.retry = {3, 1, 5, any_method};
    return send(std::move(request));
  };
  ScriptedServer third_time(loop, {busy, "", fine});
  EXPECT_EQ(attempt(third_time, "GET", false)->status, 200);
  EXPECT_EQ(third_time.requests.size(), 3u);
  EXPECT_EQ(counters().client_retries.value(), 2u);
  ScriptedServer never(loop, {busy});
  EXPECT_EQ(attempt(never, "GET", false)->status, 503) << "the last answer is handed over";
  EXPECT_EQ(never.requests.size(), 3u);
  ScriptedServer post(loop, {busy, fine});
  EXPECT_EQ(attempt(post, "POST", false)->status, 503) << "a POST is not repeated";
  EXPECT_EQ(post.requests.size(), 1u);
  ScriptedServer idempotent_post(loop, {busy, fine});
  EXPECT_EQ(attempt(idempotent_post, "POST", true)->status, 200);
}

TEST_F(NetHttpClient, RedirectsAreOffByDefaultAndDropCredentials) {
  ScriptedServer other(loop, {"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nother"});
  ScriptedServer first(loop,
                       {"HTTP/1.1 302 Found\r\nLocation: " + other.url() + "/there\r\nContent-Length: 0\r\n\r\n"});
  EXPECT_EQ(send(get(first.url()))->status, 302);
  HttpClientRequest follow = get(first.url());
  follow.redirects_max = 2;
  follow.headers.add("Authorization", "Bearer secret");
  EXPECT_EQ(send(std::move(follow))->body.view(), "other");
  EXPECT_NE(first.requests.back().find("Bearer secret"), std::string::npos);
  EXPECT_EQ(other.requests.back().find("secret"), std::string::npos) << "another origin gets no credentials";
  EXPECT_EQ(other.requests.back().substr(0, 11), "GET /there ");
}

TEST_F(NetHttpClient, StreamsEventsAndCancels) {
  std::shared_ptr<ResponseStream> stream;
  bool server_saw_close = false;
  handler = [&](std::shared_ptr<HttpRequest> request) {
    stream = *request->start_stream(200, {{"Content-Type", kSseContentType}});
    stream->on_close([&] { server_saw_close = true; });
  };
  int status = 0;
  std::string data;
  std::optional<Status> end;
  const auto open = [&](std::uint64_t idle_ms) {
    HttpClientRequest request = get(base + "/events");
    request.total_timeout_ms = 0;
    request.idle_timeout_ms = idle_ms;
    HttpStreamHandlers handlers;
    handlers.on_headers = [&](int got, const Headers&) { status = got; };
    handlers.on_data = [&](std::span<const std::uint8_t> bytes) { data.append(bytes.begin(), bytes.end()); };
    handlers.on_end = [&](Status ended) { end = std::move(ended); };
    const HttpRequestId id = client->stream(std::move(request), std::move(handlers));
    EXPECT_TRUE(run_until(loop, [&] { return status == 200 || end; }));
    return id;
  };
  open(0);
  stream->write(format_sse("a", "1", "one"));
  ASSERT_TRUE(run_until(loop, [&] { return data.find("data: one\n\n") != std::string::npos; }));
  stream->close();
  ASSERT_TRUE(run_until(loop, [&] { return end.has_value(); }));
  EXPECT_TRUE(end->ok());
  status = 0;
  end.reset();
  const HttpRequestId second = open(0);
  EXPECT_TRUE(client->cancel(second));
  EXPECT_FALSE(client->cancel(second));
  ASSERT_TRUE(run_until(loop, [&] { return server_saw_close; }));
  EXPECT_FALSE(end.has_value()) << "a cancelled request is silent";
  status = 0;
  open(40);
  ASSERT_TRUE(run_until(loop, [&] { return end.has_value(); }));
  EXPECT_EQ(end->error().code, ErrorCode::kBusy) << "silence ends the stream";
}

TEST_F(NetHttpClient, CancelInsideOnData) {
  handler = [](std::shared_ptr<HttpRequest> request) {
    ASSERT_TRUE(request->respond(200, {}, std::string(600'000, 'x')).ok());
  };
  int calls = 0;
  HttpRequestId id = HttpRequestId::kNone;
  HttpStreamHandlers handlers;
  handlers.on_data = [&](std::span<const std::uint8_t>) {
    ++calls;
    client->cancel(id);
  };
  handlers.on_end = [&](Status) { ++calls; };
  id = client->stream(get(base + "/"), std::move(handlers));
  ASSERT_TRUE(run_until(loop, [&] { return calls == 1; }));
  for (int i = 0; i < 5; ++i) {
    loop.run_once(1);
  }
  EXPECT_EQ(calls, 1);
  EXPECT_EQ(client->in_flight(), 0u);
}

TEST_F(NetHttpClient, TooManyRequestsAreRefused) {
  HttpClientOptions options;
  options.proxy = {};
  options.requests_max = 1;
  client = std::make_unique<HttpClient>(loop, std::move(options));
  std::vector<std::shared_ptr<HttpRequest>> held;
  handler = [&](std::shared_ptr<HttpRequest> request) { held.push_back(std::move(request)); };
  bool first_done = false;
  client->send(get(base + "/"), [&](Result<HttpClientResponse>) { first_done = true; });
  EXPECT_EQ(send(get(base + "/")).error().code, ErrorCode::kBusy);
  EXPECT_FALSE(first_done);
}

TEST_F(NetHttpClient, DestructionIsSilent) {
  std::vector<std::shared_ptr<HttpRequest>> held;
  handler = [&](std::shared_ptr<HttpRequest> request) { held.push_back(std::move(request)); };
  bool called = false;
  client->send(get(base + "/"), [&](Result<HttpClientResponse>) { called = true; });
  ASSERT_TRUE(run_until(loop, [&] { return held.size() == 1; }));
  client.reset();
  loop.run_once(2);
  EXPECT_FALSE(called);
}

// A proxy in a few lines: answers CONNECT and then carries bytes both ways on a thread of its own.
class TinyProxy {
 public:
  explicit TinyProxy(std::string answer) : answer_(std::move(answer)) {
    fd_ = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    ::bind(fd_, reinterpret_cast<const sockaddr*>(&address), sizeof address);
    ::listen(fd_, 4);
    socklen_t size = sizeof address;
    ::getsockname(fd_, reinterpret_cast<sockaddr*>(&address), &size);
    port = ntohs(address.sin_port);
    thread_ = std::thread([this] { run(); });
  }
  ~TinyProxy() {
    ::shutdown(fd_, SHUT_RDWR);
    thread_.join();
    ::close(fd_);
  }
  TinyProxy(const TinyProxy&) = delete;
  TinyProxy& operator=(const TinyProxy&) = delete;
  std::uint16_t port = 0;
  std::string head;  // complete once `ready`
  std::atomic<bool> ready{false};

 private:
  void run() {
    const int peer = ::accept(fd_, nullptr, nullptr);
    if (peer < 0) {
      return;
    }
    char byte = 0;
    while (head.find("\r\n\r\n") == std::string::npos && ::recv(peer, &byte, 1, 0) == 1) {
      head.push_back(byte);
    }
    ready = true;
    (void)::send(peer, answer_.data(), answer_.size(), MSG_NOSIGNAL);
    if (head.substr(0, 8) == "CONNECT " && answer_.find(" 200 ") != std::string::npos) {
      const std::string target = head.substr(8, head.find(' ', 8) - 8);
      carry(peer, static_cast<std::uint16_t>(std::stoi(target.substr(target.rfind(':') + 1))));
    }
    ::close(peer);
  }
  static void carry(int peer, std::uint16_t to_port) {
    const int up = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(to_port);
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    ::connect(up, reinterpret_cast<const sockaddr*>(&address), sizeof address);
    pollfd both[2] = {{peer, POLLIN, 0}, {up, POLLIN, 0}};
    char buffer[8192];
    while (::poll(both, 2, 10'000) > 0) {
      const int from = both[0].revents != 0 ? 0 : 1;
      const ssize_t got = ::recv(both[from].fd, buffer, sizeof buffer, 0);
      if (got <= 0) {
        break;
      }
      (void)::send(both[1 - from].fd, buffer, static_cast<std::size_t>(got), MSG_NOSIGNAL);
    }
    ::close(up);
  }

  std::string answer_;
  int fd_ = -1;
  std::thread thread_;
};

TEST_F(NetHttpClient, PlainHttpThroughAProxyUsesTheAbsoluteForm) {
  TinyProxy proxy("HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: close\r\n\r\nproxy");
  HttpClientOptions options;
  options.proxy.http_proxy = "http://user:pw@127.0.0.1:" + std::to_string(proxy.port);
  client = std::make_unique<HttpClient>(loop, std::move(options));
  const auto answer = send(get("http://target.invalid/path"));
  ASSERT_TRUE(answer.ok()) << answer.error().message;
  EXPECT_EQ(answer->body.view(), "proxy");
  ASSERT_TRUE(proxy.ready);
  EXPECT_EQ(proxy.head.substr(0, 35), "GET http://target.invalid/path HTTP");
  EXPECT_NE(proxy.head.find("Proxy-Authorization: Basic dXNlcjpwdw=="), std::string::npos);
}

TEST_F(NetHttpClient, WebSocketThroughAProxyUsesATunnel) {
  std::shared_ptr<WsConnection> accepted;
  handler = [&](std::shared_ptr<HttpRequest> request) { accepted = *accept_websocket(request, {}, {}); };
  for (const bool allowed : {true, false}) {
    TinyProxy proxy(allowed ? "HTTP/1.1 200 Connection established\r\n\r\n"
                            : "HTTP/1.1 407 Auth\r\nContent-Length: 0\r\n\r\n");
    WsConnectOptions options;
    options.proxy = {};
    options.proxy.http_proxy = "http://127.0.0.1:" + std::to_string(proxy.port);
    std::optional<WsConnectResult> result;
    bool closed = false;
    WsHandlers handlers;
    handlers.on_closed = [&](WsConnection&, std::uint16_t, std::string_view, bool) { closed = true; };
    const auto attempt = WsClient::connect(loop, "ws" + base.substr(4) + "/ws", std::move(options), std::move(handlers),
                                           [&](WsConnectResult answer) { result = std::move(answer); });
    ASSERT_TRUE(run_until(loop, [&] { return result.has_value(); }));
    ASSERT_TRUE(proxy.ready);
    EXPECT_EQ(proxy.head.substr(0, 18), "CONNECT 127.0.0.1:");
    EXPECT_EQ(result->connection != nullptr, allowed) << result->error.message;
    if (allowed) {
      result->connection->close(1000, "");
      ASSERT_TRUE(run_until(loop, [&] { return closed; }));
    } else {
      EXPECT_EQ(result->error.code, ErrorCode::kDenied);
    }
  }
}

}  // namespace
}  // namespace cm::net
