// One push frame for many sockets.
#pragma once

#include <claudemesh/cpp/host.hpp>
#include <string>
#include <string_view>

#include "plugins/ws_broker/src/connection.hpp"

namespace cm::broker {

class SharedFrame {
 public:
  // Copies the text once, into a buffer of the host; without room there it keeps a copy of its own.
  SharedFrame(const HostApi& host, std::string_view text);
  SharedFrame(const SharedFrame&) = delete;
  SharedFrame& operator=(const SharedFrame&) = delete;
  ~SharedFrame();

  // As Connection::push.
  cm_status push_to(Connection& connection) const;

 private:
  const HostApi& host_;
  cm_hbuf buffer_ = {};
  std::string copy_;
};

}  // namespace cm::broker
