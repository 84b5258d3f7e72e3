// cm.websocket/1 as C functions.
#include <claudemesh/ext/websocket.h>

#include "host/services/host_view.hpp"
#include "host/services/http_views.hpp"
#include "host/services/services.hpp"
#include "host/services/websockets.hpp"

namespace cm::host {

namespace {

WebSockets& sockets_of(const Admission& admission) {
  return *admission.instance->holdings->sockets;
}

cm_websocket_options options_or_default(const cm_websocket_options* options) {
  return options != nullptr ? copy_prefix(*options) : cm_websocket_options{};
}

bool known_kind(std::uint32_t kind) {
  return kind == CM_WEBSOCKET_TEXT || kind == CM_WEBSOCKET_BINARY;
}

cm_status socket_accept(cm_handle self, cm_handle request, const cm_websocket_options* options,
                        const cm_websocket_callbacks* callbacks, void* user, cm_handle* out_socket) noexcept {
  const Admission admission = admit_loop(self, HostTable::kWebSocket, "cm.websocket/1 accept");
  if (!admission) {
    return admission.status;
  }
  if (callbacks == nullptr || out_socket == nullptr) {
    return CM_INVALID;
  }
  const auto socket = sockets_of(admission).accept(request, options_or_default(options), copy_prefix(*callbacks), user);
  if (!socket) {
    return refuse(*admission.instance, socket.error());
  }
  *out_socket = *socket;
  return CM_OK;
}

cm_status socket_connect(cm_handle self, cm_text_pview url, const cm_websocket_options* options,
                         const cm_websocket_callbacks* callbacks, void* user, cm_handle* out_socket) noexcept {
  const Admission admission = admit_loop(self, HostTable::kWebSocket, "cm.websocket/1 connect");
  if (!admission) {
    return admission.status;
  }
  if (callbacks == nullptr || out_socket == nullptr) {
    return CM_INVALID;
  }
  const auto socket =
      sockets_of(admission).connect(text_of(url), options_or_default(options), copy_prefix(*callbacks), user);
  if (!socket) {
    return refuse(*admission.instance, socket.error());
  }
  *out_socket = *socket;
  return CM_OK;
}

cm_status socket_send(cm_handle self, cm_handle socket, uint32_t kind, cm_bytes_pview payload) noexcept {
  const Admission admission = admit_loop(self, HostTable::kWebSocket, "cm.websocket/1 send");
  if (!admission) {
    return admission.status;
  }
  if (!known_kind(kind) || (payload.data == nullptr && payload.size != 0)) {
    return CM_INVALID;
  }
  return sockets_of(admission).send(socket, kind, net::SharedBuffer::copy({payload.data, payload.size}));
}

cm_status socket_send_buffer(cm_handle self, cm_handle socket, uint32_t kind, cm_handle buffer) noexcept {
  const Admission admission = admit_loop(self, HostTable::kWebSocket, "cm.websocket/1 send_buffer");
  if (!admission) {
    return admission.status;
  }
  if (!known_kind(kind)) {
    return CM_INVALID;
  }
  net::SharedBuffer shared;
  if (!admission.instance->services().buffers.share(buffer, shared)) {
    return CM_GONE;
  }
  return sockets_of(admission).send(socket, kind, std::move(shared));
}

cm_status socket_ping(cm_handle self, cm_handle socket) noexcept {
  const Admission admission = admit_loop(self, HostTable::kWebSocket, "cm.websocket/1 ping");
  return admission ? sockets_of(admission).ping(socket) : admission.status;
}

cm_status socket_close(cm_handle self, cm_handle socket, uint32_t code, cm_text_pview reason) noexcept {
  const Admission admission = admit_loop(self, HostTable::kWebSocket, "cm.websocket/1 close");
  if (!admission) {
    return admission.status;
  }
  return sockets_of(admission).close(socket, code, text_of(reason).substr(0, kCloseReasonBytesMax));
}

cm_status socket_terminate(cm_handle self, cm_handle socket) noexcept {
  const Admission admission = admit_loop(self, HostTable::kWebSocket, "cm.websocket/1 terminate");
  if (admission.instance == nullptr) {
    return admission.status;
  }
  return sockets_of(admission).terminate(socket) ? admission.status : CM_GONE;
}

uint64_t socket_buffered_bytes(cm_handle self, cm_handle socket) noexcept {
  const Admission admission = admit_loop(self, HostTable::kWebSocket, "cm.websocket/1 buffered_bytes");
  return admission ? sockets_of(admission).buffered_bytes(socket) : 0;
}

cm_status socket_pause_reading(cm_handle self, cm_handle socket) noexcept {
  const Admission admission = admit_loop(self, HostTable::kWebSocket, "cm.websocket/1 pause_reading");
  return admission ? sockets_of(admission).pause_reading(socket, true) : admission.status;
}

cm_status socket_resume_reading(cm_handle self, cm_handle socket) noexcept {
  const Admission admission = admit_loop(self, HostTable::kWebSocket, "cm.websocket/1 resume_reading");
  return admission ? sockets_of(admission).pause_reading(socket, false) : admission.status;
}

constexpr cm_websocket_v1 kWebSocketTable = {sizeof(cm_websocket_v1),
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

}  // namespace

const void* websocket_table() noexcept {
  return &kWebSocketTable;
}

}  // namespace cm::host
