#include <sys/ioctl.h>
#include <sys/socket.h>

#include <algorithm>
#include <cassert>

#include "host/net/detail/http_server_core.hpp"
#include "host/net/detail/linger.hpp"
#include "host/net/detail/response_stream.hpp"

namespace cm::net::detail {

namespace {

constexpr std::size_t kPendingBytesMax = 64 * 1024;           // read ahead while a request is in flight
constexpr std::size_t kPipelineOutputBytesMax = 1024 * 1024;  // unsent answers that hold the next request back
constexpr std::size_t kBodyReserveBytesMax = 64 * 1024;       // a client's promise is believed only so far
constexpr std::size_t kKeptPendingBytes = 4 * 1024;

std::optional<PeerCredentials> peer_credentials(int fd) {
  ucred credentials{};
  socklen_t size = sizeof credentials;
  if (::getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &credentials, &size) != 0 || size != sizeof credentials) {
    return std::nullopt;
  }
  return PeerCredentials{credentials.uid, credentials.gid, credentials.pid};
}

HttpParserLimits parser_limits(const HttpLimits& limits) {
  return {limits.request_line_bytes, limits.header_bytes, limits.header_count, limits.body_bytes};
}

}  // namespace

HttpServerConnection::HttpServerConnection(std::shared_ptr<HttpServerCore> core, std::unique_ptr<StreamSocket> socket,
                                           const ListenerInfo& listener, RemoteAddress remote)
    : core_(std::move(core)),
      socket_(std::move(socket)),
      remote_(std::move(remote)),
      parser_(HttpParser::Kind::kRequest, parser_limits(core_->options.limits)),
      listener_(listener.id) {
  if (!listener.path.empty()) {
    credentials_ = peer_credentials(socket_->fd());
  }
}

HttpServerConnection::~HttpServerConnection() {
  assert(phase_ == Phase::kClosed);
}

void HttpServerConnection::start() {
  if (!watch_.start(core_->loop, socket_->fd(), *this)) {
    close();
    return;
  }
  phase_ = socket_->tls() ? Phase::kTlsHandshake : Phase::kReading;
  timing_header_ = true;
  set_deadline_ms(core_->options.limits.header_timeout_ms);
  watch_.want(true, false);
}

void HttpServerConnection::on_fd_ready(bool readable, bool writable) {
  const auto keep_alive = shared_from_this();
  if (phase_ == Phase::kTlsHandshake) {
    on_tls_handshake();
    return;
  }
  // Writable although no output waits: a read of TLS had to write first (key update), so it is the read's turn.
  const bool read_waited = writable && !blocked_;
  if (blocked_) {
    flush();
  }
  if ((readable || read_waited) && open()) {
    if (read_waited) {
      update_interest();
    }
    on_readable();
  }
}

void HttpServerConnection::on_tls_handshake() {
  const IoResult result = socket_->handshake();
  switch (result.status) {
    case IoStatus::kOk:
      phase_ = Phase::kReading;
      update_interest();
      on_readable();  // the first request may have come in the same flight
      return;
    case IoStatus::kWantRead:
      watch_.want(true, false);
      return;
    case IoStatus::kWantWrite:
      watch_.want(true, true);
      return;
    default:
      fail_tls(socket_->error_text());
      return;
  }
}

void HttpServerConnection::fail_tls(std::string_view reason) {
  core_->counters->tls_handshake_failures.add();
  if (core_->options.on_tls_failure) {
    core_->options.on_tls_failure(remote_, reason);
  }
  close();
}

void HttpServerConnection::on_readable() {
  if (!open() || phase_ == Phase::kEnding) {
    return;
  }
  const auto buffer = core_->loop.core().read_buffer();
  const IoResult result = socket_->read(buffer);
  switch (result.status) {
    case IoStatus::kWantRead:
      return;
    case IoStatus::kWantWrite:  // TLS wants to answer a key update before it reads on
      watch_.want(true, true);
      return;
    case IoStatus::kEof:
      on_eof();
      return;
    case IoStatus::kError:
      close();
      return;
    case IoStatus::kOk:
      break;
  }
  core_->counters->bytes_received.add(result.bytes);
  process(buffer.first(result.bytes));
  if (open() && socket_->has_pending_input()) {
    core_->loop.post([self = shared_from_this()] { self->on_readable(); });
  }
}

// A peer that ends its direction while a request is in flight is taken to have left, as Node and Go do: a program that
// is killed sends the same FIN, and handlers should stop working for it.
void HttpServerConnection::on_eof() {
  if (phase_ == Phase::kReading && !output_.empty()) {
    phase_ = Phase::kEnding;
    update_interest();
    return;
  }
  close();
}

void HttpServerConnection::process(std::span<const std::uint8_t> input) {
  const auto keep_alive = shared_from_this();
  if (phase_ == Phase::kReading && pending_bytes() == 0) {
    processing_ = true;
    parse_one(input, false);
    processing_ = false;
  } else {
    pending_.append(reinterpret_cast<const char*>(input.data()), input.size());
  }
  process_pending();
  check_phase_deadline();
  update_interest();
}

