// Incremental HTTP/1.x parser for requests and responses (RFC 9112). Pure: bytes in, events out.
//
// Boost.Beast parses. What is here brings it whole lines and adds the rules that it lacks, because leniency between two
// programs is how requests are smuggled: lines end in CRLF only, no obs-fold, never Content-Length beside
// Transfer-Encoding, never two Content-Lengths, "chunked" is the only coding, one Host; and every length has a bound.
// Beast's parser exists only while a message is being received, so that an idle connection does not pay for it.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>

#include "host/net/http_types.hpp"

namespace cm::net::detail {

struct HttpParserLimits {
  std::size_t first_line_bytes = 8 * 1024;
  std::size_t header_bytes = 16 * 1024;
  std::size_t header_count = 100;
  std::uint64_t body_bytes = 1024 * 1024;  // 0: no limit
};

enum class HttpParseError : std::uint8_t {
  kNone,
  kBadRequest,        // 400
  kBodyTooLarge,      // 413
  kFirstLineTooLong,  // 414
  kHeadersTooLarge,   // 431
  kTooManyHeaders,    // 431
  kNotImplemented,    // 501
  kBadVersion,        // 505
};

struct HttpParseFault {
  HttpParseError error = HttpParseError::kNone;
  std::string_view text{};
};

// The head of a message. For responses method and target are empty, for requests status is 0.
struct HttpHead {
  std::string method;
  std::string target;
  int minor_version = 1;
  int status = 0;
  Headers headers;
};

class HttpParser {
 public:
  enum class Kind : std::uint8_t { kRequest, kResponse };
  enum class Event : std::uint8_t {
    kNeedMore,     // nothing to report: go on while input is left, then wait for more
    kHead,         // head() is complete
    kBody,         // `body` holds decoded bytes, a view into the input
    kMessageDone,  // call start_next() before the next step
    kError,        // error() and error_text() say why; the parser is finished
  };
  struct Step {
    Event event = Event::kNeedMore;
    std::size_t consumed = 0;
    std::span<const std::uint8_t> body;
  };

  HttpParser(Kind kind, const HttpParserLimits& limits);
  ~HttpParser();
  HttpParser(const HttpParser&) = delete;
  HttpParser& operator=(const HttpParser&) = delete;

  // Consumes some of the input and returns what it led to. Call again with the rest until it is empty and the event is
  // kNeedMore. An event may come without consuming input. An empty input is allowed.
  Step step(std::span<const std::uint8_t> input);

  // The connection ended. True when that completes a message (a response without a length).
  bool finish_at_eof();

  void start_next();
  // Responses: the request was HEAD, so no body follows whatever the head says. Call before the head arrives.
  void expect_no_body() { no_body_ = true; }

  HttpHead& head() noexcept { return head_; }
  bool started() const noexcept { return state_ != State::kFirstLine || !line_.empty() || blank_lines_ != 0; }
  bool in_body() const noexcept { return state_ > State::kHeaders && state_ < State::kDone; }
  // The length a Content-Length announced, 0 when none.
  std::uint64_t content_length() const noexcept { return content_length_; }
  bool keep_alive() const noexcept { return keep_alive_; }
  HttpParseError error() const noexcept { return error_; }
  // What was found and what was expected, without a final full stop. Holds nothing of the input but small numbers.
  std::string_view error_text() const noexcept { return error_text_; }

 private:
  class Message;
  template <bool kRequest>
  class BeastMessage;

  enum class State : std::uint8_t {
    kFirstLine,
    kHeaders,
    kData,  // of the body or of one chunk
    kChunkEnd,
    kChunkSize,
    kTrailers,
    kDone,
    kFailed,
  };

  bool set_error(const HttpParseFault& fault);
  std::size_t line_limit() const;
  HttpParseFault too_long_fault() const;
  Step step_line(std::span<const std::uint8_t> input);
  Step step_data(std::span<const std::uint8_t> input);
  Event on_line(std::string_view text, std::string_view line);
  void keep(std::string_view text);
  bool feed(std::string_view text, std::size_t size);
  bool on_first_line(std::string_view line);
  bool check_header_line(std::string_view line);
  bool on_chunk_size(std::string_view text, std::string_view line);

  HttpParserLimits limits_;
  HttpHead head_;
  std::unique_ptr<Message> message_;  // only while a message is being received
  std::string line_;                  // an unfinished line from earlier input, behind what Beast must see again with it
  std::size_t line_at_ = 0;           // where in line_ the unfinished line begins
  std::size_t header_bytes_ = 0;
  std::size_t header_lines_ = 0;
  std::uint64_t content_length_ = 0;
  std::string_view error_text_;
  Kind kind_;
  State state_ = State::kFirstLine;
  HttpParseError error_ = HttpParseError::kNone;
  std::uint8_t blank_lines_ = 0;
  bool keep_alive_ = true;
  bool no_body_ = false;
};

}  // namespace cm::net::detail
