// The host's end of the connection to one runner child.
#pragma once

#include <claudemesh/plugin.h>

#include <functional>
#include <memory>
#include <string>

#include "host/isolation/channel.hpp"
#include "host/isolation/host_side.hpp"

namespace cm::isolation {

inline constexpr std::size_t kOutboundBytesMax = 48u << 20;  // waiting for the child; more: it has stopped reading
inline constexpr std::size_t kOutboundBytesHigh = 4u << 20;  // above: what can be refused is refused
// A flood is read at this pace at most, so that the loop has time for its other instances.
inline constexpr std::int64_t kWindowNs = 10'000'000;
inline constexpr std::int64_t kBusyNsPerWindowMax = 5'000'000;  // spent on what one child sent
inline constexpr std::uint64_t kBytesPerWindowMax = 16u << 20;

// Reads frames on the instance's loop by a watch on the socket; writes are gathered and leave at the end of the turn.
// [loop] throughout. A broken session stays until its owner destroys it, but reads and sends nothing any more.
class Session {
 public:
  // `on_frame` is called inside HostSide::enter, `on_broken` once, outside of it, with the reason.
  struct Handlers {
    std::function<void(Frame&)> on_frame;
    std::function<void(std::string)> on_broken;
    std::function<void()> on_throttled;
  };
  Session(HostSide& host, std::unique_ptr<Channel> channel, Handlers handlers);
  ~Session();
  Session(const Session&) = delete;
  Session& operator=(const Session&) = delete;

  Status open();

  template <typename Fill>
  bool send(Method method, std::uint64_t call, Fill&& fill) {
    if (broken_ || !channel_->send(method, call, std::forward<Fill>(fill))) {
      return false;
    }
    schedule_flush();
    return true;
  }
  bool send(Method method, std::uint64_t call = 0) {
    return send(method, call, [](FrameWriter&) {});
  }
  template <typename Fill>
  void reply(std::uint64_t call, cm_status status, Fill&& fill) {
    send(Method::kReply, call, [&](FrameWriter& writer) {
      writer.u32(status);
      fill(writer);
    });
  }
  void reply(std::uint64_t call, cm_status status) {
    reply(call, status, [](FrameWriter&) {});
  }

  std::uint64_t next_call() noexcept { return next_call_++; }
  bool crowded() { return channel_->waiting() > kOutboundBytesHigh; }
  bool broken() const noexcept { return broken_; }
  // A frame that cannot be: the child is not trusted any more.
  void garbage(const std::string& what);
  // After the child's end: handles what it still had sent.
  void drain();
  SharedMemory& memory() noexcept { return channel_->memory(); }

 private:
  void on_ready(net::FdInterest ready);
  void handle_frames();
  void schedule_flush();
  void flush();
  void update_interest();
  void throttle();
  void break_off(std::string reason);

  HostSide& host_;
  std::unique_ptr<Channel> channel_;
  Handlers handlers_;
  net::WatchId watch_ = net::WatchId::kNone;
  net::TimerId resume_ = net::TimerId::kNone;
  std::shared_ptr<bool> alive_ = std::make_shared<bool>(true);  // end-of-batch functions cannot be cancelled
  std::uint64_t next_call_ = 1;
  bool flush_scheduled_ = false;
  bool wants_write_ = false;
  bool paused_ = false;
  bool broken_ = false;
  std::string broken_reason_;  // not yet told
  std::int64_t window_began_ns_ = 0;
  std::int64_t window_busy_ns_ = 0;
  std::uint64_t window_bytes_ = 0;
};

}  // namespace cm::isolation
