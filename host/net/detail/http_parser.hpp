// Incremental HTTP/1.x parser for requests and responses (RFC 9112). Pure: bytes in, events out.
//
// Strict on purpose, because leniency between two programs is how requests are smuggled: lines end in CRLF only, no
// obs-fold, no space before the colon, never Content-Length beside Transfer-Encoding, never two Content-Lengths,
// "chunked" is the only coding, chunk sizes are plain hex.
#pragma once

#include <cstdint>
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

  HttpParser(Kind kind, const HttpParserLimits& limits) : limits_(limits), kind_(kind) {}

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
  bool chunked() const noexcept { return chunked_; }
  bool keep_alive() const noexcept { return keep_alive_; }
  HttpParseError error() const noexcept { return error_; }
  // What was found and what was expected, without a final full stop. Holds nothing of the input but small numbers.
  std::string_view error_text() const noexcept { return error_text_; }

 private:
  enum class State : std::uint8_t {
    kFirstLine,
    kHeaders,
    kLengthBody,
    kChunkSize,
    kChunkData,
    kChunkEnd,
    kTrailers,
    kUntilEofBody,
    kDone,
    kFailed,
  };

  Step fail(HttpParseError error, std::string_view text, std::size_t consumed);
  bool set_error(HttpParseError error, std::string_view text);
  std::size_t line_limit() const;
  Step step_line(std::span<const std::uint8_t> input);
  Step step_body(std::span<const std::uint8_t> input);
  Step on_line(std::string_view line, std::size_t consumed);
  bool on_first_line(std::string_view line);
  bool on_request_line(std::string_view line);
  bool on_status_line(std::string_view line);
  bool parse_version(std::string_view text);
  bool on_header_line(std::string_view line, bool trailer);
  bool on_chunk_size(std::string_view line);
  bool on_head_end();
  bool decide_framing();
  bool read_content_length(std::string_view text);

  HttpParserLimits limits_;
  HttpHead head_;
  std::string line_;  // an unfinished line from earlier input
  std::size_t header_bytes_ = 0;
  std::size_t header_lines_ = 0;
  std::uint64_t content_length_ = 0;
  std::uint64_t remaining_ = 0;  // of the body or chunk
  std::uint64_t body_bytes_ = 0;
  std::string_view error_text_;
  Kind kind_;
  State state_ = State::kFirstLine;
  HttpParseError error_ = HttpParseError::kNone;
  std::uint8_t blank_lines_ = 0;
  bool chunked_ = false;
  bool keep_alive_ = true;
  bool no_body_ = false;
};

}  // namespace cm::net::detail
