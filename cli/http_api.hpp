// JSON over HTTP to one place: the daemon's socket, the broker's operator socket, or the broker's HTTP address.
#pragma once

#include <claudemesh/cpp/result.hpp>

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "host/net/http_client_sync.hpp"
#include "protocol/json.hpp"

namespace cm::cli {

// The base URL of a Unix socket, to be followed by a target.
std::string unix_base(std::string_view socket_path);

struct ApiReply {
  int status = 0;
  protocol::JsonValue body;  // null when the answer was no JSON
  bool ok() const noexcept { return status >= 200 && status < 300; }
  // What the other side said in `error` and `detail`, or the status; made printable.
  std::string problem() const;
  // The short code in `error`; may be empty.
  std::string code() const;
};

// Blocking, one thread at a time. Connections are reused between calls.
class ApiClient {
 public:
  // `authorization` may be empty.
  ApiClient(std::string base, std::string authorization = {});

  // kIo: nobody answers; kBusy: no answer in time. Any status is a reply.
  Result<ApiReply> call(std::string_view method, std::string_view target,
                        const std::optional<protocol::JsonValue>& body = std::nullopt,
                        std::uint64_t timeout_ms = kTimeoutMs);
  // See net::HttpClientSync::read_events.
  Status events(std::string_view target, const std::function<bool(const net::SseEvent&)>& on_event,
                const std::atomic<bool>* stop);

  // More than the daemon takes to say that a broker is away: 8 s for its first attempt to connect, 5 s for a reply.
  static constexpr std::uint64_t kTimeoutMs = 15'000;
  static constexpr std::uint64_t kConnectTimeoutMs = 5'000;
  static constexpr std::size_t kResponseBytesMax = 64 * 1024 * 1024;  // 1,000 messages of 64 KiB

 private:
  net::HttpClientRequest make_request(std::string_view method, std::string_view target) const;

  std::string base_;
  std::string authorization_;
  std::shared_ptr<net::HttpClientSync> client_;
};

// "a=1&b=two" with both halves escaped; entries with an empty value are left out. Begins with "?" unless empty.
std::string query_of(std::initializer_list<std::pair<std::string_view, std::string>> parameters);

}  // namespace cm::cli