void HttpServerConnection::process_pending() {
  if (processing_) {
    return;
  }
  processing_ = true;
  while (phase_ == Phase::kReading && pending_bytes() != 0 && output_.bytes() < kPipelineOutputBytesMax) {
    const auto* data = reinterpret_cast<const std::uint8_t*>(pending_.data());
    parse_one(std::span(data + pending_at_, pending_bytes()), true);
  }
  processing_ = false;
  if (pending_bytes() == 0) {
    pending_.clear();
    pending_at_ = 0;
    if (pending_.capacity() > kKeptPendingBytes) {
      pending_.shrink_to_fit();
    }
  } else if (pending_at_ > pending_.size() / 2) {
    pending_.erase(0, pending_at_);
    pending_at_ = 0;
  }
}

// Parses up to the end of one request. What follows it is kept before the handler runs, which may want it (upgrade).
void HttpServerConnection::parse_one(std::span<const std::uint8_t> input, bool from_pending) {
  while (phase_ == Phase::kReading) {
    const HttpParser::Step step = parser_.step(input);
    input = input.subspan(step.consumed);
    pending_at_ += from_pending ? step.consumed : 0;
    switch (step.event) {
      case HttpParser::Event::kNeedMore:
        if (input.empty()) {
          return;
        }
        break;
      case HttpParser::Event::kHead:
        if (!on_head()) {
          return;
        }
        break;
      case HttpParser::Event::kBody:
        body_.append(step.body);
        break;
      case HttpParser::Event::kMessageDone:
        if (!from_pending) {
          pending_.assign(reinterpret_cast<const char*>(input.data()), input.size());
        }
        deliver();
        return;
      case HttpParser::Event::kError:
        refuse_parse_error();
        return;
    }
  }
}

bool HttpServerConnection::on_head() {
  const HttpHead& head = parser_.head();
  http_1_0_ = head.minor_version == 0;
  head_request_ = head.method == "HEAD";
  if (head.headers.has("Expect") && !http_1_0_) {
    if (!equal_without_case(head.headers.get("Expect"), "100-continue")) {
      refuse(417, core_->counters->http_expectation_failed, "the Expect header is not '100-continue'",
             "leave the header away");
      return false;
    }
    if (parser_.in_body()) {
      output_.push(SharedBuffer::copy(std::string_view("HTTP/1.1 100 Continue\r\n\r\n")));
      schedule_flush();
    }
  }
  body_ = SharedBufferBuilder();
  if (parser_.content_length() != 0) {
    body_.reserve(static_cast<std::size_t>(std::min<std::uint64_t>(parser_.content_length(), kBodyReserveBytesMax)));
  }
  return true;
}

void HttpServerConnection::deliver() {
  if (++requests_ == 1) {
    core_->first_request_done();
  }
  core_->counters->http_requests.add();
  close_after_ = !parser_.keep_alive() || core_->ending() || requests_ >= core_->options.limits.requests_per_connection;
  auto data = std::make_unique<HttpRequestData>();
  data->head = std::move(parser_.head());
  data->body = body_.finish();
  data->remote = remote_;
  data->credentials = credentials_;
  data->loop = &core_->loop;
  data->listener = listener_;
  data->tls = socket_->tls();
  phase_ = Phase::kHandling;
  if (!blocked_) {
    deadline_ns_ = 0;
  }
  auto request = std::make_shared<HttpRequest>(std::move(data), shared_from_this());
  request_ = request;
  const auto core = core_;
  core->handler(std::move(request));
}

void HttpServerConnection::schedule_flush() {
  if (!flush_scheduled_) {
    flush_scheduled_ = true;
    core_->loop.at_end_of_batch([self = shared_from_this()] {
      self->flush_scheduled_ = false;
      self->flush();
    });
  }
}

void HttpServerConnection::flush() {
  if (!open()) {
    return;
  }
  std::size_t written = 0;
  const IoStatus status = output_.flush(*socket_, written);
  core_->counters->bytes_sent.add(written);
  if (status == IoStatus::kError || status == IoStatus::kEof) {
    close();
    return;
  }
  const bool was_blocked = blocked_;
  blocked_ = status != IoStatus::kOk;
  if (blocked_ && (written != 0 || !was_blocked)) {
    set_deadline_ms(core_->options.limits.write_timeout_ms);
  }
  if (!blocked_ && was_blocked) {
    deadline_ns_ = 0;
    timing_header_ = false;
    timing_body_ = false;
  }
  after_flush();
}

void HttpServerConnection::after_flush() {
  const auto keep_alive = shared_from_this();
  if (const auto stream = stream_.lock()) {
    stream->on_written(output_.bytes());
  }
  if (!open()) {
    return;
  }
  if (phase_ == Phase::kEnding && output_.empty()) {
    leave();
    return;
  }
  process_pending();
  if (open()) {
    check_phase_deadline();
    update_interest();
  }
}

