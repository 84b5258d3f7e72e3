// Output waiting for the kernel: shared payloads, each with a few bytes of framing in front. [loop]
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

#include "host/net/detail/stream_socket.hpp"
#include "host/net/shared_buffer.hpp"

namespace cm::net::detail {

// Owns no memory while it is empty.
class WriteQueue {
 public:
  static constexpr std::size_t kHeadBytesMax = 15;

  void push(SharedBuffer payload) { push(std::span<const std::uint8_t>(), std::move(payload)); }
  void push(std::span<const std::uint8_t> head, SharedBuffer payload);
  void push(std::string_view head, SharedBuffer payload = {}) {
    push(std::span(reinterpret_cast<const std::uint8_t*>(head.data()), head.size()), std::move(payload));
  }

  std::size_t bytes() const noexcept { return bytes_; }
  bool empty() const noexcept { return bytes_ == 0; }

  // Writes until the queue is empty (kOk) or the socket wants or fails. `written` counts what the socket took.
  IoStatus flush(StreamSocket& socket, std::size_t& written);
  // Forgets what has not begun to leave; a segment that left in part stays, so that framing stays intact.
  void drop_unstarted();

 private:
  struct Segment {
    SharedBuffer payload;
    std::array<std::uint8_t, kHeadBytesMax> head{};
    std::uint8_t head_size = 0;

    std::size_t size() const { return head_size + payload.size(); }
  };

  void consume(std::size_t bytes);
  std::size_t gather(std::span<iovec> pieces) const;

  std::vector<Segment> segments_;
  std::size_t first_ = 0;   // segments before it have left
  std::size_t offset_ = 0;  // bytes of the first segment that have left
  std::size_t bytes_ = 0;
};

}  // namespace cm::net::detail
