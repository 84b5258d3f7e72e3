// The inside of HttpServer: listeners, connections, and what a request carries. [loop]
#pragma once

#include <sys/socket.h>

#include <memory>
#include <optional>
#include <string>
#include <unordered_map>

#include "host/net/detail/http_parser.hpp"
#include "host/net/detail/loop_core.hpp"
#include "host/net/detail/stream_socket.hpp"
#include "host/net/detail/write_queue.hpp"
#include "host/net/http_server.hpp"
#include "host/net/listening_socket.hpp"

namespace cm::net::detail {

struct HttpRequestData {
  HttpHead head;
  SharedBuffer body;
  RemoteAddress remote;
  std::optional<PeerCredentials> credentials;
  Loop* loop = nullptr;
  std::uint32_t listener = 0;
  bool tls = false;
};

// One listening socket.
class HttpListener final : public FdListener {
 public:
  HttpListener(HttpServerCore& server, ListeningSocket socket, ListenerInfo info, std::size_t connections_max,
               std::shared_ptr<TlsServerContext> tls);
  ~HttpListener();
  HttpListener(const HttpListener&) = delete;
  HttpListener& operator=(const HttpListener&) = delete;

  Status start();
  void on_fd_ready(bool readable, bool writable) override;

  const ListenerInfo& info() const { return info_; }
  const std::shared_ptr<TlsServerContext>& tls() const { return tls_; }
  // While false, connections wait in the kernel's queue.
  void set_accepting(bool accepting);

 private:
  void accept_one(int fd);
  void pause_accepting();

  HttpServerCore& server_;
  ListeningSocket socket_;
  ListenerInfo info_;
  std::size_t connections_max_;
  std::shared_ptr<TlsServerContext> tls_;
  // Shared with the places of open connections, which may outlive the listener.
  std::shared_ptr<std::size_t> open_count_ = std::make_shared<std::size_t>(0);
  FdWatch watch_;
  TimerId resume_timer_ = TimerId::kNone;
  bool accepting_ = true;
};

// A listener that owns the socket, or the error that it came with.
Result<std::unique_ptr<HttpListener>> make_listener(HttpServerCore& server, Result<ListeningSocket> socket,
                                                    std::size_t connections_max, std::shared_ptr<TlsServerContext> tls);
// The address of an IPv4 or IPv6 socket; a mapped IPv4 address as IPv4.
RemoteAddress to_address(const sockaddr_storage& storage);
// " by process 123 (nginx)" when /proc tells who listens on the port, otherwise " by another process".
std::string describe_port_owner(std::uint16_t port);

class HttpServerCore : public std::enable_shared_from_this<HttpServerCore> {
 public:
  HttpServerCore(Loop& of, HttpServerOptions with, HttpServer::Handler on_request);

  Result<ListenerInfo> add_listener(Result<std::unique_ptr<HttpListener>> listener);
  void close_listener(std::uint32_t id) { listeners_.erase(id); }
  void add_connection(std::shared_ptr<HttpServerConnection> connection);
  void remove_connection(HttpServerConnection* connection);
  void set_accepting(bool accepting);
  void quiesce(std::uint64_t timeout_ms, UniqueFunction<void()> done);
  // A connection has delivered its first request, or ended before.
  void first_request_done();
  void drain(std::uint64_t timeout_ms, UniqueFunction<void()> done);
  void close();
  // The server is about to stop or already does: connections are not kept alive any more.
  bool ending() const { return draining || !accepting_; }
  std::uint32_t next_listener_id() { return next_listener_id_++; }
  std::size_t connection_count() const { return connections_.size(); }

  Loop& loop;
  HttpServerOptions options;
  std::shared_ptr<NetCounters> counters;
  HttpServer::Handler handler;
  bool draining = false;
  bool closed = false;

 private:
  void finish_drain();
  void finish_quiesce();