void HttpServerConnection::update_interest() {
  if (!open()) {
    return;
  }
  const bool between = phase_ == Phase::kReading && output_.bytes() < kPipelineOutputBytesMax;
  const bool ahead = (phase_ == Phase::kHandling || phase_ == Phase::kStreaming) && pending_bytes() < kPendingBytesMax;
  watch_.want(between || ahead, blocked_);
}

// Starts the time limit of the part of the request that is being received.
void HttpServerConnection::check_phase_deadline() {
  if (phase_ != Phase::kReading || blocked_) {
    return;
  }
  const HttpLimits& limits = core_->options.limits;
  if (parser_.in_body()) {
    if (!timing_body_) {
      timing_body_ = true;
      set_deadline_ms(limits.body_timeout_ms);
    }
  } else if (parser_.started()) {
    if (!timing_header_) {
      timing_header_ = true;
      set_deadline_ms(limits.header_timeout_ms);
    }
  } else if (deadline_ns_ == 0) {
    set_deadline_ms(limits.idle_timeout_ms);
  }
}

// The timer is moved lazily: a later deadline leaves it alone, and it looks again when it fires. So a connection that
// answers a thousand requests touches the timer heap once.
void HttpServerConnection::set_deadline_ms(std::uint64_t delay_ms) {
  deadline_ns_ = Loop::now_ns() + static_cast<std::int64_t>(delay_ms) * 1'000'000;
  if (timer_ != TimerId::kNone && timer_at_ns_ <= deadline_ns_) {
    return;
  }
  core_->loop.cancel_timer(timer_);
  timer_at_ns_ = deadline_ns_;
  timer_ = core_->loop.start_timer(deadline_ns_, [this] { on_timer(); });
}

void HttpServerConnection::on_timer() {
  const auto keep_alive = shared_from_this();
  timer_ = TimerId::kNone;
  if (deadline_ns_ == 0) {
    return;
  }
  if (Loop::now_ns() >= deadline_ns_) {
    deadline_ns_ = 0;
    on_timeout();
    return;
  }
  timer_at_ns_ = deadline_ns_;
  timer_ = core_->loop.start_timer(deadline_ns_, [this] { on_timer(); });
}

void HttpServerConnection::on_timeout() {
  NetCounters& counters = *core_->counters;
  const HttpLimits& limits = core_->options.limits;
  if (blocked_ || phase_ == Phase::kEnding) {
    counters.http_write_timeouts.add();
    close();
    return;
  }
  if (phase_ == Phase::kTlsHandshake) {
    fail_tls("the peer did not finish the TLS handshake within " + std::to_string(limits.header_timeout_ms) + " ms");
    return;
  }
  if (phase_ != Phase::kReading) {
    return;
  }
  if (parser_.in_body()) {
    refuse(408, counters.http_body_timeouts,
           "the body was not complete after " + std::to_string(limits.body_timeout_ms) + " ms; expected all of it",
           "send it faster or in parts");
  } else if (parser_.started()) {
    refuse(408, counters.http_header_timeouts,
           "the header was not complete after " + std::to_string(limits.header_timeout_ms) + " ms; expected all of it",
           "send the request at once");
  } else {
    (requests_ == 0 ? counters.http_header_timeouts : counters.http_idle_timeouts).add();
    close();
  }
}

void HttpServerConnection::drain() {
  if (phase_ == Phase::kTlsHandshake) {
    close();
  } else if (phase_ == Phase::kReading && !parser_.started() && !parser_.in_body() && pending_bytes() == 0 &&
             !input_waits()) {
    if (output_.empty()) {
      close();
    } else {
      phase_ = Phase::kEnding;
    }
  } else {
    close_after_ = true;
  }
}

// A request that lies in the kernel's buffer would be lost with a reset; it is answered like one that was read.
bool HttpServerConnection::input_waits() const {
  int waiting = 0;
  return ::ioctl(socket_->fd(), FIONREAD, &waiting) == 0 && waiting > 0;
}

// The proper end: everything was sent, so the socket is left to be closed without a reset.
void HttpServerConnection::leave() {
  watch_.stop();
  core_->loop.core().lingerer().take(std::move(socket_));
  close();
}

void HttpServerConnection::close() {
  if (!open()) {
    return;
  }
  const auto keep_alive = shared_from_this();
  const auto request = request_.lock();
  phase_ = Phase::kClosed;
  core_->loop.cancel_timer(timer_);
  watch_.stop();
  socket_.reset();
  output_ = WriteQueue();
  pending_ = {};
  pending_at_ = 0;
  if (const auto stream = stream_.lock()) {
    stream->on_connection_closed();
  }
  if (request != nullptr) {
    request->abort();
  }
  core_->remove_connection(this);
}

HttpServerConnection::Upgraded HttpServerConnection::take_for_upgrade() {
  assert(phase_ == Phase::kHandling);
  const auto keep_alive = shared_from_this();
  Upgraded upgraded;
  watch_.stop();
  core_->loop.cancel_timer(timer_);
  upgraded.leftover = pending_.substr(pending_at_);
  upgraded.output = std::move(output_);
  upgraded.remote = remote_;
  upgraded.socket = std::move(socket_);
  request_.reset();
  close();
  return upgraded;
}

}  // namespace cm::net::detail
