// What connections need from their loop beyond the public face: lean descriptor watches, name look-up and scratch
// memory. No Asio types here; those are in detail/reactor.hpp.
#pragma once

#include <sys/socket.h>

#include <claudemesh/cpp/result.hpp>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <unordered_set>
#include <vector>

#include "host/net/loop.hpp"
#include "host/net/ws_codec.hpp"

namespace cm::net::detail {

struct FdState;
struct Reactor;
class Lingerer;

// Who is told about a descriptor. Must outlive the watch.
class FdListener {
 public:
  virtual void on_fd_ready(bool readable, bool writable) = 0;

 protected:
  ~FdListener() = default;
};

// Waits for a descriptor, level-triggered, without owning it. [loop]. Stopping inside the listener's call is allowed.
class FdWatch {
 public:
  FdWatch() noexcept = default;
  ~FdWatch() { stop(); }
  FdWatch(const FdWatch&) = delete;
  FdWatch& operator=(const FdWatch&) = delete;

  Status start(Loop& loop, int fd, FdListener& listener);
  void want(bool readable, bool writable);
  void stop();
  bool active() const noexcept { return state_ != nullptr; }

 private:
  std::shared_ptr<FdState> state_;
};

// An object that keeps itself alive while it has work on the loop (connections, connects under way). When the loop is
// destroyed first, it is told to let go, so that nothing leaks and nothing refers to a dead reactor.
class LoopResident {
 public:
  virtual void on_loop_gone() = 0;  // must call LoopCore::remove_resident

 protected:
  ~LoopResident() = default;
};

struct ResolvedAddress {
  sockaddr_storage storage{};
  socklen_t size = 0;
};

// A name look-up under way; dropping the handle cancels it.
class ResolveHandle {
 public:
  virtual ~ResolveHandle() = default;
};

class LoopCore {
 public:
  // Shared by all connections of the loop while they read: WebSocket frames are decoded in place here.
  static constexpr std::size_t kReadBufferBytes = 256 * 1024;

  LoopCore(Loop& owner, std::string name);
  ~LoopCore();

  Loop& owner() { return owner_; }
  const std::string& name() const { return name_; }
  Reactor& reactor() { return *reactor_; }

  // kReadBufferBytes bytes with kBufferPadding readable bytes behind. Valid until the current callback returns.
  std::span<std::uint8_t> read_buffer();
  // Emptied by its user before and after use.
  WsBatch& ws_batch() { return ws_batch_; }
  // Four unpredictable bytes (RFC 6455 section 5.3: strong entropy for masks).
  void random_mask(std::uint8_t mask[4]);
  // The Date header for now, computed once per second.
  std::string_view date_header();

  // Looks a name up on the reactor's helper thread; literals are answered without it. `done` is called in a later turn.
  std::unique_ptr<ResolveHandle> resolve(const std::string& host, std::uint16_t port,
                                         UniqueFunction<void(Result<std::vector<ResolvedAddress>>)> done);

  Lingerer& lingerer();

  void add_resident(LoopResident* resident) { residents_.insert(resident); }
  void remove_resident(LoopResident* resident) { residents_.erase(resident); }

 private:
  Loop& owner_;
  std::string name_;
  std::unique_ptr<Reactor> reactor_;
  std::unique_ptr<std::uint8_t[]> read_buffer_;
  WsBatch ws_batch_;
  std::vector<std::uint8_t> random_pool_;
  std::string date_text_;
  std::int64_t date_second_ = -1;
  std::unique_ptr<Lingerer> lingerer_;
  std::unordered_set<LoopResident*> residents_;
};

}  // namespace cm::net::detail
