// cm.websocket/1 as C++: a socket that calls an owner. [loop]
#pragma once

#include <claudemesh/ext/websocket.h>

#include <cstdint>
#include <span>
#include <string_view>
#include <utility>

#include <claudemesh/cpp/host.hpp>
#include <claudemesh/cpp/http.hpp>

namespace cm {

// Implemented by whoever owns a socket. `on_closed` is the last call.
class WebSocketOwner {
 public:
  // A connection of `connect` is open. [loop]
  virtual void on_opened() {}
  // All messages of one read; the bytes are valid until return and CM_WEBSOCKET_PADDING_BYTES may be read behind each.
  virtual void on_messages(std::span<const cm_websocket_message> messages) = 0;
  // The peer answered a ping. [loop]
  virtual void on_pong() {}
  // After CM_BUSY of a send: less waits now than the low watermark. [loop]
  virtual void on_drained() {}
  // `code` 1006 when the connection broke or never opened. [loop]
  virtual void on_closed(std::uint32_t code, std::string_view reason, bool clean) = 0;

 protected:
  ~WebSocketOwner() = default;
};

// Terminates the connection when destroyed; the owner is then not called any more.
class WebSocket {
 public:
  WebSocket() = default;
  WebSocket(const WebSocket&) = delete;
  WebSocket& operator=(const WebSocket&) = delete;
  ~WebSocket() { terminate(); }

  // Upgrades a request, which is thereby answered. `owner` must outlive the socket. [loop]
  cm_status accept(const HostApi& host, const HttpRequest& request, cm_websocket_options options,
                   WebSocketOwner* owner) {
    return open(host, options, owner, [&](const cm_websocket_callbacks* callbacks) {
      return table_->accept(host.self(), request.handle(), &options, callbacks, this, &handle_);
    });
  }
  // Opens ws:// or wss://; on_opened or on_closed follows. `owner` must outlive the socket. [loop]
  cm_status connect(const HostApi& host, std::string_view url, cm_websocket_options options, WebSocketOwner* owner) {
    return open(host, options, owner, [&](const cm_websocket_callbacks* callbacks) {
      return table_->connect(host.self(), to_pview(url), &options, callbacks, this, &handle_);
    });
  }

  // Is there a connection, or one being opened? [loop]
  bool is_open() const noexcept { return handle_ != CM_NO_HANDLE; }
  // Queues one message, copied. CM_BUSY: taken, but slow down. [loop]
  cm_status send_text(std::string_view text) const noexcept {
    return handle_ == CM_NO_HANDLE ? CM_GONE
                                   : table_->send(host_->self(), handle_, CM_WEBSOCKET_TEXT, to_bytes_pview(text));
  }
  // Queues a buffer of cm.buffer/1 as text, without a copy. [loop]
  cm_status send_buffer(cm_handle buffer) const noexcept {
    return handle_ == CM_NO_HANDLE ? CM_GONE : table_->send_buffer(host_->self(), handle_, CM_WEBSOCKET_TEXT, buffer);
  }
  // Sends a ping; on_pong follows. [loop]
  void ping() const noexcept {
    if (handle_ != CM_NO_HANDLE) {
      table_->ping(host_->self(), handle_);
    }
  }
  // Sends what is queued and a close frame; on_closed follows. [loop]
  void close(std::uint32_t code, std::string_view reason) const noexcept {
    if (handle_ != CM_NO_HANDLE) {
      table_->close(host_->self(), handle_, code, to_pview(reason));
    }
  }
  // Drops the connection at once; on_closed is NOT called. The owner tidies up itself.
  void terminate() noexcept {
    owner_ = nullptr;
    if (handle_ != CM_NO_HANDLE) {
      table_->terminate(host_->self(), std::exchange(handle_, CM_NO_HANDLE));
    }
  }
  // Bytes that wait to be sent. [loop]
  std::uint64_t buffered_bytes() const noexcept {
    return handle_ == CM_NO_HANDLE ? 0 : table_->buffered_bytes(host_->self(), handle_);
  }
  // Can the host stop reading? An older one cannot. Known once a connection was accepted or asked for. [loop]
  bool can_pause_reading() const noexcept {
    return table_ != nullptr && CM_HAS_FUNCTION(table_, cm_websocket_v1, resume_reading);
  }
  // Stops reading, so that TCP slows the peer down; what was read already still comes. CM_UNSUPPORTED: an older host.
  // While paused no pong is seen: do not judge the peer by them. [loop]
  cm_status pause_reading() const noexcept {
    if (handle_ == CM_NO_HANDLE) {
      return CM_GONE;
    }
    return can_pause_reading() ? table_->pause_reading(host_->self(), handle_) : CM_UNSUPPORTED;
  }
  // Reads again; on_messages follows in a later turn. [loop]
  cm_status resume_reading() const noexcept {
    if (handle_ == CM_NO_HANDLE) {
      return CM_GONE;
    }
    return can_pause_reading() ? table_->resume_reading(host_->self(), handle_) : CM_UNSUPPORTED;
  }

