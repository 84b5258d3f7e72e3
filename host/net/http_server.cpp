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
  ListenerInfo info = (*listener)->info();
  listeners_.emplace(info.id, std::move(*listener));
  return info;
}

void HttpServerCore::add_connection(std::shared_ptr<HttpServerConnection> connection) {
  auto* key = connection.get();
  connections_.emplace(key, std::move(connection));
}

void HttpServerCore::remove_connection(HttpServerConnection* connection) {
  connections_.erase(connection);
  if (draining && connections_.empty()) {
    finish_drain();
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
  return core_->add_listener(detail::open_tcp_listener(*core_, options));
}

Result<ListenerInfo> HttpServer::listen_unix(const UnixListenerOptions& options) {
  assert(core_->loop.on_loop());
  return core_->add_listener(detail::open_unix_listener(*core_, options));
}

Result<ListenerInfo> HttpServer::listen_fd(int fd, std::shared_ptr<TlsServerContext> tls, std::size_t connections_max) {
  assert(core_->loop.on_loop());
  return core_->add_listener(detail::adopt_listener(*core_, fd, std::move(tls), connections_max));
}

void HttpServer::close_listener(std::uint32_t id) {
  core_->close_listener(id);
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
