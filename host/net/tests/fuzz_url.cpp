// What is accepted as a URL must hold its invariants: printable ASCII, a target that begins with a slash, and a text
// made from its parts that parses to the same parts.
#include <cstdint>
#include <cstdlib>
#include <string>

#include "host/net/url.hpp"

namespace {

void require(bool condition) {
  if (!condition) {
    std::abort();
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size);
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  std::string text(reinterpret_cast<const char*>(data), size);
  if (size > 0 && (data[0] & 1) != 0) {
    text.insert(0, "http://");
  }
  const auto url = cm::net::parse_url(text);
  if (url.ok()) {
    require(!url->target.empty() && url->target.front() == '/');
    require(url->target.find_first_of("\r\n \t") == std::string::npos);
    if (!url->is_unix()) {
      require(!url->host.empty() && url->port != 0);
      const auto again = cm::net::parse_url(url->scheme + "://" + url->host_header() + url->target);
      require(again.ok() && again->host == url->host && again->port == url->port && again->target == url->target);
    }
    const auto next = cm::net::resolve_reference(*url, text);
    require(!next.ok() || !next->target.empty());
  }
  const auto decoded = cm::net::percent_decode(text);
  if (decoded) {
    require(cm::net::percent_decode(cm::net::percent_encode(*decoded)) == *decoded);
  }
  (void)cm::net::parse_query(text);
  return 0;
}