 private:
  template <typename Open>
  cm_status open(const HostApi& host, cm_websocket_options& options, WebSocketOwner* owner, Open&& function) {
    host_ = &host;
    table_ = host.find_prefix<cm_websocket_v1>(CM_WEBSOCKET_ID, CM_WEBSOCKET_V1_BYTES_MIN);
    if (table_ == nullptr) {
      return CM_DENIED;
    }
    owner_ = owner;
    options.size = sizeof(options);
    cm_websocket_callbacks callbacks = {};
    callbacks.size = sizeof(callbacks);
    callbacks.opened = &WebSocket::opened;
    callbacks.messages = &WebSocket::messages;
    callbacks.pong = &WebSocket::pong;
    callbacks.drained = &WebSocket::drained;
    callbacks.closed = &WebSocket::closed;
    return function(&callbacks);
  }

  static WebSocketOwner* owner_of(void* user) noexcept { return static_cast<WebSocket*>(user)->owner_; }
  static const HostApi* host_of(void* user) noexcept { return static_cast<WebSocket*>(user)->host_; }
  static void opened(void* user, cm_handle) noexcept {
    if (WebSocketOwner* owner = owner_of(user)) {
      host_of(user)->guarded("websocket_opened", [&] { owner->on_opened(); });
    }
  }
  static void messages(void* user, cm_handle, const cm_websocket_message* messages, std::uint64_t count) noexcept {
    if (WebSocketOwner* owner = owner_of(user)) {
      host_of(user)->guarded("websocket_messages", [&] { owner->on_messages({messages, count}); });
    }
  }
  static void pong(void* user, cm_handle) noexcept {
    if (WebSocketOwner* owner = owner_of(user)) {
      host_of(user)->guarded("websocket_pong", [&] { owner->on_pong(); });
    }
  }
  static void drained(void* user, cm_handle) noexcept {
    if (WebSocketOwner* owner = owner_of(user)) {
      host_of(user)->guarded("websocket_drained", [&] { owner->on_drained(); });
    }
  }
  static void closed(void* user, cm_handle, std::uint32_t code, cm_text_hview reason, bool clean) noexcept {
    auto* socket = static_cast<WebSocket*>(user);
    socket->handle_ = CM_NO_HANDLE;
    if (WebSocketOwner* owner = std::exchange(socket->owner_, nullptr)) {
      const HostApi* host = socket->host_;  // the owner may destroy the socket
      host->guarded("websocket_closed", [&] { owner->on_closed(code, to_view(reason), clean); });
    }
  }

  const HostApi* host_ = nullptr;
  const cm_websocket_v1* table_ = nullptr;
  cm_handle handle_ = CM_NO_HANDLE;
  WebSocketOwner* owner_ = nullptr;
};

}  // namespace cm
