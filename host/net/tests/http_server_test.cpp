// Goal: the server over real sockets: answers, limits, slow and hostile clients, pipelines, streams, drain, Unix
// sockets. Method: raw peers on the same thread that turn the server's loop while they wait.
#include "host/net/http_server.hpp"

#include <sys/stat.h>

#include <fstream>

#include "host/net/tests/net_test_support.hpp"

namespace cm::net {
namespace {

using test::count_of;
using test::RawPeer;
using test::run_until;

using RequestPtr = std::shared_ptr<HttpRequest>;

class NetHttpServer : public ::testing::Test {
 protected:
  void start(HttpServerOptions options = {}, TcpListenerOptions listener = {}) {
    server = std::make_unique<HttpServer>(loop, std::move(options), [this](RequestPtr request) {
      targets.emplace_back(request->target());
      if (handler) {
        handler(std::move(request));
      } else {
        ASSERT_TRUE(request->respond(200, {{"X-Path", request->path()}}, request->body()).ok());
      }
    });
    auto opened = server->listen_tcp(listener);
    ASSERT_TRUE(opened.ok()) << opened.error().message;
    info = *opened;
    ASSERT_NE(info.port, 0);
  }
  const NetCounters& counters() const { return *server->counters(); }

  // Sends the text and returns all that came until the server closed.
  std::string exchange(std::string_view text) {
    RawPeer peer(info);
    peer.send(text);
    EXPECT_TRUE(peer.wait_end(loop));
    EXPECT_FALSE(peer.reset()) << "the answer must not be cut by a reset";
    return peer.received();
  }

