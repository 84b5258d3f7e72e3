// Goal: what an HTTP request costs (rate over loop-back, parsing alone) and what an idle kept-alive connection holds.
#include <malloc.h>
#include <sys/resource.h>

#include <algorithm>
#include <vector>

#include "host/net/detail/http_parser.hpp"
#include "host/net/http_client.hpp"
#include "host/net/tests/net_test_support.hpp"

namespace cm::net {
namespace {

using detail::HttpParser;
using test::RawPeer;
using test::run_until;

// What curl and a browser send, in size and number of headers.
const std::string kGet =
    "GET /v1/peers?mesh=alpha HTTP/1.1\r\nHost: 127.0.0.1:7899\r\nUser-Agent: claudemesh\r\nAccept: "
    "application/json\r\n"
    "Accept-Encoding: identity\r\nAuthorization: Bearer 0123456789abcdef0123456789abcdef\r\nConnection: keep-alive\r\n"
    "X-Request-Id: 5f0c9b3e-6f1d-4f0e-9f53-1d1f6f0a7b11\r\n\r\n";

double per_second(std::size_t count, std::int64_t begin_ns) {
  return static_cast<double>(count) * 1e9 / static_cast<double>(Loop::now_ns() - begin_ns);
}

struct Served {
  Loop loop;
  HttpServer server{
      loop, {}, [](std::shared_ptr<HttpRequest> request) { EXPECT_TRUE(request->respond(200, {}, "{}").ok()); }};
  ListenerInfo info = *server.listen_tcp({});
};

TEST(NetHttpFigures, ParsingAlone) {
  constexpr std::size_t kMessages = 200'000;
  const auto bytes = std::span(reinterpret_cast<const std::uint8_t*>(kGet.data()), kGet.size());
  for (const std::size_t cut : {kGet.size(), kGet.size() / 2}) {
    HttpParser parser(HttpParser::Kind::kRequest, {});
    std::size_t done = 0;
    const std::int64_t begin = Loop::now_ns();
    for (std::size_t i = 0; i < kMessages; ++i) {
      for (auto input : {bytes.first(cut), bytes.subspan(cut)}) {
        for (;;) {
          const HttpParser::Step step = parser.step(input);
          input = input.subspan(step.consumed);
          if (step.event == HttpParser::Event::kMessageDone) {
            ++done;
            parser.start_next();
          } else if (step.event != HttpParser::Event::kHead && input.empty()) {
            break;
          }
        }
      }
    }
    std::printf("[ FIGURE   ] parsing a GET of %zu bytes and 7 headers in %d piece(s): %.0f ns\n", kGet.size(),
                cut == kGet.size() ? 1 : 2, 1e9 / per_second(kMessages, begin));
    EXPECT_EQ(done, kMessages);
  }
}

TEST(NetHttpFigures, KeepAliveRate) {
  constexpr std::size_t kRequests = 30'000;
  Served served;
  HttpClientOptions options;
  options.proxy = {};
  HttpClient client(served.loop, options);
  HttpClientRequest request;
  request.url = "http://127.0.0.1:" + std::to_string(served.info.port) + "/v1/peers";
  std::size_t done = 0;
  UniqueFunction<void()> next = [&] {
    client.send(request, [&](Result<HttpClientResponse> answer) {
      done += answer.ok() && answer->status == 200 ? 1 : 0;
      next();
    });
  };
  const std::int64_t begin = Loop::now_ns();
  next();
  while (done < kRequests) {
    served.loop.run_once(10);
    ASSERT_LT(Loop::now_ns() - begin, 30'000'000'000);
  }
  std::printf("[ FIGURE   ] GET, one after another, client and server on one loop: %.0f requests/s\n",
              per_second(done, begin));
}

TEST(NetHttpFigures, PipelinedRate) {
  constexpr std::size_t kRounds = 1'000;
  constexpr std::size_t kBatch = 50;
  Served served;
  RawPeer peer(served.info);
  std::string batch;
  for (std::size_t i = 0; i < kBatch; ++i) {
    batch += kGet;
  }
  const std::int64_t begin = Loop::now_ns();
  for (std::size_t round = 0; round < kRounds; ++round) {
    peer.received().clear();
    peer.send(batch);
    ASSERT_TRUE(run_until(served.loop, [&] {
      peer.poll();
      return test::count_of(peer.received(), "HTTP/1.1 200") == kBatch;
    }));
  }
  std::printf("[ FIGURE   ] GET, 50 at once on one connection: %.0f requests/s\n", per_second(kRounds * kBatch, begin));
}

// The figure of the design: at most 4 KiB of heap per idle connection.
TEST(NetHttpFigures, IdleConnectionsAreSmall) {
  constexpr std::size_t kPeers = 500;
  rlimit limit{};
  ::getrlimit(RLIMIT_NOFILE, &limit);
  limit.rlim_cur = std::min<rlim_t>(limit.rlim_max, 4096);
  ::setrlimit(RLIMIT_NOFILE, &limit);
  Served served;
  std::vector<std::unique_ptr<RawPeer>> peers;
  const auto open = [&](std::size_t count) {
    for (std::size_t i = 0; i < count; ++i) {
      peers.push_back(std::make_unique<RawPeer>(served.info));
      peers.back()->send(kGet);
    }
    return run_until(served.loop, [&] { return served.server.counters()->http_requests.value() == peers.size(); });
  };
  ASSERT_TRUE(open(20));  // warm the pools
  peers.reserve(kPeers + 20);
  const std::size_t before = mallinfo2().uordblks;
  ASSERT_TRUE(open(kPeers));
  served.loop.run_once(1);
  const double used = static_cast<double>(mallinfo2().uordblks) - static_cast<double>(before);
  const double each = used / kPeers - sizeof(RawPeer);
  std::printf("[ FIGURE   ] idle kept-alive HTTP connection: %.0f bytes of heap\n", each);
  EXPECT_LE(each, 4096.0);
}

}  // namespace
}  // namespace cm::net