  std::unordered_map<std::uint32_t, std::unique_ptr<HttpListener>> listeners_;
  std::unordered_map<HttpServerConnection*, std::shared_ptr<HttpServerConnection>> connections_;
  std::size_t waiting_first_ = 0;  // connections that have not delivered a request yet
  bool accepting_ = true;
  UniqueFunction<void()> quiesced_;
  TimerId quiesce_timer_ = TimerId::kNone;
  UniqueFunction<void()> drained_;
  TimerId drain_timer_ = TimerId::kNone;
  std::uint32_t next_listener_id_ = 1;
};

// One accepted connection. Kept alive by the core until closed, and by its requests.
class HttpServerConnection final : public FdListener, public std::enable_shared_from_this<HttpServerConnection> {
 public:
  HttpServerConnection(std::shared_ptr<HttpServerCore> core, std::unique_ptr<StreamSocket> socket,
                       const ListenerInfo& listener, RemoteAddress remote);
  ~HttpServerConnection();

  void start();
  void on_fd_ready(bool readable, bool writable) override;
  // Begins to drain: closes now when idle, otherwise after the answer.
  void drain();
  // Closes at once; requests and streams in flight are told.
  void close();
  bool open() const { return phase_ != Phase::kClosed; }
  bool waits_for_first_request() const { return requests_ == 0; }
  HttpServerCore& core() { return *core_; }

  // Called by the request in flight.
  Status send_response(int status, const Headers& headers, SharedBuffer body);
  Result<std::shared_ptr<ResponseStream>> start_stream(int status, const Headers& headers, const StreamLimits& limits);
  void request_dropped();

  // What an upgrade takes along. The connection is closed for HTTP afterwards.
  struct Upgraded {
    std::unique_ptr<StreamSocket> socket;
    std::string leftover;  // bytes already read behind the request
    WriteQueue output;     // answers of earlier pipelined requests that have not left yet
    RemoteAddress remote;
  };
  Upgraded take_for_upgrade();

 private:
  class Stream;
  enum class Phase : std::uint8_t {
    kTlsHandshake,
    kReading,    // between requests, or inside one
    kHandling,   // a request was delivered and is unanswered
    kStreaming,  // its answer is being produced
    kEnding,     // the last answer is being written, then the connection closes
    kClosed,
  };

  void on_readable();
  void on_tls_handshake();
  void fail_tls(std::string_view reason);
  void on_eof();
  void process(std::span<const std::uint8_t> input);
  void process_pending();
  void parse_one(std::span<const std::uint8_t> input, bool from_pending);
  bool on_head();
  void deliver();
  void refuse(int status, Counter& counter, std::string_view found, std::string_view next_step);
  void refuse_parse_error();
  void put_head(int status, const Headers& headers, std::optional<std::size_t> length, bool chunked);
  void answer_done();
  void schedule_flush();
  void flush();
  void after_flush();
  void update_interest();
  void check_phase_deadline();
  void set_deadline_ms(std::uint64_t delay_ms);
  void on_timer();
  void on_timeout();
  void leave();
  // Bytes have arrived that nobody has read yet.
  bool input_waits() const;
  std::size_t pending_bytes() const { return pending_.size() - pending_at_; }

  std::shared_ptr<HttpServerCore> core_;
  std::unique_ptr<StreamSocket> socket_;
  RemoteAddress remote_;
  std::optional<PeerCredentials> credentials_;
  FdWatch watch_;
  HttpParser parser_;
  SharedBufferBuilder body_;
  std::string pending_;  // input behind the request in flight
  WriteQueue output_;
  std::weak_ptr<HttpRequest> request_;
  std::weak_ptr<Stream> stream_;
  TimerId timer_ = TimerId::kNone;
  std::int64_t timer_at_ns_ = 0;
  std::int64_t deadline_ns_ = 0;  // 0: none
  std::size_t pending_at_ = 0;    // how much of pending_ is parsed
  std::size_t requests_ = 0;
  std::uint32_t listener_;
  Phase phase_ = Phase::kReading;
  bool head_request_ = false;
  bool http_1_0_ = false;
  bool close_after_ = false;
  bool blocked_ = false;  // the socket took less than was queued
  bool flush_scheduled_ = false;
  bool processing_ = false;
  bool timing_header_ = false;
  bool timing_body_ = false;
};

}  // namespace cm::net::detail
