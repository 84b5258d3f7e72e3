// The WebSocket connections of one instance (cm.websocket/1) over net::WsConnection. [loop]
#pragma once

#include <claudemesh/ext/websocket.h>
#include <claudemesh/cpp/result.hpp>

#include <cstdint>
#include <memory>
#include <span>
#include <string_view>
#include <vector>

#include "host/net/websocket.hpp"
#include "host/services/handle_table.hpp"

namespace cm::host {

class Instance;

inline constexpr std::uint32_t kSocketsMax = 262'144;     // of one instance
inline constexpr std::size_t kCloseReasonBytesMax = 123;  // RFC 6455 section 5.5

class WebSockets {
 public:
  explicit WebSockets(Instance& instance) : instance_(instance) {}
  ~WebSockets() { silence(); }

  Result<cm_handle> accept(cm_handle request, const cm_websocket_options& options,
                           const cm_websocket_callbacks& callbacks, void* user);
  Result<cm_handle> connect(std::string_view url, const cm_websocket_options& options,
                            const cm_websocket_callbacks& callbacks, void* user);
  cm_status send(cm_handle socket, std::uint32_t kind, net::SharedBuffer payload);
  cm_status ping(cm_handle socket);
  cm_status close(cm_handle socket, std::uint32_t code, std::string_view reason);
  bool terminate(cm_handle socket);
  std::uint64_t buffered_bytes(cm_handle socket) const;
  cm_status pause_reading(cm_handle socket, bool paused);

  // Drops every connection without a callback; the entries stay for counting.
  void silence();
  // Connections that the plugin has not begun to end.
  std::uint32_t left_open();

 private:
  struct Socket {
    cm_websocket_callbacks callbacks;
    void* user = nullptr;
    std::shared_ptr<net::WsConnection> connection;  // null while connecting
    std::shared_ptr<net::WsClient> connecting;      // null otherwise
    net::TimerId handshake_timer = net::TimerId::kNone;
    bool ending = false;  // the plugin has called close
  };

  net::WsHandlers handlers_for(cm_handle socket);
  void on_connected(cm_handle socket, net::WsConnectResult result);
  void on_messages(cm_handle socket, std::span<const net::WsMessage> messages);
  void on_pong(cm_handle socket);
  void on_drain(cm_handle socket);
  void on_closed(cm_handle socket, std::uint32_t code, std::string_view reason, bool clean);
  void post_closed(cm_handle socket, std::string reason);
  void drop(Socket& socket);

  Instance& instance_;
  HandleTable<Socket> sockets_{kSocketsMax, 0x9900};
  std::vector<cm_websocket_message> batch_;  // reused: an instance is never entered twice at once
};

}  // namespace cm::host
