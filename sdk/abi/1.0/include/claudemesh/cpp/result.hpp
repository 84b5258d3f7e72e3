// Error values of the C++ layer. Expected failures are returned, never thrown (exceptions are for configuring only).
#pragma once

#include <cassert>
#include <cstdint>
#include <string>
#include <utility>
#include <variant>

namespace cm {

// The closed list of failure classes; the numbers are those of the C ABI (claudemesh/abi.h).
enum class ErrorCode : std::uint32_t {
  kInvalid = 1,      // the caller's input is wrong; repeating it cannot help
  kUnsupported = 2,  // the other side does not have this function, revision or feature
  kDenied = 3,       // permission, authentication or policy
  kBusy = 4,         // a limit was reached or the resource is taken; repeating later may help
  kGone = 5,         // the object no longer exists, or is being torn down
  kIo = 6,           // the network or the disk failed
  kInternal = 7,     // a defect: please report
};

// A failure with a text for a person: what was found, what was expected, what to do next. Never contains a secret.
struct Error {
  ErrorCode code = ErrorCode::kInternal;
  std::string message;
};

// A value or an Error. Taking the value of a failed result is a defect and ends the process in debug builds.
template <typename T>
class [[nodiscard]] Result {
 public:
  Result(T value) : state_(std::in_place_index<0>, std::move(value)) {}
  Result(Error error) : state_(std::in_place_index<1>, std::move(error)) {}

  // Is there a value? [any]
  bool ok() const noexcept { return state_.index() == 0; }
  explicit operator bool() const noexcept { return ok(); }

  // The value; only when ok. [any]
  T& value() & {
    assert(ok());
    return *std::get_if<0>(&state_);
  }
  // The value; only when ok. [any]
  const T& value() const& {
    assert(ok());
    return *std::get_if<0>(&state_);
  }
  // Moves the value out; only when ok. [any]
  T&& value() && {
    assert(ok());
    return std::move(*std::get_if<0>(&state_));
  }
  T& operator*() & { return value(); }
  const T& operator*() const& { return value(); }
  T&& operator*() && { return std::move(*this).value(); }
  T* operator->() { return &value(); }
  const T* operator->() const { return &value(); }

  // Why not; only when not ok. [any]
  const Error& error() const& {
    assert(!ok());
    return *std::get_if<1>(&state_);
  }
  // Moves the error out; only when not ok. [any]
  Error&& error() && {
    assert(!ok());
    return std::move(*std::get_if<1>(&state_));
  }

 private:
  std::variant<T, Error> state_;
};

// A result without a value.
template <>
class [[nodiscard]] Result<void> {
 public:
  Result() = default;
  Result(Error error) : error_(std::in_place_index<1>, std::move(error)) {}

  // Did it go well? [any]
  bool ok() const noexcept { return error_.index() == 0; }
  explicit operator bool() const noexcept { return ok(); }
  // Why not; only when not ok. [any]
  const Error& error() const& {
    assert(!ok());
    return *std::get_if<1>(&error_);
  }
  // Moves the error out; only when not ok. [any]
  Error&& error() && {
    assert(!ok());
    return std::move(*std::get_if<1>(&error_));
  }

 private:
  std::variant<std::monostate, Error> error_;
};

// What a function without a value answers.
using Status = Result<void>;

// `message`: what was found, what was expected, what to do next. [any]
inline Error make_error(ErrorCode code, std::string message) {
  return Error{code, std::move(message)};
}

}  // namespace cm
