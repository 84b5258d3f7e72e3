#include "host/net/detail/http_exchange.hpp"

#include <algorithm>
#include <cassert>
#include <cstring>

namespace cm::net::detail {

namespace {

constexpr std::size_t kResponseHeadersMax = 200;
constexpr int kInformationalMax = 16;  // 1xx answers before the real one

bool idempotent(std::string_view method) {
  return method == "GET" || method == "HEAD" || method == "PUT" || method == "DELETE" || method == "OPTIONS";
}

bool temporary_status(int status) {
  return status == 502 || status == 503 || status == 504;
}

bool redirect_status(int status) {
  return status == 301 || status == 302 || status == 303 || status == 307 || status == 308;
}

bool own_field(std::string_view name) {
  return equal_without_case(name, "Host") || equal_without_case(name, "Content-Length") ||
         equal_without_case(name, "Connection") || equal_without_case(name, "Transfer-Encoding");
}

}  // namespace

HttpExchange::HttpExchange(HttpClientCore& core, HttpRequestId id, HttpClientRequest request)
    : core_(&core), loop_(core.loop), id_(id), request_(std::move(request)) {}

std::string HttpExchange::describe(const std::string& what) const {
  return request_.method + " " + (url_ ? url_->printable() : std::string("request")) + ": " + what;
}

void HttpExchange::begin() {
  const auto keep_alive = shared_from_this();
  auto url = parse_url(request_.url);
  if (!url) {
    fail(url.error());
    return;
  }
  if (url->scheme == "ws" || url->scheme == "wss" || !is_token(request_.method) || !request_.headers.sendable()) {
    fail(make_error(ErrorCode::kInvalid,
                    "the HTTP request cannot be sent: its scheme, method or headers are not usable; expected http, "
                    "https or unix, a token, and fields without control characters; correct the request"));
    return;
  }
  url_ = std::move(*url);
  if (request_.total_timeout_ms != 0) {
    total_timer_ = loop_.start_timer_after_ms(request_.total_timeout_ms, [this] {
      core_->counters->client_timeouts.add();
      fail(make_error(ErrorCode::kBusy, describe("not complete after " + std::to_string(request_.total_timeout_ms) +
                                                 " ms; expected an answer; try again or allow more time")));
    });
  }
  start_attempt();
}

void HttpExchange::start_attempt() {
  ++attempts_;
  answer_begun_ = false;
  informational_ = 0;
  retry_timer_ = TimerId::kNone;
  if (request_.keep_alive) {
    if (auto pooled = core_->take_pooled(pool_key(*url_))) {
      reused_ = true;
      send_request(std::move(*pooled));
      return;
    }
  }
  reused_ = false;
  ConnectorOptions options{*url_, core_->options.proxy, core_->options.tls, request_.connect_timeout_ms, false};
  connector_ = Connector::start(loop_, std::move(options), [this](Result<Connected> connected) {
    const auto keep_alive = shared_from_this();
    on_connected(std::move(connected));
  });
}

void HttpExchange::on_connected(Result<Connected> connected) {
  connector_.reset();
  if (connected) {
    send_request(std::move(*connected));
    return;
  }
  const bool lasting = connected.error().code == ErrorCode::kInvalid || connected.error().code == ErrorCode::kDenied;
  if (lasting || !retry_later()) {
    fail(connected.error());
  }
}

std::string HttpExchange::request_head(const Connected& connected) const {
  std::string head = request_.method + " ";
  if (connected.absolute_form) {
    head += url_->scheme + "://" + url_->host_header();
  }
  head += url_->target + " HTTP/1.1\r\nHost: " + url_->host_header() + "\r\n";
  for (std::size_t i = 0; i < request_.headers.size(); ++i) {
    const Headers::Field field = request_.headers.at(i);
    if (!own_field(field.name)) {
      head.append(field.name).append(": ").append(field.value).append("\r\n");
    }
  }
  if (!request_.headers.has("User-Agent") && !core_->options.user_agent.empty()) {
    head += "User-Agent: " + core_->options.user_agent + "\r\n";
  }
  if (!request_.headers.has("Accept")) {
    head += "Accept: */*\r\n";
  }
  const std::string authorization = basic_authorization(url_->user_info);
  if (!authorization.empty() && !request_.headers.has("Authorization")) {
    head += "Authorization: " + authorization + "\r\n";
  }
  if (!connected.proxy_authorization.empty()) {
    head += "Proxy-Authorization: " + connected.proxy_authorization + "\r\n";
  }
  if (!request_.body.empty() || request_.method == "POST" || request_.method == "PUT" || request_.method == "PATCH") {
    head += "Content-Length: " + std::to_string(request_.body.size()) + "\r\n";
  }
  head += request_.keep_alive ? "" : "Connection: close\r\n";
  return head + "\r\n";
}

void HttpExchange::send_request(Connected connected) {
  HttpParserLimits limits;
  limits.first_line_bytes = request_.response_head_bytes_max;
  limits.header_bytes = request_.response_head_bytes_max;
  limits.header_count = kResponseHeadersMax;
  limits.body_bytes = request_.response_bytes_max;
  parser_ = std::make_unique<HttpParser>(HttpParser::Kind::kResponse, limits);
  if (request_.method == "HEAD") {
    parser_->expect_no_body();
  }
  body_ = SharedBufferBuilder();
  output_ = WriteQueue();
  output_.push(SharedBuffer::adopt(request_head(connected)));
  output_.push(request_.body);
  connected_ = std::move(connected);
  const Status watched = watch_.start(loop_, connected_->socket->fd(), *this);
  if (!watched) {
    fail(watched.error());
    return;
  }
  last_read_ns_ = Loop::now_ns();
  start_idle_timer();
  flush();
}

void HttpExchange::start_idle_timer() {
  if (request_.idle_timeout_ms == 0 || idle_timer_ != TimerId::kNone) {
    return;
  }
  const auto limit_ns = static_cast<std::int64_t>(request_.idle_timeout_ms) * 1'000'000;
  idle_timer_ = loop_.start_timer(last_read_ns_ + limit_ns, [this, limit_ns] {
    idle_timer_ = TimerId::kNone;
    if (connected_ && Loop::now_ns() - last_read_ns_ >= limit_ns) {
      core_->counters->client_timeouts.add();
      fail(make_error(ErrorCode::kBusy, describe("nothing came for " + std::to_string(request_.idle_timeout_ms) +
                                                 " ms; expected data or heartbeats; connect again")));
      return;
    }
    if (connected_) {
      start_idle_timer();
    }
  });
}

void HttpExchange::flush() {
  std::size_t written = 0;
  const IoStatus status = output_.flush(*connected_->socket, written);
  core_->counters->bytes_sent.add(written);
  if (status == IoStatus::kError || status == IoStatus::kEof) {
    // The server may have answered early (413) and closed: its answer is still readable.
    output_ = WriteQueue();
    watch_.want(true, false);
    return;
  }
  watch_.want(true, status == IoStatus::kWantWrite);
}

void HttpExchange::on_fd_ready(bool readable, bool writable) {
  const auto keep_alive = shared_from_this();
  // Writable although no output waits: a read of TLS had to write first (key update), so it is the read's turn.
  const bool read_waited = writable && output_.empty();
  if (!output_.empty()) {
    flush();
  } else if (read_waited) {
    watch_.want(true, false);
  }
  if ((readable || read_waited) && connected_) {
    read();
  }
}

void HttpExchange::read() {
  const auto buffer = loop_.core().read_buffer();
  const IoResult result = connected_->socket->read(buffer);
  switch (result.status) {
    case IoStatus::kWantRead:
      return;
    case IoStatus::kWantWrite:
      watch_.want(true, true);
      return;
    case IoStatus::kEof:
      if (parser_->finish_at_eof()) {
        on_message_done();
      } else {
        on_connection_lost("the server ended the connection before its answer was complete");
      }
      return;
    case IoStatus::kError:
      on_connection_lost("the connection broke (" + connected_->socket->error_text() + ")");
      return;
    case IoStatus::kOk:
      break;
  }
  answer_begun_ = true;
  last_read_ns_ = Loop::now_ns();
  core_->counters->bytes_received.add(result.bytes);
  feed(buffer.first(result.bytes));
  if (!finished() && connected_ && connected_->socket->has_pending_input()) {
    loop_.post([weak = weak_from_this()] {
      const auto self = weak.lock();
      if (self != nullptr && !self->finished() && self->connected_) {
        self->read();
      }
    });
  }
}

void HttpExchange::feed(std::span<const std::uint8_t> input) {
  for (;;) {
    const HttpParser::Step step = parser_->step(input);
    input = input.subspan(step.consumed);
    if (step.event == HttpParser::Event::kNeedMore && input.empty()) {
      return;
    }
    if (!on_event(step)) {
      return;
    }
  }
}

// False when the attempt is over.
bool HttpExchange::on_event(const HttpParser::Step& step) {
  switch (step.event) {
    case HttpParser::Event::kNeedMore:
      return true;
    case HttpParser::Event::kHead:
      return on_head();
    case HttpParser::Event::kBody:
      if (done_) {
        body_.append(step.body);
      } else if (handlers_.on_data) {
        handlers_.on_data(step.body);
      }
      return !finished();
    case HttpParser::Event::kMessageDone:
      if (parser_->head().status < 200 && parser_->head().status != 101) {
        if (++informational_ > kInformationalMax) {
          fail(make_error(ErrorCode::kUnsupported,
                          describe("the server sent more than " + std::to_string(kInformationalMax) +
                                   " informational answers; expected the real one; check the server")));
          return false;
        }
        parser_->start_next();  // the real answer follows
        if (request_.method == "HEAD") {
          parser_->expect_no_body();
        }
        return true;
      }
      on_message_done();
      return false;
    case HttpParser::Event::kError:
      on_parse_error();
      return false;
  }
  return false;
}

bool HttpExchange::on_head() {
  HttpHead& head = parser_->head();
  if (head.status < 200) {
    return true;
  }
  if (temporary_status(head.status) && attempts_ < request_.retry.attempts_max && retry_later()) {
    return false;
  }
  if (redirect_status(head.status) && redirects_ < request_.redirects_max && head.headers.has("Location") &&
      (request_.method == "GET" || request_.method == "HEAD") && on_redirect(head)) {
    return false;
  }
  response_.status = head.status;
  response_.headers = head.headers;
  headers_reported_ = true;
  if (!done_ && handlers_.on_headers) {
    handlers_.on_headers(response_.status, response_.headers);
  }
  return !finished();
}

bool HttpExchange::on_redirect(const HttpHead& head) {
  auto next = resolve_reference(*url_, head.headers.get("Location"));
  // Never from https to http, never into a socket file of this machine.
  if (!next || next->scheme == "ws" || next->scheme == "wss" || next->is_unix() != url_->is_unix() ||
      (url_->tls() && !next->tls())) {
    return false;
  }
  ++redirects_;
  if (pool_key(*next) != pool_key(*url_)) {
    request_.headers.remove("Authorization");
    request_.headers.remove("Cookie");
    request_.headers.remove("Proxy-Authorization");
  }
  drop_connection();
  url_ = std::move(*next);
  --attempts_;
  start_attempt();
  return true;
}

void HttpExchange::on_message_done() {
  if (parser_->keep_alive() && request_.keep_alive && output_.empty() && response_.status != 101) {
    watch_.stop();
    Connected connected = std::move(*connected_);
    connected_.reset();
    core_->put_pooled(pool_key(*url_), std::move(connected));
  }
  if (done_) {
    response_.body = body_.finish();
    Done done = std::move(done_);
    HttpClientResponse response = std::move(response_);
    cancel();
    done(std::move(response));
    return;
  }
  auto on_end = std::move(handlers_.on_end);
  cancel();
  if (on_end) {
    on_end(Status());
  }
}

void HttpExchange::on_parse_error() {
  if (parser_->error() == HttpParseError::kBodyTooLarge) {
    core_->counters->client_response_too_large.add();
    fail(make_error(ErrorCode::kBusy,
                    describe("the answer is larger than " + std::to_string(request_.response_bytes_max) +
                             " bytes; expected less; ask for less or allow more")));
    return;
  }
  fail(make_error(ErrorCode::kUnsupported,
                  describe("the answer is not valid HTTP/1.1: " + std::string(parser_->error_text()) +
                           "; expected one after RFC 9112; check the address")));
}

bool HttpExchange::may_repeat() const {
  return !headers_reported_ && (request_.retry.any_method || idempotent(request_.method));
}

void HttpExchange::on_connection_lost(const std::string& what) {
  // A kept-alive connection that the server closed at the same moment says nothing about the server: dial once more.
  if (reused_ && !answer_begun_ && !stale_retry_used_ && may_repeat()) {
    stale_retry_used_ = true;
    drop_connection();
    --attempts_;
    start_attempt();
    return;
  }
  if (!retry_later()) {
    fail(make_error(ErrorCode::kIo, describe(what + "; expected a complete answer; check the server and try again")));
  }
}

// Begins the wait before another attempt, when one is allowed.
bool HttpExchange::retry_later() {
  if (attempts_ >= request_.retry.attempts_max || !may_repeat()) {
    return false;
  }
  drop_connection();
  core_->counters->client_retries.add();
  std::uint64_t delay = request_.retry.backoff_initial_ms;
  for (int i = 1; i < attempts_ && delay < request_.retry.backoff_max_ms; ++i) {
    delay *= 2;
  }
  delay = std::min(delay, request_.retry.backoff_max_ms);
  std::uint8_t random[4];
  loop_.core().random_mask(random);
  delay = delay * 3 / 4 + delay * random[0] / 510;  // +-25 %, so that clients do not come back in step
  retry_timer_ = loop_.start_timer_after_ms(delay, [this] {
    const auto keep_alive = shared_from_this();
    start_attempt();
  });
  return true;
}

void HttpExchange::drop_connection() {
  watch_.stop();
  connected_.reset();
  output_ = WriteQueue();
}

void HttpExchange::fail(Error error) {
  if (finished()) {
    return;
  }
  core_->counters->client_failures.add();
  Done done = std::move(done_);
  auto on_end = std::move(handlers_.on_end);
  cancel();
  if (done) {
    done(std::move(error));
  } else if (on_end) {
    on_end(std::move(error));
  }
}

void HttpExchange::cancel() {
  if (finished()) {
    return;
  }
  const auto keep_alive = shared_from_this();
  HttpClientCore* core = std::exchange(core_, nullptr);
  loop_.cancel_timer(total_timer_);
  loop_.cancel_timer(idle_timer_);
  loop_.cancel_timer(retry_timer_);
  if (connector_ != nullptr) {
    connector_->cancel();
    connector_.reset();
  }
  drop_connection();
  core->remove(id_);
}

}  // namespace cm::net::detail
