#include "host/isolation/channel.hpp"

#include <sys/socket.h>

#include <cerrno>
#include <utility>

namespace cm::isolation {

namespace {

constexpr const char* kCallbackNames[] = {
    "none",      "load",  "create",     "configure",      "get_extension", "start",
    "drain",     "stop",  "destroy",    "reload_prepare", "reload_finish", "post",
    "timer",     "event", "going_away", "http_request",   "http_stream",   "http_result",
    "websocket", "hook",  "transport",  "peer",           "bridge",
};
static_assert(std::size(kCallbackNames) == static_cast<std::size_t>(Callback::kCount));

}  // namespace

const char* callback_name(Callback callback) noexcept {
  const auto index = static_cast<std::size_t>(callback);
  return index < std::size(kCallbackNames) ? kCallbackNames[index] : "an unknown callback";
}

Channel::Channel(Descriptor socket, SharedMemory memory, Side side)
    : socket_(std::move(socket)),
      memory_(std::move(memory)),
      out_ring_(side == Side::kHost ? memory_.to_child() : memory_.to_host()),
      in_ring_(side == Side::kHost ? memory_.to_host() : memory_.to_child()),
      decoder_(&in_ring_) {}

IoResult Channel::flush() {
  const std::lock_guard lock(mutex_);
  while (written_ < out_.size()) {
    const ssize_t count = ::send(fd(), out_.data() + written_, out_.size() - written_, MSG_DONTWAIT | MSG_NOSIGNAL);
    if (count < 0 && errno == EINTR) {
      continue;
    }
    if (count < 0) {
      return errno == EAGAIN || errno == EWOULDBLOCK ? IoResult::kOk : IoResult::kClosed;
    }
    written_ += static_cast<std::size_t>(count);
    if (written_ > kReadBytes && written_ > out_.size() / 2) {
      out_.erase(0, written_);
      written_ = 0;
    }
  }
  out_.clear();
  written_ = 0;
  return IoResult::kOk;
}

std::size_t Channel::waiting() {
  const std::lock_guard lock(mutex_);
  return out_.size() - written_;
}

IoResult Channel::read() {
  char* room = decoder_.prepare(kReadBytes);
  while (true) {
    const ssize_t count = ::recv(fd(), room, kReadBytes, MSG_DONTWAIT);
    if (count > 0) {
      decoder_.commit(static_cast<std::size_t>(count));
      return IoResult::kOk;
    }
    if (count == 0) {
      return IoResult::kClosed;
    }
    if (errno != EINTR) {
      return errno == EAGAIN || errno == EWOULDBLOCK ? IoResult::kOk : IoResult::kClosed;
    }
  }
}

}  // namespace cm::isolation
