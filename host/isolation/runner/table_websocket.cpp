// cm.websocket/1 in a runner child: the host has the sockets.
#include <claudemesh/ext/websocket.h>

#include <cstring>

#include "host/isolation/runner/buffers.hpp"
#include "host/isolation/runner/requests.hpp"
#include "host/isolation/runner/runtime.hpp"

namespace cm::isolation {

namespace {

enum class SocketOp : std::uint8_t { kPing = 1, kClose = 2, kTerminate = 3, kPause = 4, kResume = 5 };
constexpr std::size_t kCloseReasonBytesMax = 123;

struct Socket {
  cm_websocket_callbacks callbacks{};
  void* user = nullptr;
  bool busy = false;
};
std::map<cm_handle, Socket>& sockets() {
  static std::map<cm_handle, Socket> all;
  return all;
}

template <typename T>
T copy_prefix(const T* given) {
  T result = {};
  if (given != nullptr) {
    std::memcpy(&result, given, std::min<std::size_t>(given->size, sizeof(T)));
  }
  return result;
}

template <typename Fill>
cm_status open_socket(Method method, const cm_websocket_options* given, const cm_websocket_callbacks* callbacks,
                      void* user, cm_handle* out, Fill&& fill) {
  if (callbacks == nullptr || out == nullptr) {
    return CM_INVALID;
  }
  const cm_websocket_options options = copy_prefix(given);
  const cm_status status = Runtime::get().call(
      method,
      [&](FrameWriter& writer) {
        fill(writer);
        for (const std::uint64_t value :
             {options.message_bytes_max, options.buffered_bytes_high, options.buffered_bytes_max,
              options.handshake_timeout_ms, options.close_timeout_ms}) {
          writer.u64(value);
        }
      },
      [out](FrameReader& reader) { *out = reader.u64(); });
  if (status == CM_OK) {
    sockets()[*out] = Socket{copy_prefix(callbacks), user, false};
  }
  return status;
}

cm_status socket_accept(cm_handle, cm_handle request, const cm_websocket_options* options,
                        const cm_websocket_callbacks* callbacks, void* user, cm_handle* out) noexcept {
  const cm_status status = open_socket(Method::kSocketAccept, options, callbacks, user, out,
                                       [request](FrameWriter& writer) { writer.u64(request); });
  if (status == CM_OK) {
    close_request(request);
  }
  return status;
}
cm_status socket_connect(cm_handle, cm_text_pview url, const cm_websocket_options* options,
                         const cm_websocket_callbacks* callbacks, void* user, cm_handle* out) noexcept {
  return open_socket(Method::kSocketConnect, options, callbacks, user, out,
                     [url](FrameWriter& writer) { writer.bytes(to_view(url)); });
}

cm_status send_payload(cm_handle socket, std::uint32_t kind, std::string_view payload) {
  Runtime& runtime = Runtime::get();
  const auto entry = sockets().find(socket);
  if (!runtime.on_loop() || (kind != CM_WEBSOCKET_TEXT && kind != CM_WEBSOCKET_BINARY)) {
    return CM_INVALID;
  }
  if (entry == sockets().end()) {
    return CM_GONE;
  }
  const bool sent = runtime.send(Method::kSocketSend, socket, [&](FrameWriter& writer) {
    writer.u32(kind);
    writer.bytes(payload);
  });
  if (!sent) {
    return runtime.refuse(CM_INVALID, "the message is larger than what crosses to the host");
  }
  return entry->second.busy ? CM_BUSY : CM_OK;
}

cm_status socket_send(cm_handle, cm_handle socket, std::uint32_t kind, cm_bytes_pview payload) noexcept {
  return send_payload(socket, kind, to_view(payload));
}
cm_status socket_send_buffer(cm_handle, cm_handle socket, std::uint32_t kind, cm_handle buffer) noexcept {
  const std::string* bytes = Buffers::get().find(buffer);
  if (bytes == nullptr && buffer != CM_NO_HANDLE) {
    return CM_GONE;
  }
  return send_payload(socket, kind, bytes == nullptr ? std::string_view() : std::string_view(*bytes));
}

cm_status control(cm_handle socket, SocketOp op, std::uint32_t code, std::string_view reason) {
  if (!Runtime::get().on_loop()) {
    return CM_INVALID;
  }
  if (!sockets().contains(socket)) {
    return CM_GONE;
  }
  Runtime::get().send(Method::kSocketControl, socket, [&](FrameWriter& writer) {
    writer.u8(static_cast<std::uint8_t>(op));
    writer.u32(code);
    writer.bytes(reason);
  });
  return CM_OK;
}
cm_status socket_ping(cm_handle, cm_handle socket) noexcept {
  return control(socket, SocketOp::kPing, 0, {});
}
cm_status socket_close(cm_handle, cm_handle socket, std::uint32_t code, cm_text_pview reason) noexcept {
  return reason.size > kCloseReasonBytesMax ? CM_INVALID : control(socket, SocketOp::kClose, code, to_view(reason));
}
cm_status socket_terminate(cm_handle, cm_handle socket) noexcept {
  const cm_status status = control(socket, SocketOp::kTerminate, 0, {});
  if (status == CM_OK) {
    sockets().erase(socket);
  }
  return status;
}
std::uint64_t socket_buffered_bytes(cm_handle, cm_handle socket) noexcept {
  std::uint64_t bytes = 0;
  if (sockets().contains(socket)) {
    Runtime::get().call(
        Method::kSocketBuffered, [socket](FrameWriter& writer) { writer.u64(socket); },
        [&bytes](FrameReader& reader) { bytes = reader.u64(); });
  }
  return bytes;
}

cm_status socket_pause_reading(cm_handle, cm_handle socket) noexcept {
  return control(socket, SocketOp::kPause, 0, {});
}
cm_status socket_resume_reading(cm_handle, cm_handle socket) noexcept {
  return control(socket, SocketOp::kResume, 0, {});
}

constexpr cm_websocket_v1 kTable = {sizeof(cm_websocket_v1),
                                    0,
                                    socket_accept,
                                    socket_connect,
                                    socket_send,
                                    socket_send_buffer,
                                    socket_ping,
                                    socket_close,
                                    socket_terminate,
                                    socket_buffered_bytes,
                                    socket_pause_reading,
                                    socket_resume_reading};

// The messages one behind the other, each with the padding that the table promises.
void on_messages(cm_handle handle, const Socket& socket, const Frame& frame) {
  FrameReader reader(frame);
  const std::uint32_t count = reader.count(8);
  std::vector<std::pair<std::uint32_t, std::string_view>> given;
  std::size_t total = 0;
  for (std::uint32_t i = 0; i < count; ++i) {
    const std::uint32_t kind = reader.u32();
    given.emplace_back(kind, reader.bytes());
    total += given.back().second.size() + CM_WEBSOCKET_PADDING_BYTES;
  }
  if (!reader.done() || socket.callbacks.messages == nullptr) {
    return;
  }
  std::vector<std::uint8_t> bytes(total);
  std::vector<cm_websocket_message> messages;
  std::size_t at = 0;
  for (const auto& [kind, payload] : given) {
    std::memcpy(bytes.data() + at, payload.data(), payload.size());
    messages.push_back({bytes.data() + at, payload.size(), kind, 0});
    at += payload.size() + CM_WEBSOCKET_PADDING_BYTES;
  }
  socket.callbacks.messages(socket.user, handle, messages.data(), messages.size());
}

void on_closed(cm_handle handle, const Socket& socket, const Frame& frame) {
  FrameReader reader(frame);
  const std::uint32_t code = reader.u32();
  const std::string_view reason = reader.bytes();
  const bool clean = reader.boolean();
  sockets().erase(handle);
  if (reader.done() && socket.callbacks.closed != nullptr) {
    socket.callbacks.closed(socket.user, handle, code, to_hview(reason), clean);
  }
}

void simple(void (*callback)(void*, cm_handle) noexcept, const Socket& socket, cm_handle handle) {
  if (callback != nullptr) {
    callback(socket.user, handle);
  }
}

void dispatch(const Frame& frame, const Socket& socket) {
  switch (frame.method) {
    case Method::kSocketOpened:
      simple(socket.callbacks.opened, socket, frame.call);
      return;
    case Method::kSocketMessages:
      on_messages(frame.call, socket, frame);
      return;
    case Method::kSocketPong:
      simple(socket.callbacks.pong, socket, frame.call);
      return;
    case Method::kSocketDrained:
      sockets()[frame.call].busy = false;
      simple(socket.callbacks.drained, socket, frame.call);
      return;
    case Method::kSocketClosed:
      on_closed(frame.call, socket, frame);
      return;
    default:
      return;
  }
}

}  // namespace

const void* runner_websocket_table() noexcept {
  return &kTable;
}

bool websocket_frame(OwnedFrame& owned) {
  if (owned.method < Method::kSocketOpened || owned.method > Method::kSocketClosed) {
    return false;
  }
  const Frame frame = std::move(owned).view();
  const auto entry = sockets().find(frame.call);
  if (entry == sockets().end()) {
    return true;  // terminated meanwhile
  }
  if (frame.method == Method::kSocketBusy) {
    entry->second.busy = true;
    return true;
  }
  const Socket copy = entry->second;  // a callback may terminate it
  Runtime::get().enter(Callback::kWebSocket, [&] { dispatch(frame, copy); });
  return true;
}

}  // namespace cm::isolation
