// A blocking face of HttpClient for the command line.
#pragma once

#include <atomic>
#include <claudemesh/cpp/result.hpp>
#include <memory>
#include <string_view>

#include "host/net/http_client.hpp"
#include "host/net/sse.hpp"

namespace cm::net {

// Each call blocks the calling thread until the request is done; a loop of its own runs inside the call. One thread at
// a time. Connections are kept alive between calls.
class HttpClientSync {
 public:
  explicit HttpClientSync(HttpClientOptions options = {});
  ~HttpClientSync();

  Result<HttpClientResponse> send(HttpClientRequest request);

  // Reads server-sent events until the server ends the stream, `on_event` returns false, or `*stop` becomes true
  // (looked at every 50 ms; may be null). Ok in these three cases. A status other than 200 is an error: kDenied for 401
  // and 403, otherwise kIo, with the first 512 bytes of the answer in the text. total_timeout_ms is not applied.
  Status read_events(HttpClientRequest request, UniqueFunction<bool(const SseEvent&)> on_event,
                     const std::atomic<bool>* stop = nullptr);

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace cm::net
