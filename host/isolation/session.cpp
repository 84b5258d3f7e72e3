#include "host/isolation/session.hpp"

#include <utility>

namespace cm::isolation {

namespace {

constexpr int kDrainReadsMax = 512;

}  // namespace

Session::Session(HostSide& host, std::unique_ptr<Channel> channel, Handlers handlers)
    : host_(host), channel_(std::move(channel)), handlers_(std::move(handlers)) {}

Session::~Session() {
  *alive_ = false;
  host_.loop().unwatch_fd(watch_);
  host_.loop().cancel_timer(resume_);
}

Status Session::open() {
  Result<net::WatchId> watch =
      host_.loop().watch_fd(channel_->fd(), {true, false}, [this](net::FdInterest ready) { on_ready(ready); });
  if (!watch) {
    return std::move(watch).error();
  }
  watch_ = *watch;
  return {};
}

void Session::on_ready(net::FdInterest ready) {
  if (broken_) {
    return;
  }
  if (ready.writable) {
    flush();
  }
  if (!ready.readable || broken_ || paused_) {
    return;
  }
  const IoResult result = channel_->read();
  if (result == IoResult::kClosed) {
    break_off("it closed its connection to the host");
    return;
  }
  // The handlers may do everything but destroy this session: its owner does so on a later turn.
  host_.enter([this] { handle_frames(); });
  if (!broken_reason_.empty()) {
    handlers_.on_broken(std::exchange(broken_reason_, {}));
  }
}

void Session::handle_frames() {
  const std::int64_t now_ns = net::Loop::now_ns();
  if (now_ns - window_began_ns_ >= kWindowNs) {
    window_began_ns_ = now_ns;
    window_busy_ns_ = 0;
    window_bytes_ = 0;
  }
  Frame frame;
  while (!broken_) {
    const FrameDecoder::Outcome outcome = channel_->next(frame);
    if (outcome == FrameDecoder::Outcome::kMore) {
      break;
    }
    if (outcome == FrameDecoder::Outcome::kBad) {
      garbage(channel_->problem());
      return;
    }
    window_bytes_ += frame.body.size();
    for (const std::string& payload : frame.payloads) {
      window_bytes_ += payload.size();
    }
    handlers_.on_frame(frame);
  }
  window_busy_ns_ += net::Loop::now_ns() - now_ns;
  if (window_busy_ns_ > kBusyNsPerWindowMax || window_bytes_ > kBytesPerWindowMax) {
    throttle();
  }
}

// What was read is handled; nothing more is read until the window ends, and then the socket holds the child back.
void Session::throttle() {
  if (paused_ || broken_) {
    return;
  }
  paused_ = true;
  update_interest();
  handlers_.on_throttled();
  resume_ = host_.loop().start_timer(window_began_ns_ + kWindowNs, [this] {
    resume_ = net::TimerId::kNone;
    paused_ = false;
    update_interest();
  });
}

void Session::update_interest() {
  if (watch_ != net::WatchId::kNone) {
    static_cast<void>(host_.loop().update_watch(watch_, {!paused_, wants_write_}));
  }
}

void Session::schedule_flush() {
  if (channel_->waiting() > kOutboundBytesMax) {
    garbage("it does not read what it is sent");
    return;
  }
  if (std::exchange(flush_scheduled_, true)) {
    return;
  }
  host_.loop().at_end_of_batch([this, alive = alive_] {
    if (*alive) {
      flush_scheduled_ = false;
      flush();
    }
  });
}

void Session::flush() {
  if (broken_) {
    return;
  }
  if (channel_->flush() == IoResult::kClosed) {
    return;  // the read side will see the end, after what the child had sent before
  }
  const bool wants_write = channel_->waiting() != 0;
  if (std::exchange(wants_write_, wants_write) != wants_write) {
    update_interest();
  }
}

void Session::garbage(const std::string& what) {
  if (broken_) {
    return;
  }
  // Called inside `enter` or from a send; the owner is told outside of both.
  broken_ = true;
  host_.loop().unwatch_fd(std::exchange(watch_, net::WatchId::kNone));
  broken_reason_ = what;
  host_.loop().post([this, alive = alive_] {
    if (*alive && !broken_reason_.empty()) {
      handlers_.on_broken(std::exchange(broken_reason_, {}));
    }
  });
}

void Session::break_off(std::string reason) {
  broken_ = true;
  host_.loop().unwatch_fd(std::exchange(watch_, net::WatchId::kNone));
  handlers_.on_broken(std::move(reason));
}

void Session::drain() {
  if (broken_) {
    return;
  }
  for (int reads = 0; reads < kDrainReadsMax && !broken_; ++reads) {
    if (channel_->read() == IoResult::kClosed) {
      break;
    }
    host_.enter([this] { handle_frames(); });
  }
  broken_ = true;
  host_.loop().unwatch_fd(std::exchange(watch_, net::WatchId::kNone));
}

}  // namespace cm::isolation
