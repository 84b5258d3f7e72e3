// Asynchronous HTTP/1.1 client over TCP, TLS and Unix sockets.
#pragma once

#include <claudemesh/cpp/result.hpp>
#include <cstdint>
#include <memory>
#include <span>
#include <string>

#include "host/net/counters.hpp"
#include "host/net/http_types.hpp"
#include "host/net/loop.hpp"
#include "host/net/shared_buffer.hpp"
#include "host/net/tls.hpp"
#include "host/net/unique_function.hpp"
#include "host/net/url.hpp"

namespace cm::net {

namespace detail {
class HttpClientCore;
}

// Names one request of one client; never reused.
enum class HttpRequestId : std::uint64_t { kNone = 0 };

// Repeats after a connection failure, a 502, 503 or 504. Only for idempotent methods (GET, HEAD, PUT, DELETE, OPTIONS),
// unless `any_method` says that the request carries its own idempotency. All attempts share total_timeout_ms.
struct HttpRetry {
  int attempts_max = 1;
  std::uint64_t backoff_initial_ms = 200;  // doubled each time, with +-25 % of jitter
  std::uint64_t backoff_max_ms = 5'000;
  bool any_method = false;
};

struct HttpClientRequest {
  std::string method = "GET";
  std::string url{};  // http://, https:// or unix:///path/to.sock:/target
  Headers headers{};  // Host, Content-Length and Connection are added here
  SharedBuffer body{};
  std::uint64_t connect_timeout_ms = 10'000;         // name, TCP, proxy, TLS together
  std::uint64_t total_timeout_ms = 30'000;           // until the last byte; 0: none (streams)
  std::uint64_t idle_timeout_ms = 0;                 // streams: longest silence between two reads; 0: none
  std::size_t response_bytes_max = 8 * 1024 * 1024;  // decoded body; 0: no limit (streams)
  std::size_t response_head_bytes_max = 64 * 1024;
  int redirects_max = 0;  // GET and HEAD only; credentials are dropped when the origin changes
  HttpRetry retry{};
  bool keep_alive = true;
};

struct HttpClientResponse {
  int status = 0;
  Headers headers{};
  SharedBuffer body{};  // padded
};

// A response that is delivered as it arrives. [loop]. on_end is the last call, exactly once unless cancelled.
struct HttpStreamHandlers {
  UniqueFunction<void(int status, const Headers& headers)> on_headers;
  UniqueFunction<void(std::span<const std::uint8_t> bytes)> on_data;  // valid until return
  UniqueFunction<void(Status)> on_end;
};

struct HttpClientOptions {
  std::shared_ptr<TlsClientContext> tls{};  // null: verified against the system's CAs
  ProxySettings proxy = ProxySettings::from_environment();
  std::shared_ptr<NetCounters> counters{};  // null: the client makes its own
  std::string user_agent = "claudemesh";
  std::size_t pool_connections_max = 32;  // kept alive in all
  std::size_t pool_per_origin_max = 8;
  std::uint64_t pool_idle_timeout_ms = 30'000;
  std::size_t requests_max = 4'096;  // in flight; more give kBusy
};

// A client bound to one loop, with a pool of kept-alive connections. [loop]. Destruction cancels every request.
// Errors of requests: kInvalid (URL, headers), kIo (connection), kBusy (time-out, too many requests), kDenied (TLS
// verification), kUnsupported (not HTTP/1.x).
class HttpClient {
 public:
  HttpClient(Loop& loop, HttpClientOptions options);
  ~HttpClient();
  HttpClient(const HttpClient&) = delete;
  HttpClient& operator=(const HttpClient&) = delete;

  // Sends and collects the response. `done` is called exactly once in a later turn, unless cancelled. Any status is a
  // success: what 404 means is the caller's business.
  HttpRequestId send(HttpClientRequest request, UniqueFunction<void(Result<HttpClientResponse>)> done);
  // The same with a response in pieces; retries and redirects happen only before on_headers.
  HttpRequestId stream(HttpClientRequest request, HttpStreamHandlers handlers);
  // Gives up; no further call of the request's functions. False when it is finished or unknown. Allowed inside on_data.
  bool cancel(HttpRequestId id);

  std::size_t in_flight() const;
  std::size_t pooled() const;
  const std::shared_ptr<NetCounters>& counters() const;

 private:
  std::shared_ptr<detail::HttpClientCore> core_;
};

}  // namespace cm::net
