#include "host/net/http_server.hpp"

#include <sys/socket.h>
#include <unistd.h>

#include <cassert>

#include "host/net/detail/http_server_core.hpp"

namespace cm::net {

namespace detail {

HttpServerCore::HttpServerCore(Loop& of, HttpServerOptions with, HttpServer::Handler on_request)
    : loop(of), options(std::move(with)), counters(options.counters), handler(std::move(on_request)) {
  if (counters == nullptr) {
    counters = std::make_shared<NetCounters>();
  }
}

Result<ListenerInfo> HttpServerCore::add_listener(Result<std::unique_ptr<HttpListener>> listener) {
  if (!listener) {
    return listener.error();
  }
  if (draining || closed) {
    return make_error(ErrorCode::kGone, "the server is shutting down; expected a running one; make a new server");
  }
  const Status started = (*listener)->start();
  if (!started) {
    return started.error();
  }
  (*listener)->set_accepting(accepting_);
  ListenerInfo info = (*listener)->info();
  listeners_.emplace(info.id, std::move(*listener));
  return info;
}

void HttpServerCore::add_connection(std::shared_ptr<HttpServerConnection> connection) {
  ++waiting_first_;
  auto* key = connection.get();
  connections_.emplace(key, std::move(connection));
}

void HttpServerCore::remove_connection(HttpServerConnection* connection) {
  if (connection->waits_for_first_request()) {
    first_request_done();
  }
  connections_.erase(connection);
  if (draining && connections_.empty()) {
    finish_drain();
  }
}

void HttpServerCore::set_accepting(bool accepting) {
  accepting_ = accepting;
  for (const auto& [id, listener] : listeners_) {
    listener->set_accepting(accepting);
  }
}

void HttpServerCore::quiesce(std::uint64_t timeout_ms, UniqueFunction<void()> done) {
  assert(loop.on_loop() && !quiesced_);
  set_accepting(false);
  quiesced_ = std::move(done);
  quiesce_timer_ = loop.start_timer_after_ms(timeout_ms, [self = shared_from_this()] { self->finish_quiesce(); });
  if (waiting_first_ == 0) {
    finish_quiesce();
  }
}

void HttpServerCore::first_request_done() {
  assert(waiting_first_ != 0);
  if (--waiting_first_ == 0) {
    finish_quiesce();
  }
}

void HttpServerCore::finish_quiesce() {
  loop.cancel_timer(quiesce_timer_);
  if (quiesced_) {
    loop.post(std::move(quiesced_));
    quiesced_ = nullptr;
  }
}

void HttpServerCore::drain(std::uint64_t timeout_ms, UniqueFunction<void()> done) {
  assert(loop.on_loop() && !draining);
  draining = true;
  drained_ = std::move(done);
  listeners_.clear();
  std::vector<std::shared_ptr<HttpServerConnection>> open;
  for (const auto& [key, connection] : connections_) {
    open.push_back(connection);
  }
  drain_timer_ = loop.start_timer_after_ms(timeout_ms, [self = shared_from_this()] { self->close(); });
  for (const auto& connection : open) {
    connection->drain();
  }
  if (connections_.empty()) {
    finish_drain();
  }
}

void HttpServerCore::finish_drain() {
  loop.cancel_timer(drain_timer_);
  if (drained_) {
    loop.post(std::move(drained_));
    drained_ = nullptr;
  }
}

void HttpServerCore::close() {
  assert(loop.on_loop());
  closed = true;
  listeners_.clear();
  while (!connections_.empty()) {
    const auto connection = connections_.begin()->second;
    connection->close();
  }
  finish_quiesce();
  if (draining) {
    finish_drain();
  }
}

}  // namespace detail

std::string ListenerInfo::text() const {
  return path.empty() ? (tls ? "https://" : "http://") + RemoteAddress{host, port}.text() : "unix:" + path;
}

HttpServer::HttpServer(Loop& loop, HttpServerOptions options, Handler handler)
    : core_(std::make_shared<detail::HttpServerCore>(loop, std::move(options), std::move(handler))) {
  assert(core_->handler);
}

HttpServer::~HttpServer() {
  core_->close();
}

Result<ListenerInfo> HttpServer::listen_tcp(const TcpListenerOptions& options) {
  assert(core_->loop.on_loop());
  return core_->add_listener(
      detail::make_listener(*core_, ListeningSocket::open(options), options.connections_max, options.tls));
}

Result<ListenerInfo> HttpServer::listen_unix(const UnixListenerOptions& options) {
  assert(core_->loop.on_loop());
  return core_->add_listener(
      detail::make_listener(*core_, ListeningSocket::open(options), options.connections_max, nullptr));
}

Result<ListenerInfo> HttpServer::listen_fd(int fd, std::shared_ptr<TlsServerContext> tls, std::size_t connections_max) {
  assert(core_->loop.on_loop());
  return core_->add_listener(
      detail::make_listener(*core_, ListeningSocket::adopt(fd, false), connections_max, std::move(tls)));
}

void HttpServer::close_listener(std::uint32_t id) {
  core_->close_listener(id);
}

void HttpServer::set_accepting(bool accepting) {
  assert(core_->loop.on_loop());
  core_->set_accepting(accepting);
}

void HttpServer::quiesce(std::uint64_t timeout_ms, UniqueFunction<void()> done) {
  core_->quiesce(timeout_ms, std::move(done));
}

void HttpServer::drain(std::uint64_t timeout_ms, UniqueFunction<void()> done) {
  core_->drain(timeout_ms, std::move(done));
}

void HttpServer::close() {
  core_->close();
}
std::size_t HttpServer::connection_count() const {
  return core_->connection_count();
}
const std::shared_ptr<NetCounters>& HttpServer::counters() const {
  return core_->counters;
}

}  // namespace cm::net
