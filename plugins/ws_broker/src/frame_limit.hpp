// How large a frame of a client may be.
#pragma once

#include "plugins/ws_broker/src/options.hpp"

namespace cm::broker {

// What a frame may have beside the content that max_message_bytes counts: names, ids, fingerprint, mentions. A message
// at the limit fits in then, and one that is a little too large is refused with its ack while the socket stays open.
inline constexpr std::size_t kEnvelopeBytes = 4'096;

inline std::size_t max_frame_bytes(const Options& options) {
  return options.max_message_bytes + kEnvelopeBytes;
}

}  // namespace cm::broker
