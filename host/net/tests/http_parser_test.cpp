// Goal: what the parser accepts and refuses, byte by byte and at once. The smuggling cases are the point.
#include "host/net/detail/http_parser.hpp"

#include <gtest/gtest.h>

namespace cm::net::detail {
namespace {

struct Parsed {
  HttpHead head;
  std::string body;
  int messages = 0;
  HttpParseError error = HttpParseError::kNone;
  bool keep_alive = false;
};

Parsed parse(std::string_view text, std::size_t step, HttpParser::Kind kind = HttpParser::Kind::kRequest,
             HttpParserLimits limits = {}) {
  HttpParser parser(kind, limits);
  Parsed result;
  for (std::size_t at = 0; at < text.size() && result.error == HttpParseError::kNone; at += step) {
    const std::string_view piece = text.substr(at, step);
    std::span<const std::uint8_t> input(reinterpret_cast<const std::uint8_t*>(piece.data()), piece.size());
    for (;;) {
      const auto event = parser.step(input);
      input = input.subspan(event.consumed);
      if (event.event == HttpParser::Event::kHead) {
        result.head = parser.head();
      } else if (event.event == HttpParser::Event::kBody) {
        result.body.append(reinterpret_cast<const char*>(event.body.data()), event.body.size());
      } else if (event.event == HttpParser::Event::kMessageDone) {
        ++result.messages;
        result.keep_alive = parser.keep_alive();
        parser.start_next();
      } else if (event.event == HttpParser::Event::kError) {
        result.error = parser.error();
        EXPECT_FALSE(parser.error_text().empty());
        break;
      } else if (input.empty()) {
        break;
      }
    }
  }
  if (parser.finish_at_eof()) {
    ++result.messages;
  }
  return result;
}

const std::string kHost = "Host: h\r\n";

TEST(NetHttpParser, RequestsInAnyPieces) {
  const std::string text = "\r\nPOST /a?b=c HTTP/1.1\r\n" + kHost +
                           "X-Empty:\r\nTransfer-Encoding: chunked\r\n\r\n4;ext=1\r\nWiki\r\nA\r\n0123456789\r\n0\r\n"
                           "Trailer: x\r\n\r\nGET / HTTP/1.1\r\n" +
                           kHost + "\r\n";
  for (const std::size_t step : {std::size_t{1}, std::size_t{3}, text.size()}) {
    const Parsed result = parse(text, step);
    EXPECT_EQ(result.error, HttpParseError::kNone);
    EXPECT_EQ(result.messages, 2);
    EXPECT_EQ(result.body, "Wiki0123456789");
    EXPECT_EQ(result.head.method, "GET");
    EXPECT_TRUE(result.keep_alive);
  }
  EXPECT_EQ(parse("GET http://h/p?q HTTP/1.1\r\n" + kHost + "\r\n", 100).head.target, "http://h/p?q");
  EXPECT_EQ(parse("OPTIONS * HTTP/1.1\r\n" + kHost + "\r\n", 100).messages, 1);
  EXPECT_FALSE(parse("GET / HTTP/1.0\r\n\r\n", 100).keep_alive);
  EXPECT_FALSE(parse("GET / HTTP/1.1\r\n" + kHost + "Connection: x, Close\r\n\r\n", 100).keep_alive);
}

struct Refusal {
  const char* name;
  std::string text;
  HttpParseError error;
};

TEST(NetHttpParser, RefusesWhatCouldBeSmuggled) {
  const auto post = [](const std::string& fields, const std::string& body = "") {
    return "POST / HTTP/1.1\r\n" + kHost + fields + "\r\n" + body;
  };
  const auto bad = HttpParseError::kBadRequest;
  const Refusal cases[] = {
      {"both lengths", post("Content-Length: 4\r\nTransfer-Encoding: chunked\r\n"), bad},
      {"two content lengths", post("Content-Length: 4\r\nContent-Length: 4\r\n"), bad},
      {"list of content lengths", post("Content-Length: 4, 4\r\n"), bad},
      {"signed content length", post("Content-Length: +4\r\n"), bad},
      {"hex content length", post("Content-Length: 0x4\r\n"), bad},
      {"empty content length", post("Content-Length:\r\n"), bad},
      {"huge content length", post("Content-Length: 99999999999999999999\r\n"), bad},
      {"coding with a prefix", post("Transfer-Encoding: xchunked\r\n"), HttpParseError::kNotImplemented},
      {"gzip, chunked", post("Transfer-Encoding: gzip, chunked\r\n"), HttpParseError::kNotImplemented},
      {"two codings", post("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n"),
       HttpParseError::kNotImplemented},
      {"chunked in 1.0", "POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n", bad},
      {"space before the colon", post("Content-Length : 4\r\n"), bad},
      {"folded header", post("X: a\r\n b\r\n"), bad},
      {"bare LF in the head", "GET / HTTP/1.1\nHost: h\r\n\r\n", bad},
      {"bare CR in a value", post("X: a\rb\r\n"), bad},
      {"NUL in a value", post(std::string("X: a\0b\r\n", 8)), bad},
      {"no colon", post("nonsense\r\n"), bad},
      {"empty name", post(": x\r\n"), bad},
      {"bad chunk size", post("Transfer-Encoding: chunked\r\n", "zz\r\n"), bad},
      {"negative chunk size", post("Transfer-Encoding: chunked\r\n", "-1\r\n"), bad},
      {"chunk size with prefix", post("Transfer-Encoding: chunked\r\n", "0x4\r\nWiki\r\n"), bad},
      {"chunk size overflow", post("Transfer-Encoding: chunked\r\n", "10000000000000001\r\n"), bad},
      {"chunk size ends in LF", post("Transfer-Encoding: chunked\r\n", "4\nWiki\r\n"), bad},
      {"chunk data too long", post("Transfer-Encoding: chunked\r\n", "4\r\nWikis\r\n"), bad},
      {"chunk extension too long", post("Transfer-Encoding: chunked\r\n", "4;" + std::string(300, 'x') + "\r\n"), bad},
      {"control in a chunk extension", post("Transfer-Encoding: chunked\r\n", "4;a=\"\x01\"\r\nWiki\r\n"), bad},
      {"LF in a chunk extension", post("Transfer-Encoding: chunked\r\n", "4;a=\"\n\"\r\nWiki\r\n"), bad},
      {"open quote in a chunk extension", post("Transfer-Encoding: chunked\r\n", "4;a=\"\r\nWiki\"\r\n"), bad},
      {"last chunk with prefix", post("Transfer-Encoding: chunked\r\n", "0x\r\n"), bad},
      {"junk behind the last chunk", post("Transfer-Encoding: chunked\r\n", "0 junk\r\n\r\n"), bad},
      {"folded trailer", post("Transfer-Encoding: chunked\r\n", "0\r\nA: b\r\n c\r\n"), bad},
      {"trailer without colon", post("Transfer-Encoding: chunked\r\n", "0\r\nnonsense\r\n\r\n"), bad},
      {"length in a trailer", post("Transfer-Encoding: chunked\r\n", "0\r\nContent-Length: 5\r\n\r\n"), bad},
      {"both lengths, coding first", post("Transfer-Encoding: chunked\r\nContent-Length: 4\r\n"), bad},
      {"length beside another coding", post("Transfer-Encoding: xchunked\r\nContent-Length: 4\r\n"), bad},
      {"empty coding before chunked", post("Transfer-Encoding: , chunked\r\n"), HttpParseError::kNotImplemented},
      {"coding with a parameter", post("Transfer-Encoding: chunked;q=1\r\n"), HttpParseError::kNotImplemented},
      {"fold behind an empty value", post("X:\r\n Content-Length: 4\r\n"), bad},
      {"target beyond ASCII", "GET /\x80 HTTP/1.1\r\n" + kHost + "\r\n", bad},
      {"no host", "GET / HTTP/1.1\r\n\r\n", bad},
      {"two hosts", "GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", bad},
      {"space in the target", "GET /a b HTTP/1.1\r\n" + kHost + "\r\n", bad},
      {"control in the target", "GET /a\x01 HTTP/1.1\r\n" + kHost + "\r\n", bad},
      {"relative target", "GET a HTTP/1.1\r\n" + kHost + "\r\n", bad},
      {"bad method", "G(T / HTTP/1.1\r\n" + kHost + "\r\n", bad},
      {"no version", "GET /\r\n", bad},
      {"version 2", "GET / HTTP/2.0\r\n", HttpParseError::kBadVersion},
      {"version 1.2", "GET / HTTP/1.2\r\n", HttpParseError::kBadVersion},
      {"connect", "CONNECT h:1 HTTP/1.1\r\n" + kHost + "\r\n", HttpParseError::kNotImplemented},
      {"binary noise", std::string("\x16\x03\x01\x02\x00\x01\x00\n", 8), bad},
  };
  for (const Refusal& refusal : cases) {
    for (const std::size_t step : {std::size_t{1}, refusal.text.size()}) {
      EXPECT_EQ(parse(refusal.text, step).error, refusal.error) << refusal.name << " in pieces of " << step;
    }
  }
}

TEST(NetHttpParser, LimitsHoldBeforeMemoryIsSpent) {
  HttpParserLimits limits{100, 200, 5, 50};
  const auto error = [&](const std::string& text) { return parse(text, 1, HttpParser::Kind::kRequest, limits).error; };
  EXPECT_EQ(error("GET /" + std::string(200, 'a')), HttpParseError::kFirstLineTooLong) << "no line end needed";
  EXPECT_EQ(error("GET / HTTP/1.1\r\nX: " + std::string(300, 'a')), HttpParseError::kHeadersTooLarge);
  EXPECT_EQ(error("GET / HTTP/1.1\r\nA:1\r\nB:1\r\nC:1\r\nD:1\r\nE:1\r\nF:1\r\n"), HttpParseError::kTooManyHeaders);
  EXPECT_EQ(error("POST / HTTP/1.1\r\n" + kHost + "Content-Length: 51\r\n\r\n"), HttpParseError::kBodyTooLarge);
  EXPECT_EQ(error("POST / HTTP/1.1\r\n" + kHost + "Content-Length: 50\r\n\r\n"), HttpParseError::kNone);
  EXPECT_EQ(error("POST / HTTP/1.1\r\n" + kHost + "Transfer-Encoding: chunked\r\n\r\n20\r\n" + std::string(32, 'x') +
                  "\r\n20\r\n"),
            HttpParseError::kBodyTooLarge);
}

TEST(NetHttpParser, Responses) {
  const auto kind = HttpParser::Kind::kResponse;
  EXPECT_EQ(parse("HTTP/1.1 200 OK\r\n\r\nuntil the end", 4, kind).body, "until the end");
  EXPECT_EQ(parse("HTTP/1.1 204\r\n\r\n", 100, kind).messages, 1);
  const Parsed informed = parse("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi", 5, kind);
  EXPECT_EQ(informed.messages, 2);
  EXPECT_EQ(informed.body, "hi");
  EXPECT_EQ(parse("HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 1, kind).error,
            HttpParseError::kBadRequest);
  EXPECT_EQ(parse("HTTP/1.1 099 No\r\n\r\n", 1, kind).error, HttpParseError::kBadRequest);
  EXPECT_EQ(parse("HTTP/1.1 20 OK\r\n\r\n", 100, kind).error, HttpParseError::kBadRequest);
  EXPECT_EQ(parse("ICY 200 OK\r\n\r\n", 100, kind).error, HttpParseError::kBadRequest);
  EXPECT_EQ(parse("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhi", 100, kind).messages, 0) << "cut short";
}

}  // namespace
}  // namespace cm::net::detail
