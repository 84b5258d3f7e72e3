#include "host/net/detail/http_parser.hpp"

#include <algorithm>
#include <boost/beast/http/basic_parser.hpp>
#include <cstring>
#include <limits>
#include <utility>

namespace cm::net::detail {

namespace {

namespace http = boost::beast::http;
using BeastError = boost::beast::error_code;
using BeastView = boost::beast::string_view;

constexpr std::size_t kChunkLineBytesMax = 256;  // size and extensions
constexpr std::uint8_t kBlankLinesMax = 2;       // RFC 9112 section 2.2: tolerated before a request line
constexpr std::size_t kBareStatusBytes = 12;     // "HTTP/1.1 204"

std::string_view view(BeastView text) {
  return {text.data(), text.size()};
}

bool is_digit(char c) {
  return c >= '0' && c <= '9';
}

bool all_digits(std::string_view text) {
  return std::all_of(text.begin(), text.end(), is_digit);
}

bool has_control(std::string_view text) {
  return std::any_of(text.begin(), text.end(), [](char c) {
    const auto byte = static_cast<unsigned char>(c);
    return (byte < 0x20 && byte != '\t') || byte == 0x7F;
  });
}

bool absolute_form(std::string_view target) {
  return equal_without_case(target.substr(0, 7), "http://") || equal_without_case(target.substr(0, 8), "https://");
}

HttpParseFault fault_of(const BeastError& code, const Headers& headers) {
  const auto bad = HttpParseError::kBadRequest;
  switch (static_cast<http::error>(code.value())) {
    case http::error::body_limit:
      return {HttpParseError::kBodyTooLarge, "the body is larger than allowed"};
    case http::error::bad_method:
      return {bad, "the method is not a token"};
    case http::error::bad_target:
      return {bad, "the request target is empty or has bytes that must be escaped"};
    case http::error::bad_status:
    case http::error::bad_reason:
      return {bad, "the status line has no three-digit status"};
    case http::error::bad_field:
      return {bad, "a header line is not 'name: value'"};
    case http::error::bad_value:
    case http::error::bad_line_ending:
      return {bad, "a header value has control characters or is no list where one is expected"};
    case http::error::bad_content_length:
    case http::error::multiple_content_length:
      return {bad, "Content-Length is no number, is present twice or beside Transfer-Encoding"};
    case http::error::bad_transfer_encoding:  // said of a second one, too
      return headers.has("Content-Length")
                 ? HttpParseFault{bad, "both Content-Length and Transfer-Encoding are present"}
                 : HttpParseFault{HttpParseError::kNotImplemented, "Transfer-Encoding is present twice"};
    case http::error::bad_chunk:
    case http::error::bad_chunk_extension:
      return {bad, "a chunk size is not a hexadecimal number with well-formed extensions"};
    case http::error::bad_version:
      return {bad, "the first line has no HTTP version where it belongs"};
    default:  // need_more: Beast was given whole lines
      return {bad, "a line ends before it is complete"};
  }
}

// Beast says bad_version for everything at that place; a well-formed other version deserves another answer.
bool other_version(std::string_view version) {
  return version.size() == 8 && version.substr(0, 5) == "HTTP/" && is_digit(version[5]) && version[6] == '.' &&
         is_digit(version[7]) && (version[5] != '1' || version[7] > '1');
}

HttpParseFault request_line_fault(const HttpHead& head) {
  const std::string_view target = head.target;
  const bool star = target == "*" && head.method == "OPTIONS";
  if (std::any_of(target.begin(), target.end(), [](char c) { return static_cast<unsigned char>(c) > 0x7E; })) {
    return {HttpParseError::kBadRequest, "the request target has bytes that must be escaped"};
  }
  if (head.method == "CONNECT") {
    return {HttpParseError::kNotImplemented, "the method CONNECT is not offered"};
  }
  if (target.front() != '/' && !star && !absolute_form(target)) {
    return {HttpParseError::kBadRequest, "the request target is neither a path nor an http URL"};
  }
  return {};
}

// RFC 9112 section 6.3, with every doubtful case refused: Beast takes lists and repetitions of one length, ignores
// codings other than a last "chunked", and knows no rule about Host.
HttpParseFault head_fault(const HttpHead& head) {
  const Headers& headers = head.headers;
  const std::size_t lengths = headers.count("Content-Length");
  const std::size_t codings = headers.count("Transfer-Encoding");
  const std::size_t hosts = headers.count("Host");
  if (head.status == 0 && (hosts > 1 || (hosts == 0 && head.minor_version == 1))) {
    return {HttpParseError::kBadRequest, "the request does not have exactly one Host header"};
  }
  if (lengths > 1 || !all_digits(headers.get("Content-Length"))) {
    return {HttpParseError::kBadRequest, "Content-Length is not one number"};
  }
  if (codings != 0 && (lengths != 0 || head.minor_version == 0)) {
    return {HttpParseError::kBadRequest, "Transfer-Encoding beside Content-Length or in an HTTP/1.0 message"};
  }
  if (codings != 0 && !equal_without_case(headers.get("Transfer-Encoding"), "chunked")) {
    return {HttpParseError::kNotImplemented, "Transfer-Encoding is something other than 'chunked'"};
  }
  return {};
}

}  // namespace

// One message that is being received.
class HttpParser::Message {
 public:
  virtual ~Message() = default;
  virtual std::size_t put(std::string_view bytes, BeastError& code) = 0;
  virtual void put_eof(BeastError& code) = 0;
};

// Beast's parser: its calls drive the state of ours.
template <bool kRequest>
class HttpParser::BeastMessage final : public Message, private http::basic_parser<kRequest> {
  using Base = http::basic_parser<kRequest>;

