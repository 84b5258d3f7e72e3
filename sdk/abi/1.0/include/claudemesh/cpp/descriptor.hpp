// A file descriptor of the operating system with an owner.
#pragma once

#include <unistd.h>

#include <utility>

namespace cm {

// Owns a descriptor and closes it when it goes; movable. Negative: it owns none. [any, one thread at a time]
class Descriptor {
 public:
  Descriptor() = default;
  // Takes `fd` over; a negative one, as open(2) answers in case of an error, is no descriptor.
  explicit Descriptor(int fd) noexcept : fd_(fd) {}
  Descriptor(Descriptor&& other) noexcept : fd_(other.release()) {}
  Descriptor& operator=(Descriptor&& other) noexcept {
    if (this != &other) {
      reset(other.release());
    }
    return *this;
  }
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;
  ~Descriptor() { reset(); }

  // Stays the owner. [any]
  int get() const noexcept { return fd_; }
  // Does it own a descriptor? [any]
  explicit operator bool() const noexcept { return fd_ >= 0; }
  // Gives the ownership to the caller. [any]
  [[nodiscard]] int release() noexcept { return std::exchange(fd_, -1); }
  // Closes what it owns and takes `fd` over. What close(2) answers is not looked at: sync first what must be kept.
  // [any]
  void reset(int fd = -1) noexcept {
    if (fd_ >= 0) {
      ::close(fd_);
    }
    fd_ = fd;
  }

 private:
  int fd_ = -1;
};

}  // namespace cm
