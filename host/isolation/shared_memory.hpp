// The memory that host and child share: one page of counters and two rings.
#pragma once

#include <claudemesh/cpp/descriptor.hpp>
#include <claudemesh/cpp/result.hpp>

#include <atomic>
#include <cstdint>

#include "host/isolation/frame.hpp"

namespace cm::isolation {

inline constexpr std::uint64_t kRingBytes = 4u << 20;  // of each direction
inline constexpr std::uint64_t kSharedPageBytes = 4096;
inline constexpr std::uint64_t kSharedBytes = kSharedPageBytes + 2 * kRingBytes;

// A mapping of one memfd whose size is sealed, so that the other side cannot make an access fault. Pages are taken only
// when they are used.
class SharedMemory {
 public:
  // Host: makes a new one. kIo.
  static Result<SharedMemory> make();
  // Child: maps the inherited descriptor and closes it. kInvalid when its size or its seals are wrong.
  static Result<SharedMemory> map(int fd);
  SharedMemory() = default;
  SharedMemory(SharedMemory&& other) noexcept;
  SharedMemory& operator=(SharedMemory&& other) noexcept;
  ~SharedMemory();

  int fd() const noexcept { return fd_.get(); }  // host: for the child to inherit
  void close_fd() noexcept { fd_.reset(); }

  Ring to_child() const { return ring(0); }
  Ring to_host() const { return ring(1); }
  // Written by the child, read by the host when the child has died; any value may stand there.
  std::atomic<std::uint32_t>& callback() const;

 private:
  Ring ring(std::uint32_t index) const;

  Descriptor fd_;
  char* bytes_ = nullptr;
};

}  // namespace cm::isolation
