// The HTTP requests that one instance sends (cm.http.client/1). They share the loop's client. [loop]
#pragma once

#include <claudemesh/ext/http.h>
#include <claudemesh/cpp/result.hpp>

#include <cstdint>

#include "host/net/http_client.hpp"
#include "host/services/handle_table.hpp"

namespace cm::host {

class Instance;

inline constexpr std::uint32_t kHttpCallsMax = 4096;  // in flight in one instance
inline constexpr std::uint64_t kCallHeadersMax = 128;

class HttpCalls {
 public:
  explicit HttpCalls(Instance& instance) : instance_(instance) {}
  ~HttpCalls() { silence(); }

  Result<cm_handle> send(const cm_http_call& call, cm_http_callback callback, void* user);
  bool cancel(cm_handle call);
  // Gives up on every request; the entries stay for counting.
  void silence();
  std::uint32_t size() const noexcept { return calls_.size(); }

 private:
  struct Call {
    net::HttpRequestId id = net::HttpRequestId::kNone;
    cm_http_callback callback = nullptr;
    void* user = nullptr;
  };

  void finish(cm_handle handle, const Result<net::HttpClientResponse>& response);

  Instance& instance_;
  HandleTable<Call> calls_{kHttpCallsMax, 0x8800};
};

}  // namespace cm::host
