// One WebSocket: frames in, replies out in the order of their requests, pushes in between.
#pragma once

#include <claudemesh/cpp/websocket.hpp>
#include <cstdint>
#include <deque>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "plugins/ws_broker/src/held_frames.hpp"
#include "plugins/ws_broker/src/model.hpp"

namespace cm::broker {

class Connection;

// Implemented by the broker. The connection may be closed by a call, but is not destroyed inside one.
class ConnectionOwner {
 public:
  // One message of the client; `padded` has CM_WEBSOCKET_PADDING_BYTES readable bytes behind it.
  virtual void on_frame(Connection& connection, std::string_view padded) = 0;
  // All messages of one read have been handed over.
  virtual void on_read_end() = 0;
  virtual void on_pong(Connection& connection) = 0;
  virtual void on_drained(Connection& connection) = 0;
  // Frames are held because too many requests are open, and now half of them are answered: call resume(), but not from
  // in here.
  virtual void on_resumable(Connection& connection) = 0;
  // The last call for this connection.
  virtual void on_connection_closed(Connection& connection) = 0;

 protected:
  ~ConnectionOwner() = default;
};

class Connection final : public WebSocketOwner {
 public:
  // A place in the order of replies.
  using Ticket = std::uint64_t;

  // What is held beyond `open_requests_max` requests. A host that can stop reading hands over the rest of one read at
  // most (and what was on its way to a process of our own), so its bound is a safeguard. An older one goes on reading:
  // a client that does not wait for its answers is closed with 1013.
  static constexpr std::size_t kHeldBytesMax = 16 * 1024 * 1024;
  static constexpr std::size_t kHeldBytesMaxWithoutPause = 1024 * 1024;
  static constexpr std::uint16_t kTryAgainLater = 1013;

  Connection(ConnectionOwner& owner, std::uint64_t number, std::size_t open_requests_max)
      : owner_(owner), number_(number), open_requests_max_(open_requests_max) {}

  cm_status accept(const HostApi& host, const HttpRequest& request, const cm_websocket_options& options) {
    return socket_.accept(host, request, options, this);
  }

  std::uint64_t number() const noexcept { return number_; }
  // False after close(): what the client still sends is ignored, and nothing is sent any more.
  bool open() const noexcept { return open_ && socket_.is_open(); }

  // --- replies: leave in the order of the tickets, whenever they are answered ---
  Ticket reserve();
  // An empty text means that there is no reply. Each ticket is answered exactly once.
  void answer(Ticket ticket, std::string frame);
  void reply(std::string frame) { answer(reserve(), std::move(frame)); }

  // A request without a reply that has work to do: it counts for the bound of open requests until settle(), but no
  // reply waits for it. settle() is called once for each.
  void begin_unanswered() noexcept { ++unanswered_; }
  void settle();

  // Hands over what was held, up to the bound of open requests, and reads again when nothing is left.
  void resume();
  // Nothing is read, so that no pong can arrive either: silence says nothing about the client.
  bool reading_paused() const noexcept { return paused_; }

  // --- pushes: leave at once. CM_OK or CM_BUSY (slow down): taken. Anything else: not taken. ---
  cm_status push(std::string_view frame) { return open() ? socket_.send_text(frame) : CM_GONE; }
  cm_status push_shared(cm_handle buffer) { return open() ? socket_.send_buffer(buffer) : CM_GONE; }
  void ping() const noexcept { socket_.ping(); }

  // Sends what is queued and a close frame; on_connection_closed follows.
  void close(std::uint32_t code, std::string_view reason);
  // Drops it at once; nothing follows, the caller tidies up.
  void terminate() noexcept {
    open_ = false;
    socket_.terminate();
  }

  // Set by the owner: the presence that this connection carries, and how many frames came before it.
  Presence* presence = nullptr;
  std::uint32_t frames_before_hello = 0;

 private:
  void on_messages(std::span<const cm_websocket_message> messages) override;
  void on_pong() override { owner_.on_pong(*this); }
  void on_drained() override { owner_.on_drained(*this); }
  void on_closed(std::uint32_t code, std::string_view reason, bool clean) override;
  void send_ready();
  void resume_if_answered();
  std::size_t open_requests() const noexcept { return replies_.size() + unanswered_; }
  void take(std::string_view padded);
  void hold(std::string_view frame);
  void take_held();

  ConnectionOwner& owner_;
  std::uint64_t number_;
  bool open_ = true;
  std::size_t open_requests_max_;
  std::size_t unanswered_ = 0;
  bool holding_ = false;   // too many requests are open: frames go to held_
  bool resuming_ = false;  // the owner was told
  bool paused_ = false;    // the host reads nothing meanwhile
  HeldFrames held_;
  Ticket first_ticket_ = 0;
  std::deque<std::optional<std::string>> replies_;  // of the tickets from first_ticket_ on
  WebSocket socket_;
};

}  // namespace cm::broker
