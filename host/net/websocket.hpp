// WebSocket connections (RFC 6455): the server's upgrade, the client's connect, and the connection both of them get.
#pragma once

#include <claudemesh/cpp/result.hpp>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "host/net/counters.hpp"
#include "host/net/http_server.hpp"
#include "host/net/http_types.hpp"
#include "host/net/loop.hpp"
#include "host/net/shared_buffer.hpp"
#include "host/net/tls.hpp"
#include "host/net/unique_function.hpp"
#include "host/net/url.hpp"
#include "host/net/ws_codec.hpp"

namespace cm::net {

class WsConnection;

// Bounds of one connection.
struct WsOptions {
  std::size_t max_message_bytes = 1024 * 1024;               // larger: closed with 1009, counted
  std::size_t high_watermark_bytes = 1024 * 1024;            // send() reports kPaused at or above
  std::size_t low_watermark_bytes = 256 * 1024;              // on_drain at or below
  std::size_t hard_limit_bytes = 16 * 1024 * 1024;           // above: closed as a slow consumer, counted
  std::uint16_t slow_consumer_code = kWsCloseTryAgainLater;  // or kWsClosePolicy
  std::uint64_t close_timeout_ms = 5'000;                    // close frame sent to connection gone
  std::string subprotocol{};                // server: the chosen one, must have been offered; empty: none
  Headers response_headers{};               // server: added to the 101 answer
  std::shared_ptr<NetCounters> counters{};  // null: the server's (accept) or none of interest (connect)
};

// What happens on a connection. Each may be empty. [loop]. None is called from inside send(), close() or terminate().
struct WsHandlers {
  // All messages that one read completed, in order. The views are valid until return; 64 bytes behind each are
  // readable.
  UniqueFunction<void(WsConnection&, std::span<const WsMessage>)> on_messages;
  // A pong, with its payload. Pings are answered without asking.
  UniqueFunction<void(WsConnection&, std::string_view payload)> on_pong;
  // The send queue fell to the low watermark after send() had reported kPaused.
  UniqueFunction<void(WsConnection&)> on_drain;
  // Exactly once, the last call (never, when the loop is destroyed first). `clean`: both close frames were exchanged.
  // Without a close frame of the peer the code is 1006; after a violation or overflow found here it is the code that
  // was sent (1002, 1007, 1009, 1013).
  UniqueFunction<void(WsConnection&, std::uint16_t code, std::string_view reason, bool clean)> on_closed;
};

enum class WsSend {
  kOk,
  kPaused,  // taken, but the high watermark is reached: wait for on_drain
  kClosed,  // not taken: closing or closed (also when this very call overran the hard limit)
};

// An open WebSocket. [loop] for everything. The loop keeps an open connection alive; a handle dropped by the user does
// not close it. An idle connection owns no buffer.
class WsConnection {
 public:
  virtual ~WsConnection() = default;

  // Enqueues one message. The payload is shared, not copied (a client must copy it for masking). All sends of a turn
  // leave in one gather write at the end of the turn. Text must be valid UTF-8; that is the caller's promise.
  virtual WsSend send(SharedBuffer payload, bool text) = 0;
  WsSend send_text(std::string_view text) { return send(SharedBuffer::copy(text), true); }

  // At most 125 bytes; more is cut. False when closing or closed.
  virtual bool send_ping(std::string_view payload) = 0;

  // Starts the close handshake: what is queued is sent first, then the close frame. Invalid codes become 1000.
  virtual void close(std::uint16_t code, std::string_view reason) = 0;
  // Cuts the connection without a close frame; on_closed reports 1006.
  virtual void terminate() = 0;

  // Stops (or resumes) reading: messages then wait in the socket and the peer is slowed down. Back-pressure for the
  // receiving side. Pongs and the peer's close are not seen while paused, its pings not answered; a failing write is
  // noticed. The rest of a batch that is being handed over still belongs to it. close() ends the pause.
  virtual void pause_reading(bool paused) = 0;

  virtual bool open() const = 0;  // false as soon as close(), terminate() or the peer began to end it
  virtual std::size_t buffered_bytes() const = 0;
  virtual std::int64_t last_receive_ns() const = 0;  // Loop::now_ns() base
  virtual const RemoteAddress& remote() const = 0;
  virtual std::string_view subprotocol() const = 0;
  virtual Loop& loop() const = 0;
  virtual std::shared_ptr<WsConnection> shared() = 0;

  // Replaces the handlers, for example after a hello decided who will own the connection. Not inside on_closed.
  virtual void set_handlers(WsHandlers handlers) = 0;
};

// Upgrades a request (RFC 6455 section 4.2). On success 101 is sent and the connection has left the HTTP server. On
// failure the request has been answered with 400 or 426 and the same text is returned (kInvalid). [loop]
Result<std::shared_ptr<WsConnection>> accept_websocket(const std::shared_ptr<HttpRequest>& request, WsOptions options,
                                                       WsHandlers handlers);

struct WsConnectOptions {
  WsOptions ws{};
  Headers headers{};                            // added to the request, for example Authorization
  std::vector<std::string> subprotocols{};      // offered
  std::uint64_t connect_timeout_ms = 10'000;    // name, TCP, proxy, TLS together
  std::uint64_t handshake_timeout_ms = 10'000;  // HTTP upgrade
  std::size_t response_head_bytes = 16 * 1024;
  std::shared_ptr<TlsClientContext> tls{};  // null: verified against the system's CAs
  ProxySettings proxy = ProxySettings::from_environment();
};

// How a connect ended: `connection` is set, or `error` says why not. `http_status` is what the server answered (101 on
// success), 0 when it never came to that.
struct WsConnectResult {
  std::shared_ptr<WsConnection> connection;
  Error error;
  int http_status = 0;
  Headers response_headers{};
};

// A connect under way. [loop]
class WsClient {
 public:
  virtual ~WsClient() = default;
  // Gives up; on_connected is then not called. Without effect once it was called.
  virtual void cancel() = 0;

  // Dials ws://, wss:// or unix:///path.sock:/target. `on_connected` is called exactly once, in a later turn, unless
  // cancelled. The attempt keeps itself alive. Name look-up runs on a helper thread.
  static std::shared_ptr<WsClient> connect(Loop& loop, std::string_view url, WsConnectOptions options,
                                           WsHandlers handlers, UniqueFunction<void(WsConnectResult)> on_connected);
};

}  // namespace cm::net
