// Server-sent events (WHATWG HTML section 9.2): writing them and reading them back. Pure.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "host/net/unique_function.hpp"

namespace cm::net {

inline constexpr std::string_view kSseContentType = "text/event-stream";
inline constexpr std::size_t kSseEventBytesMax = 1024 * 1024;

struct SseEvent {
  std::string event;  // "message" when the stream named none
  std::string data;   // lines joined by "\n"
  std::string id;     // the last id seen so far
};

// One event as bytes, ending in an empty line. `event` and `id` may be empty and must not contain line breaks (cut
// there); data is split at line breaks into several data lines.
std::string format_sse(std::string_view event, std::string_view id, std::string_view data);
// A comment line, which clients ignore: a heartbeat.
std::string format_sse_comment(std::string_view text);

// Incremental reader. Feed bytes as they come.
class SseParser {
 public:
  explicit SseParser(std::size_t event_bytes_max = kSseEventBytesMax) : event_bytes_max_(event_bytes_max) {}

  // Calls `on_event` for each complete event; false from it stops feeding. Returns false when stopped or when an event
  // is larger than the limit (overflowed() then tells which); the rest of `bytes` is dropped.
  bool feed(std::string_view bytes, UniqueFunction<bool(const SseEvent&)>& on_event);

  bool overflowed() const noexcept { return overflowed_; }
  const std::string& last_event_id() const noexcept { return id_; }
  // The reconnection time the server asked for, if any.
  std::optional<std::uint64_t> retry_ms() const noexcept { return retry_ms_; }

 private:
  bool on_line(std::string_view line, UniqueFunction<bool(const SseEvent&)>& on_event);
  bool dispatch(UniqueFunction<bool(const SseEvent&)>& on_event);

  std::size_t event_bytes_max_;
  std::string line_;
  std::string event_;
  std::string data_;
  std::string id_;
  std::optional<std::uint64_t> retry_ms_;
  bool has_data_ = false;
  bool skip_line_feed_ = false;
  bool first_line_ = true;
  bool overflowed_ = false;
};

}  // namespace cm::net
