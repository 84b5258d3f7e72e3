#include "cli/http_api.hpp"

#include "cli/json_fields.hpp"
#include "cli/output.hpp"
#include "host/net/url.hpp"

namespace cm::cli {

std::string unix_base(std::string_view socket_path) {
  return "unix://" + std::string(socket_path) + ":";
}

std::string ApiReply::code() const {
  return text_of(body, "error");
}

std::string ApiReply::problem() const {
  const std::string detail = text_of(body, "detail");
  const std::string error = code();
  if (error.empty() && detail.empty()) {
    return "status " + std::to_string(status) + " " + std::string(net::status_reason(status));
  }
  return printable(detail.empty() ? error : error.empty() ? detail : error + ": " + detail);
}

ApiClient::ApiClient(std::string base, std::string authorization)
    : base_(std::move(base)),
      authorization_(std::move(authorization)),
      client_(std::make_shared<net::HttpClientSync>()) {}

net::HttpClientRequest ApiClient::make_request(std::string_view method, std::string_view target) const {
  net::HttpClientRequest request;
  request.method = method;
  request.url = base_ + std::string(target);
  request.connect_timeout_ms = kConnectTimeoutMs;
  if (!authorization_.empty()) {
    request.headers.set("Authorization", authorization_);
  }
  return request;
}

Result<ApiReply> ApiClient::call(std::string_view method, std::string_view target,
                                 const std::optional<protocol::JsonValue>& body, std::uint64_t timeout_ms) {
  net::HttpClientRequest request = make_request(method, target);
  request.total_timeout_ms = timeout_ms;
  request.connect_timeout_ms = std::min(kConnectTimeoutMs, timeout_ms);
  request.response_bytes_max = kResponseBytesMax;
  request.headers.set("Accept", "application/json");
  if (body.has_value()) {
    request.headers.set("Content-Type", "application/json");
    request.body = net::SharedBuffer::adopt(protocol::to_json(*body));
  }
  Result<net::HttpClientResponse> response = client_->send(std::move(request));
  if (!response) {
    return response.error();
  }
  ApiReply reply;
  reply.status = response->status;
  Result<protocol::JsonValue> parsed = protocol::parse_json(response->body.view(), {.max_bytes = kResponseBytesMax});
  if (parsed) {
    reply.body = std::move(*parsed);
  }
  return reply;
}

Status ApiClient::events(std::string_view target, const std::function<bool(const net::SseEvent&)>& on_event,
                         const std::atomic<bool>* stop) {
  net::HttpClientRequest request = make_request("GET", target);
  request.total_timeout_ms = 0;
  request.response_bytes_max = 0;
  request.headers.set("Accept", "text/event-stream");
  return client_->read_events(
      std::move(request), [&on_event](const net::SseEvent& event) { return on_event(event); }, stop);
}

std::string query_of(std::initializer_list<std::pair<std::string_view, std::string>> parameters) {
  std::string query;
  for (const auto& [name, value] : parameters) {
    if (!value.empty()) {
      query += query.empty() ? '?' : '&';
      query += std::string(name) + "=" + net::percent_encode(value);
    }
  }
  return query;
}

}  // namespace cm::cli
