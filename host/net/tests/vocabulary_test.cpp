// Goal: the pure small parts: shared buffers, functions, URLs, proxies, headers, server-sent events, timer heap.
#include <gtest/gtest.h>

#include <random>

#include "host/net/detail/timer_heap.hpp"
#include "host/net/http_types.hpp"
#include "host/net/shared_buffer.hpp"
#include "host/net/sse.hpp"
#include "host/net/unique_function.hpp"
#include "host/net/url.hpp"

namespace cm::net {
namespace {

TEST(NetSharedBuffer, OwnershipAndPadding) {
  const SharedBuffer copied = SharedBuffer::copy(std::string_view("hello"));
  EXPECT_EQ(copied.view(), "hello");
  EXPECT_TRUE(copied.padded());
  EXPECT_EQ(copied.data()[5 + kBufferPadding - 1], 0) << "the padding is readable";
  const SharedBuffer other = copied;
  EXPECT_EQ(copied.use_count(), 2u);
  EXPECT_EQ(other.data(), copied.data());
  EXPECT_TRUE(SharedBuffer::copy(std::string_view()).empty());

  int released = 0;
  static const char kBytes[] = "borrowed";
  {
    const SharedBuffer borrowed = SharedBuffer::borrow(
        kBytes, 8,
        [](void* context, const void*, std::size_t size) { *static_cast<int*>(context) += static_cast<int>(size); },
        &released);
    EXPECT_EQ(static_cast<const void*>(borrowed.data()), static_cast<const void*>(kBytes)) << "not copied";
    const SharedBuffer part = borrowed.slice(2, 3);
    EXPECT_EQ(part.view(), "rro");
    EXPECT_EQ(borrowed.use_count(), 2u);
  }
  EXPECT_EQ(released, 8) << "given back once, after the slice";

  SharedBufferRep* raw = SharedBuffer::adopt(std::string(100, 'x')).detach();
  SharedBuffer::retain_raw(raw);
  EXPECT_EQ(SharedBuffer::attach(raw).size(), 100u);
  EXPECT_EQ(SharedBuffer::share(raw).use_count(), 2u);
  SharedBuffer::release_raw(raw);
}

TEST(NetSharedBuffer, BuilderGrows) {
  SharedBufferBuilder builder;
  std::string expected;
  for (int i = 0; i < 2000; ++i) {
    const std::string piece = std::to_string(i);
    builder.append(piece);
    expected += piece;
  }
  const SharedBuffer buffer = builder.finish();
  EXPECT_EQ(buffer.view(), expected);
  EXPECT_TRUE(buffer.padded());
  EXPECT_EQ(builder.size(), 0u);
  EXPECT_TRUE(builder.finish().empty());
}

TEST(NetUniqueFunction, MovesAndDestroysOnce) {
  auto token = std::make_shared<int>(1);
  UniqueFunction<int(int)> small = [token](int x) { return x + *token; };
  UniqueFunction<int(int)> moved = std::move(small);
  EXPECT_FALSE(small);
  EXPECT_EQ(moved(2), 3);
  char big[100] = {7};
  UniqueFunction<int(int)> heap = [token, big](int x) { return x + big[0]; };
  UniqueFunction<int(int)> heap_moved = std::move(heap);
  EXPECT_EQ(heap_moved(1), 8);
  EXPECT_EQ(token.use_count(), 3);
  moved = nullptr;
  heap_moved = nullptr;
  EXPECT_EQ(token.use_count(), 1);
}

TEST(NetUrl, ParsesAndRefuses) {
  const auto url = parse_url("HTTPS://user:pw@Example.COM:8443/a/b?c=d#frag");
  ASSERT_TRUE(url.ok());
  EXPECT_EQ(url->scheme, "https");
  EXPECT_EQ(url->host, "example.com");
  EXPECT_EQ(url->port, 8443);
  EXPECT_EQ(url->target, "/a/b?c=d");
  EXPECT_EQ(url->user_info, "user:pw");
  EXPECT_EQ(url->printable(), "https://example.com:8443/a/b") << "no secret is printed";
  EXPECT_EQ(parse_url("ws://[::1]/x")->host_header(), "[::1]");
  EXPECT_EQ(parse_url("wss://h")->port, 443);
  EXPECT_EQ(parse_url("http://h?x=1")->target, "/?x=1");
  const auto unix_url = parse_url("unix:///run/cm.sock:/v1/health?x");
  ASSERT_TRUE(unix_url.ok());
  EXPECT_EQ(unix_url->socket_path, "/run/cm.sock");
  EXPECT_EQ(unix_url->target, "/v1/health?x");
  for (const char* bad : {"", "http://", "ftp://h/", "http://h:0/", "http://h:65536/", "http://h:x/", "http://a b/",
                          "http://[::1/", "http://[%%%%%%%%q..]/", "http://[nothex]/", "http://[fe80::1%]/",
                          "http://h\r\n/", "h/path", "unix://relative", "http://h\xC3\xA9/"}) {
    EXPECT_FALSE(parse_url(bad).ok()) << bad;
  }
  EXPECT_EQ(resolve_reference(*url, "/new")->target, "/new");
  EXPECT_EQ(resolve_reference(*url, "c")->target, "/a/c");
  EXPECT_EQ(resolve_reference(*url, "http://o/p")->host, "o");
  EXPECT_EQ(resolve_reference(*url, "//o/p")->scheme, "https");
  EXPECT_FALSE(resolve_reference(*url, "/a b").ok());
}

TEST(NetUrl, PercentAndQuery) {
  EXPECT_EQ(percent_decode("%41%2f"), "A/");
  EXPECT_FALSE(percent_decode("%4").has_value());
  EXPECT_FALSE(percent_decode("%g1").has_value());
  EXPECT_EQ(percent_encode("a b/\xC3\xA9"), "a%20b%2F%C3%A9");
  const auto pairs = parse_query("a=1&b=x+y%21&&c");
  ASSERT_EQ(pairs.size(), 3u);
  EXPECT_EQ(pairs[1].second, "x y!");
  EXPECT_EQ(pairs[2].first, "c");
}

TEST(NetUrl, ProxyRules) {
  ProxySettings settings;
  settings.https_proxy = "http://u:p@proxy:3128";
  settings.no_proxy = "localhost, .corp.example,10.0.0.1:8443";
  const auto proxied = [&](const char* text) { return settings.proxy_for(*parse_url(text))->has_value(); };
  EXPECT_TRUE(proxied("https://example.com/"));
  EXPECT_TRUE(proxied("wss://example.com/"));
  EXPECT_FALSE(proxied("http://example.com/")) << "only HTTPS_PROXY is set";
  EXPECT_FALSE(proxied("https://localhost/"));
  EXPECT_FALSE(proxied("https://a.corp.example/"));
  EXPECT_TRUE(proxied("https://notcorp.example/"));
  EXPECT_FALSE(proxied("https://10.0.0.1:8443/"));
  EXPECT_TRUE(proxied("https://10.0.0.1/"));
  settings.https_proxy = "socks5://x";
  EXPECT_FALSE(settings.proxy_for(*parse_url("https://example.com/")).ok());
}

TEST(NetHeaders, NamesTokensAndSafety) {
  Headers headers{{"Content-Type", "a"}, {"X", "1"}, {"x", "2"}, {"Connection", "keep-alive, Upgrade"}};
  EXPECT_EQ(headers.get("content-type"), "a");
  EXPECT_EQ(headers.count("X"), 2u);
  EXPECT_TRUE(headers.has_token("connection", "upgrade"));
  EXPECT_FALSE(headers.has_token("connection", "up"));
  headers.set("X", "3");
  EXPECT_EQ(headers.count("X"), 1u);
  EXPECT_EQ(headers.get("X"), "3");
  EXPECT_TRUE(headers.sendable());
  headers.add("Y", "a\r\nSet-Cookie: x");
  EXPECT_FALSE(headers.sendable());
  EXPECT_EQ(http_date(784111777), "Sun, 06 Nov 1994 08:49:37 GMT") << "the example of RFC 9110";
}

std::vector<SseEvent> read_events(std::string_view text, std::size_t step) {
  std::vector<SseEvent> events;
  UniqueFunction<bool(const SseEvent&)> on_event = [&](const SseEvent& event) {
    events.push_back(event);
    return true;
  };
  SseParser parser;
  for (std::size_t at = 0; at < text.size(); at += step) {
    EXPECT_TRUE(parser.feed(text.substr(at, step), on_event));
  }
  return events;
}

TEST(NetSse, RoundTripInAnyPieces) {
  const std::string text = format_sse("message", "1", "one\ntwo") + format_sse_comment("beat") + "retry: 10\n" +
                           "event: e\r\ndata:x\r\rdata\n\n" + format_sse("", "", "");
  for (const std::size_t step : {std::size_t{1}, std::size_t{3}, text.size()}) {
    const auto events = read_events(text, step);
    ASSERT_EQ(events.size(), 4u) << "pieces of " << step;
    EXPECT_EQ(events[0].data, "one\ntwo");
    EXPECT_EQ(events[0].id, "1");
    EXPECT_EQ(events[1].event, "e");
    EXPECT_EQ(events[1].data, "x");
    EXPECT_EQ(events[2].data, "");
    EXPECT_EQ(events[3].event, "message");
  }
}

TEST(NetSse, BoundsAnEvent) {
  SseParser parser(100);
  UniqueFunction<bool(const SseEvent&)> on_event = [](const SseEvent&) { return true; };
  EXPECT_FALSE(parser.feed("data: " + std::string(200, 'x'), on_event));
  EXPECT_TRUE(parser.overflowed());
}

TEST(NetTimerHeap, AgreesWithASortedModel) {
  std::mt19937 random(7);
  detail::TimerHeap heap;
  std::vector<std::pair<std::int64_t, int>> model;  // deadline, label in order of starting
  std::vector<std::pair<std::uint64_t, int>> ids;
  std::vector<int> fired;
  for (int i = 0; i < 2000; ++i) {
    const auto deadline = static_cast<std::int64_t>(random() % 500);
    ids.emplace_back(heap.start(deadline, [&fired, i] { fired.push_back(i); }), i);
    model.emplace_back(deadline, i);
    if (random() % 3 == 0) {
      const std::size_t victim = random() % ids.size();
      const int label = ids[victim].second;
      EXPECT_TRUE(heap.cancel(ids[victim].first));
      EXPECT_FALSE(heap.cancel(ids[victim].first));
      ids.erase(ids.begin() + static_cast<std::ptrdiff_t>(victim));
      std::erase_if(model, [label](const auto& entry) { return entry.second == label; });
    }
  }
  std::sort(model.begin(), model.end());
  while (UniqueFunction<void()> fn = heap.take_due(499)) {
    fn();
  }
  ASSERT_EQ(fired.size(), model.size());
  for (std::size_t i = 0; i < model.size(); ++i) {
    ASSERT_EQ(fired[i], model[i].second);
  }
}

}  // namespace
}  // namespace cm::net
