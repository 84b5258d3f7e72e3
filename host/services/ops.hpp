// /healthz, /readyz and /metrics, on a loop of their own: a plugin that blocks cannot keep a monitor from seeing it.
#pragma once

#include <claudemesh/cpp/result.hpp>

#include <memory>
#include <string>

#include "host/net/http_server.hpp"
#include "host/net/loop.hpp"
#include "host/services/loop_thread.hpp"

namespace cm::host {

class Host;

// Made and destroyed by the control thread; answers on its own loop.
class OpsServer {
 public:
  // `address` as parse_listen_address takes it. The host must outlive the server.
  static Result<std::unique_ptr<OpsServer>> listen(const Host& host, const std::string& address);
  ~OpsServer();
  OpsServer(const OpsServer&) = delete;
  OpsServer& operator=(const OpsServer&) = delete;

  const std::string& address() const noexcept { return address_; }

 private:
  explicit OpsServer(const Host& host);
  Status bind(const std::string& address);
  void answer(net::HttpRequest& request) const;

  const Host& host_;
  std::string address_;
  std::uint64_t lease_ = 0;  // of the listening socket; 0: none
  LoopThread loop_thread_;
  std::unique_ptr<net::HttpServer> server_;
};

}  // namespace cm::host
