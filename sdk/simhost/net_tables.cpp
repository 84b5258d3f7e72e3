// cm.http.server/1, cm.http.client/1 and cm.websocket/1 over the simulated network.
#include <algorithm>
#include <string>
#include <utility>

#include "sdk/simhost/instance.hpp"
#include "sdk/simhost/world.hpp"

namespace cm::sim {
namespace {

std::string_view text_of(cm_text_pview text) {
  return {text.data, text.size};
}
std::string string_of(cm_bytes_pview bytes) {
  return bytes.size == 0 ? std::string() : std::string(reinterpret_cast<const char*>(bytes.data), bytes.size);
}
cm_text_hview view(const std::string& text) {
  return cm_text_hview{text.data(), text.size()};
}

Instance* enter(cm_handle self) {
  Instance* instance = World::instance_of(self);
  if (instance == nullptr || !instance->alive()) {
    return nullptr;
  }
  instance->node().count_step();
  return instance->alive() ? instance : nullptr;
}

PendingRequest* request_of(cm_handle self, cm_handle request) {
  Instance* instance = World::instance_of(self);
  if (instance == nullptr || !instance->alive()) {
    return nullptr;
  }
  const auto found = instance->requests.find(request);
  return found == instance->requests.end() ? nullptr : found->second.get();
}

Listener* listener_of(cm_handle self, cm_handle listener) {
  Instance* instance = World::instance_of(self);
  if (instance == nullptr) {
    return nullptr;
  }
  const auto found = instance->listeners.find(listener);
  return found == instance->listeners.end() ? nullptr : found->second.get();
}

// --- server ----------------------------------------------------------------------------------------------------------

cm_status server_listen(cm_handle self, const cm_http_listen_options* options, cm_handle* out) noexcept {
  Instance* instance = enter(self);
  if (instance == nullptr) {
    return CM_GONE;
  }
  const cm_handle handle = instance->next_handle();
  auto listener = std::make_unique<Listener>(*instance, handle);
  listener->address = instance->node().world().network().listen(instance->node().name(),
                                                                std::string(text_of(options->address)), listener.get());
  if (listener->address.empty()) {
    instance->set_error("the address " + std::string(text_of(options->address)) + " is in use");
    return CM_BUSY;
  }
  instance->listeners.emplace(handle, std::move(listener));
  *out = handle;
  return CM_OK;
}
cm_status server_local_address(cm_handle self, cm_handle handle, cm_text_hview* out) noexcept {
  Listener* listener = listener_of(self, handle);
  if (listener == nullptr) {
    return CM_GONE;
  }
  *out = view(listener->address);
  return CM_OK;
}
cm_status server_route(cm_handle self, cm_handle handle, cm_text_pview method, cm_text_pview pattern,
                       cm_http_handler handler, void* user) noexcept {
  Listener* listener = listener_of(self, handle);
  if (listener == nullptr) {
    return CM_GONE;
  }
  const auto id = listener->router.add(text_of(method), text_of(pattern));
  if (!id) {
    return CM_INVALID;
  }
  listener->routes[*id] = Listener::Route{handler, user};
  return CM_OK;
}
cm_status server_fallback(cm_handle self, cm_handle handle, cm_http_handler handler, void* user) noexcept {
  Listener* listener = listener_of(self, handle);
  if (listener == nullptr) {
    return CM_GONE;
  }
  listener->fallback = Listener::Route{handler, user};
  return CM_OK;
}
cm_status server_close(cm_handle self, cm_handle handle) noexcept {
  Listener* listener = listener_of(self, handle);
  if (listener == nullptr) {
    return CM_GONE;
  }
  Instance* instance = World::instance_of(self);
  instance->node().world().network().close_listener(listener->address);
  instance->node().world().bury(std::move(instance->listeners.at(handle)));
  instance->listeners.erase(handle);
  return CM_OK;
}

cm_text_hview server_header(cm_handle self, cm_handle handle, cm_text_pview name) noexcept {
  PendingRequest* request = request_of(self, handle);
  std::string key(text_of(name));
  std::transform(key.begin(), key.end(), key.begin(),
                 [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  if (request == nullptr || !request->lower_headers.contains(key)) {
    return cm_text_hview{nullptr, 0};
  }
  return view(request->lower_headers.at(key));
}
cm_text_hview server_path_parameter(cm_handle self, cm_handle handle, cm_text_pview name) noexcept {
  if (PendingRequest* request = request_of(self, handle)) {
    for (const auto& parameter : request->parameters) {
      if (parameter.name == text_of(name)) {
        return view(parameter.value);
      }
    }
  }
  return cm_text_hview{nullptr, 0};
}
cm_text_hview server_query_parameter(cm_handle self, cm_handle handle, cm_text_pview name, bool* present) noexcept {
  PendingRequest* request = request_of(self, handle);
  const bool found = request != nullptr && request->decoded_query.contains(std::string(text_of(name)));
  if (present != nullptr) {
    *present = found;
  }
  return found ? view(request->decoded_query.at(std::string(text_of(name)))) : cm_text_hview{nullptr, 0};
}

void answer_and_forget(Instance& instance, cm_handle handle, HttpAnswer answer) {
  const auto found = instance.requests.find(handle);
  found->second->answer(std::move(answer));
  instance.node().world().bury(std::move(found->second));
  instance.requests.erase(found);
}

HttpAnswer make_answer(std::uint32_t status, const cm_http_header* headers, std::uint64_t count, std::string body) {
  HttpAnswer answer;
  answer.reached = true;
  answer.status = status;
  for (std::uint64_t i = 0; i < count; ++i) {
    answer.headers.emplace_back(text_of(headers[i].name), text_of(headers[i].value));
  }
  answer.body = std::move(body);
  return answer;
}

cm_status server_respond(cm_handle self, cm_handle handle, uint32_t status, const cm_http_header* headers,
                         uint64_t count, cm_bytes_pview body) noexcept {
  Instance* instance = enter(self);
  if (instance == nullptr || request_of(self, handle) == nullptr) {
    return CM_GONE;
  }
  answer_and_forget(*instance, handle, make_answer(status, headers, count, string_of(body)));
  return CM_OK;
}
cm_status server_stream_begin(cm_handle self, cm_handle handle, uint32_t, const cm_http_header*, uint64_t,
                              cm_http_stream_callback callback, void* user) noexcept {
  PendingRequest* request = enter(self) == nullptr ? nullptr : request_of(self, handle);
  if (request == nullptr) {
    return CM_GONE;
  }
  request->streaming = true;
  request->stream_callback = callback;
  request->stream_user = user;
  return CM_OK;
}
cm_status server_stream_write(cm_handle self, cm_handle handle, cm_bytes_pview bytes) noexcept {
  PendingRequest* request = enter(self) == nullptr ? nullptr : request_of(self, handle);
  if (request == nullptr || !request->streaming) {
    return CM_GONE;
  }
  request->streamed += string_of(bytes);
  return CM_OK;
}
// A simulated client gets a stream as one answer when it ends.
cm_status server_stream_end(cm_handle self, cm_handle handle) noexcept {
  PendingRequest* request = enter(self) == nullptr ? nullptr : request_of(self, handle);
  if (request == nullptr || !request->streaming) {
    return CM_GONE;
  }
  answer_and_forget(*World::instance_of(self), handle, make_answer(200, nullptr, 0, std::move(request->streamed)));
  return CM_OK;
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

// --- client ----------------------------------------------------------------------------------------------------------

// "http://host:port/path" or "unix:///path.sock:/path" as network address and request target.
std::pair<std::string, std::string> split_url(std::string_view url) {
  if (url.starts_with("unix://")) {
    url.remove_prefix(7);
    const auto colon = url.find(':');
    return {"unix:" + std::string(url.substr(0, colon)), std::string(url.substr(std::min(url.size(), colon + 1)))};
  }
  const auto scheme = url.find("://");
  url.remove_prefix(scheme == std::string_view::npos ? 0 : scheme + 3);
  const auto slash = url.find('/');
  return {std::string(url.substr(0, slash)), slash == std::string_view::npos ? "/" : std::string(url.substr(slash))};
}

void deliver_result(Instance& instance, cm_handle call, const HttpAnswer& answer) {
  const auto found = instance.calls.find(call);
  if (!instance.alive() || found == instance.calls.end()) {
    return;
  }
  const auto [callback, user] = found->second;
  instance.calls.erase(found);
  std::string headers;
  for (const auto& [name, value] : answer.headers) {
    headers += name + ": " + value + "\r\n";
  }
  const std::string error = answer.reached ? std::string() : "connection refused";
  cm_http_result result = {};
  result.size = sizeof(result);
  result.status = answer.reached ? CM_OK : CM_IO;
  result.http_status = answer.status;
  result.error = view(error);
  result.headers = view(headers);
  result.body = cm_bytes_hview{reinterpret_cast<const std::uint8_t*>(answer.body.data()), answer.body.size()};
  callback(user, call, &result);
}

cm_status client_send(cm_handle self, const cm_http_call* call, cm_http_callback callback, void* user,
                      cm_handle* out) noexcept {
  Instance* instance = enter(self);
  if (instance == nullptr) {
    return CM_GONE;
  }
  const auto [address, target] = split_url(text_of(call->url));
  HttpExchange exchange;
  exchange.method = std::string(text_of(call->method));
  exchange.target = target;
  exchange.body = string_of(call->body);
  for (std::uint64_t i = 0; i < call->header_count; ++i) {
    exchange.headers.emplace_back(text_of(call->headers[i].name), text_of(call->headers[i].value));
  }
  const cm_handle handle = instance->next_handle();
  instance->calls.emplace(handle, std::pair(callback, user));
  *out = handle;
  Node& node = instance->node();
  node.world().network().request(node.name(), address, std::move(exchange),
                                 [&world = node.world(), self, handle](const HttpAnswer& answer) {
                                   static_cast<void>(world);
                                   if (Instance* caller = World::instance_of(self)) {
                                     deliver_result(*caller, handle, answer);
                                   }
                                 });
  return CM_OK;
}
cm_status client_cancel(cm_handle self, cm_handle call) noexcept {
  Instance* instance = World::instance_of(self);
  return instance != nullptr && instance->calls.erase(call) != 0 ? CM_OK : CM_GONE;
}
constexpr cm_http_client_v1 kClient = {sizeof(cm_http_client_v1), 0, client_send, client_cancel};

// --- websocket -------------------------------------------------------------------------------------------------------

constexpr std::uint64_t kHandshakeTimeoutMs = 10'000;  // the defaults of claudemesh/ext/websocket.h
constexpr std::uint64_t kCloseTimeoutMs = 5'000;

Socket* socket_of(Instance* instance, cm_handle handle) {
  if (instance == nullptr) {
    return nullptr;
  }
  const auto found = instance->sockets.find(handle);
  return found == instance->sockets.end() || found->second->connection == nullptr ? nullptr : found->second.get();
}

cm_status websocket_accept(cm_handle self, cm_handle request, const cm_websocket_options* options,
                           const cm_websocket_callbacks* callbacks, void* user, cm_handle* out) noexcept {
  Instance* instance = enter(self);
  PendingRequest* pending = instance == nullptr ? nullptr : request_of(self, request);
  if (pending == nullptr) {
    return CM_GONE;
  }
  if (pending->upgrade == nullptr) {
    return CM_INVALID;
  }
  const cm_handle handle = instance->next_handle();
  auto socket = std::make_unique<Socket>(*instance, handle, *callbacks, user);
  socket->connection = std::move(pending->upgrade);
  socket->side = 1;
  socket->opened = true;
  socket->close_timeout_ms = options->close_timeout_ms == 0 ? kCloseTimeoutMs : options->close_timeout_ms;
  socket->message_bytes_max = options->message_bytes_max;
  socket->connection->attach(1, socket.get());
  socket->connection->opened();
  instance->sockets.emplace(handle, std::move(socket));
  instance->requests.erase(request);
  *out = handle;
  return CM_OK;
}

cm_status websocket_connect(cm_handle self, cm_text_pview url, const cm_websocket_options* options,
                            const cm_websocket_callbacks* callbacks, void* user, cm_handle* out) noexcept {
  Instance* instance = enter(self);
  if (instance == nullptr) {
    return CM_GONE;
  }
  const auto [address, target] = split_url(text_of(url));
  const cm_handle handle = instance->next_handle();
  auto socket = std::make_unique<Socket>(*instance, handle, *callbacks, user);
  socket->message_bytes_max = options->message_bytes_max;
  socket->close_timeout_ms = options->close_timeout_ms == 0 ? kCloseTimeoutMs : options->close_timeout_ms;
  const std::uint64_t open_ms =
      options->handshake_timeout_ms == 0 ? kHandshakeTimeoutMs : options->handshake_timeout_ms;
  instance->node().schedule_after(open_ms * 1000, [instance, handle] {
    if (Socket* waiting = socket_of(instance, handle); waiting != nullptr && !waiting->opened) {
      waiting->give_up("handshake timed out");
    }
  });
  HttpExchange upgrade;
  upgrade.method = "GET";
  upgrade.target = target;
  upgrade.headers = {{"Upgrade", "websocket"}, {"Connection", "Upgrade"}, {"Host", address}};
  Node& node = instance->node();
  socket->connection = node.world().network().connect(node.name(), address, std::move(upgrade), socket.get());
  instance->sockets.emplace(handle, std::move(socket));
  *out = handle;
  return CM_OK;
}

cm_status websocket_send(cm_handle self, cm_handle handle, uint32_t kind, cm_bytes_pview payload) noexcept {
  Socket* socket = socket_of(enter(self), handle);
  if (socket == nullptr) {
    return CM_GONE;
  }
  socket->connection->send(socket->side, kind, string_of(payload));
  return CM_OK;
}
cm_status websocket_send_buffer(cm_handle self, cm_handle handle, uint32_t kind, cm_handle buffer) noexcept {
  Socket* socket = socket_of(enter(self), handle);
  const std::string* bytes = World::current() == nullptr ? nullptr : World::current()->find_buffer(buffer);
  if (socket == nullptr || bytes == nullptr) {
    return CM_GONE;
  }
  socket->connection->send(socket->side, kind, *bytes);
  return CM_OK;
}
cm_status websocket_ping(cm_handle self, cm_handle handle) noexcept {
  Socket* socket = socket_of(enter(self), handle);
  if (socket == nullptr) {
    return CM_GONE;
  }
  socket->connection->ping(socket->side);
  return CM_OK;
}
cm_status websocket_close(cm_handle self, cm_handle handle, uint32_t code, cm_text_pview reason) noexcept {
  Socket* socket = socket_of(enter(self), handle);
  if (socket == nullptr) {
    return CM_GONE;
  }
  socket->connection->close(socket->side, code, std::string(text_of(reason)));
  Instance* instance = World::instance_of(self);
  instance->node().schedule_after(socket->close_timeout_ms * 1000, [instance, handle] {
    if (Socket* waiting = socket_of(instance, handle); waiting != nullptr) {
      waiting->give_up("the peer did not answer the close");
    }
  });
  return CM_OK;
}
cm_status websocket_terminate(cm_handle self, cm_handle handle) noexcept {
  Instance* instance = World::instance_of(self);
  Socket* socket = socket_of(instance, handle);
  if (socket == nullptr) {
    return CM_GONE;
  }
  socket->connection->abandon(socket->side, false);
  instance->retire_socket(handle);
  return CM_OK;
}
uint64_t websocket_buffered(cm_handle, cm_handle) noexcept {
  return 0;
}

cm_status pause_socket(cm_handle self, cm_handle handle, bool paused) {
  Socket* socket = socket_of(enter(self), handle);
  if (socket == nullptr) {
    return CM_GONE;
  }
  if (!socket->opened) {
    return CM_INVALID;
  }
  return socket->connection->pause(socket->side, paused) ? CM_OK : CM_GONE;
}
cm_status websocket_pause(cm_handle self, cm_handle handle) noexcept {
  return pause_socket(self, handle, true);
}
cm_status websocket_resume(cm_handle self, cm_handle handle) noexcept {
  return pause_socket(self, handle, false);
}

constexpr cm_websocket_v1 kWebsocket = {sizeof(cm_websocket_v1), 0,
                                        websocket_accept,        websocket_connect,
                                        websocket_send,          websocket_send_buffer,
                                        websocket_ping,          websocket_close,
                                        websocket_terminate,     websocket_buffered,
                                        websocket_pause,         websocket_resume};

}  // namespace

const void* find_http_server_table() {
  return &kServer;
}
const void* find_http_client_table() {
  return &kClient;
}
const void* find_websocket_table() {
  return &kWebsocket;
}

}  // namespace cm::sim
