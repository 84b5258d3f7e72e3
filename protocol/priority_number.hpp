// Priorities as the plugin ABI has them (CM_PRIORITY_* of claudemesh/ext/transport.h).
#pragma once

#include <claudemesh/ext/transport.h>
#include <cstdint>
#include <string_view>

#include "protocol/target.hpp"

namespace cm::protocol {

constexpr std::uint32_t priority_number(Priority priority) {
  switch (priority) {
    case Priority::kNow:
      return CM_PRIORITY_NOW;
    case Priority::kLow:
      return CM_PRIORITY_LOW;
    case Priority::kNext:
      break;
  }
  return CM_PRIORITY_NEXT;
}

// Unknown numbers are "next", what a message without a priority has.
constexpr Priority priority_of(std::uint32_t number) {
  switch (number) {
    case CM_PRIORITY_NOW:
      return Priority::kNow;
    case CM_PRIORITY_LOW:
      return Priority::kLow;
    default:
      return Priority::kNext;
  }
}

// "now", "next", "low".
inline std::string_view priority_word(std::uint32_t number) {
  return to_string(priority_of(number));
}

}  // namespace cm::protocol
