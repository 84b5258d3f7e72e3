// Any bytes, whole and one by one, give the same events; and what format_sse writes is read back.
#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <string>

#include "host/net/sse.hpp"

namespace {

std::string read(std::string_view text, std::size_t step) {
  std::string trace;
  cm::net::SseParser parser(10'000);
  cm::net::UniqueFunction<bool(const cm::net::SseEvent&)> on_event = [&](const cm::net::SseEvent& event) {
    trace += "[" + event.event + "|" + event.id + "|" + event.data + "]";
    return true;
  };
  for (std::size_t at = 0; at < text.size(); at += step) {
    if (!parser.feed(text.substr(at, step), on_event)) {
      return trace + "!";
    }
  }
  return trace;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size);
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  if (read(text, size + 1) != read(text, 1)) {
    std::abort();
  }
  std::string plain(text);
  std::replace(plain.begin(), plain.end(), '\r', '-');
  if (read(cm::net::format_sse("e", "1", plain), 7) != "[e|1|" + plain + "]") {
    std::abort();
  }
  return 0;
}
