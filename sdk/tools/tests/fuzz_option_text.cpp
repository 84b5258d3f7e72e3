// Durations, sizes, addresses and names from arbitrary bytes: no crash, and what is accepted survives a round trip.
#include <cstdlib>

#include "sdk/tools/options.hpp"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  using namespace cm::options;
  if (const auto duration = parse_duration_ms(text)) {
    const auto again = parse_duration_ms(format_duration_ms(*duration));
    if (*duration < 0 || !again || *again != *duration) {
      std::abort();
    }
  }
  if (const auto bytes = parse_size_bytes(text)) {
    const auto again = parse_size_bytes(format_size_bytes(*bytes));
    if (*bytes < 0 || !again || *again != *bytes) {
      std::abort();
    }
  }
  if (const auto address = parse_address(text)) {
    if (address->is_unix() != text.starts_with("unix:") || (!address->is_unix() && address->host.empty())) {
      std::abort();
    }
  }
  const std::vector<std::string> candidates{"listen", "queue_max", std::string(text.substr(0, 200))};
  static_cast<void>(nearest_name(text, candidates));
  static_cast<void>(is_table_id(text) && is_version(text) && is_plugin_id(text));
  static_cast<void>(json_quote(text));
  return 0;
}
