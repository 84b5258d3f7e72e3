// Any bytes, whole and in pieces, must lead the request and the response parser to the same result.
#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <string>

#include "host/net/detail/http_parser.hpp"

namespace {

using cm::net::detail::HttpParser;
using cm::net::detail::HttpParserLimits;

std::string parse(const std::uint8_t* data, std::size_t size, std::size_t step, HttpParser::Kind kind) {
  HttpParser parser(kind, HttpParserLimits{200, 400, 10, 500});
  std::string trace;
  for (std::size_t at = 0; at < size; at += step) {
    std::span<const std::uint8_t> input(data + at, std::min(step, size - at));
    for (;;) {
      const auto event = parser.step(input);
      if (event.consumed > input.size()) {
        std::abort();
      }
      input = input.subspan(event.consumed);
      if (event.event == HttpParser::Event::kError) {
        return trace + "!" + std::to_string(static_cast<int>(parser.error()));
      }
      if (event.event == HttpParser::Event::kHead) {
        trace += parser.head().method + " " + parser.head().target + std::to_string(parser.head().headers.size()) + ":";
      } else if (event.event == HttpParser::Event::kBody) {
        trace.append(event.body.begin(), event.body.end());
      } else if (event.event == HttpParser::Event::kMessageDone) {
        trace += parser.keep_alive() ? ";" : ".";
        parser.start_next();
      } else if (input.empty()) {
        break;
      }
    }
  }
  return trace + (parser.finish_at_eof() ? "E" : "");
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size);
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  // The mutator alone seldom writes a whole request: half of the inputs are put behind the start of one.
  std::string text(reinterpret_cast<const char*>(data), size);
  if (size > 0 && (data[0] & 1) != 0) {
    text.insert(0, "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n");
  }
  const auto* bytes = reinterpret_cast<const std::uint8_t*>(text.data());
  for (const auto kind : {HttpParser::Kind::kRequest, HttpParser::Kind::kResponse}) {
    if (parse(bytes, text.size(), text.size() + 1, kind) != parse(bytes, text.size(), 1, kind)) {
      std::abort();
    }
  }
  return 0;
}
