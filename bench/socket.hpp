// A plain socket for load generators: non-blocking, its own buffers, no library between the measurement and the kernel.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace cm::bench {

// Microseconds of the monotonic clock.
std::uint64_t now_us();

class Socket {
 public:
  Socket() = default;
  ~Socket();
  Socket(Socket&& other) noexcept;
  Socket& operator=(Socket&& other) noexcept;
  Socket(const Socket&) = delete;
  Socket& operator=(const Socket&) = delete;

  // "127.0.0.1:7900" or "unix:/path". Ends the program with a message when nobody listens: a benchmark without its peer
  // has no meaning.
  static Socket connect(const std::string& address);

  int fd() const { return fd_; }
  void queue(std::string_view bytes) { out_.append(bytes); }
  bool wants_write() const { return !out_.empty(); }
  void flush();  // writes what the kernel takes now
  void flush_blocking();
  // Reads what is there into input(); false when the peer has closed.
  bool fill();
  // Waits up to timeout_ms for input, then reads it.
  bool fill_blocking(int timeout_ms);
  std::vector<std::uint8_t>& input() { return in_; }  // has kBufferPadding readable bytes behind `size`
  std::size_t input_size() const { return in_size_; }
  std::uint8_t* input_data() { return in_.data(); }
  void consume(std::size_t bytes);

 private:
  int fd_ = -1;
  std::string out_;
  std::vector<std::uint8_t> in_;
  std::size_t in_size_ = 0;
};

// Waits until one of the sockets can be read (or written, if it wants to); returns after timeout_us at the latest.
void wait_for(const std::vector<Socket*>& sockets, std::uint64_t timeout_us);

[[noreturn]] void fail(const std::string& text);

}  // namespace cm::bench