 public:
  explicit BeastMessage(HttpParser& parser) : parser_(parser) {
    const std::uint64_t body_bytes_max = parser.limits_.body_bytes;
    Base::header_limit(std::numeric_limits<std::uint32_t>::max());  // lines are bounded before they come here
    Base::body_limit(body_bytes_max == 0 ? boost::none : boost::optional<std::uint64_t>(body_bytes_max));
    Base::skip(parser.no_body_);
  }
  std::size_t put(std::string_view bytes, BeastError& code) override {
    return Base::put(boost::asio::const_buffer(bytes.data(), bytes.size()), code);
  }
  void put_eof(BeastError& code) override { Base::put_eof(code); }

 private:
  void refuse(const HttpParseFault& fault, BeastError& code) {
    if (fault.error != HttpParseError::kNone) {
      parser_.set_error(fault);
      code = http::error::bad_value;
    }
  }
  void on_request_impl(http::verb, BeastView method, BeastView target, int version, BeastError& code) override {
    parser_.head_.method = view(method);
    parser_.head_.target = view(target);
    parser_.head_.minor_version = version - 10;
    refuse(request_line_fault(parser_.head_), code);
  }
  void on_response_impl(int status, BeastView, int version, BeastError& code) override {
    parser_.head_.status = status;
    parser_.head_.minor_version = version - 10;
    if (status < 100) {
      code = http::error::bad_status;
    }
  }
  // Trailers are checked and dropped (RFC 9110 section 6.5.1): merging them could override what was decided on.
  void on_field_impl(http::field, BeastView name, BeastView value, BeastError&) override {
    if (!Base::is_header_done()) {
      parser_.head_.headers.add(view(name), view(value));
    }
  }
  void on_header_impl(BeastError& code) override {
    parser_.keep_alive_ = Base::keep_alive();
    parser_.content_length_ = Base::content_length().value_or(0);
    parser_.state_ = Base::chunked() ? State::kChunkSize : State::kData;
    refuse(head_fault(parser_.head_), code);
  }
  void on_body_init_impl(const boost::optional<std::uint64_t>&, BeastError&) override {}
  // The bytes of a body are used where they are: step_data() needs to know only how many Beast took.
  std::size_t on_body_impl(BeastView bytes, BeastError&) override { return bytes.size(); }
  void on_chunk_header_impl(std::uint64_t, BeastView extensions, BeastError& code) override {
    parser_.state_ = State::kData;
    if (has_control(view(extensions))) {
      code = http::error::bad_chunk_extension;
    }
  }
  std::size_t on_chunk_body_impl(std::uint64_t remaining, BeastView bytes, BeastError&) override {
    parser_.state_ = remaining == bytes.size() ? State::kChunkEnd : State::kData;
    return bytes.size();
  }
  void on_finish_impl(BeastError&) override { parser_.state_ = State::kDone; }

