#include "host/isolation/shared_memory.hpp"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <utility>

namespace cm::isolation {

namespace {

// The page of counters. Atomics in memory that two processes map need to be free of locks.
struct SharedPage {
  std::atomic<std::uint64_t> consumed[2];
  std::atomic<std::uint32_t> callback;
};
static_assert(std::atomic<std::uint64_t>::is_always_lock_free && std::atomic<std::uint32_t>::is_always_lock_free);
static_assert(sizeof(SharedPage) <= kSharedPageBytes);

Error io_error(const char* what) {
  return make_error(ErrorCode::kIo, std::string("shared memory for a plugin's process: ") + what + ": " +
                                        std::strerror(errno) + "; look at the limits of memory and descriptors");
}

void* map_fd(int fd) {
  return ::mmap(nullptr, kSharedBytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
}

}  // namespace

Result<SharedMemory> SharedMemory::make() {
  SharedMemory memory;
  memory.fd_ = Descriptor(::memfd_create("claudemesh-plugin", MFD_CLOEXEC | MFD_ALLOW_SEALING));
  if (!memory.fd_) {
    return io_error("memfd_create");
  }
  if (::ftruncate(memory.fd(), static_cast<off_t>(kSharedBytes)) != 0 ||
      ::fcntl(memory.fd(), F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) != 0) {
    return io_error("sealing its size");
  }
  void* bytes = map_fd(memory.fd());
  if (bytes == MAP_FAILED) {
    return io_error("mmap");
  }
  memory.bytes_ = static_cast<char*>(bytes);
  return memory;
}

Result<SharedMemory> SharedMemory::map(int fd) {
  SharedMemory memory;
  memory.fd_ = Descriptor(fd);
  struct stat status{};
  const int seals = ::fcntl(fd, F_GET_SEALS);
  if (::fstat(fd, &status) != 0 || status.st_size != static_cast<off_t>(kSharedBytes) || seals < 0 ||
      (seals & F_SEAL_SHRINK) == 0) {
    return make_error(ErrorCode::kInvalid, "the inherited memory is not what a host hands to a runner");
  }
  void* bytes = map_fd(fd);
  if (bytes == MAP_FAILED) {
    return io_error("mmap");
  }
  memory.bytes_ = static_cast<char*>(bytes);
  memory.close_fd();
  return memory;
}

SharedMemory::SharedMemory(SharedMemory&& other) noexcept
    : fd_(std::move(other.fd_)), bytes_(std::exchange(other.bytes_, nullptr)) {}

SharedMemory& SharedMemory::operator=(SharedMemory&& other) noexcept {
  std::swap(fd_, other.fd_);
  std::swap(bytes_, other.bytes_);
  return *this;
}

SharedMemory::~SharedMemory() {
  if (bytes_ != nullptr) {
    ::munmap(bytes_, kSharedBytes);
  }
}

Ring SharedMemory::ring(std::uint32_t index) const {
  auto* page = reinterpret_cast<SharedPage*>(bytes_);
  return Ring(bytes_ + kSharedPageBytes + index * kRingBytes, kRingBytes, &page->consumed[index]);
}

std::atomic<std::uint32_t>& SharedMemory::callback() const {
  return reinterpret_cast<SharedPage*>(bytes_)->callback;
}

}  // namespace cm::isolation
