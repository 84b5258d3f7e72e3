// Conversions between the views of the C ABI and std::string_view / std::span.
#pragma once

#include <claudemesh/abi.h>

#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include <claudemesh/cpp/result.hpp>

namespace cm {

// Text of the caller, for the duration of a call. [any]
inline cm_text_pview to_pview(std::string_view text) noexcept {
  return cm_text_pview{text.data(), text.size()};
}
// Text of the provider: what a table of this plugin hands out. [any]
inline cm_text_hview to_hview(std::string_view text) noexcept {
  return cm_text_hview{text.data(), text.size()};
}
// A view as C++; it lives as long as what it was made of. [any]
inline std::string_view to_view(cm_text_hview text) noexcept {
  return {text.data, text.size};
}
// The same for text of the caller. [any]
inline std::string_view to_view(cm_text_pview text) noexcept {
  return {text.data, text.size};
}

// Bytes of the caller, for the duration of a call. [any]
inline cm_bytes_pview to_bytes_pview(std::string_view bytes) noexcept {
  return cm_bytes_pview{reinterpret_cast<const std::uint8_t*>(bytes.data()), bytes.size()};
}
// The same for a span. [any]
inline cm_bytes_pview to_bytes_pview(std::span<const std::uint8_t> bytes) noexcept {
  return cm_bytes_pview{bytes.data(), bytes.size()};
}
// Bytes as C++; they live as long as what they were made of. [any]
inline std::string_view to_view(cm_bytes_hview bytes) noexcept {
  return {reinterpret_cast<const char*>(bytes.data), bytes.size};
}
// The same for bytes of the caller. [any]
inline std::string_view to_view(cm_bytes_pview bytes) noexcept {
  return {reinterpret_cast<const char*>(bytes.data), bytes.size};
}

// The failure of a C function as an Error. `status` must not be CM_OK.
inline Error error_from_status(cm_status status, std::string message) {
  const bool known = status >= CM_INVALID && status <= CM_INTERNAL;
  return Error{known ? static_cast<ErrorCode>(status) : ErrorCode::kInternal, std::move(message)};
}

// The status of a C function that failed so. [any]
inline cm_status status_from_error(const Error& error) noexcept {
  return static_cast<cm_status>(error.code);
}

}  // namespace cm
