#include "host/net/websocket.hpp"

#include <algorithm>
#include <cassert>
#include <cstring>
#include <utility>

#include "host/net/detail/linger.hpp"
#include "host/net/detail/ws_connection.hpp"

namespace cm::net::detail {

namespace {

// A carried rest up to this size is copied in front of the next read; a larger one grows where it is, so that a big
// message costs one copy of each byte and not one per read.
constexpr std::size_t kSmallCarryBytes = 16 * 1024;

}  // namespace

WsConnectionImpl::WsConnectionImpl(Loop& loop, std::unique_ptr<StreamSocket> socket, WsRole role,
                                   const WsOptions& options, WsHandlers handlers, RemoteAddress remote,
                                   std::shared_ptr<NetCounters> counters)
    : loop_(loop),
      socket_(std::move(socket)),
      handlers_(std::make_shared<WsHandlers>(std::move(handlers))),
      counters_(std::move(counters)),
      decoder_(role, options.max_message_bytes),
      high_watermark_bytes_(options.high_watermark_bytes),
      low_watermark_bytes_(std::min(options.low_watermark_bytes, options.high_watermark_bytes)),
      hard_limit_bytes_(options.hard_limit_bytes),
      close_timeout_ms_(options.close_timeout_ms),
      remote_(std::move(remote)),
      subprotocol_(options.subprotocol),
      slow_consumer_code_(options.slow_consumer_code),
      role_(role) {}

WsConnectionImpl::~WsConnectionImpl() = default;

Status WsConnectionImpl::start(std::string_view leftover, WriteQueue output) {
  const Status watched = watch_.start(loop_, socket_->fd(), *this);
  if (!watched) {
    return watched;
  }
  self_ = shared_from_this();
  loop_.core().add_resident(this);
  counters_->ws_open.add();
  last_receive_ns_ = Loop::now_ns();
  output_ = std::move(output);
  if (!output_.empty()) {
    schedule_flush();
  }
  if (!leftover.empty()) {
    // Decoded in a later turn: the caller has not even got its handle yet.
    carry_.assign(leftover.begin(), leftover.end());
    leftover_ = true;
  } else {
    update_interest();
  }
  continue_reading();
  return {};
}

// What the descriptor will not announce: bytes that were read before, by us or by TLS.
void WsConnectionImpl::continue_reading() {
  if (leftover_ || socket_->has_pending_input()) {
    loop_.post([self = shared_from_this()] {
      if (self->leftover_) {
        self->take_leftover();
      } else {
        self->on_readable();
      }
    });
  }
}

void WsConnectionImpl::take_leftover() {
  if (state_ > State::kClosing || (reading_paused_ && state_ == State::kOpen)) {
    return;
  }
  leftover_ = false;
  std::vector<std::uint8_t> bytes = std::exchange(carry_, {});
  const std::size_t size = bytes.size();
  bytes.resize(size + kBufferPadding);
  decode(std::span(bytes).first(size));
  if (state_ <= State::kClosing) {
    update_interest();
    continue_reading();
  }
}

void WsConnectionImpl::set_handlers(WsHandlers handlers) {
  assert(loop_.on_loop());
  handlers_ = std::make_shared<WsHandlers>(std::move(handlers));
}

void WsConnectionImpl::update_interest() {
  const bool reading = state_ <= State::kClosing && !leftover_ && (!reading_paused_ || state_ == State::kClosing);
  watch_.want(reading, blocked_);
}

void WsConnectionImpl::on_fd_ready(bool readable, bool writable) {
  const auto keep_alive = shared_from_this();
  // Writable although no output waits: a read of TLS had to write first (key update), so it is the read's turn.
  const bool read_waited = writable && !blocked_;
  if (blocked_) {
    flush();
  }
  if ((readable || read_waited) && state_ <= State::kClosing) {
    if (read_waited) {
      update_interest();
    }
    on_readable();
  }
}

// ---- receiving ----

void WsConnectionImpl::on_readable() {
  if (state_ > State::kClosing || leftover_ || (reading_paused_ && state_ == State::kOpen)) {
    return;
  }
  const auto keep_alive = shared_from_this();
  const auto buffer = loop_.core().read_buffer();
  if (carry_.size() <= kSmallCarryBytes && needed_ <= buffer.size() / 2) {
    std::copy(carry_.begin(), carry_.end(), buffer.begin());
    read_into_shared_buffer(buffer, carry_.size());
  } else {
    read_into_carry(buffer);
  }
  if (state_ <= State::kClosing) {
    continue_reading();
  }
}

bool WsConnectionImpl::accept_read(const IoResult& result) {
  switch (result.status) {
    case IoStatus::kOk:
      counters_->bytes_received.add(result.bytes);
      last_receive_ns_ = Loop::now_ns();
      return true;
    case IoStatus::kWantRead:
      return false;
    case IoStatus::kWantWrite:
      watch_.want(true, true);
      return false;
    default:
      state_ = State::kClosed;
      finish(false);
      return false;
  }
}

void WsConnectionImpl::read_into_shared_buffer(std::span<std::uint8_t> buffer, std::size_t kept) {
  const IoResult result = socket_->read(buffer.subspan(kept));
  if (accept_read(result)) {
    decode(buffer.first(kept + result.bytes));
  }
}

void WsConnectionImpl::read_into_carry(std::span<std::uint8_t> buffer) {
  const IoResult result = socket_->read(buffer);
  if (!accept_read(result)) {
    return;
  }
  carry_.insert(carry_.end(), buffer.begin(), buffer.begin() + static_cast<std::ptrdiff_t>(result.bytes));
  if (carry_.size() < needed_) {
    return;
  }
  std::vector<std::uint8_t> bytes = std::move(carry_);
  carry_ = {};
  const std::size_t size = bytes.size();
  bytes.resize(size + kBufferPadding);
  decode(std::span(bytes).first(size));
}

// Decodes the input, keeps its unfinished rest, and only then calls the handlers: these may do anything but read.
void WsConnectionImpl::decode(std::span<std::uint8_t> input) {
  const auto keep_alive = shared_from_this();
  WsBatch& batch = loop_.core().ws_batch();
  batch.clear();
  const WsDecoder::Outcome outcome = decoder_.decode(input, batch);
  const bool over = outcome.closed || outcome.failure;
  const auto rest = input.subspan(over ? input.size() : outcome.consumed);
  needed_ = over ? 0 : outcome.needed;
  if (rest.empty()) {
    carry_ = {};
  } else {
    carry_.assign(rest.begin(), rest.end());
  }
  if (!batch.messages.empty() && state_ == State::kOpen) {
    counters_->ws_messages_received.add(batch.messages.size());
    const auto handlers = handlers_;
    if (handlers->on_messages) {
      handlers->on_messages(*this, batch.messages);
    }
  }
  if (state_ <= State::kClosing && !batch.controls.empty()) {
    on_controls(batch);
  }
  batch.clear();
  if (state_ <= State::kClosing && outcome.failure) {
    fail(outcome.failure);
  }
}

void WsConnectionImpl::on_controls(const WsBatch& batch) {
  // RFC 6455 section 5.5.3: only the most recent ping needs an answer, which also tames floods of pings.
  const WsControl* ping = nullptr;
  const auto handlers = handlers_;
  for (const WsControl& control : batch.controls) {
    if (control.opcode == WsOpcode::kPing) {
      ping = &control;
    } else if (control.opcode == WsOpcode::kPong && handlers->on_pong && state_ <= State::kClosing) {
      handlers->on_pong(*this, control.view());
    }
  }
  if (ping != nullptr && state_ == State::kOpen) {
    push_frame(WsOpcode::kPong, SharedBuffer::copy(ping->view()));
    schedule_flush();
  }
  if (batch.controls.back().opcode == WsOpcode::kClose && state_ <= State::kClosing) {
    on_peer_close(batch.controls.back());
  }
}

void WsConnectionImpl::on_peer_close(const WsControl& frame) {
  std::uint16_t code = kWsCloseNoStatus;
  std::string_view reason;
  if (frame.size >= 2) {
    code = static_cast<std::uint16_t>(static_cast<std::uint8_t>(frame.payload[0]) << 8 |
                                      static_cast<std::uint8_t>(frame.payload[1]));
    reason = frame.view().substr(2);
  }
  if (state_ == State::kOpen) {
    push_close(code, {});  // RFC 6455 section 5.5.1: echo the code
  }
  begin_ending(code, reason, true);
}

void WsConnectionImpl::fail(const WsFailure& failure) {
  switch (failure.code) {
    case kWsCloseInvalidData:
      counters_->ws_invalid_text.add();
      break;
    case kWsCloseTooBig:
      counters_->ws_message_too_big.add();
      break;
    default:
      counters_->ws_protocol_errors.add();
      break;
  }
  if (state_ == State::kOpen) {
    push_close(failure.code, failure.reason);
  }
  begin_ending(failure.code, failure.reason, false);
}

// ---- sending ----

void WsConnectionImpl::push_frame(WsOpcode opcode, SharedBuffer payload) {
  if (role_ == WsRole::kServer) {
    const WsFrameHead head = ws_frame_head(opcode, true, payload.size(), nullptr);
    output_.push(std::span(head.bytes).first(head.size), std::move(payload));
    return;
  }
  // A client's payload is masked, so it cannot be shared with other connections.
  std::uint8_t mask[4];
  loop_.core().random_mask(mask);
  const WsFrameHead head = ws_frame_head(opcode, true, payload.size(), mask);
  SharedBuffer masked;
  if (!payload.empty()) {
    SharedBufferBuilder builder(payload.size());
    std::uint8_t* bytes = builder.extend(payload.size());
    std::memcpy(bytes, payload.data(), payload.size());
    ws_apply_mask({bytes, payload.size()}, mask);
    masked = builder.finish();
  }
  output_.push(std::span(head.bytes).first(head.size), std::move(masked));
}

void WsConnectionImpl::push_close(std::uint16_t code, std::string_view reason) {
  push_frame(WsOpcode::kClose, SharedBuffer::copy(ws_close_payload(code, reason)));
}

WsSend WsConnectionImpl::send(SharedBuffer payload, bool text) {
  assert(loop_.on_loop());
  if (state_ != State::kOpen) {
    return WsSend::kClosed;
  }
  const std::size_t frame_bytes = payload.size() + kWsFrameHeadBytesMax;
  if (output_.bytes() + frame_bytes > high_watermark_bytes_ && !blocked_ && !output_.empty()) {
    // A turn that produces a lot writes early, so that only a slow peer and not a busy turn fills the queue.
    blocked_ = write_some() != IoStatus::kOk;
    update_interest();
  }
  if (output_.bytes() + frame_bytes > hard_limit_bytes_) {
    slow_consumer();
    return WsSend::kClosed;
  }
  push_frame(text ? WsOpcode::kText : WsOpcode::kBinary, std::move(payload));
  ++unreported_sent_;
  schedule_flush();
  paused_ = paused_ || output_.bytes() >= high_watermark_bytes_;
  return paused_ ? WsSend::kPaused : WsSend::kOk;
}

bool WsConnectionImpl::send_ping(std::string_view payload) {
  assert(loop_.on_loop());
  if (state_ != State::kOpen) {
    return false;
  }
  push_frame(WsOpcode::kPing, SharedBuffer::copy(payload.substr(0, kWsControlPayloadBytesMax)));
  schedule_flush();
  return true;
}

void WsConnectionImpl::slow_consumer() {
  counters_->ws_slow_consumers.add();
  output_.drop_unstarted();
  push_close(slow_consumer_code_, "slow consumer");
  begin_ending(slow_consumer_code_, "slow consumer", false);
}

void WsConnectionImpl::close(std::uint16_t code, std::string_view reason) {
  assert(loop_.on_loop());
  if (state_ != State::kOpen) {
    return;
  }
  push_close(ws_close_code_valid(code) ? code : kWsCloseNormal, reason);
  state_ = State::kClosing;
  schedule_flush();
  start_close_timer();
  update_interest();
  continue_reading();
}

void WsConnectionImpl::terminate() {
  assert(loop_.on_loop());
  if (state_ >= State::kClosed) {
    return;
  }
  close_code_ = kWsCloseAbnormal;
  close_reason_.clear();
  clean_ = false;
  state_ = State::kClosed;
  watch_.stop();
  loop_.post([self = shared_from_this()] { self->finish(false); });
}

void WsConnectionImpl::pause_reading(bool paused) {
  assert(loop_.on_loop());
  if (reading_paused_ == paused || state_ > State::kClosing) {
    return;
  }
  reading_paused_ = paused;
  update_interest();
  if (!paused) {
    continue_reading();
  }
}

void WsConnectionImpl::schedule_flush() {
  if (!flush_scheduled_) {
    flush_scheduled_ = true;
    loop_.at_end_of_batch([self = shared_from_this()] {
      self->flush_scheduled_ = false;
      self->flush();
    });
  }
}

// Writes without calling anybody: also used inside send().
IoStatus WsConnectionImpl::write_some() {
  std::size_t written = 0;
  const IoStatus status = output_.flush(*socket_, written);
  counters_->bytes_sent.add(written);
  counters_->ws_messages_sent.add(unreported_sent_);
  unreported_sent_ = 0;
  return status;
}

void WsConnectionImpl::flush() {
  if (state_ >= State::kClosed) {
    return;
  }
  const auto keep_alive = shared_from_this();
  const IoStatus status = write_some();
  if (status == IoStatus::kError || status == IoStatus::kEof) {
    state_ = State::kClosed;
    finish(false);
    return;
  }
  blocked_ = status != IoStatus::kOk;
  if (state_ == State::kEnding && output_.empty()) {
    state_ = State::kClosed;
    finish(true);
    return;
  }
  update_interest();
  if (paused_ && output_.bytes() <= low_watermark_bytes_ && state_ == State::kOpen) {
    paused_ = false;
    const auto handlers = handlers_;
    if (handlers->on_drain) {
      handlers->on_drain(*this);
    }
  }
}

// ---- ending ----

void WsConnectionImpl::begin_ending(std::uint16_t code, std::string_view reason, bool clean) {
  close_code_ = code;
  close_reason_ = std::string(reason);
  clean_ = clean;
  state_ = State::kEnding;
  carry_ = {};
  start_close_timer();
  update_interest();
  schedule_flush();
}

void WsConnectionImpl::start_close_timer() {
  if (close_timer_ != TimerId::kNone) {
    return;
  }
  close_timer_ = loop_.start_timer_after_ms(close_timeout_ms_, [this] {
    close_timer_ = TimerId::kNone;
    if (state_ < State::kClosed) {
      counters_->ws_close_timeouts.add();
      clean_ = false;
      state_ = State::kClosed;
      finish(false);
    }
  });
}

// Lets go of the socket and tells the user. The only place where on_closed is called.
void WsConnectionImpl::finish(bool linger) {
  if (state_ == State::kDone) {
    return;
  }
  assert(state_ == State::kClosed);
  state_ = State::kDone;
  const auto self = std::move(self_);
  loop_.core().remove_resident(this);
  watch_.stop();
  loop_.cancel_timer(close_timer_);
  if (linger) {
    loop_.core().lingerer().take(std::move(socket_));
  }
  socket_.reset();
  output_ = WriteQueue();
  carry_ = {};
  counters_->ws_open.subtract();
  const auto handlers = std::move(handlers_);
  handlers_ = std::make_shared<WsHandlers>();
  if (handlers->on_closed) {
    handlers->on_closed(*this, close_code_, close_reason_, clean_);
  }
}

void WsConnectionImpl::on_loop_gone() {
  const auto self = std::move(self_);
  loop_.core().remove_resident(this);
  state_ = State::kDone;
  watch_.stop();
  socket_.reset();
  output_ = WriteQueue();
  counters_->ws_open.subtract();
  handlers_ = std::make_shared<WsHandlers>();
}

}  // namespace cm::net::detail
