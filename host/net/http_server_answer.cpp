// How a server connection answers: heads, bodies, streams and refusals. What it receives is in
// http_server_connection.cpp.
#include <cassert>

#include "host/net/detail/http_server_core.hpp"
#include "host/net/detail/response_stream.hpp"

namespace cm::net::detail {

namespace {

// Fields that this room decides on.
bool framing_field(std::string_view name) {
  return equal_without_case(name, "Content-Length") || equal_without_case(name, "Transfer-Encoding") ||
         equal_without_case(name, "Connection");
}

bool status_has_body(int status) {
  return status >= 200 && status != 204 && status != 304;
}

}  // namespace

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

}  // namespace cm::net::detail