  Loop loop;
  std::unique_ptr<HttpServer> server;
  ListenerInfo info;
  UniqueFunction<void(RequestPtr)> handler;
  std::vector<std::string> targets;
};

const std::string kGet = "GET /x HTTP/1.1\r\nHost: h\r\n\r\n";

TEST_F(NetHttpServer, KeepAliveHeadAndBodies) {
  start();
  RawPeer peer(info);
  peer.send("POST /echo?q=1 HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\nhello");
  ASSERT_TRUE(peer.wait_for(loop, "\r\n\r\nhello"));
  EXPECT_NE(peer.received().find("HTTP/1.1 200 OK\r\n"), std::string::npos);
  EXPECT_NE(peer.received().find("X-Path: /echo\r\n"), std::string::npos);
  EXPECT_NE(peer.received().find("Content-Length: 5\r\n"), std::string::npos);
  EXPECT_NE(peer.received().find("Date: "), std::string::npos);
  peer.received().clear();
  peer.send("POST /c HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n");
  ASSERT_TRUE(peer.wait_for(loop, "\r\n\r\nabc"));
  peer.received().clear();
  peer.send("HEAD /h HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\n\r\nxy" + kGet);
  ASSERT_TRUE(peer.wait_for(loop, "X-Path: /x"));
  EXPECT_NE(peer.received().find("Content-Length: 2\r\n\r\nHTTP/1.1"), std::string::npos) << "HEAD has no body";
  EXPECT_EQ(counters().connections_accepted.value(), 1u);
  EXPECT_EQ(counters().http_requests.value(), 4u);
}

TEST_F(NetHttpServer, PipelinedAnswersStayInOrder) {
  std::vector<RequestPtr> held;
  handler = [&](RequestPtr request) { held.push_back(std::move(request)); };
  start();
  RawPeer peer(info);
  std::string pipeline;
  for (int i = 0; i < 50; ++i) {
    pipeline += "GET /" + std::to_string(i) + " HTTP/1.1\r\nHost: h\r\n\r\n";
  }
  peer.send(pipeline);
  for (std::size_t i = 0; i < 50; ++i) {
    ASSERT_TRUE(run_until(loop, [&] { return held.size() == i + 1; })) << "the next comes after the answer";
    EXPECT_EQ(held[i]->path(), "/" + std::to_string(i));
    ASSERT_TRUE(held[i]->respond(200, {}, "<" + std::to_string(i) + ">").ok());
    EXPECT_EQ(held[i]->respond(200, {}, "again").error().code, ErrorCode::kGone);
  }
  ASSERT_TRUE(peer.wait_for(loop, "<49>"));
  for (int i = 1; i < 50; ++i) {
    EXPECT_LT(peer.received().find("<" + std::to_string(i - 1) + ">"),
              peer.received().find("<" + std::to_string(i) + ">"));
  }
}

TEST_F(NetHttpServer, SynchronousPipelineLeavesTogether) {
  start();
  RawPeer peer(info);
  std::string pipeline;
  for (int i = 0; i < 1000; ++i) {
    pipeline += kGet;
  }
  peer.send(pipeline);
  ASSERT_TRUE(run_until(loop, [&] { return peer.poll() || count_of(peer.received(), "X-Path: /x") == 1000; }));
  EXPECT_EQ(counters().http_requests.value(), 1000u);
}

struct Refused {
  const char* name;
  std::string text;
  const char* status;
  const Counter NetCounters::* counter;
};

TEST_F(NetHttpServer, EachLimitHasItsStatusTextAndCounter) {
  HttpServerOptions options;
  options.limits.request_line_bytes = 100;
  options.limits.header_bytes = 500;
  options.limits.header_count = 5;
  options.limits.body_bytes = 50;
  start(std::move(options));
  const std::string post = "POST / HTTP/1.1\r\nHost: h\r\n";
  const Refused cases[] = {
      {"line", "GET /" + std::string(200, 'a') + " HTTP/1.1\r\n", "414", &NetCounters::http_request_line_too_long},
      {"header bytes", post + "X: " + std::string(600, 'x') + "\r\n\r\n", "431", &NetCounters::http_headers_too_large},
      {"header count", post + "A:\r\nB:\r\nC:\r\nD:\r\nE:\r\n\r\n", "431", &NetCounters::http_too_many_headers},
      {"body", post + "Content-Length: 51\r\n\r\n" + std::string(51, 'x'), "413", &NetCounters::http_body_too_large},
      {"chunks", post + "Transfer-Encoding: chunked\r\n\r\n33\r\n" + std::string(51, 'x'), "413",
       &NetCounters::http_body_too_large},
      {"smuggling", post + "Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", "400",
       &NetCounters::http_bad_requests},
      {"coding", post + "Transfer-Encoding: gzip\r\n\r\n", "501", &NetCounters::http_not_implemented},
      {"version", "GET / HTTP/3.0\r\n\r\n", "505", &NetCounters::http_unsupported_version},
      {"expectation", post + "Expect: tea\r\n\r\n", "417", &NetCounters::http_expectation_failed},
  };
  for (const Refused& refused : cases) {
    const std::uint64_t before = (counters().*refused.counter).value();
    const std::string answer = exchange(refused.text);
    EXPECT_EQ(answer.substr(0, 12), std::string("HTTP/1.1 ") + refused.status) << refused.name;
    EXPECT_NE(answer.find("Connection: close"), std::string::npos) << refused.name;
    EXPECT_GE(count_of(answer, "; "), 2u) << refused.name << ": found, expected, next step";
    EXPECT_EQ((counters().*refused.counter).value(), before + 1) << refused.name;
  }
  EXPECT_TRUE(targets.empty()) << "nothing refused reached the handler";
}

TEST_F(NetHttpServer, LargeRefusedBodyStillGetsItsAnswer) {
  start();
  // The client sends far more than the limit before it reads: without lingering a reset would destroy the 413.
  RawPeer peer(info);
  std::string text = "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 9000000\r\n\r\n";
  text.append(600'000, 'x');
  std::size_t sent = 0;
  ASSERT_TRUE(run_until(loop, [&] {
    const ssize_t got = ::send(peer.fd(), text.data() + sent, text.size() - sent, MSG_NOSIGNAL | MSG_DONTWAIT);
    sent += got > 0 ? static_cast<std::size_t>(got) : 0;
    return sent == text.size();
  }));
  ASSERT_TRUE(peer.wait_end(loop));
  EXPECT_EQ(peer.received().substr(0, 12), "HTTP/1.1 413");
}

TEST_F(NetHttpServer, ExpectContinue) {
  start();
  RawPeer peer(info);
  peer.send("POST /e HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\n");
  ASSERT_TRUE(peer.wait_for(loop, "HTTP/1.1 100 Continue\r\n\r\n"));
  peer.send("ok");
  ASSERT_TRUE(peer.wait_for(loop, "\r\n\r\nok"));
}

TEST_F(NetHttpServer, TimeLimits) {
  HttpServerOptions options;
  // What a client has sent at once must be read within them, also on a busy machine.
  options.limits.header_timeout_ms = 500;
  options.limits.body_timeout_ms = 500;
  options.limits.idle_timeout_ms = 500;
  start(std::move(options));
  EXPECT_EQ(exchange("GET / HTT").substr(0, 12), "HTTP/1.1 408");
  EXPECT_EQ(exchange("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 9\r\n\r\nabc").substr(0, 12), "HTTP/1.1 408");
  EXPECT_EQ(exchange(""), "") << "a silent client gets no answer";
  EXPECT_NE(exchange(kGet).find("200 OK"), std::string::npos) << "answered, then closed when idle";
  EXPECT_EQ(counters().http_header_timeouts.value(), 2u);
  EXPECT_EQ(counters().http_body_timeouts.value(), 1u);
  EXPECT_EQ(counters().http_idle_timeouts.value(), 1u);
}

TEST_F(NetHttpServer, DripFedHeadersDoNotExtendTheLimit) {
  HttpServerOptions options;
  options.limits.header_timeout_ms = 100;
  options.limits.request_line_bytes = 64 << 20;  // only the time can end it
  start(std::move(options));
  RawPeer peer(info);
  const std::int64_t begin = Loop::now_ns();
  ASSERT_TRUE(run_until(loop, [&] {
    (void)::send(peer.fd(), "G", 1, MSG_NOSIGNAL);
    return peer.poll();
  }));
  EXPECT_LT(Loop::now_ns() - begin, 3'000'000'000);
  EXPECT_EQ(counters().http_header_timeouts.value(), 1u);
}

TEST_F(NetHttpServer, ClientThatDoesNotReadIsCut) {
  HttpServerOptions options;
  options.limits.write_timeout_ms = 80;
  handler = [](RequestPtr request) {
    ASSERT_TRUE(request->respond(200, {}, SharedBuffer::adopt(std::string(32 << 20, 'x'))).ok());
  };
  start(std::move(options));
  RawPeer peer(info);
  peer.send(kGet);
  ASSERT_TRUE(run_until(loop, [&] { return counters().http_write_timeouts.value() == 1; }));
  EXPECT_EQ(server->connection_count(), 0u);
}

TEST_F(NetHttpServer, ConnectionLimit) {
  TcpListenerOptions listener;
  listener.connections_max = 1;
  start({}, listener);
  RawPeer first(info);
  first.send(kGet);
  ASSERT_TRUE(first.wait_for(loop, "200 OK"));
  RawPeer second(info);
  ASSERT_TRUE(second.wait_end(loop));
  EXPECT_EQ(second.received().substr(0, 12), "HTTP/1.1 503");
  EXPECT_EQ(counters().connections_refused.value(), 1u);
  first.close();
  ASSERT_TRUE(run_until(loop, [&] { return server->connection_count() == 0; }));
  RawPeer third(info);
  third.send(kGet);
  EXPECT_TRUE(third.wait_for(loop, "200 OK")) << "the place was given back";
}

TEST_F(NetHttpServer, AbortsDropsAndBadAnswers) {
  std::vector<RequestPtr> held;
  bool aborted = false;
  handler = [&](RequestPtr request) {
    if (request->path() == "/hold") {
      request->on_abort([&] { aborted = true; });
      held.push_back(std::move(request));
    } else if (request->path() == "/split") {
      EXPECT_EQ(request->respond(200, {{"X", "a\r\nSet-Cookie: b"}}, "").error().code, ErrorCode::kInvalid);
    }
  };
  start();
  {
    RawPeer peer(info);
    peer.send("GET /hold HTTP/1.1\r\nHost: h\r\n\r\n");
    ASSERT_TRUE(run_until(loop, [&] { return held.size() == 1; }));
  }
  ASSERT_TRUE(run_until(loop, [&] { return aborted; }));
  EXPECT_EQ(held[0]->respond(200, {}, "late").error().code, ErrorCode::kGone);
  RawPeer peer(info);
  peer.send("GET /dropped HTTP/1.1\r\nHost: h\r\n\r\nGET /split HTTP/1.1\r\nHost: h\r\n\r\n");
  ASSERT_TRUE(run_until(loop, [&] { return peer.poll() || count_of(peer.received(), "500 Internal") == 2; }));
  EXPECT_EQ(peer.received().find("Set-Cookie"), std::string::npos) << "no response splitting";
  EXPECT_EQ(counters().http_unanswered.value(), 1u);
}

TEST_F(NetHttpServer, StreamsChunkedWithBackPressure) {
  std::shared_ptr<ResponseStream> stream;
  handler = [&](RequestPtr request) {
    StreamLimits limits{64 * 1024, 16 * 1024, 64 << 20};
    auto started = request->start_stream(200, {{"Content-Type", "text/event-stream"}}, limits);
    ASSERT_TRUE(started.ok());
    stream = *started;
  };
  start();
  RawPeer peer(info);
  peer.send(kGet + kGet);
  ASSERT_TRUE(run_until(loop, [&] { return stream != nullptr; }));
  const auto piece = SharedBuffer::adopt(std::string(50'000, 'y'));
  int drained = 0;
  stream->on_drain([&] { ++drained; });
  int writes = 0;
  bool paused = false;
  while (!paused && writes < 1000) {  // the peer does not read, so the kernel fills up and then the queue
    ++writes;
    paused = !stream->write(piece);
    loop.run_once(0);
    paused = paused && stream->buffered_bytes() > 64 * 1024;
  }
  EXPECT_TRUE(paused);
  EXPECT_LT(writes, 1000);
  ASSERT_TRUE(run_until(loop, [&] { return peer.poll() || drained == 1; })) << "reading lets it drain";
  stream->close();
  EXPECT_FALSE(stream->write("more"));
  const auto first = std::move(stream);
  ASSERT_TRUE(run_until(loop, [&] {
    return peer.poll() || count_of(peer.received(), "Transfer-Encoding: chunked") == 2;
  })) << "the connection is reused";
  EXPECT_NE(stream, nullptr);
  EXPECT_GE(count_of(peer.received(), "\r\n0\r\n\r\n"), 1u);
  EXPECT_EQ(count_of(peer.received(), "c350\r\n"), static_cast<std::size_t>(writes));
}

TEST_F(NetHttpServer, StreamOverflowAndPeerLoss) {
  std::shared_ptr<ResponseStream> stream;
  int closed = 0;
  handler = [&](RequestPtr request) {
    auto started = request->start_stream(200, {}, {1024, 512, 1024 * 1024});
    ASSERT_TRUE(started.ok());
    stream = *started;
    stream->on_close([&] { ++closed; });
  };
  start();
  {
    RawPeer peer(info);
    peer.send(kGet);
    ASSERT_TRUE(run_until(loop, [&] { return stream != nullptr; }));
    EXPECT_FALSE(stream->write(SharedBuffer::adopt(std::string(2 << 20, 'z'))));
    EXPECT_EQ(closed, 0) << "not from inside write()";
    ASSERT_TRUE(run_until(loop, [&] { return closed == 1; }));
    EXPECT_EQ(counters().http_stream_overflows.value(), 1u);
  }
  stream.reset();
  {
    RawPeer peer(info);
    peer.send(kGet);
    ASSERT_TRUE(run_until(loop, [&] { return stream != nullptr; }));
  }
  ASSERT_TRUE(run_until(loop, [&] { return closed == 2; })) << "a peer that left is noticed without writing";
  EXPECT_TRUE(stream->closed());
}

TEST_F(NetHttpServer, Http10AndClose) {
  start();
  EXPECT_NE(exchange("GET /o HTTP/1.0\r\n\r\n").find("Connection: close"), std::string::npos);
  EXPECT_NE(exchange("GET /o HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n").find("200 OK"), std::string::npos);
  handler = [](RequestPtr request) {
    auto stream = request->start_stream(200, {});
    ASSERT_TRUE(stream.ok());
    (*stream)->write("body");
  };
  const std::string answer = exchange("GET /o HTTP/1.0\r\n\r\n");
  EXPECT_EQ(answer.find("chunked"), std::string::npos);
  EXPECT_NE(answer.find("\r\n\r\nbody"), std::string::npos);
}

TEST_F(NetHttpServer, DrainFinishesWhatIsInFlight) {
  std::vector<RequestPtr> held;
  handler = [&](RequestPtr request) { held.push_back(std::move(request)); };
  start();
  RawPeer idle(info);
  RawPeer busy(info);
  busy.send(kGet);
  ASSERT_TRUE(run_until(loop, [&] { return held.size() == 1 && server->connection_count() == 2; }));
  bool drained = false;
  server->drain(5000, [&] { drained = true; });
  ASSERT_TRUE(idle.wait_end(loop));
  EXPECT_FALSE(RawPeer(info).connected()) << "no new connections";
  EXPECT_FALSE(drained);
  ASSERT_TRUE(held[0]->respond(200, {}, "done").ok());
  ASSERT_TRUE(busy.wait_end(loop));
  EXPECT_NE(busy.received().find("Connection: close"), std::string::npos);
  EXPECT_NE(busy.received().find("\r\n\r\ndone"), std::string::npos);
  ASSERT_TRUE(run_until(loop, [&] { return drained; }));
}

TEST_F(NetHttpServer, DrainDeadlineCuts) {
  std::vector<RequestPtr> held;
  bool aborted = false;
  handler = [&](RequestPtr request) {
    request->on_abort([&] { aborted = true; });
    held.push_back(std::move(request));
  };
  start();
  RawPeer busy(info);
  busy.send(kGet);
  ASSERT_TRUE(run_until(loop, [&] { return held.size() == 1; }));
  bool drained = false;
  server->drain(30, [&] { drained = true; });
  ASSERT_TRUE(run_until(loop, [&] { return drained; }));
  EXPECT_TRUE(aborted);
  EXPECT_TRUE(busy.wait_end(loop));
}

TEST_F(NetHttpServer, AddressInUseNamesTheHolder) {
  start();
  TcpListenerOptions same;
  same.port = info.port;
  const auto second = server->listen_tcp(same);
  ASSERT_FALSE(second.ok());
  EXPECT_EQ(second.error().code, ErrorCode::kBusy);
  EXPECT_NE(second.error().message.find(std::to_string(info.port)), std::string::npos);
  EXPECT_NE(second.error().message.find("process " + std::to_string(::getpid())), std::string::npos)
      << second.error().message;
  EXPECT_EQ(server->listen_tcp({.host = "203.0.113.7"}).error().code, ErrorCode::kInvalid);
}

TEST_F(NetHttpServer, IPv6WhereThereIsOne) {
  start();
  auto six = server->listen_tcp({.host = "::1"});
  if (!six.ok()) {
    GTEST_SKIP() << "no IPv6 here: " << six.error().message;
  }
  EXPECT_EQ(six->host, "::1");
  EXPECT_EQ(six->text(), "http://[::1]:" + std::to_string(six->port));
}

TEST_F(NetHttpServer, UnixSocketModeCredentialsAndLifeCycle) {
  test::TemporaryFolder folder;
  std::optional<PeerCredentials> credentials;
  handler = [&](RequestPtr request) {
    credentials = request->peer_credentials();
    ASSERT_TRUE(request->respond(200, {}, request->remote().text()).ok());
  };
  start();
  UnixListenerOptions options{.path = folder.file("d.sock"), .mode = 0640};
  auto opened = server->listen_unix(options);
  ASSERT_TRUE(opened.ok()) << opened.error().message;
  struct stat file{};
  ASSERT_EQ(::stat(options.path.c_str(), &file), 0);
  EXPECT_EQ(file.st_mode & 0777, 0640u);
  RawPeer peer(*opened);
  peer.send(kGet);
  ASSERT_TRUE(peer.wait_for(loop, "unix"));
  ASSERT_TRUE(credentials.has_value());
  EXPECT_EQ(credentials->user_id, ::getuid());
  EXPECT_EQ(credentials->process_id, ::getpid());

  // While it lives, another server must not take it.
  HttpServer other(loop, {}, [](RequestPtr) {});
  const auto refused = other.listen_unix(options);
  ASSERT_FALSE(refused.ok());
  EXPECT_EQ(refused.error().code, ErrorCode::kBusy);
  EXPECT_NE(refused.error().message.find("already in use by a running process"), std::string::npos);

  server->close_listener(opened->id);
  EXPECT_NE(::stat(options.path.c_str(), &file), 0) << "removed at close";
}

TEST_F(NetHttpServer, StaleSocketIsReplacedAndForeignFileIsNot) {
  test::TemporaryFolder folder;
  start();
  const std::string stale = folder.file("stale.sock");
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  std::memcpy(address.sun_path, stale.data(), stale.size());
  const int fd = ::socket(AF_UNIX, SOCK_STREAM, 0);
  ASSERT_EQ(::bind(fd, reinterpret_cast<const sockaddr*>(&address), sizeof address), 0);
  ::close(fd);  // as a killed process leaves it
  const auto opened = server->listen_unix({.path = stale});
  ASSERT_TRUE(opened.ok()) << opened.error().message;
  RawPeer peer(*opened);
  EXPECT_TRUE(peer.connected());

  std::ofstream(folder.file("note.txt")) << "precious";
  EXPECT_EQ(server->listen_unix({.path = folder.file("note.txt")}).error().code, ErrorCode::kInvalid);
  EXPECT_TRUE(std::filesystem::exists(folder.file("note.txt")));
  EXPECT_EQ(server->listen_unix({.path = folder.file(std::string(200, 'a'))}).error().code, ErrorCode::kInvalid);
  EXPECT_FALSE(server->listen_unix({.path = folder.file("no/such/folder.sock")}).ok());
}

TEST_F(NetHttpServer, TakesOverAListeningDescriptor) {
  start();
  const int fd = ::socket(AF_INET, SOCK_STREAM, 0);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  ASSERT_EQ(::bind(fd, reinterpret_cast<const sockaddr*>(&address), sizeof address), 0);
  EXPECT_FALSE(server->listen_fd(::dup(fd), nullptr).ok()) << "bound but not listening";
  ASSERT_EQ(::listen(fd, 5), 0);
  const auto adopted = server->listen_fd(fd, nullptr);
  ASSERT_TRUE(adopted.ok());
  RawPeer peer(*adopted);
  peer.send(kGet);
  EXPECT_TRUE(peer.wait_for(loop, "200 OK"));
}

TEST_F(NetHttpServer, DestroyingTheServerEndsEverything) {
  std::vector<RequestPtr> held;
  handler = [&](RequestPtr request) { held.push_back(std::move(request)); };
  start();
  RawPeer peer(info);
  peer.send(kGet);
  ASSERT_TRUE(run_until(loop, [&] { return held.size() == 1; }));
  const auto kept = server->counters();
  server.reset();
  ASSERT_TRUE(peer.wait_end(loop));
  EXPECT_FALSE(held[0]->respond(200, {}, "late").ok());
  EXPECT_EQ(kept->connections_open.value(), 0u);
}

}  // namespace
}  // namespace cm::net
