// Frames that were read and cannot be handed over yet, oldest first, in one piece of memory: a small frame costs little
// more than its bytes, as it did in the socket's buffer.
#pragma once

#include <claudemesh/ext/websocket.h>

#include <cstdint>
#include <cstring>
#include <string>
#include <string_view>

namespace cm::broker {

class HeldFrames {
 public:
  static constexpr std::size_t kFrameBytes = sizeof(std::uint32_t);  // what a frame costs besides its text

  bool empty() const noexcept { return next_ == end(); }
  // What waits, in bytes.
  std::size_t bytes() const noexcept { return end() - next_; }

  void push(std::string_view frame) {
    const auto size = static_cast<std::uint32_t>(frame.size());  // a message of cm.websocket/1 is far below 4 GiB
    const std::string_view head(reinterpret_cast<const char*>(&size), sizeof size);
    bytes_.resize(end());
    bytes_.append(head).append(frame).append(CM_WEBSOCKET_PADDING_BYTES, '\0');
  }
  // The oldest frame with CM_WEBSOCKET_PADDING_BYTES readable bytes behind it; valid until the next push or pop.
  std::string_view front() const noexcept { return std::string_view(bytes_).substr(next_ + kFrameBytes, front_size()); }
  void pop() {
    next_ += kFrameBytes + front_size();
    if (empty()) {
      clear();
    }
  }
  // Forgets everything and gives the memory back.
  void clear() {
    bytes_ = {};
    next_ = 0;
  }

 private:
  std::size_t end() const noexcept { return bytes_.empty() ? 0 : bytes_.size() - CM_WEBSOCKET_PADDING_BYTES; }
  std::uint32_t front_size() const noexcept {
    std::uint32_t size = 0;
    std::memcpy(&size, bytes_.data() + next_, sizeof size);
    return size;
  }

  std::string bytes_;  // size and text of each frame, and the padding of the last one
  std::size_t next_ = 0;
};

}  // namespace cm::broker
