// Counters of this room: one for every bound and every branch that an operator may ask about.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <string_view>

namespace cm::net {

// One monotonic number (or, where said, a gauge). Relaxed: read by the metrics page, never used for decisions.
class Counter {
 public:
  void add(std::uint64_t amount = 1) noexcept { value_.fetch_add(amount, std::memory_order_relaxed); }
  void subtract(std::uint64_t amount = 1) noexcept { value_.fetch_sub(amount, std::memory_order_relaxed); }
  std::uint64_t value() const noexcept { return value_.load(std::memory_order_relaxed); }

 private:
  std::atomic<std::uint64_t> value_{0};
};

// Every name and its help text, once; the struct and for_each() are made from this list.
#define CM_NET_COUNTERS(X)                                                                        \
  X(connections_accepted, "connections accepted by listeners")                                    \
  X(connections_open, "connections open now (gauge)")                                             \
  X(connections_refused, "connections refused because a listener's connection limit was reached") \
  X(accept_errors, "failed accepts, such as too many open files")                                 \
  X(http_requests, "HTTP requests delivered to a handler")                                        \
  X(http_bad_requests, "HTTP requests refused as malformed")                                      \
  X(http_request_line_too_long, "HTTP requests refused: request line over the limit (414)")       \
  X(http_headers_too_large, "HTTP requests refused: header bytes over the limit (431)")           \
  X(http_too_many_headers, "HTTP requests refused: header count over the limit (431)")            \
  X(http_body_too_large, "HTTP requests refused: body over the limit (413)")                      \
  X(http_unsupported_version, "HTTP requests refused: version (505)")                             \
  X(http_not_implemented, "HTTP requests refused: transfer coding or method (501)")               \
  X(http_expectation_failed, "HTTP requests refused: unknown expectation (417)")                  \
  X(http_header_timeouts, "connections closed: header took too long (408)")                       \
  X(http_body_timeouts, "connections closed: body took too long (408)")                           \
  X(http_idle_timeouts, "idle keep-alive connections closed")                                     \
  X(http_write_timeouts, "connections closed: the peer did not read its response")                \
  X(http_unanswered, "requests that a handler dropped without an answer (500)")                   \
  X(http_stream_overflows, "response streams closed: the peer reads too slowly")                  \
  X(tls_handshake_failures, "TLS handshakes that failed or timed out")                            \
  X(ws_accepted, "WebSocket upgrades accepted")                                                   \
  X(ws_refused, "WebSocket upgrades refused as malformed")                                        \
  X(ws_open, "WebSocket connections open now (gauge)")                                            \
  X(ws_messages_received, "WebSocket data messages received")                                     \
  X(ws_messages_sent, "WebSocket data messages enqueued for sending")                             \
  X(ws_protocol_errors, "WebSocket connections failed with 1002")                                 \
  X(ws_invalid_text, "WebSocket connections failed with 1007")                                    \
  X(ws_message_too_big, "WebSocket connections failed with 1009")                                 \
  X(ws_slow_consumers, "WebSocket connections closed: send buffer over its hard limit")           \
  X(ws_close_timeouts, "WebSocket close handshakes that timed out")                               \
  X(bytes_received, "bytes read from sockets, before decryption excluded")                        \
  X(bytes_sent, "bytes written to sockets, before encryption")                                    \
  X(client_requests, "HTTP client requests started")                                              \
  X(client_retries, "HTTP client attempts repeated")                                              \
  X(client_timeouts, "HTTP client requests that ran into a time limit")                           \
  X(client_failures, "HTTP client requests that failed otherwise")                                \
  X(client_response_too_large, "HTTP client responses over the size limit")                       \
  X(client_pool_reuses, "HTTP client requests sent on a kept-alive connection")

// The counters of one server, client or process, shared by shared_ptr. Any thread.
struct NetCounters {
#define CM_NET_COUNTER_MEMBER(name, help) Counter name;
  CM_NET_COUNTERS(CM_NET_COUNTER_MEMBER)
#undef CM_NET_COUNTER_MEMBER

  // Calls visit(name, help, value) for each counter in the order of declaration.
  template <typename Visit>
  void for_each(Visit&& visit) const {
#define CM_NET_COUNTER_VISIT(name, help) visit(std::string_view(#name), std::string_view(help), name.value());
    CM_NET_COUNTERS(CM_NET_COUNTER_VISIT)
#undef CM_NET_COUNTER_VISIT
  }
};

}  // namespace cm::net
