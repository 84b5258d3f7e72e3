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

// Fields that this room decides on.
bool framing_field(std::string_view name) {
  return equal_without_case(name, "Content-Length") || equal_without_case(name, "Transfer-Encoding") ||
         equal_without_case(name, "Connection");
}

bool status_has_body(int status) {
  return status >= 200 && status != 204 && status != 304;
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

void HttpServerConnection::on_fd_ready(bool readable, bool) {
  const auto keep_alive = shared_from_this();
  if (phase_ == Phase::kTlsHandshake) {
    on_tls_handshake();
    return;
  }
  if (blocked_) {
    flush();
  }
  if (readable && open()) {
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
      core_->counters->tls_handshake_failures.add();
      close();
      return;
  }
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
  ++requests_;
  core_->counters->http_requests.add();
  close_after_ = !parser_.keep_alive() || core_->draining || requests_ >= core_->options.limits.requests_per_connection;
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

void HttpServerConnection::refuse(int status, Counter& counter, std::string_view found, std::string_view next_step) {
  counter.add();
  std::string text(found);
  text.append("; ").append(next_step).append("\n");
  close_after_ = true;
  put_head(status, Headers{{"Content-Type", "text/plain; charset=utf-8"}}, text.size(), false);
  output_.push(SharedBuffer::adopt(std::move(text)));
  phase_ = Phase::kEnding;
  schedule_flush();
}

void HttpServerConnection::refuse_parse_error() {
  NetCounters& counters = *core_->counters;
  const HttpLimits& limits = core_->options.limits;
  const std::string found(parser_.error_text());
  const auto allowed = [&found](std::uint64_t limit, std::string_view unit) {
    return found + "; expected at most " + std::to_string(limit) + " " + std::string(unit);
  };
  switch (parser_.error()) {
    case HttpParseError::kBodyTooLarge:
      refuse(413, counters.http_body_too_large, allowed(limits.body_bytes, "bytes"), "send less");
      return;
    case HttpParseError::kFirstLineTooLong:
      refuse(414, counters.http_request_line_too_long, allowed(limits.request_line_bytes, "bytes"),
             "shorten the target");
      return;
    case HttpParseError::kHeadersTooLarge:
      refuse(431, counters.http_headers_too_large, allowed(limits.header_bytes, "bytes"),
             "send fewer or shorter headers");
      return;
    case HttpParseError::kTooManyHeaders:
      refuse(431, counters.http_too_many_headers, allowed(limits.header_count, "lines"), "send fewer headers");
      return;
    case HttpParseError::kNotImplemented:
      refuse(501, counters.http_not_implemented, found, "use Content-Length or chunked and another method");
      return;
    case HttpParseError::kBadVersion:
      refuse(505, counters.http_unsupported_version, found + "; expected HTTP/1.1", "use HTTP/1.1");
      return;
    default:
      refuse(400, counters.http_bad_requests, found + "; expected a request after RFC 9112", "correct the client");
      return;
  }
}

void HttpServerConnection::put_head(int status, const Headers& headers, std::optional<std::size_t> length,
                                    bool chunked) {
  std::string text;
  text.reserve(256);
  text.append("HTTP/1.1 ").append(std::to_string(status)).append(" ").append(status_reason(status)).append("\r\n");
  for (std::size_t i = 0; i < headers.size(); ++i) {
    const Headers::Field field = headers.at(i);
    if (!framing_field(field.name)) {
      text.append(field.name).append(": ").append(field.value).append("\r\n");
    }
  }
  if (!headers.has("Date")) {
    text.append("Date: ").append(core_->loop.core().date_header()).append("\r\n");
  }
  if (!core_->options.server_name.empty() && !headers.has("Server")) {
    text.append("Server: ").append(core_->options.server_name).append("\r\n");
  }
  if (chunked) {
    text.append("Transfer-Encoding: chunked\r\n");
  } else if (length) {
    text.append("Content-Length: ").append(std::to_string(*length)).append("\r\n");
  }
  close_after_ = close_after_ || headers.has_token("Connection", "close");
  if (close_after_) {
    text.append("Connection: close\r\n");
  } else if (http_1_0_) {
    text.append("Connection: keep-alive\r\n");
  }
  text.append("\r\n");
  output_.push(SharedBuffer::adopt(std::move(text)));
}

Status HttpServerConnection::send_response(int status, const Headers& headers, SharedBuffer body) {
  assert(phase_ == Phase::kHandling);
  request_.reset();
  if (status < 200 || status > 599 || !headers.sendable()) {
    const std::string text = "the handler gave an answer that cannot be sent; report this to the operator\n";
    put_head(500, Headers{{"Content-Type", "text/plain; charset=utf-8"}}, text.size(), false);
    output_.push(SharedBuffer::copy(text));
    answer_done();
    return make_error(ErrorCode::kInvalid, "the answer has status " + std::to_string(status) +
                                               " or header fields with control characters; expected 200 to 599 and "
                                               "plain fields; 500 was sent instead");
  }
  const bool has_body = status_has_body(status);
  put_head(status, headers, has_body ? std::optional(body.size()) : std::nullopt, false);
  if (has_body && !head_request_) {
    output_.push(std::move(body));
  }
  answer_done();
  return {};
}

Result<std::shared_ptr<ResponseStream>> HttpServerConnection::start_stream(int status, const Headers& headers,
                                                                           const StreamLimits& limits) {
  if (status < 200 || status > 599 || !headers.sendable()) {
    return send_response(status, headers, {}).error();
  }
  request_.reset();
  const bool has_body = status_has_body(status);
  const bool chunked = has_body && !http_1_0_;
  close_after_ = close_after_ || (has_body && http_1_0_);
  put_head(status, headers, std::nullopt, chunked);
  phase_ = Phase::kStreaming;
  schedule_flush();
  auto stream = std::make_shared<Stream>(shared_from_this(), limits, chunked, has_body && !head_request_);
  stream_ = stream;
  return std::shared_ptr<ResponseStream>(std::move(stream));
}

void HttpServerConnection::request_dropped() {
  if (phase_ == Phase::kHandling) {
    core_->counters->http_unanswered.add();
    const std::string text = "the handler gave no answer; expected one; report this to the operator\n";
    put_head(500, Headers{{"Content-Type", "text/plain; charset=utf-8"}}, text.size(), false);
    output_.push(SharedBuffer::copy(text));
    answer_done();
  }
}

void HttpServerConnection::answer_done() {
  if (close_after_) {
    phase_ = Phase::kEnding;
  } else {
    phase_ = Phase::kReading;
    parser_.start_next();
    timing_header_ = false;
    timing_body_ = false;
    if (!blocked_) {
      set_deadline_ms(core_->options.limits.idle_timeout_ms);
    }
  }
  schedule_flush();
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
    counters.tls_handshake_failures.add();
    close();
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
  } else if (phase_ == Phase::kReading && !parser_.started() && !parser_.in_body() && pending_bytes() == 0) {
    if (output_.empty()) {
      close();
    } else {
      phase_ = Phase::kEnding;
    }
  } else {
    close_after_ = true;
  }
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
