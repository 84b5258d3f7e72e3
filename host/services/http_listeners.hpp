// The HTTP servers of one instance (cm.http.server/1) over net::HttpServer. [loop]
#pragma once

#include <claudemesh/ext/http.h>
#include <claudemesh/cpp/result.hpp>

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "host/net/http_server.hpp"
#include "host/net/router.hpp"
#include "host/services/handle_table.hpp"
#include "host/services/listening_sockets.hpp"

namespace cm::host {

class Instance;

inline constexpr std::uint32_t kListenersMax = 256;    // of one instance
inline constexpr std::uint32_t kRequestsMax = 65'536;  // open at once in one instance; more are answered 503
inline constexpr std::uint32_t kRoutesMax = 4096;      // of one listener
inline constexpr std::uint32_t kResponseHeadersMax = 64;
inline constexpr std::uint64_t kUnansweredRequestMs = 120'000;  // ext/http.h: then 503 and misbehaviour
// How long the connections of a closed listener may take to carry away what was answered.
inline constexpr std::uint64_t kListenerEndMs = 1'000;
inline constexpr std::size_t kStreamWaitingBytesHigh = 1024 * 1024;  // ext/http.h: stream_write

class HttpListeners {
 public:
  explicit HttpListeners(Instance& instance) : instance_(instance) {}
  ~HttpListeners();

  Result<cm_handle> listen(const cm_http_listen_options& options);
  std::optional<std::string_view> local_address(cm_handle listener) const;
  Status route(cm_handle listener, std::string_view method, std::string_view pattern, cm_http_handler handler,
               void* user);
  Status fallback(cm_handle listener, cm_http_handler handler, void* user);
  bool close(cm_handle listener);

  std::string_view header(cm_handle request, std::string_view name) const;
  std::string_view path_parameter(cm_handle request, std::string_view name) const;
  std::string_view query_parameter(cm_handle request, std::string_view name, bool* present);

  // Each answers kGone for a handle that is not open (any more), also because the peer left.
  Status respond(cm_handle request, int status, const net::Headers& headers, net::SharedBuffer body);
  Status stream_begin(cm_handle request, int status, const net::Headers& headers, cm_http_stream_callback callback,
                      void* user);
  Status stream_write(cm_handle request, cm_bytes_pview bytes);
  Status stream_end(cm_handle request);

  // For the WebSocket upgrade: the open, unanswered request, or null. `forget` drops it once it was answered.
  std::shared_ptr<net::HttpRequest> unanswered_request(cm_handle request) const;
  void forget(cm_handle request);

  // Stops accepting and waits, at most `timeout_ms`, until every accepted connection has asked once; then calls `done`
  // on the loop. The sockets stay open.
  void quiesce(std::uint64_t timeout_ms, net::UniqueFunction<void()> done);
  // Begins to accept, after the instance was staged.
  void begin_accepting();
  // Stops listening, answers open requests with 503 and ends streams; the listeners stay for counting.
  void silence();
  std::uint32_t size() const noexcept { return listeners_.size(); }

 private:
  struct Route {
    cm_http_handler handler = nullptr;
    void* user = nullptr;
  };
  struct Listener {
    net::Router router;
    std::map<net::RouteId, Route> routes;
    Route fallback;
    std::string local_address;
    std::unique_ptr<net::HttpServer> server;
    std::uint64_t lease = 0;   // of the listening socket
    std::uint64_t ending = 0;  // not 0: closed, and this is its number
  };
  struct Request {
    std::shared_ptr<net::HttpRequest> request;
    net::RouteMatch match;
    std::string remote_address;
    std::map<std::string, std::optional<std::string>, std::less<>> query;  // what was asked for, decoded
    std::int64_t answer_until_ns = 0;
    std::shared_ptr<net::ResponseStream> stream;
    cm_http_stream_callback stream_callback = nullptr;
    void* stream_user = nullptr;
    bool stream_full = false;
    bool busy_told = false;
  };

  Status bind(Listener& listener, const cm_http_listen_options& options, const ListenAddress& address);
  void on_request(cm_handle listener, const std::shared_ptr<net::HttpRequest>& request);
  void dispatch(const Route& route, const std::shared_ptr<net::HttpRequest>& request, net::RouteMatch match);
  void stream_event(cm_handle request, std::uint32_t what);
  void watch_unanswered();
  void sweep_unanswered();
  // Stops listening and lets what was answered reach the peers.
  void end(Listener& listener);
  void forget_listener(std::uint64_t ending);

  Instance& instance_;
  HandleTable<Listener> listeners_{kListenersMax, 0x1100};
  HandleTable<Request> requests_{kRequestsMax, 0x2200};
  std::vector<std::unique_ptr<Listener>> closed_;  // until their last connection has ended
  std::uint64_t endings_ = 0;
  net::TimerId sweep_timer_ = net::TimerId::kNone;
};

}  // namespace cm::host
