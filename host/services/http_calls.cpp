#include "host/services/http_calls.hpp"

#include "host/services/http_views.hpp"

namespace cm::host {

namespace {

net::HttpClientRequest request_of(const cm_http_call& call) {
  net::HttpClientRequest request;
  request.method = call.method.size == 0 ? "GET" : std::string(text_of(call.method));
  request.url = std::string(text_of(call.url));
  request.headers = headers_of(call.headers, call.header_count);
  request.body = net::SharedBuffer::copy({call.body.data, call.body.size});
  if (call.connect_timeout_ms != 0) {
    request.connect_timeout_ms = call.connect_timeout_ms;
  }
  if (call.total_timeout_ms != 0) {
    request.total_timeout_ms = call.total_timeout_ms;
  }
  if (call.response_bytes_max != 0) {
    request.response_bytes_max = call.response_bytes_max;
  }
  constexpr std::uint32_t kRetriesMax = 10;
  request.retry.attempts_max = static_cast<int>(std::min(call.retries, kRetriesMax)) + 1;
  return request;
}

// "name: value\r\n" with names in lower case, as ext/http.h promises.
std::string raw_lines(const net::Headers& headers) {
  std::string lines;
  for (std::size_t i = 0; i < headers.size(); ++i) {
    const net::Headers::Field field = headers.at(i);
    for (const char c : field.name) {
      lines += c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
    }
    lines += ": ";
    lines += field.value;
    lines += "\r\n";
  }
  return lines;
}

}  // namespace

Result<cm_handle> HttpCalls::send(const cm_http_call& call, cm_http_callback callback, void* user) {
  if (call.header_count > kCallHeadersMax || (call.headers == nullptr && call.header_count != 0)) {
    return make_error(ErrorCode::kInvalid, std::to_string(call.header_count) + " request headers; expected at most " +
                                               std::to_string(kCallHeadersMax));
  }
  auto entry = std::make_unique<Call>();
  entry->callback = callback;
  entry->user = user;
  const cm_handle handle = calls_.insert(std::move(entry));
  if (handle == CM_NO_HANDLE) {
    return make_error(ErrorCode::kBusy, std::to_string(kHttpCallsMax) +
                                            " HTTP requests are in flight, which is the limit; wait for some");
  }
  net::HttpClientRequest request = request_of(call);
  Instance& instance = instance_;
  const net::HttpRequestId id = instance.loop_thread().http_client().send(
      std::move(request), [&instance, handle](Result<net::HttpClientResponse> response) {
        if (instance.open()) {
          instance.holdings->calls->finish(handle, response);
        }
      });
  calls_.find(handle)->id = id;
  return handle;
}

void HttpCalls::finish(cm_handle handle, const Result<net::HttpClientResponse>& response) {
  const std::unique_ptr<Call> call = calls_.remove(handle);
  if (call == nullptr) {
    return;
  }
  cm_http_result result{};
  result.size = sizeof result;
  std::string headers;
  if (response) {
    headers = raw_lines(response->headers);
    result.status = CM_OK;
    result.http_status = static_cast<std::uint32_t>(response->status);
    result.headers = view_of(headers);
    result.body = {response->body.data(), response->body.size()};
  } else {
    result.status = static_cast<cm_status>(response.error().code);
    result.error = view_of(response.error().message);
  }
  enter(instance_, CallbackKind::kHttpResult, [&] { call->callback(call->user, handle, &result); });
}

bool HttpCalls::cancel(cm_handle call) {
  const std::unique_ptr<Call> removed = calls_.remove(call);
  if (removed == nullptr) {
    return false;
  }
  if (removed->id != net::HttpRequestId::kNone) {
    instance_.loop_thread().http_client().cancel(removed->id);
  }
  return true;
}

void HttpCalls::silence() {
  calls_.for_each([this](cm_handle, Call& call) {
    if (call.id != net::HttpRequestId::kNone) {
      instance_.loop_thread().http_client().cancel(std::exchange(call.id, net::HttpRequestId::kNone));
    }
  });
}

}  // namespace cm::host
