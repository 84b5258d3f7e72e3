// Conversions between the views of the C ABI and std::string_view / std::span.
#pragma once

#include <claudemesh/abi.h>

#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include <claudemesh/cpp/result.hpp>

namespace cm {

inline cm_text_pview to_pview(std::string_view text) noexcept {
  return cm_text_pview{text.data(), text.size()};
}
inline cm_text_hview to_hview(std::string_view text) noexcept {
  return cm_text_hview{text.data(), text.size()};
}
inline std::string_view to_view(cm_text_hview text) noexcept {
  return {text.data, text.size};
}
inline std::string_view to_view(cm_text_pview text) noexcept {
  return {text.data, text.size};
}

inline cm_bytes_pview to_bytes_pview(std::string_view bytes) noexcept {
  return cm_bytes_pview{reinterpret_cast<const std::uint8_t*>(bytes.data()), bytes.size()};
}
inline cm_bytes_pview to_bytes_pview(std::span<const std::uint8_t> bytes) noexcept {
  return cm_bytes_pview{bytes.data(), bytes.size()};
}
inline std::string_view to_view(cm_bytes_hview bytes) noexcept {
  return {reinterpret_cast<const char*>(bytes.data), bytes.size};
}
inline std::string_view to_view(cm_bytes_pview bytes) noexcept {
  return {reinterpret_cast<const char*>(bytes.data), bytes.size};
}

// The failure of a C function as an Error. `status` must not be CM_OK.
inline Error error_from_status(cm_status status, std::string message) {
  const bool known = status >= CM_INVALID && status <= CM_INTERNAL;
  return Error{known ? static_cast<ErrorCode>(status) : ErrorCode::kInternal, std::move(message)};
}

inline cm_status status_from_error(const Error& error) noexcept {
  return static_cast<cm_status>(error.code);
}

}  // namespace cm
