// What every verb writes with: exit codes, three-part errors, colour only for people, text from others made harmless.
#pragma once

#include <claudemesh/cpp/result.hpp>

#include <iosfwd>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include "protocol/json.hpp"

namespace cm::cli {

// The process' exit codes (wire/07 section 4). `claudemesh daemon ...` has its own (wire/06 section 10).
enum class ExitCode : int {
  kOk = 0,
  kFailed = 1,  // the generic failure of the older verbs: send, join, peers, inbox
  kAuth = 2,
  kUsage = 3,
  kNetwork = 4,  // the daemon or the broker cannot be reached
  kNotFound = 5,
  kExists = 6,
  kDenied = 7,
  kInternal = 8,
  kIo = 10,
};

// A refusal for a person: what was found, what was expected, what to do next. Never holds a secret.
struct Failure {
  ExitCode code = ExitCode::kFailed;
  std::string found;
  std::string expected;
  std::string next;
};

// A value or a Failure.
template <typename T>
class [[nodiscard]] Outcome {
 public:
  Outcome(T value) : value_(std::move(value)) {}
  Outcome(Failure failure) : failure_(std::move(failure)) {}

  bool ok() const noexcept { return value_.has_value(); }
  T& operator*() { return *value_; }
  const T& operator*() const { return *value_; }
  T* operator->() { return &*value_; }
  const T* operator->() const { return &*value_; }
  const Failure& failure() const { return failure_; }

 private:
  std::optional<T> value_;
  Failure failure_;
};

// Where a verb writes. The streams outlive it; colour flags are decided once, per stream.
struct Output {
  std::ostream& out;
  std::ostream& err;
  bool colour_out = false;
  bool colour_err = false;

  // "  ✔ <text>" on the output.
  void success(std::string_view text) const;
  // "    → <text>" on the output: what to type next.
  void hint(std::string_view text) const;
  // "  ⚠ <text>" on the error stream, so that it never mixes with what a script reads.
  void warning(std::string_view text) const;
  // An empty line, "— <title>", an empty line.
  void header(std::string_view title) const;
  // The three parts of the failure on the error stream; returns its exit code.
  int fail(const Failure& failure) const;
  // Two-space JSON with a final newline, or one line.
  void json(const protocol::JsonValue& value) const;
  void json_line(const protocol::JsonValue& value) const;

  std::string dim(std::string_view text) const;
  std::string bold(std::string_view text) const;
};

// Colour: the stream is a terminal, NO_COLOR is unset or empty, TERM is not "dumb" (wire/07 section 4).
bool wants_colour(int descriptor);

// Text from another member as it may reach a terminal: control characters and bytes that are not UTF-8 become U+FFFD,
// so that nobody can move the cursor of a reader. Line breaks and tabs stay only when `multi_line`.
std::string printable(std::string_view text, bool multi_line = false);

// The first clause of an error text of another room: up to "; " or ". ". Their expectations and advice are about their
// level; the verb gives its own.
std::string brief(std::string_view message);

// Two-space indentation, as JSON.stringify(value, null, 2).
std::string pretty_json(const protocol::JsonValue& value);

// A duration in the largest unit that fits: "350 ms", "12 s", "5 min", "3 h", "2 d".
std::string duration_text(double milliseconds);

}  // namespace cm::cli