  HttpParser& parser_;
};

HttpParser::HttpParser(Kind kind, const HttpParserLimits& limits) : limits_(limits), kind_(kind) {}

HttpParser::~HttpParser() = default;

void HttpParser::start_next() {
  head_ = HttpHead{};
  message_.reset();
  keep({});
  header_bytes_ = 0;
  header_lines_ = 0;
  blank_lines_ = 0;
  no_body_ = false;
  state_ = State::kFirstLine;
}

bool HttpParser::set_error(const HttpParseFault& fault) {
  error_ = fault.error;
  error_text_ = fault.text;
  state_ = State::kFailed;
  return false;
}

HttpParser::Step HttpParser::step(std::span<const std::uint8_t> input) {
  if (state_ == State::kDone) {
    return {Event::kMessageDone, 0, {}};
  }
  if (state_ == State::kFailed) {
    return {Event::kError, 0, {}};
  }
  if (input.empty()) {
    return {};
  }
  return state_ == State::kData ? step_data(input) : step_line(input);
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

// Beast is given whole lines: in pieces it would find an error only at the end of the head, would unfold folded headers
// silently, and bounds neither lines nor their number. The limit is checked before bytes are kept.
HttpParser::Step HttpParser::step_line(std::span<const std::uint8_t> input) {
  const auto* text = reinterpret_cast<const char*>(input.data());
  const auto* end = static_cast<const char*>(std::memchr(text, '\n', input.size()));
  const std::size_t size = end != nullptr ? static_cast<std::size_t>(end - text) + 1 : input.size();
  if (line_.size() - line_at_ + size > line_limit() + 2) {
    set_error(too_long_fault());
    return {Event::kError, 0, {}};
  }
  // In place when Beast may look at the next byte, see on_line().
  const bool whole = end != nullptr && line_.empty() && size < input.size() && text[size] != ' ' && text[size] != '\t';
  if (whole) {
    return {on_line({text, size}, {text, size}), size, {}};
  }
  line_.append(text, size);
  if (end == nullptr) {
    return {Event::kNeedMore, size, {}};
  }
  const std::size_t line_at = std::exchange(line_at_, 0);
  const std::string kept = std::exchange(line_, {});
  return {on_line(kept, std::string_view(kept).substr(line_at)), size, {}};
}

HttpParseFault HttpParser::too_long_fault() const {
  switch (state_) {
    case State::kFirstLine:
      return {HttpParseError::kFirstLineTooLong, "the request line is longer than allowed"};
    case State::kHeaders:
    case State::kTrailers:
      return {HttpParseError::kHeadersTooLarge, "the header lines together are larger than allowed"};
    default:
      return {HttpParseError::kBadRequest, "a chunk size line is longer than 256 bytes"};
  }
}

// `line` is the line that has become complete, `text` what Beast is to see with it; both end in the line feed.
HttpParser::Event HttpParser::on_line(std::string_view text, std::string_view line) {
  const bool blank = line == "\r\n";
  bool good = line.size() >= 2 && line[line.size() - 2] == '\r';
  if (!good) {
    set_error({HttpParseError::kBadRequest, "a line ends in a bare line feed, expected CRLF"});
  } else if (state_ == State::kFirstLine) {
    good = on_first_line(line);
  } else if (state_ == State::kHeaders && blank) {
    return feed(line, 2) ? Event::kHead : Event::kError;
  } else if (state_ == State::kHeaders) {
    // Beast looks at the byte behind the line for a fold; it is readable and no blank: the next one, or a final zero.
    good = check_header_line(line) && feed({line.data(), line.size() + 1}, line.size());
  } else if (state_ == State::kTrailers && blank) {
    return feed(text, text.size()) ? Event::kMessageDone : Event::kError;
  } else if (state_ == State::kTrailers) {
    good = check_header_line(line);
    keep(text);
  } else if (state_ == State::kChunkSize) {
    good = on_chunk_size(text, line);
  } else {
    good = blank || set_error({HttpParseError::kBadRequest, "chunk data is not followed by CRLF"});
    state_ = good ? State::kChunkSize : state_;
    keep(text);
  }
  return good ? Event::kNeedMore : Event::kError;
}

void HttpParser::keep(std::string_view text) {
  line_ = std::string(text);
  line_at_ = line_.size();
}

// Lets Beast parse bytes of which it must take exactly `size`.
bool HttpParser::feed(std::string_view text, std::size_t size) {
  BeastError code;
  const std::size_t taken = message_->put(text, code);
  const bool good = (!code || code == http::error::need_more) && taken == size;
  return good || error_ != HttpParseError::kNone ? good : set_error(fault_of(code, head_.headers));
}

bool HttpParser::on_first_line(std::string_view line) {
  const bool request = kind_ == Kind::kRequest;
  if (line.size() == 2 && request && blank_lines_ < kBlankLinesMax) {
    ++blank_lines_;
    return true;
  }
  if (request) {
    message_ = std::make_unique<BeastMessage<true>>(*this);
  } else {
    message_ = std::make_unique<BeastMessage<false>>(*this);
  }
  state_ = State::kHeaders;
  const std::string_view text = line.substr(0, line.size() - 2);
  // Beast insists on the space before a reason that is left out; many servers do not send it.
  const std::string spaced = !request && text.size() == kBareStatusBytes ? std::string(text) + " \r\n" : std::string();
  if (feed(spaced.empty() ? line : spaced, spaced.empty() ? line.size() : spaced.size())) {
    return true;
  }
  if (other_version(request ? text.substr(text.rfind(' ') + 1) : text.substr(0, 8))) {
    return set_error({HttpParseError::kBadVersion, "the HTTP version is neither 1.0 nor 1.1"});
  }
  return false;
}

// What Beast does not check of a header line or trailer line.
bool HttpParser::check_header_line(std::string_view line) {
  header_bytes_ += line.size();
  if (header_bytes_ > limits_.header_bytes) {
    return set_error(too_long_fault());
  }
  if (++header_lines_ > limits_.header_count) {
    return set_error({HttpParseError::kTooManyHeaders, "there are more header lines than allowed"});
  }
  if (line.front() == ' ' || line.front() == '\t') {
    return set_error({HttpParseError::kBadRequest, "a header is folded over several lines"});
  }
  return true;
}

// Beast wants the last chunk, its trailers and the blank line in one piece; it would wait for them behind "0x", too.
bool HttpParser::on_chunk_size(std::string_view text, std::string_view line) {
  const std::size_t zeros = line.find_first_not_of('0');
  if (zeros == 0 || std::string_view(" \t;\r").find(line[zeros]) == std::string_view::npos) {
    return feed(text, text.size());
  }
  state_ = State::kTrailers;
  keep(text);
  return true;
}

HttpParser::Step HttpParser::step_data(std::span<const std::uint8_t> input) {
  BeastError code;
  const std::size_t taken = message_->put({reinterpret_cast<const char*>(input.data()), input.size()}, code);
  if (code) {
    set_error(fault_of(code, head_.headers));
    return {Event::kError, 0, {}};
  }
  return {Event::kBody, taken, input.first(taken)};
}

bool HttpParser::finish_at_eof() {
  if (state_ == State::kData) {
    BeastError code;
    message_->put_eof(code);
  }
  return state_ == State::kDone;
}

}  // namespace cm::net::detail
