// HTTP/1.1 server on TCP, TLS and Unix sockets.
#pragma once

#include <sys/types.h>

#include <claudemesh/cpp/result.hpp>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "host/net/counters.hpp"
#include "host/net/http_types.hpp"
#include "host/net/loop.hpp"
#include "host/net/shared_buffer.hpp"
#include "host/net/tls.hpp"
#include "host/net/unique_function.hpp"

namespace cm::net {

namespace detail {
class HttpServerConnection;
class HttpServerCore;
struct HttpRequestData;
}  // namespace detail

// Bounds of one server. A violation is answered with the status in brackets and a text that says what was found, what
// is allowed and what to do; it is counted, and the connection is closed after the answer.
struct HttpLimits {
  std::size_t request_line_bytes = 8 * 1024;        // [414]
  std::size_t header_bytes = 16 * 1024;             // all header lines together [431]
  std::size_t header_count = 100;                   // [431]
  std::size_t body_bytes = 1024 * 1024;             // decoded body [413]
  std::uint64_t header_timeout_ms = 10'000;         // first byte (or connect) to end of header [408]; TLS handshake too
  std::uint64_t body_timeout_ms = 30'000;           // end of header to end of body [408]
  std::uint64_t idle_timeout_ms = 75'000;           // between requests: the connection is closed without an answer
  std::uint64_t write_timeout_ms = 60'000;          // the peer read nothing for so long: closed
  std::size_t requests_per_connection = 1'000'000;  // then "Connection: close"
};

// Watermarks of a streaming response, in bytes not yet taken by the kernel.
struct StreamLimits {
  std::size_t high_watermark_bytes = 256 * 1024;   // write() returns false at or above
  std::size_t low_watermark_bytes = 64 * 1024;     // on_drain once at or below
  std::size_t hard_limit_bytes = 4 * 1024 * 1024;  // above: the stream is cut and counted (http_stream_overflows)
};

// A response whose body is produced over time (server-sent events, downloads). Chunked on HTTP/1.1, delimited by the
// end of the connection on HTTP/1.0. [loop]. Dropping the last reference closes the stream properly.
class ResponseStream {
 public:
  virtual ~ResponseStream() = default;

  // Queues bytes; they leave at the end of the turn. False: the high watermark is reached (wait for on_drain), or the
  // stream is closed. The bytes of a call that returned false were still taken, unless closed().
  virtual bool write(SharedBuffer bytes) = 0;
  bool write(std::string_view text) { return write(SharedBuffer::copy(text)); }

  // Called each time the queue fell to the low watermark after write() had returned false.
  virtual void on_drain(UniqueFunction<void()> fn) = 0;
  // Called once when the stream ended for a reason other than close(): the peer left, overflow, server shutdown.
  virtual void on_close(UniqueFunction<void()> fn) = 0;
  // Ends the body; what is queued is still sent and the connection may be reused. Further writes return false.
  virtual void close() = 0;
  virtual bool closed() const = 0;
  virtual std::size_t buffered_bytes() const = 0;
};

// One complete request and the right to answer it once. [loop] for everything, including dropping the last reference.
// A request that is dropped unanswered is answered with 500 and counted (http_unanswered).
class HttpRequest : public std::enable_shared_from_this<HttpRequest> {
 public:
  // Made by the server (and by simulated servers through `data`); not for users.
  HttpRequest(std::unique_ptr<detail::HttpRequestData> data, std::shared_ptr<detail::HttpServerConnection> connection);
  ~HttpRequest();
  HttpRequest(const HttpRequest&) = delete;
  HttpRequest& operator=(const HttpRequest&) = delete;

  // All views live as long as the request.
  std::string_view method() const;  // as sent; methods are case-sensitive
  std::string_view target() const;  // raw, query included
  std::string_view path() const;    // raw, up to "?"; for absolute-form targets the path part
  std::string_view query() const;   // raw, without "?"; may be empty
  // The first parameter of the name, decoded; nullopt when absent.
  std::optional<std::string> query_parameter(std::string_view name) const;
  const Headers& headers() const;
  std::string_view header(std::string_view name) const;
  const SharedBuffer& body() const;  // complete, bounded by HttpLimits::body_bytes, padded (kBufferPadding)
  int minor_version() const;         // 0 or 1

  const RemoteAddress& remote() const;
  const std::optional<PeerCredentials>& peer_credentials() const;  // Unix sockets only
  bool tls() const;
  std::uint32_t listener() const;  // ListenerInfo::id
  Loop& loop() const;

  // True for GET with "Upgrade: websocket" and "Connection: upgrade"; accept_websocket() checks the rest.
  bool wants_websocket() const;

