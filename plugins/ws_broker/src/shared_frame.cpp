#include "plugins/ws_broker/src/shared_frame.hpp"

namespace cm::broker {

SharedFrame::SharedFrame(const HostApi& host, std::string_view text) : host_(host) {
  const cm_buffer_v1* table = host.buffer_table();
  if (table == nullptr || table->create(host.self(), to_bytes_pview(text), &buffer_) != CM_OK) {
    buffer_ = {};
    copy_ = text;
  }
}

SharedFrame::~SharedFrame() {
  if (buffer_.handle != CM_NO_HANDLE) {
    host_.buffer_table()->release(host_.self(), buffer_.handle);
  }
}

cm_status SharedFrame::push_to(Connection& connection) const {
  return buffer_.handle == CM_NO_HANDLE ? connection.push(copy_) : connection.push_shared(buffer_.handle);
}

}  // namespace cm::broker
