#include "plugins/ws_broker/src/connection.hpp"

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
    owner_.on_frame(*this, {reinterpret_cast<const char*>(message.data), message.size});
  }
  owner_.on_read_end();
}

void Connection::on_closed(std::uint32_t code, std::string_view reason, bool clean) {
  static_cast<void>(code);
  static_cast<void>(reason);
  static_cast<void>(clean);
  open_ = false;
  owner_.on_connection_closed(*this);
}

}  // namespace cm::broker
