// The WebSocket connection of both roles.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "host/net/detail/loop_core.hpp"
#include "host/net/detail/stream_socket.hpp"
#include "host/net/detail/write_queue.hpp"
#include "host/net/websocket.hpp"

namespace cm::net::detail {

// States: open -> closing (our close frame is queued, the peer's is awaited) -> ending (both are known or a violation
// was found; only output is left) -> closed (nothing moves, on_closed is due) -> done (on_closed was called). Holds
// itself alive until done. [loop]
class WsConnectionImpl final : public WsConnection,
                               public FdListener,
                               public LoopResident,
                               public std::enable_shared_from_this<WsConnectionImpl> {
 public:
  WsConnectionImpl(Loop& loop, std::unique_ptr<StreamSocket> socket, WsRole role, const WsOptions& options,
                   WsHandlers handlers, RemoteAddress remote, std::shared_ptr<NetCounters> counters);
  ~WsConnectionImpl() override;
  WsConnectionImpl(const WsConnectionImpl&) = delete;
  WsConnectionImpl& operator=(const WsConnectionImpl&) = delete;

  // `leftover` was read behind the handshake; it is decoded in a later turn. `output` (the 101 answer) leaves first.
  Status start(std::string_view leftover, WriteQueue output);

  WsSend send(SharedBuffer payload, bool text) override;
  bool send_ping(std::string_view payload) override;
  void close(std::uint16_t code, std::string_view reason) override;
  void terminate() override;
  void pause_reading(bool paused) override;
  bool open() const override { return state_ == State::kOpen; }
  std::size_t buffered_bytes() const override { return output_.bytes(); }
  std::int64_t last_receive_ns() const override { return last_receive_ns_; }
  const RemoteAddress& remote() const override { return remote_; }
  std::string_view subprotocol() const override { return subprotocol_; }
  Loop& loop() const override { return loop_; }
  std::shared_ptr<WsConnection> shared() override { return shared_from_this(); }
  void set_handlers(WsHandlers handlers) override;

  void on_fd_ready(bool readable, bool writable) override;
  void on_loop_gone() override;

 private:
  enum class State : std::uint8_t { kOpen, kClosing, kEnding, kClosed, kDone };

  void on_readable();
  void read_into_shared_buffer(std::span<std::uint8_t> buffer, std::size_t kept);
  void read_into_carry(std::span<std::uint8_t> buffer);
  bool accept_read(const IoResult& result);
  void decode(std::span<std::uint8_t> input);
  void take_leftover();
  void continue_reading();
  void on_controls(const WsBatch& batch);
  void on_peer_close(const WsControl& frame);
  void fail(const WsFailure& failure);
  void slow_consumer();
  void push_frame(WsOpcode opcode, SharedBuffer payload);
  void push_close(std::uint16_t code, std::string_view reason);
  void begin_ending(std::uint16_t code, std::string_view reason, bool clean);
  void start_close_timer();
  void schedule_flush();
  IoStatus write_some();
  void flush();
  void update_interest();
  void finish(bool linger);

  Loop& loop_;
  std::unique_ptr<StreamSocket> socket_;
  std::shared_ptr<WsHandlers> handlers_;
  std::shared_ptr<NetCounters> counters_;
  std::shared_ptr<WsConnectionImpl> self_;  // while not done
  WsDecoder decoder_;
  FdWatch watch_;
  WriteQueue output_;
  std::vector<std::uint8_t> carry_;  // an unfinished frame
  std::size_t needed_ = 0;           // its size once known, 0 before
  std::size_t high_watermark_bytes_;
  std::size_t low_watermark_bytes_;
  std::size_t hard_limit_bytes_;
  std::uint64_t close_timeout_ms_;
  std::uint64_t unreported_sent_ = 0;  // messages not yet added to the counters
  std::int64_t last_receive_ns_ = 0;
  TimerId close_timer_ = TimerId::kNone;
  RemoteAddress remote_;
  std::string subprotocol_;
  std::string close_reason_;
  std::uint16_t close_code_ = kWsCloseAbnormal;
  std::uint16_t slow_consumer_code_;
  WsRole role_;
  State state_ = State::kOpen;
  bool clean_ = false;
  bool paused_ = false;  // the user was told kPaused and waits for on_drain
  bool reading_paused_ = false;
  bool leftover_ = false;  // carry_ was read behind the handshake and nobody has decoded it
  bool blocked_ = false;
  bool flush_scheduled_ = false;
};

}  // namespace cm::net::detail
