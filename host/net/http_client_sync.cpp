#include "host/net/http_client_sync.hpp"

#include <algorithm>
#include <optional>

namespace cm::net {

namespace {

constexpr std::uint64_t kStopPollMs = 50;
constexpr std::size_t kErrorBodyBytes = 512;

}  // namespace

struct HttpClientSync::State {
  explicit State(HttpClientOptions options) : loop("http-client"), client(loop, std::move(options)) {}

  Loop loop;
  HttpClient client;
};

HttpClientSync::HttpClientSync(HttpClientOptions options) : state_(std::make_unique<State>(std::move(options))) {}
HttpClientSync::~HttpClientSync() = default;

Result<HttpClientResponse> HttpClientSync::send(HttpClientRequest request) {
  std::optional<Result<HttpClientResponse>> result;
  state_->client.send(std::move(request), [&](Result<HttpClientResponse> answer) {
    result = std::move(answer);
    state_->loop.stop();
  });
  while (!result) {
    state_->loop.run();
  }
  return std::move(*result);
}

namespace {

// One blocking read of events: lives on the stack of read_events().
struct EventReader {
  Loop& loop;
  HttpClient& client;
  UniqueFunction<bool(const SseEvent&)> on_event;
  const std::atomic<bool>* stop;
  std::string url;
  SseParser parser{};
  HttpRequestId request = HttpRequestId::kNone;
  TimerId timer = TimerId::kNone;
  int status = 0;
  std::string refusal{};
  std::optional<Status> result{};

  void finish(Status with) {
    result = std::move(with);
    loop.cancel_timer(timer);
    loop.stop();
  }

  void poll_stop() {
    if (stop != nullptr && stop->load()) {
      client.cancel(request);
      finish({});
      return;
    }
    timer = loop.start_timer_after_ms(kStopPollMs, [this] { poll_stop(); });
  }

  void on_data(std::string_view bytes) {
    if (status != 200) {
      refusal.append(bytes.substr(0, kErrorBodyBytes - std::min(kErrorBodyBytes, refusal.size())));
      return;
    }
    if (!parser.feed(bytes, on_event)) {
      client.cancel(request);
      finish(parser.overflowed() ? Status(make_error(ErrorCode::kBusy, "an event of the stream is larger than " +
                                                                           std::to_string(kSseEventBytesMax) +
                                                                           " bytes; expected less; check the server"))
                                 : Status());
    }
  }

  void on_end(Status ended) {
    if (ended && status != 200) {
      const bool denied = status == 401 || status == 403;
      ended = make_error(denied ? ErrorCode::kDenied : ErrorCode::kIo,
                         "the event stream was refused with " + std::to_string(status) + ": " + refusal +
                             "; expected 200; " + (denied ? "check the token" : "check the address"));
    }
    finish(std::move(ended));
  }
};

}  // namespace

Status HttpClientSync::read_events(HttpClientRequest request, UniqueFunction<bool(const SseEvent&)> on_event,
                                   const std::atomic<bool>* stop) {
  EventReader reader{state_->loop, state_->client, std::move(on_event), stop, request.url};
  request.total_timeout_ms = 0;
  request.response_bytes_max = 0;
  if (!request.headers.has("Accept")) {
    request.headers.add("Accept", kSseContentType);
  }
  HttpStreamHandlers handlers;
  handlers.on_headers = [&reader](int status, const Headers&) { reader.status = status; };
  handlers.on_data = [&reader](std::span<const std::uint8_t> bytes) {
    reader.on_data({reinterpret_cast<const char*>(bytes.data()), bytes.size()});
  };
  handlers.on_end = [&reader](Status ended) { reader.on_end(std::move(ended)); };
  reader.request = state_->client.stream(std::move(request), std::move(handlers));
  reader.poll_stop();
  while (!reader.result) {
    state_->loop.run();
  }
  return std::move(*reader.result);
}

}  // namespace cm::net