  // Answers. Content-Length, Date and Connection are added here; Content-Length and Transfer-Encoding of `headers` are
  // ignored, "Connection: close" is obeyed. HEAD, 204 and 304 send no body. The body's bytes are not copied.
  // Errors: kGone when the peer has left or an answer was given already; kInvalid for a status outside 200..599 or
  // header fields that must not be sent (line breaks), in which case 500 is sent instead.
  Status respond(int status, const Headers& headers, SharedBuffer body);
  Status respond(int status, const Headers& headers, std::string_view body) {
    return respond(status, headers, SharedBuffer::copy(body));
  }
  // Sends the head and gives the body over time. Errors as respond().
  Result<std::shared_ptr<ResponseStream>> start_stream(int status, const Headers& headers,
                                                       const StreamLimits& limits = {});
  bool answered() const;

  // Called once when the connection ends before an answer was given. Not called after respond() or start_stream().
  void on_abort(UniqueFunction<void()> fn);

  // For this room only.
  const std::shared_ptr<detail::HttpServerConnection>& connection() const { return connection_; }
  void mark_answered();
  void abort();

 private:
  Status answerable() const;

  std::unique_ptr<detail::HttpRequestData> data_;
  std::shared_ptr<detail::HttpServerConnection> connection_;
  UniqueFunction<void()> on_abort_;
  bool answered_ = false;
};

struct TcpListenerOptions {
  std::string host = "127.0.0.1";           // address or name; "::" takes both families
  std::uint16_t port = 0;                   // 0: the kernel chooses, see ListenerInfo
  std::shared_ptr<TlsServerContext> tls{};  // null: plain
  std::size_t connections_max = 16'384;     // over it: 503 and closed, counted
  bool reuse_port = false;                  // SO_REUSEPORT: several loops or processes share the port
  int backlog = 1024;
};

struct UnixListenerOptions {
  std::string path{};  // at most 107 bytes; the directory must exist
  mode_t mode = 0600;  // in force before the first connection is possible
  std::size_t connections_max = 1'024;
  int backlog = 256;
};

// An open listener.
struct ListenerInfo {
  std::uint32_t id = 0;
  std::string host;        // numeric, empty for Unix
  std::uint16_t port = 0;  // the real one
  std::string path{};      // Unix only
  bool tls = false;
  std::string text() const;  // "http://127.0.0.1:8080", "https://...", "unix:/run/x.sock"
};

struct HttpServerOptions {
  HttpLimits limits{};
  std::shared_ptr<NetCounters> counters{};  // null: the server makes its own
  std::string server_name{};                // the Server header; empty: none is sent
  // A TLS handshake that failed, and why: an alert, an end, a time-out. Counted either way. [loop]
  UniqueFunction<void(const RemoteAddress& remote, std::string_view reason)> on_tls_failure{};
};

// A server with any number of listeners on one loop. [loop].
// Requests of one connection are delivered one after the other: the next one of a pipeline is parsed when the answer of
// the one before is complete, so answers are in order and a pipeline is held back by the socket's own flow control.
class HttpServer {
 public:
  using Handler = UniqueFunction<void(std::shared_ptr<HttpRequest>)>;

  HttpServer(Loop& loop, HttpServerOptions options, Handler handler);
  // Closes at once, as close().
  ~HttpServer();
  HttpServer(const HttpServer&) = delete;
  HttpServer& operator=(const HttpServer&) = delete;

  // Binds and listens. Errors name the address, say who holds it where that can be known, and what to do:
  // kBusy address in use, kDenied no permission, kInvalid not an address, kIo otherwise.
  Result<ListenerInfo> listen_tcp(const TcpListenerOptions& options);
  // A stale socket file (nobody answers a connect) is removed and replaced; a live one gives kBusy "already in use by a
  // running process"; a file of another kind gives kInvalid and is left alone. The file is removed at close.
  Result<ListenerInfo> listen_unix(const UnixListenerOptions& options);
  // Takes over a listening socket that is already bound (inherited from the parent process or systemd). Owns the fd.
  Result<ListenerInfo> listen_fd(int fd, std::shared_ptr<TlsServerContext> tls, std::size_t connections_max = 16'384);
  void close_listener(std::uint32_t id);

  // false: connections wait in the kernel's queue until true, or until somebody else accepts from the same socket.
  void set_accepting(bool accepting);
  // Stops accepting and waits until every connection that was accepted has delivered its first request, so that none is
  // cut before it could ask; at most `timeout_ms`. `done` is called once, on the loop.
  void quiesce(std::uint64_t timeout_ms, UniqueFunction<void()> done);
  // Stops accepting, closes idle connections, lets requests and streams in flight finish until `timeout_ms` from now,
  // then cuts what is left. `done` is called once, on the loop. WebSocket connections are not the server's any more:
  // their owner closes them.
  void drain(std::uint64_t timeout_ms, UniqueFunction<void()> done);
  // Cuts everything now.
  void close();

  std::size_t connection_count() const;
  const std::shared_ptr<NetCounters>& counters() const;

 private:
  std::shared_ptr<detail::HttpServerCore> core_;
};

}  // namespace cm::net
