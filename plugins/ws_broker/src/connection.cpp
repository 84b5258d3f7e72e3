#include "plugins/ws_broker/src/connection.hpp"

#include <limits>

namespace cm::broker {

Connection::Ticket Connection::reserve() {
  replies_.emplace_back();
  return first_ticket_ + replies_.size() - 1;
}

void Connection::answer(Ticket ticket, std::string frame) {
  replies_[ticket - first_ticket_] = std::move(frame);
  send_ready();
}

void Connection::send_ready() {
  while (!replies_.empty() && replies_.front().has_value()) {
    if (!replies_.front()->empty() && open()) {
      socket_.send_text(*replies_.front());
    }
    replies_.pop_front();
    ++first_ticket_;
  }
  resume_if_answered();
}

void Connection::settle() {
  --unanswered_;
  resume_if_answered();
}

void Connection::resume_if_answered() {
  if (holding_ && !resuming_ && open_requests() <= open_requests_max_ / 2) {
    resuming_ = true;
    owner_.on_resumable(*this);
  }
}

void Connection::close(std::uint32_t code, std::string_view reason) {
  if (open()) {
    open_ = false;
    socket_.close(code, reason);
  }
}

void Connection::on_messages(std::span<const cm_websocket_message> messages) {
  for (const cm_websocket_message& message : messages) {
    if (!open_) {
      break;
    }
    const std::string_view frame(reinterpret_cast<const char*>(message.data), message.size);
    if (holding_) {
      hold(frame);
    } else {
      take(frame);
    }
  }
  owner_.on_read_end();
}

void Connection::take(std::string_view padded) {
  owner_.on_frame(*this, padded);
  if (!holding_ && open_requests() >= open_requests_max_) {
    holding_ = true;
    paused_ = paused_ || (open() && socket_.pause_reading() == CM_OK);
  }
}

void Connection::hold(std::string_view frame) {
  held_.push(frame);
  const std::size_t bytes_max = paused_ ? kHeldBytesMax : kHeldBytesMaxWithoutPause;
  if (held_.bytes() > bytes_max &&
      held_.bytes() != frame.size() + HeldFrames::kFrameBytes) {  // one alone may be larger
    held_.clear();
    close(kTryAgainLater, "too many requests without waiting for their answers");
  }
}

void Connection::resume() {
  resuming_ = false;
  if (!open_) {
    held_.clear();
    return;
  }
  holding_ = false;
  take_held();
  if (!holding_ && paused_) {
    paused_ = false;
    socket_.resume_reading();
  }
  owner_.on_read_end();
}

void Connection::take_held() {
  while (!held_.empty() && open_ && !holding_) {
    take(held_.front());
    held_.pop();
  }
}

void Connection::on_closed(std::uint32_t code, std::string_view reason, bool clean) {
  static_cast<void>(code);
  static_cast<void>(reason);
  static_cast<void>(clean);
  // What the client sent before it closed is still executed (wire/02 section 1.1); nobody waits for the replies.
  if (open_ && !held_.empty()) {
    open_requests_max_ = std::numeric_limits<std::size_t>::max();
    holding_ = false;
    take_held();
    owner_.on_read_end();
  }
  open_ = false;
  owner_.on_connection_closed(*this);
}

}  // namespace cm::broker
