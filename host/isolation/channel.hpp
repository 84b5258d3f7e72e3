// One end of the connection between host and runner child: frames over a non-blocking Unix socket, large payloads
// through shared memory.
#pragma once

#include <claudemesh/cpp/descriptor.hpp>

#include <cstdint>
#include <mutex>
#include <string>
#include <vector>

#include "host/isolation/frame.hpp"
#include "host/isolation/shared_memory.hpp"

namespace cm::isolation {

inline constexpr std::size_t kReadBytes = 64 * 1024;  // of one read

enum class Side { kHost, kChild };
enum class IoResult { kOk, kClosed, kBad };

// Owns the socket and the mapping. send and flush: any thread. receive: one thread.
class Channel {
 public:
  Channel(Descriptor socket, SharedMemory memory, Side side);
  Channel(const Channel&) = delete;
  Channel& operator=(const Channel&) = delete;

  int fd() const noexcept { return socket_.get(); }
  SharedMemory& memory() noexcept { return memory_; }

  // Queues a frame; `fill(FrameWriter&)` writes its fields. False when the frame is too large to cross.
  template <typename Fill>
  bool send(Method method, std::uint64_t call, Fill&& fill) {
    const std::lock_guard lock(mutex_);
    FrameWriter writer(out_, method, call, &out_ring_);
    fill(writer);
    return writer.finish();
  }
  bool send(Method method, std::uint64_t call = 0) {
    return send(method, call, [](FrameWriter&) {});
  }

  // Writes what can be written without waiting.
  IoResult flush();
  // Bytes that wait for the other side.
  std::size_t waiting();

  // Reads once, at most kReadBytes. kClosed: the other side has gone.
  IoResult read();
  // The frames that have been read.
  FrameDecoder::Outcome next(Frame& frame) { return decoder_.next(frame); }
  const std::string& problem() const noexcept { return decoder_.problem(); }

 private:
  Descriptor socket_;
  SharedMemory memory_;
  Ring out_ring_;
  Ring in_ring_;
  FrameDecoder decoder_;
  std::mutex mutex_;
  std::string out_;          // guarded by mutex_
  std::size_t written_ = 0;  // guarded by mutex_: of out_
};

}  // namespace cm::isolation
