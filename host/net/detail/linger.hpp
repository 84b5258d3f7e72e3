// Sockets that are finished from our side but whose peer may still be sending.
#pragma once

#include <cstdint>
#include <list>
#include <memory>

#include "host/net/detail/loop_core.hpp"
#include "host/net/detail/stream_socket.hpp"

namespace cm::net::detail {

// Closing a socket with unread input makes the kernel send a reset, which can destroy our last words (an error answer,
// a close frame) before the peer reads them. So: FIN, then read and drop until the peer ends, for a bounded time and
// size.
class Lingerer {
 public:
  static constexpr std::uint64_t kLingerMs = 2'000;
  static constexpr std::size_t kDiscardBytesMax = 1024 * 1024;
  static constexpr std::size_t kSocketsMax = 1'024;  // more are closed at once

  explicit Lingerer(Loop& loop);
  ~Lingerer();

  // All output must have left the queue. [loop]
  void take(std::unique_ptr<StreamSocket> socket);

 private:
  struct Entry;
  void finish(Entry* entry);

  Loop& loop_;
  std::list<std::unique_ptr<Entry>> entries_;
};

}  // namespace cm::net::detail
