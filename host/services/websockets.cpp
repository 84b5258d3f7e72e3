#include "host/services/websockets.hpp"

#include "host/services/host_view.hpp"
#include "host/services/http_listeners.hpp"
#include "host/services/http_views.hpp"
#include "host/services/services.hpp"

namespace cm::host {

namespace {

constexpr std::uint64_t kHandshakeTimeoutMs = 10'000;
constexpr std::uint16_t kCloseAbnormal = 1006;  // RFC 6455 section 7.1.5

net::WsOptions options_of(const cm_websocket_options& given, const Services& services) {
  net::WsOptions options;
  options.counters = services.net_counters;
  if (given.message_bytes_max != 0) {
    options.max_message_bytes = given.message_bytes_max;
  }
  if (given.buffered_bytes_high != 0) {
    options.high_watermark_bytes = given.buffered_bytes_high;
    options.low_watermark_bytes = given.buffered_bytes_high / 4;
  }
  if (given.buffered_bytes_max != 0) {
    options.hard_limit_bytes = given.buffered_bytes_max;
  }
  if (given.close_timeout_ms != 0) {
    options.close_timeout_ms = given.close_timeout_ms;
  }
  return options;
}

Error too_many_sockets() {
  return make_error(ErrorCode::kBusy, "an instance may have at most " + std::to_string(kSocketsMax) +
                                          " WebSocket connections; close some first");
}

}  // namespace

net::WsHandlers WebSockets::handlers_for(cm_handle socket) {
  // The instance outlives everything, so its state can be asked before the sockets are touched.
  Instance* instance = &instance_;
  net::WsHandlers handlers;
  handlers.on_messages = [instance, socket](net::WsConnection&, std::span<const net::WsMessage> messages) {
    if (instance->open()) {
      instance->holdings->sockets->on_messages(socket, messages);
    }
  };
  handlers.on_pong = [instance, socket](net::WsConnection&, std::string_view) {
    if (instance->open()) {
      instance->holdings->sockets->on_pong(socket);
    }
  };
  handlers.on_drain = [instance, socket](net::WsConnection&) {
    if (instance->open()) {
      instance->holdings->sockets->on_drain(socket);
    }
  };
  handlers.on_closed = [instance, socket](net::WsConnection&, std::uint16_t code, std::string_view reason, bool clean) {
    if (instance->open()) {
      instance->holdings->sockets->on_closed(socket, code, reason, clean);
    }
  };
  return handlers;
}

Result<cm_handle> WebSockets::accept(cm_handle request, const cm_websocket_options& options,
                                     const cm_websocket_callbacks& callbacks, void* user) {
  const std::shared_ptr<net::HttpRequest> http = instance_.holdings->http->unanswered_request(request);
  if (http == nullptr) {
    return make_error(ErrorCode::kGone, "the request was answered already, or its peer has left");
  }
  if (!http->wants_websocket()) {
    return make_error(ErrorCode::kInvalid, "the request asks for no WebSocket upgrade; answer it with respond");
  }
  auto entry = std::make_unique<Socket>();
  entry->callbacks = callbacks;
  entry->user = user;
  const cm_handle handle = sockets_.insert(std::move(entry));
  if (handle == CM_NO_HANDLE) {
    return too_many_sockets();
  }
  auto connection = net::accept_websocket(http, options_of(options, instance_.services()), handlers_for(handle));
  instance_.holdings->http->forget(request);  // answered either way
  if (!connection) {
    sockets_.remove(handle);
    return std::move(connection).error();
  }
  sockets_.find(handle)->connection = *connection;
  return handle;
}

Result<cm_handle> WebSockets::connect(std::string_view url, const cm_websocket_options& options,
                                      const cm_websocket_callbacks& callbacks, void* user) {
  auto entry = std::make_unique<Socket>();
  entry->callbacks = callbacks;
  entry->user = user;
  const cm_handle handle = sockets_.insert(std::move(entry));
  if (handle == CM_NO_HANDLE) {
    return too_many_sockets();
  }
  const std::uint64_t timeout_ms =
      options.handshake_timeout_ms != 0 ? options.handshake_timeout_ms : kHandshakeTimeoutMs;
  net::WsConnectOptions connect_options;
  connect_options.ws = options_of(options, instance_.services());
  connect_options.connect_timeout_ms = timeout_ms;
  connect_options.handshake_timeout_ms = timeout_ms;
  Instance* instance = &instance_;
  net::Loop& loop = instance_.loop_thread().loop();
  Socket* socket = sockets_.find(handle);
  socket->connecting = net::WsClient::connect(loop, url, std::move(connect_options), handlers_for(handle),
                                              [instance, handle](net::WsConnectResult result) {
                                                if (instance->open()) {
                                                  instance->holdings->sockets->on_connected(handle, std::move(result));
                                                } else if (result.connection != nullptr) {
                                                  result.connection->terminate();
                                                }
                                              });
  // The two time limits above follow one another; this one holds them together, as ext/websocket.h says.
  socket->handshake_timer = loop.start_timer_after_ms(timeout_ms, [this, handle, timeout_ms] {
    Socket* late = sockets_.find(handle);
    if (late != nullptr && late->connecting != nullptr) {
      late->handshake_timer = net::TimerId::kNone;
      std::exchange(late->connecting, nullptr)->cancel();
      on_closed(handle, kCloseAbnormal, "no connection within " + std::to_string(timeout_ms) + " ms", false);
    }
  });
  return handle;
}

void WebSockets::on_connected(cm_handle handle, net::WsConnectResult result) {
  Socket* socket = sockets_.find(handle);
  if (socket == nullptr) {
    if (result.connection != nullptr) {
      result.connection->terminate();
    }
    return;
  }
  socket->connecting.reset();
  instance_.loop_thread().loop().cancel_timer(std::exchange(socket->handshake_timer, net::TimerId::kNone));
  if (result.connection == nullptr) {
    on_closed(handle, kCloseAbnormal, result.error.message, false);
    return;
  }
  socket->connection = std::move(result.connection);
  if (const auto opened = socket->callbacks.opened; opened != nullptr) {
    void* const user = socket->user;
    enter(instance_, CallbackKind::kWebSocketOpened, [&] { opened(user, handle); });
  }
}

void WebSockets::on_messages(cm_handle handle, std::span<const net::WsMessage> messages) {
  const Socket* socket = sockets_.find(handle);
  if (socket == nullptr || socket->callbacks.messages == nullptr) {
    return;
  }
  batch_.clear();
  for (const net::WsMessage& message : messages) {
    const std::span<const std::uint8_t> bytes = message.bytes();
    batch_.push_back({bytes.data(), bytes.size(), message.text ? CM_WEBSOCKET_TEXT : CM_WEBSOCKET_BINARY, 0});
  }
  const auto callback = socket->callbacks.messages;
  void* const user = socket->user;
  enter(instance_, CallbackKind::kWebSocketMessages, [&] { callback(user, handle, batch_.data(), batch_.size()); });
}

void WebSockets::on_pong(cm_handle handle) {
  const Socket* socket = sockets_.find(handle);
  if (socket == nullptr || socket->callbacks.pong == nullptr) {
    return;
  }
  const auto callback = socket->callbacks.pong;
  void* const user = socket->user;
  enter(instance_, CallbackKind::kWebSocketPong, [&] { callback(user, handle); });
}

void WebSockets::on_drain(cm_handle handle) {
  const Socket* socket = sockets_.find(handle);
  if (socket == nullptr || socket->callbacks.drained == nullptr) {
    return;
  }
  const auto callback = socket->callbacks.drained;
  void* const user = socket->user;
  enter(instance_, CallbackKind::kWebSocketDrained, [&] { callback(user, handle); });
}

void WebSockets::on_closed(cm_handle handle, std::uint32_t code, std::string_view reason, bool clean) {
  const std::unique_ptr<Socket> socket = sockets_.remove(handle);
  if (socket == nullptr) {
    return;
  }
  if (socket->handshake_timer != net::TimerId::kNone) {
    instance_.loop_thread().loop().cancel_timer(socket->handshake_timer);
  }
  if (socket->callbacks.closed != nullptr) {
    enter(instance_, CallbackKind::kWebSocketClosed,
          [&] { socket->callbacks.closed(socket->user, handle, code, view_of(reason), clean); });
  }
}

void WebSockets::post_closed(cm_handle handle, std::string reason) {
  Instance* instance = &instance_;
  instance_.loop_thread().loop().post([instance, handle, text = std::move(reason)] {
    if (instance->open()) {
      instance->holdings->sockets->on_closed(handle, kCloseAbnormal, text, false);
    }
  });
}

cm_status WebSockets::send(cm_handle handle, std::uint32_t kind, net::SharedBuffer payload) {
  const Socket* socket = sockets_.find(handle);
  if (socket == nullptr) {
    return CM_GONE;
  }
  if (socket->connection == nullptr) {
    return CM_INVALID;  // not open yet: `opened` tells when
  }
  switch (socket->connection->send(std::move(payload), kind == CM_WEBSOCKET_TEXT)) {
    case net::WsSend::kOk:
      return CM_OK;
    case net::WsSend::kPaused:
      return CM_BUSY;
    case net::WsSend::kClosed:
      return CM_GONE;
  }
  return CM_INTERNAL;
}

cm_status WebSockets::ping(cm_handle handle) {
  const Socket* socket = sockets_.find(handle);
  if (socket == nullptr || socket->connection == nullptr) {
    return socket == nullptr ? CM_GONE : CM_INVALID;
  }
  return socket->connection->send_ping({}) ? CM_OK : CM_GONE;
}

cm_status WebSockets::close(cm_handle handle, std::uint32_t code, std::string_view reason) {
  Socket* socket = sockets_.find(handle);
  if (socket == nullptr) {
    return CM_GONE;
  }
  socket->ending = true;
  if (socket->connection != nullptr) {
    socket->connection->close(static_cast<std::uint16_t>(std::min<std::uint32_t>(code, UINT16_MAX)), reason);
  } else if (socket->connecting != nullptr) {
    std::exchange(socket->connecting, nullptr)->cancel();
    post_closed(handle, "closed before it was open");
  }
  return CM_OK;
}

void WebSockets::drop(Socket& socket) {
  if (socket.handshake_timer != net::TimerId::kNone) {
    instance_.loop_thread().loop().cancel_timer(std::exchange(socket.handshake_timer, net::TimerId::kNone));
  }
  if (socket.connecting != nullptr) {
    std::exchange(socket.connecting, nullptr)->cancel();
  }
  if (socket.connection != nullptr) {
    std::exchange(socket.connection, nullptr)->terminate();
  }
}

bool WebSockets::terminate(cm_handle handle) {
  const std::unique_ptr<Socket> socket = sockets_.remove(handle);
  if (socket == nullptr) {
    return false;
  }
  drop(*socket);
  return true;
}

std::uint64_t WebSockets::buffered_bytes(cm_handle handle) const {
  const Socket* socket = sockets_.find(handle);
  return socket != nullptr && socket->connection != nullptr ? socket->connection->buffered_bytes() : 0;
}

cm_status WebSockets::pause_reading(cm_handle handle, bool paused) {
  const Socket* socket = sockets_.find(handle);
  if (socket == nullptr || socket->ending) {
    return CM_GONE;
  }
  if (socket->connection == nullptr) {
    return CM_INVALID;
  }
  if (!socket->connection->open()) {
    return CM_GONE;
  }
  socket->connection->pause_reading(paused);
  return CM_OK;
}

void WebSockets::silence() {
  sockets_.for_each([this](cm_handle, Socket& socket) {
    if (socket.ending) {
      socket.connection.reset();  // The loop finishes the close handshake; the handlers find the instance closed.
    }
    drop(socket);
  });
}

std::uint32_t WebSockets::left_open() {
  std::uint32_t count = 0;
  sockets_.for_each([&count](cm_handle, const Socket& socket) { count += socket.ending ? 0 : 1; });
  return count;
}

}  // namespace cm::host
