// The public HTTP surface (wire/03 sections 1 and 2). Targets are compared exactly, query included.
#include "plugins/ws_broker/src/handlers.hpp"
#include "protocol/object_writer.hpp"

#ifndef CM_BROKER_VERSION
#define CM_BROKER_VERSION "0.0.0"
#endif

namespace cm::broker {

namespace {

constexpr std::string_view kOrigin = "*";
constexpr std::string_view kMethods = "POST, GET, OPTIONS";
constexpr std::string_view kHeaders =
    "Content-Type, X-Mesh-Id, X-Member-Id, X-File-Name, X-Tags, X-Persistent, X-Target-Spec";

void write_version(protocol::ObjectWriter& object, const Broker& broker) {
  object.text("version", CM_BROKER_VERSION);
  object.text("gitSha", "unknown");
  object.integer("uptime", broker.uptime_ms() / 1000);
}

void respond_health(Broker& broker, const HttpRequest& request) {
  std::string body;
  protocol::ObjectWriter object(body);
  object.text("status", "ok");
  object.text("db", broker.context().health.ok() ? "up" : "down");
  write_version(object, broker);
  object.close();
  respond_json_cors(request, 200, body);
}

void respond_ready(Broker& broker, const HttpRequest& request) {
  std::string body;
  protocol::ObjectWriter object(body);
  const std::string_view reason = broker.draining() ? "draining" : broker.context().health.reason();
  const bool ready = reason.empty();
  if (ready) {
    object.text("status", "ready");
    write_version(object, broker);
  } else {
    object.text("status", "not_ready");
    object.text("reason", reason);
  }
  object.close();
  respond_json_cors(request, ready ? 200 : 503, body);
}

void upgrade(Broker& broker, const HttpRequest& request) {
  if (broker.draining()) {
    broker.context().metrics.connections_rejected.add("draining");
    respond_cors(request, 503, "shutting down");
    return;
  }
  if (broker.pending_connections() >= broker.context().options.max_pending_connections) {
    broker.context().metrics.connections_rejected.add("pending_connections");
    respond_cors(request, 503, "too many connections wait for their hello");
    return;
  }
  if (!broker.accept_socket(request)) {
    respond_cors(request, 404, "not found");
  }
}

}  // namespace

void respond_json_cors(const HttpRequest& request, std::uint32_t status, std::string_view json) {
  const HttpHeader type{"Content-Type", "application/json"};
  const HttpHeader origin{"Access-Control-Allow-Origin", kOrigin};
  const HttpHeader methods{"Access-Control-Allow-Methods", kMethods};
  const HttpHeader headers{"Access-Control-Allow-Headers", kHeaders};
  request.respond(status, {type, origin, methods, headers}, json);
}

void respond_cors(const HttpRequest& request, std::uint32_t status, std::string_view body) {
  const HttpHeader origin{"Access-Control-Allow-Origin", kOrigin};
  const HttpHeader methods{"Access-Control-Allow-Methods", kMethods};
  const HttpHeader headers{"Access-Control-Allow-Headers", kHeaders};
  request.respond(status, {origin, methods, headers}, body);
}

void handle_http(Broker& broker, const HttpRequest& request) {
  const std::string_view method = request.method();
  const std::string_view target = request.target();
  if (method == "OPTIONS") {
    respond_cors(request, 204, {});
  } else if (method == "GET" && target == "/ws") {
    upgrade(broker, request);
  } else if (method == "GET" && target == "/health") {
    respond_health(broker, request);
  } else if (method == "GET" && target == "/health/ready") {
    respond_ready(broker, request);
  } else if (method == "POST" && target == "/join") {
    handle_join(broker, request);
  } else if (!broker.messages().handle_http(request)) {
    respond_cors(request, 404, "not found");
  }
}

}  // namespace cm::broker
