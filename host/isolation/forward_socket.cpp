#include <claudemesh/cpp/text.hpp>

#include "host/isolation/forward.hpp"

namespace cm::isolation {

namespace {

constexpr std::size_t kBatchBytesMax = 4u << 20;  // of the messages in one frame
enum class SocketOp : std::uint8_t { kPing = 1, kClose = 2, kTerminate = 3, kPause = 4, kResume = 5 };

}  // namespace

bool ForwardSockets::handle(const Frame& frame) {
  switch (frame.method) {
    case Method::kSocketAccept:
    case Method::kSocketConnect:
      open(frame);
      return true;
    case Method::kSocketSend:
      send(frame);
      return true;
    case Method::kSocketControl:
      control(frame);
      return true;
    case Method::kSocketBuffered:
      buffered(frame);
      return true;
    default:
      return false;
  }
}

const cm_websocket_callbacks& ForwardSockets::callbacks() {
  static constexpr auto simple = [](void* user, Method method, cm_handle socket) {
    static_cast<ForwardSockets*>(user)->context_.session.send(method, socket);
  };
  static const cm_websocket_callbacks table = {
      sizeof(cm_websocket_callbacks),
      0,
      [](void* user, cm_handle socket) noexcept { simple(user, Method::kSocketOpened, socket); },
      [](void* user, cm_handle socket, const cm_websocket_message* messages, std::uint64_t count) noexcept {
        static_cast<ForwardSockets*>(user)->on_messages(socket, messages, count);
      },
      [](void* user, cm_handle socket) noexcept { simple(user, Method::kSocketPong, socket); },
      [](void* user, cm_handle socket) noexcept { simple(user, Method::kSocketDrained, socket); },
      [](void* user, cm_handle socket, std::uint32_t code, cm_text_hview reason, bool clean) noexcept {
        auto* self = static_cast<ForwardSockets*>(user);
        self->sockets_.erase(socket);
        self->context_.session.send(Method::kSocketClosed, socket, [&](FrameWriter& writer) {
          writer.u32(code);
          writer.bytes(to_view(reason));
          writer.boolean(clean);
        });
      }};
  return table;
}

void ForwardSockets::on_messages(cm_handle socket, const cm_websocket_message* messages, std::uint64_t count) {
  std::uint64_t next = 0;
  while (next < count) {
    std::uint64_t end = next;
    std::size_t bytes = 0;
    while (end < count && (end == next || bytes + messages[end].size <= kBatchBytesMax)) {
      bytes += messages[end++].size;
    }
    const bool sent = context_.session.send(Method::kSocketMessages, socket, [&](FrameWriter& writer) {
      writer.u32(static_cast<std::uint32_t>(end - next));
      for (std::uint64_t i = next; i < end; ++i) {
        writer.u32(messages[i].kind);
        writer.bytes(to_view(cm_bytes_hview{messages[i].data, messages[i].size}));
      }
    });
    if (!sent && !context_.session.broken()) {
      context_.table<cm_websocket_v1>(CM_WEBSOCKET_ID)
          ->close(context_.self(), socket, 1009, to_pview("too large for the plugin's process"));
      return;
    }
    next = end;
  }
}

void ForwardSockets::open(const Frame& frame) {
  FrameReader reader(frame);
  const bool accepts = frame.method == Method::kSocketAccept;
  const cm_handle request = accepts ? reader.u64() : CM_NO_HANDLE;
  const std::string_view url = accepts ? std::string_view() : reader.bytes();
  cm_websocket_options options = {};
  options.size = sizeof(options);
  options.message_bytes_max = reader.u64();
  options.buffered_bytes_high = reader.u64();
  options.buffered_bytes_max = reader.u64();
  options.handshake_timeout_ms = reader.u64();
  options.close_timeout_ms = reader.u64();
  if (!reader.done()) {
    context_.session.garbage("a request for a WebSocket that cannot be read");
    return;
  }
  const auto* table = context_.table<cm_websocket_v1>(CM_WEBSOCKET_ID);
  cm_handle socket = CM_NO_HANDLE;
  cm_status status = CM_DENIED;
  if (table != nullptr) {
    status = accepts ? table->accept(context_.self(), request, &options, &callbacks(), this, &socket)
                     : table->connect(context_.self(), to_pview(url), &options, &callbacks(), this, &socket);
  }
  if (status == CM_OK) {
    sockets_.insert(socket);
  }
  context_.session.reply(frame.call, status, [socket](FrameWriter& writer) { writer.u64(socket); });
}

void ForwardSockets::send(const Frame& frame) {
  FrameReader reader(frame);
  const std::uint32_t kind = reader.u32();
  const std::string_view payload = reader.bytes();
  if (!reader.done()) {
    context_.session.garbage("a WebSocket message that cannot be read");
    return;
  }
  const auto* table = context_.table<cm_websocket_v1>(CM_WEBSOCKET_ID);
  if (table == nullptr) {
    return;
  }
  const cm_status status = table->send(context_.self(), frame.call, kind, to_bytes_pview(payload));
  if (status == CM_BUSY) {
    context_.session.send(Method::kSocketBusy, frame.call);
  } else if (status == CM_INVALID) {
    context_.host_side.misbehaved("it sent a WebSocket message that is not UTF-8 or of an unknown kind");
  }
}

void ForwardSockets::control(const Frame& frame) {
  FrameReader reader(frame);
  const auto op = static_cast<SocketOp>(reader.u8());
  const std::uint32_t code = reader.u32();
  const std::string_view reason = reader.bytes();
  const auto* table = context_.table<cm_websocket_v1>(CM_WEBSOCKET_ID);
  if (!reader.done() || op < SocketOp::kPing || op > SocketOp::kResume) {
    context_.session.garbage("a WebSocket operation that cannot be read");
  } else if (table == nullptr) {
    return;
  } else if (op == SocketOp::kPing) {
    table->ping(context_.self(), frame.call);
  } else if (op == SocketOp::kClose) {
    table->close(context_.self(), frame.call, code, to_pview(reason));
  } else if (op == SocketOp::kPause) {
    table->pause_reading(context_.self(), frame.call);
  } else if (op == SocketOp::kResume) {
    table->resume_reading(context_.self(), frame.call);
  } else {
    sockets_.erase(frame.call);
    table->terminate(context_.self(), frame.call);
  }
}

void ForwardSockets::buffered(const Frame& frame) {
  FrameReader reader(frame);
  const cm_handle socket = reader.u64();
  const auto* table = context_.table<cm_websocket_v1>(CM_WEBSOCKET_ID);
  if (!reader.done()) {
    context_.session.garbage("a WebSocket that cannot be read");
    return;
  }
  const std::uint64_t bytes = table == nullptr ? 0 : table->buffered_bytes(context_.self(), socket);
  context_.session.reply(frame.call, CM_OK, [bytes](FrameWriter& writer) { writer.u64(bytes); });
}

void ForwardSockets::release_all() {
  for (const cm_handle socket : sockets_) {
    context_.table<cm_websocket_v1>(CM_WEBSOCKET_ID)->terminate(context_.self(), socket);
  }
  sockets_.clear();
}

}  // namespace cm::isolation
