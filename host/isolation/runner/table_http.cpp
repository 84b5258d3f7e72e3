// cm.http.server/1 and cm.http.client/1 in a runner child: the host has the sockets.
#include <claudemesh/ext/http.h>

#include <cstring>

#include "host/isolation/runner/requests.hpp"
#include "host/isolation/runner/runtime.hpp"

namespace cm::isolation {

namespace {

constexpr std::uint64_t kHeadersMax = 1024;

struct Request {
  explicit Request(OwnedFrame&& owned) : bytes(std::move(owned)) {}
  OwnedFrame bytes;
  std::map<std::string, std::pair<bool, std::string>> looked_up;  // present, value; by kind and name
  cm_http_stream_callback stream = nullptr;
  void* stream_user = nullptr;
};
struct Route {
  cm_http_handler handler;
  void* user;
};
struct Call {
  cm_http_callback callback;
  void* user;
};

struct Http {
  std::map<cm_handle, std::unique_ptr<Request>> requests;
  std::map<std::uint64_t, Route> routes;
  std::map<cm_handle, std::string> addresses;  // of listeners
  std::map<cm_handle, Call> calls;
  std::uint64_t next_route = 1;
};
Http& http() {
  static Http state;
  return state;
}

// The caller's struct may be older and shorter than ours.
template <typename T>
T copy_prefix(const T& given) {
  T result = {};
  std::memcpy(&result, &given, std::min<std::size_t>(given.size, sizeof(T)));
  return result;
}

void write_headers(FrameWriter& writer, const cm_http_header* headers, std::uint64_t count) {
  writer.u32(static_cast<std::uint32_t>(count));
  for (std::uint64_t i = 0; i < count; ++i) {
    writer.bytes(to_view(headers[i].name));
    writer.bytes(to_view(headers[i].value));
  }
}

bool headers_fit(const cm_http_header* headers, std::uint64_t count) {
  return count <= kHeadersMax && (headers != nullptr || count == 0);
}

// --- cm.http.server/1 ------------------------------------------------------------------------------------------------

cm_status server_listen(cm_handle, const cm_http_listen_options* given, cm_handle* out) noexcept {
  if (given == nullptr || out == nullptr) {
    return CM_INVALID;
  }
  const cm_http_listen_options options = copy_prefix(*given);
  std::string address;
  const cm_status status = Runtime::get().call(
      Method::kHttpListen,
      [&options](FrameWriter& writer) {
        writer.u32(options.unix_mode);
        for (const cm_text_pview& text : {options.address, options.tls_cert_file, options.tls_key_file}) {
          writer.text(to_view(text));
        }
        for (const std::uint64_t value : {options.header_bytes_max, options.body_bytes_max, options.connections_max,
                                          options.header_timeout_ms, options.idle_timeout_ms}) {
          writer.u64(value);
        }
      },
      [&](FrameReader& reader) {
        *out = reader.u64();
        address = std::string(reader.text());
      });
  if (status == CM_OK) {
    http().addresses[*out] = address;
  }
  return status;
}

cm_status server_local_address(cm_handle, cm_handle listener, cm_text_hview* out) noexcept {
  const auto entry = http().addresses.find(listener);
  if (entry == http().addresses.end() || out == nullptr) {
    return out == nullptr ? CM_INVALID : CM_GONE;
  }
  *out = to_hview(entry->second);
  return CM_OK;
}

cm_status add_route(cm_handle listener, bool fallback, cm_text_pview method, cm_text_pview pattern,
                    cm_http_handler handler, void* user) {
  if (handler == nullptr) {
    return CM_INVALID;
  }
  const std::uint64_t id = http().next_route++;
  http().routes[id] = Route{handler, user};
  const cm_status status = Runtime::get().call(Method::kHttpRoute, [&](FrameWriter& writer) {
    writer.u64(listener);
    writer.u64(id);
    writer.boolean(fallback);
    writer.text(to_view(method));
    writer.text(to_view(pattern));
  });
  if (status != CM_OK) {
    http().routes.erase(id);
  }
  return status;
}

cm_status server_route(cm_handle, cm_handle listener, cm_text_pview method, cm_text_pview pattern,
                       cm_http_handler handler, void* user) noexcept {
  return add_route(listener, false, method, pattern, handler, user);
}
cm_status server_fallback(cm_handle, cm_handle listener, cm_http_handler handler, void* user) noexcept {
  return add_route(listener, true, {nullptr, 0}, {nullptr, 0}, handler, user);
}
cm_status server_close(cm_handle, cm_handle listener) noexcept {
  http().addresses.erase(listener);
  return Runtime::get().call(Method::kHttpClose, [listener](FrameWriter& writer) { writer.u64(listener); });
}

// One question to the host for each name of a request; the answer is kept.
cm_text_hview look_up(std::uint8_t what, cm_handle request, cm_text_pview name, bool* present) {
  const auto entry = http().requests.find(request);
  if (present != nullptr) {
    *present = false;
  }
  if (entry == http().requests.end() || !Runtime::get().on_loop()) {
    return {nullptr, 0};
  }
  const std::string key = static_cast<char>('0' + what) + std::string(to_view(name));
  auto known = entry->second->looked_up.find(key);
  if (known == entry->second->looked_up.end()) {
    std::pair<bool, std::string> answer{false, {}};
    Runtime::get().call(
        Method::kHttpLookup,
        [&](FrameWriter& writer) {
          writer.u8(what);
          writer.u64(request);
          writer.bytes(to_view(name));
        },
        [&answer](FrameReader& reader) {
          answer.first = reader.boolean();
          answer.second = std::string(reader.bytes());
        });
    known = entry->second->looked_up.emplace(key, std::move(answer)).first;
  }
  if (present != nullptr) {
    *present = known->second.first;
  }
  return to_hview(known->second.second);
}

cm_text_hview server_header(cm_handle, cm_handle request, cm_text_pview name) noexcept {
  return look_up(0, request, name, nullptr);
}
cm_text_hview server_path_parameter(cm_handle, cm_handle request, cm_text_pview name) noexcept {
  return look_up(1, request, name, nullptr);
}
cm_text_hview server_query_parameter(cm_handle, cm_handle request, cm_text_pview name, bool* present) noexcept {
  return look_up(2, request, name, present);
}

cm_status server_respond(cm_handle, cm_handle request, std::uint32_t status, const cm_http_header* headers,
                         std::uint64_t header_count, cm_bytes_pview body) noexcept {
  Runtime& runtime = Runtime::get();
  if (!runtime.on_loop() || !request_is_open(request)) {
    return runtime.on_loop() ? CM_GONE : CM_INVALID;
  }
  if (status < 200 || status > 599 || !headers_fit(headers, header_count)) {
    return runtime.refuse(CM_INVALID, "expected an HTTP status of 200 to 599 and at most 1024 headers");
  }
  const bool sent = runtime.send(Method::kHttpRespond, 0, [&](FrameWriter& writer) {
    writer.u64(request);
    writer.u32(status);
    write_headers(writer, headers, header_count);
    writer.bytes(to_view(body));
  });
  if (!sent) {
    return runtime.refuse(CM_BUSY, "the body is larger than what crosses to the host; use a stream");
  }
  close_request(request);
  return CM_OK;
}

cm_status server_stream_begin(cm_handle, cm_handle request, std::uint32_t status, const cm_http_header* headers,
                              std::uint64_t header_count, cm_http_stream_callback callback, void* user) noexcept {
  const auto entry = http().requests.find(request);
  if (entry == http().requests.end() || !headers_fit(headers, header_count)) {
    return entry == http().requests.end() ? CM_GONE : CM_INVALID;
  }
  entry->second->stream = callback;
  entry->second->stream_user = user;
  return Runtime::get().call(Method::kHttpStreamBegin, [&](FrameWriter& writer) {
    writer.u64(request);
    writer.u32(status);
    write_headers(writer, headers, header_count);
  });
}

cm_status server_stream_write(cm_handle, cm_handle request, cm_bytes_pview bytes) noexcept {
  if (!request_is_open(request)) {
    return CM_GONE;
  }
  return Runtime::get().call(Method::kHttpStreamWrite, [&](FrameWriter& writer) {
    writer.u64(request);
    writer.bytes(to_view(bytes));
  });
}

cm_status server_stream_end(cm_handle, cm_handle request) noexcept {
  if (!request_is_open(request)) {
    return CM_GONE;
  }
  close_request(request);
  return Runtime::get().call(Method::kHttpStreamEnd, [request](FrameWriter& writer) { writer.u64(request); });
}

constexpr cm_http_server_v1 kServer = {sizeof(cm_http_server_v1),
                                       0,
                                       server_listen,
                                       server_local_address,
                                       server_route,
                                       server_fallback,
                                       server_close,
                                       server_header,
                                       server_path_parameter,
                                       server_query_parameter,
                                       server_respond,
                                       server_stream_begin,
                                       server_stream_write,
                                       server_stream_end};

// --- cm.http.client/1 ------------------------------------------------------------------------------------------------

cm_status client_send(cm_handle, const cm_http_call* given, cm_http_callback callback, void* user,
                      cm_handle* out) noexcept {
  if (given == nullptr || callback == nullptr || !headers_fit(given->headers, given->header_count)) {
    return CM_INVALID;
  }
  const cm_http_call call = copy_prefix(*given);
  cm_handle handle = CM_NO_HANDLE;
  const cm_status status = Runtime::get().call(
      Method::kHttpSend,
      [&call](FrameWriter& writer) {
        writer.u32(call.retries);
        writer.bytes(to_view(call.method));
        writer.bytes(to_view(call.url));
        write_headers(writer, call.headers, call.header_count);
        writer.bytes(to_view(call.body));
        writer.u64(call.connect_timeout_ms);
        writer.u64(call.total_timeout_ms);
        writer.u64(call.response_bytes_max);
      },
      [&handle](FrameReader& reader) { handle = reader.u64(); });
  if (status == CM_OK) {
    http().calls[handle] = Call{callback, user};
    if (out != nullptr) {
      *out = handle;
    }
  }
  return status;
}

cm_status client_cancel(cm_handle, cm_handle call) noexcept {
  if (!Runtime::get().on_loop() || http().calls.erase(call) == 0) {
    return CM_GONE;
  }
  return Runtime::get().call(Method::kHttpCancel, [call](FrameWriter& writer) { writer.u64(call); });
}

constexpr cm_http_client_v1 kClient = {sizeof(cm_http_client_v1), 0, client_send, client_cancel};

// --- frames ----------------------------------------------------------------------------------------------------------

void on_request(OwnedFrame&& owned) {
  const auto route = http().routes.find(owned.call);
  auto request = std::make_unique<Request>(std::move(owned));
  const Frame frame{request->bytes.method, request->bytes.call, request->bytes.body, {}};
  // The payloads stay where the views of the plugin point to.
  Frame readable = frame;
  readable.payloads.swap(request->bytes.payloads);
  FrameReader reader(readable);
  const cm_handle handle = reader.u64();
  cm_http_request_info info = {};
  info.size = sizeof(info);
  info.flags = reader.u32();
  for (cm_text_hview* text : {&info.method, &info.target, &info.path, &info.query}) {
    *text = to_hview(reader.bytes());
  }
  const std::string_view body = reader.bytes();
  info.body = {reinterpret_cast<const std::uint8_t*>(body.data()), body.size()};
  info.remote_address = to_hview(reader.bytes());
  info.peer_uid = reader.i64();
  info.peer_gid = reader.i64();
  info.peer_pid = reader.i64();
  if (!reader.done() || route == http().routes.end()) {
    return;
  }
  request->bytes.payloads.swap(readable.payloads);  // swapping vectors moves no element
  http().requests[handle] = std::move(request);
  const Route copy = route->second;
  Runtime::get().enter(Callback::kHttpRequest, [&] { copy.handler(copy.user, handle, &info); });
}

void on_stream(const Frame& frame) {
  FrameReader reader(frame);
  const std::uint32_t what = reader.u32();
  const auto entry = http().requests.find(frame.call);
  if (!reader.done() || entry == http().requests.end()) {
    return;
  }
  const auto callback = entry->second->stream;
  void* user = entry->second->stream_user;
  if (what == CM_HTTP_STREAM_CLOSED) {
    close_request(frame.call);
  }
  if (callback != nullptr) {
    Runtime::get().enter(Callback::kHttpStream, [&] { callback(user, frame.call, what); });
  }
}

void on_result(const Frame& frame) {
  FrameReader reader(frame);
  cm_http_result result = {};
  result.size = sizeof(result);
  result.status = reader.u32();
  result.http_status = reader.u32();
  result.error = to_hview(reader.bytes());
  result.headers = to_hview(reader.bytes());
  const std::string_view body = reader.bytes();
  result.body = {reinterpret_cast<const std::uint8_t*>(body.data()), body.size()};
  const auto entry = http().calls.find(frame.call);
  if (!reader.done() || entry == http().calls.end()) {
    return;
  }
  const Call copy = entry->second;
  http().calls.erase(entry);
  Runtime::get().enter(Callback::kHttpResult, [&] { copy.callback(copy.user, frame.call, &result); });
}

}  // namespace

const void* runner_http_server_table() noexcept {
  return &kServer;
}
const void* runner_http_client_table() noexcept {
  return &kClient;
}

bool request_is_open(cm_handle request) noexcept {
  return http().requests.contains(request);
}

void close_request(cm_handle request) {
  const auto entry = http().requests.find(request);
  if (entry == http().requests.end()) {
    return;
  }
  auto answered = std::make_shared<std::unique_ptr<Request>>(std::move(entry->second));
  http().requests.erase(entry);
  Runtime::get().at_end_of_turn([answered] { answered->reset(); });
}

bool http_frame(OwnedFrame& owned) {
  switch (owned.method) {
    case Method::kHttpRequest:
      on_request(std::move(owned));
      return true;
    case Method::kHttpStream:
      on_stream(std::move(owned).view());
      return true;
    case Method::kHttpResult:
      on_result(std::move(owned).view());
      return true;
    default:
      return false;
  }
}

}  // namespace cm::isolation
