#include "host/services/ops.hpp"

#include "host/services/host.hpp"
#include "host/services/listening_sockets.hpp"

namespace cm::host {

namespace {

constexpr std::size_t kOpsConnectionsMax = 64;

void answer_text(net::HttpRequest& request, int status, std::string_view type, std::string_view body) {
  const net::Headers headers{{"Content-Type", type}, {"Cache-Control", "no-store"}};
  static_cast<void>(request.respond(status, headers, body));  // a monitor that left needs no answer
}

}  // namespace

OpsServer::OpsServer(const Host& host) : host_(host), loop_thread_(UINT32_MAX, "ops", host.services().net_counters) {}

OpsServer::~OpsServer() {
  host_.services().listening_sockets.release(lease_);
  loop_thread_.run_sync([this] { server_.reset(); });
  loop_thread_.stop();
}

Result<std::unique_ptr<OpsServer>> OpsServer::listen(const Host& host, const std::string& address) {
  std::unique_ptr<OpsServer> ops(new OpsServer(host));
  ops->loop_thread_.start();
  if (Status bound = ops->bind(address); !bound) {
    return std::move(bound).error();
  }
  return ops;
}

Status OpsServer::bind(const std::string& address) {
  const Result<ListenAddress> parsed = parse_listen_address(address);
  if (!parsed) {
    return parsed.error();
  }
  ListeningSockets& sockets = host_.services().listening_sockets;
  const auto lease = sockets.acquire("[ops]", address, *parsed, 0600);
  if (!lease) {
    return lease.error();
  }
  lease_ = lease->number;
  Result<net::ListenerInfo> info = make_error(ErrorCode::kInternal, "not bound");
  loop_thread_.run_sync([&] {
    net::HttpServerOptions options;
    options.limits.body_bytes = 1024;
    options.counters = host_.services().net_counters;
    server_ =
        std::make_unique<net::HttpServer>(loop_thread_.loop(), std::move(options),
                                          [this](std::shared_ptr<net::HttpRequest> request) { answer(*request); });
    info = server_->listen_fd(lease->fd, nullptr, kOpsConnectionsMax);
  });
  if (!info) {
    return std::move(info).error();
  }
  address_ = listener_address(*info);
  return {};
}

void OpsServer::answer(net::HttpRequest& request) const {
  if (request.method() != "GET" && request.method() != "HEAD") {
    answer_text(request, 405, "text/plain; charset=utf-8", "only GET and HEAD are answered here\n");
  } else if (request.path() == "/healthz") {
    const std::string blocked = host_.who_blocks();
    answer_text(request, blocked.empty() ? 200 : 503, "text/plain; charset=utf-8",
                blocked.empty() ? "ok\n" : "blocked by " + blocked + "\n");
  } else if (request.path() == "/readyz") {
    answer_text(request, host_.ready() ? 200 : 503, "application/json", host_.readiness_json());
  } else if (request.path() == "/plugins") {
    answer_text(request, 200, "application/json", host_.plugins_json());
  } else if (request.path() == "/metrics") {
    answer_text(request, 200, "text/plain; version=0.0.4; charset=utf-8", host_.metrics_text());
  } else {
    answer_text(request, 404, "text/plain; charset=utf-8", "there are /healthz, /readyz, /metrics and /plugins\n");
  }
}

}  // namespace cm::host
