#include "protocol/close_codes.hpp"

namespace cm::protocol {

bool is_terminal_close(std::uint16_t code) {
  switch (static_cast<CloseCode>(code)) {
    case CloseCode::kKicked:
    case CloseCode::kBanned:
    case CloseCode::kFeatureUnavailable:
      return true;
    default:
      return false;
  }
}

}  // namespace cm::protocol
