#include <algorithm>
#include <cassert>
#include <cstring>

#include "host/net/detail/http_parser.hpp"

namespace cm::net::detail {

namespace {

constexpr std::size_t kChunkLineBytesMax = 256;  // size and extensions
constexpr std::uint8_t kBlankLinesMax = 2;       // RFC 9112 section 2.2: tolerated before a request line

std::string_view trim(std::string_view text) {
  while (!text.empty() && (text.front() == ' ' || text.front() == '\t')) {
    text.remove_prefix(1);
  }
  while (!text.empty() && (text.back() == ' ' || text.back() == '\t')) {
    text.remove_suffix(1);
  }
  return text;
}

bool has_control(std::string_view text) {
  return std::any_of(text.begin(), text.end(), [](char c) {
    const auto byte = static_cast<unsigned char>(c);
    return (byte < 0x20 && byte != '\t') || byte == 0x7F;
  });
}

bool target_valid(std::string_view target) {
  return !target.empty() && std::all_of(target.begin(), target.end(), [](char c) {
    const auto byte = static_cast<unsigned char>(c);
    return byte > 0x20 && byte < 0x7F;
  });
}

bool absolute_form(std::string_view target) {
  return equal_without_case(target.substr(0, 7), "http://") || equal_without_case(target.substr(0, 8), "https://");
}

int hex_value(char c) {
  if (c >= '0' && c <= '9') {
    return c - '0';
  }
  if (c >= 'a' && c <= 'f') {
    return c - 'a' + 10;
  }
  return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

}  // namespace

void HttpParser::start_next() {
  head_ = HttpHead{};
  header_bytes_ = 0;
  header_lines_ = 0;
  content_length_ = 0;
  remaining_ = 0;
  body_bytes_ = 0;
  blank_lines_ = 0;
  chunked_ = false;
  keep_alive_ = true;
  no_body_ = false;
  state_ = State::kFirstLine;
  assert(line_.empty());
}

bool HttpParser::set_error(HttpParseError error, std::string_view text) {
  error_ = error;
  error_text_ = text;
  return false;
}

HttpParser::Step HttpParser::fail(HttpParseError error, std::string_view text, std::size_t consumed) {
  set_error(error, text);
  state_ = State::kFailed;
  return {Event::kError, consumed, {}};
}

HttpParser::Step HttpParser::step(std::span<const std::uint8_t> input) {
  switch (state_) {
    case State::kFirstLine:
    case State::kHeaders:
    case State::kChunkSize:
    case State::kChunkEnd:
    case State::kTrailers:
      return step_line(input);
    case State::kLengthBody:
    case State::kChunkData:
    case State::kUntilEofBody:
      return step_body(input);
    case State::kDone:
      return {Event::kMessageDone, 0, {}};
    case State::kFailed:
      break;
  }
  return {Event::kError, 0, {}};
}

std::size_t HttpParser::line_limit() const {
  switch (state_) {
    case State::kFirstLine:
      return limits_.first_line_bytes;
    case State::kHeaders:
    case State::kTrailers:
      return limits_.header_bytes - std::min(limits_.header_bytes, header_bytes_);
    default:
      return kChunkLineBytesMax;
  }
}

// Collects one line. The limit is checked before bytes are kept, so that memory is bounded by it.
HttpParser::Step HttpParser::step_line(std::span<const std::uint8_t> input) {
  if (input.empty()) {
    return {};
  }
  const auto* text = reinterpret_cast<const char*>(input.data());
  const auto* end = static_cast<const char*>(std::memchr(text, '\n', input.size()));
  const std::size_t size = end != nullptr ? static_cast<std::size_t>(end - text) + 1 : input.size();
  if (line_.size() + size > line_limit() + 2) {
    if (state_ == State::kFirstLine) {
      return fail(HttpParseError::kFirstLineTooLong, "the request line is longer than allowed", 0);
    }
    return state_ == State::kHeaders || state_ == State::kTrailers
               ? fail(HttpParseError::kHeadersTooLarge, "the header lines together are larger than allowed", 0)
               : fail(HttpParseError::kBadRequest, "a chunk size line is longer than 256 bytes", 0);
  }
  if (end == nullptr) {
    line_.append(text, size);
    return {Event::kNeedMore, size, {}};
  }
  if (line_.empty()) {
    return on_line({text, size}, size);
  }
  line_.append(text, size);
  const std::string line = std::exchange(line_, {});
  return on_line(line, size);
}

HttpParser::Step HttpParser::on_line(std::string_view line, std::size_t consumed) {
  if (line.size() < 2 || line[line.size() - 2] != '\r') {
    return fail(HttpParseError::kBadRequest, "a line ends in a bare line feed, expected CRLF", consumed);
  }
  line.remove_suffix(2);
  bool good = true;
  switch (state_) {
    case State::kFirstLine:
      good = on_first_line(line);
      break;
    case State::kHeaders:
      if (line.empty()) {
        if (!on_head_end()) {
          break;
        }
        return {Event::kHead, consumed, {}};
      }
      good = on_header_line(line, false);
      break;
    case State::kTrailers:
      if (line.empty()) {
        state_ = State::kDone;
        return {Event::kMessageDone, consumed, {}};
      }
      good = on_header_line(line, true);
      break;
    case State::kChunkSize:
      good = on_chunk_size(line);
      break;
    default:  // kChunkEnd
      good = line.empty() || set_error(HttpParseError::kBadRequest, "chunk data is not followed by CRLF");
      state_ = State::kChunkSize;
      break;
  }
  if (!good || error_ != HttpParseError::kNone) {
    state_ = State::kFailed;
    return {Event::kError, consumed, {}};
  }
  return {Event::kNeedMore, consumed, {}};
}

bool HttpParser::on_first_line(std::string_view line) {
  if (line.empty() && kind_ == Kind::kRequest && blank_lines_ < kBlankLinesMax) {
    ++blank_lines_;
    return true;
  }
  const bool good = kind_ == Kind::kRequest ? on_request_line(line) : on_status_line(line);
  if (good) {
    state_ = State::kHeaders;
  }
  return good;
}

bool HttpParser::parse_version(std::string_view text) {
  const bool shaped = text.size() == 8 && text.substr(0, 5) == "HTTP/" && text[5] >= '0' && text[5] <= '9' &&
                      text[6] == '.' && text[7] >= '0' && text[7] <= '9';
  if (!shaped) {
    return set_error(HttpParseError::kBadRequest, "the first line has no HTTP version");
  }
  if (text[5] != '1' || text[7] > '1') {
    return set_error(HttpParseError::kBadVersion, "the HTTP version is neither 1.0 nor 1.1");
  }
  head_.minor_version = text[7] - '0';
  return true;
}

bool HttpParser::on_request_line(std::string_view line) {
  const std::size_t first = line.find(' ');
  const std::size_t last = line.rfind(' ');
  if (first == std::string_view::npos || first == last) {
    return set_error(HttpParseError::kBadRequest, "the request line is not 'METHOD target HTTP/1.1'");
  }
  const std::string_view method = line.substr(0, first);
  const std::string_view target = line.substr(first + 1, last - first - 1);
  if (!is_token(method)) {
    return set_error(HttpParseError::kBadRequest, "the method is not a token");
  }
  if (!parse_version(line.substr(last + 1))) {
    return false;
  }
  if (!target_valid(target)) {
    return set_error(HttpParseError::kBadRequest, "the request target is empty or has bytes that must be escaped");
  }
  if (method == "CONNECT") {
    return set_error(HttpParseError::kNotImplemented, "the method CONNECT is not offered");
  }
  const bool star = target == "*" && method == "OPTIONS";
  if (target.front() != '/' && !star && !absolute_form(target)) {
    return set_error(HttpParseError::kBadRequest, "the request target is neither a path nor an http URL");
  }
  head_.method = std::string(method);
  head_.target = std::string(target);
  return true;
}

bool HttpParser::on_status_line(std::string_view line) {
  const std::string_view version = line.substr(0, 8);
  if (!parse_version(version)) {
    return false;
  }
  const std::string_view rest = line.substr(8);
  const bool digits = rest.size() >= 4 && rest[0] == ' ' && rest[1] >= '1' && rest[1] <= '9' && rest[2] >= '0' &&
                      rest[2] <= '9' && rest[3] >= '0' && rest[3] <= '9' && (rest.size() == 4 || rest[4] == ' ');
  if (!digits || has_control(rest)) {
    return set_error(HttpParseError::kBadRequest, "the status line has no three-digit status");
  }
  head_.status = (rest[1] - '0') * 100 + (rest[2] - '0') * 10 + (rest[3] - '0');
  return true;
}

bool HttpParser::on_header_line(std::string_view line, bool trailer) {
  header_bytes_ += line.size() + 2;
  if (header_bytes_ > limits_.header_bytes) {
    return set_error(HttpParseError::kHeadersTooLarge, "the header lines together are larger than allowed");
  }
  if (++header_lines_ > limits_.header_count) {
    return set_error(HttpParseError::kTooManyHeaders, "there are more header lines than allowed");
  }
  if (line.front() == ' ' || line.front() == '\t') {
    return set_error(HttpParseError::kBadRequest, "a header is folded over several lines");
  }
  const std::size_t colon = line.find(':');
  if (colon == std::string_view::npos || !is_token(line.substr(0, colon))) {
    return set_error(HttpParseError::kBadRequest, "a header line is not 'name: value'");
  }
  const std::string_view value = trim(line.substr(colon + 1));
  if (has_control(value)) {
    return set_error(HttpParseError::kBadRequest, "a header value has control characters");
  }
  // Trailers are checked and dropped (RFC 9110 section 6.5.1): merging them could override what was decided on.
  if (!trailer) {
    head_.headers.add(line.substr(0, colon), value);
  }
  return true;
}

bool HttpParser::read_content_length(std::string_view text) {
  if (text.empty() || text.size() > 18) {
    return set_error(HttpParseError::kBadRequest, "Content-Length is not a number of 1 to 18 digits");
  }
  for (const char c : text) {
    if (c < '0' || c > '9') {
      return set_error(HttpParseError::kBadRequest, "Content-Length is not a number of 1 to 18 digits");
    }
    content_length_ = content_length_ * 10 + static_cast<std::uint64_t>(c - '0');
  }
  return true;
}

// RFC 9112 section 6.3, with every doubtful case refused.
bool HttpParser::decide_framing() {
  const Headers& headers = head_.headers;
  const std::size_t lengths = headers.count("Content-Length");
  const std::size_t codings = headers.count("Transfer-Encoding");
  if (codings != 0) {
    if (lengths != 0) {
      return set_error(HttpParseError::kBadRequest, "both Content-Length and Transfer-Encoding are present");
    }
    if (head_.minor_version == 0) {
      return set_error(HttpParseError::kBadRequest, "Transfer-Encoding in an HTTP/1.0 message");
    }
    if (codings != 1 || !equal_without_case(headers.get("Transfer-Encoding"), "chunked")) {
      return set_error(HttpParseError::kNotImplemented, "Transfer-Encoding is something other than 'chunked'");
    }
    chunked_ = true;
    return true;
  }
  if (lengths > 1) {
    return set_error(HttpParseError::kBadRequest, "Content-Length is present more than once");
  }
  if (lengths == 1 && !read_content_length(headers.get("Content-Length"))) {
    return false;
  }
  return true;
}

bool HttpParser::on_head_end() {
  const Headers& headers = head_.headers;
  keep_alive_ = head_.minor_version == 1 ? !headers.has_token("Connection", "close")
                                         : headers.has_token("Connection", "keep-alive");
  if (kind_ == Kind::kRequest) {
    const std::size_t hosts = headers.count("Host");
    if (hosts > 1 || (hosts == 0 && head_.minor_version == 1)) {
      return set_error(HttpParseError::kBadRequest, "the request does not have exactly one Host header");
    }
  }
  const int status = head_.status;
  const bool bodyless = kind_ == Kind::kResponse && (no_body_ || status < 200 || status == 204 || status == 304);
  if (!bodyless && !decide_framing()) {
    return false;
  }
  if (!bodyless && limits_.body_bytes != 0 && content_length_ > limits_.body_bytes) {
    return set_error(HttpParseError::kBodyTooLarge, "Content-Length is larger than allowed");
  }
  remaining_ = content_length_;
  if (bodyless) {
    state_ = State::kDone;
  } else if (chunked_) {
    state_ = State::kChunkSize;
  } else if (kind_ == Kind::kResponse && !headers.has("Content-Length")) {
    keep_alive_ = false;
    state_ = State::kUntilEofBody;
  } else {
    state_ = content_length_ == 0 ? State::kDone : State::kLengthBody;
  }
  return true;
}

bool HttpParser::on_chunk_size(std::string_view line) {
  std::size_t digits = 0;
  std::uint64_t size = 0;
  while (digits < line.size() && hex_value(line[digits]) >= 0) {
    size = size * 16 + static_cast<std::uint64_t>(hex_value(line[digits]));
    ++digits;
  }
  const std::string_view rest = trim(line.substr(digits));
  if (digits == 0 || digits > 15 || (!rest.empty() && rest.front() != ';') || has_control(rest)) {
    return set_error(HttpParseError::kBadRequest, "a chunk size is not a hexadecimal number");
  }
  if (limits_.body_bytes != 0 && size > limits_.body_bytes - body_bytes_) {
    return set_error(HttpParseError::kBodyTooLarge, "the chunks together are larger than allowed");
  }
  remaining_ = size;
  state_ = size == 0 ? State::kTrailers : State::kChunkData;
  return true;
}

HttpParser::Step HttpParser::step_body(std::span<const std::uint8_t> input) {
  if (input.empty()) {
    return {};
  }
  std::size_t size = input.size();
  if (state_ != State::kUntilEofBody && size > remaining_) {
    size = static_cast<std::size_t>(remaining_);
  }
  if (limits_.body_bytes != 0 && size > limits_.body_bytes - body_bytes_) {
    return fail(HttpParseError::kBodyTooLarge, "the body is larger than allowed", 0);
  }
  body_bytes_ += size;
  if (state_ != State::kUntilEofBody) {
    remaining_ -= size;
    if (remaining_ == 0) {
      state_ = state_ == State::kChunkData ? State::kChunkEnd : State::kDone;
    }
  }
  return {Event::kBody, size, input.first(size)};
}

bool HttpParser::finish_at_eof() {
  if (state_ == State::kUntilEofBody) {
    state_ = State::kDone;
  }
  return state_ == State::kDone;
}

}  // namespace cm::net::detail
