/* cm.websocket/1: WebSocket connections, accepted from an HTTP request or opened to a URL. One text or binary message
 * is one payload; all messages that one read completed arrive in one callback, and all sends of one turn of the loop
 * leave in one write. */
#ifndef CLAUDEMESH_EXT_WEBSOCKET_H
#define CLAUDEMESH_EXT_WEBSOCKET_H

#include <claudemesh/abi.h>

#ifdef __cplusplus
extern "C" {
#endif

#define CM_WEBSOCKET_ID "cm.websocket/1"

/* Behind each received payload at least this many bytes may be read (not written): parsers that read in blocks can work
 * in place. */
#define CM_WEBSOCKET_PADDING_BYTES UINT32_C(64)

#define CM_WEBSOCKET_TEXT UINT32_C(1)
#define CM_WEBSOCKET_BINARY UINT32_C(2)

/* One received message; valid until the callback returns. */
typedef struct cm_websocket_message {
  const uint8_t* data;
  uint64_t size;
  uint32_t kind; /* CM_WEBSOCKET_TEXT (valid UTF-8) or CM_WEBSOCKET_BINARY */
  uint32_t reserved;
} cm_websocket_message;

/* All are called on the instance's loop. Any may be null. After `closed` nothing follows and the handle is stale.
 * Since ABI 1.0. */
typedef struct cm_websocket_callbacks {
  uint32_t size;
  uint32_t reserved;
  /* A connection of `connect` is open. [loop] */
  void (*opened)(void* user, cm_handle socket) CM_NOEXCEPT;
  /* Received messages, in order. [loop] */
  void (*messages)(void* user, cm_handle socket, const cm_websocket_message* messages, uint64_t count) CM_NOEXCEPT;
  /* The peer answered a ping. [loop] */
  void (*pong)(void* user, cm_handle socket) CM_NOEXCEPT;
  /* After CM_BUSY of send: fewer bytes wait now than the low watermark. [loop] */
  void (*drained)(void* user, cm_handle socket) CM_NOEXCEPT;
  /* `code` 1006 when the connection broke or never opened; `clean`: a close handshake took place. [loop] */
  void (*closed)(void* user, cm_handle socket, uint32_t code, cm_text_hview reason, bool clean) CM_NOEXCEPT;
} cm_websocket_callbacks;

/* 0 means the host's default. */
typedef struct cm_websocket_options {
  uint32_t size;
  uint32_t reserved;
  uint64_t message_bytes_max;    /* larger: the connection is closed with 1009. Default 1 MiB */
  uint64_t buffered_bytes_high;  /* above: send answers CM_BUSY but has taken the message. Default 1 MiB */
  uint64_t buffered_bytes_max;   /* above: the connection is closed with 1013 (slow consumer). Default 16 MiB */
  uint64_t handshake_timeout_ms; /* Default 10 s; connect, TLS and upgrade together */
  uint64_t close_timeout_ms;     /* Default 5 s for the peer's close frame */
} cm_websocket_options;

/* WebSockets of both sides. Since ABI 1.0. */
typedef struct cm_websocket_v1 {
  uint32_t size;
  uint32_t reserved;
  /* Upgrades a request of cm.http.server/1, which is thereby answered. CM_INVALID when it asks for no upgrade: the
   * request is then still open. [loop] */
  cm_status (*accept)(cm_handle self, cm_handle request, const cm_websocket_options* options,
                      const cm_websocket_callbacks* callbacks, void* user, cm_handle* out_socket) CM_NOEXCEPT;
  /* ws:// or wss://. Proxy variables are honoured. [loop] */
  cm_status (*connect)(cm_handle self, cm_text_pview url, const cm_websocket_options* options,
                       const cm_websocket_callbacks* callbacks, void* user, cm_handle* out_socket) CM_NOEXCEPT;
  /* Queues one message; the bytes are copied. CM_BUSY: taken, but slow down. [loop] */
  cm_status (*send)(cm_handle self, cm_handle socket, uint32_t kind, cm_bytes_pview payload) CM_NOEXCEPT;
  /* Queues one message without a copy; takes a reference of its own. For the same payload to many sockets. [loop] */
  cm_status (*send_buffer)(cm_handle self, cm_handle socket, uint32_t kind, cm_handle buffer) CM_NOEXCEPT;
  /* Sends a ping with an empty payload. CM_GONE: the handle is stale. [loop] */
  cm_status (*ping)(cm_handle self, cm_handle socket) CM_NOEXCEPT;
  /* Sends what is queued and a close frame; `closed` follows. Reason up to 123 bytes. [loop] */
  cm_status (*close)(cm_handle self, cm_handle socket, uint32_t code, cm_text_pview reason) CM_NOEXCEPT;
  /* Drops the connection at once, without a close frame. The handle is stale at return and NO callback follows, so that
   * an owner may be destroyed right after. [loop] */
  cm_status (*terminate)(cm_handle self, cm_handle socket) CM_NOEXCEPT;
  /* Bytes that wait to be sent; 0 for a stale handle. [loop] */
  uint64_t (*buffered_bytes)(cm_handle self, cm_handle socket) CM_NOEXCEPT;
  /* Stops reading from the connection: what the peer sends waits in the network, and TCP slows it down. What was read
   * already still comes: the rest of the running batch, and a few more when the plugin has a process of its own. While
   * paused the host answers no ping, and neither pongs nor the end of the connection are seen, unless a write finds
   * it: whoever judges peers by their pongs must not judge this one. Sending, close and terminate work; close ends the
   * pause. Twice is once. CM_INVALID: not open yet. CM_GONE: stale, or being closed. Not in the table of hosts built
   * before this function was added: ask CM_HAS_FUNCTION. [loop] */
  cm_status (*pause_reading)(cm_handle self, cm_handle socket) CM_NOEXCEPT;
  /* Reads again; `messages` follows in a later turn. Without effect when not paused. Errors as for pause_reading.
   * [loop] */
  cm_status (*resume_reading)(cm_handle self, cm_handle socket) CM_NOEXCEPT;
} cm_websocket_v1;

/* The table without pause_reading and resume_reading, as hosts had it first. */
#define CM_WEBSOCKET_V1_BYTES_MIN UINT32_C(72)

#ifdef __cplusplus
}
#endif

CM_STATIC_ASSERT(sizeof(cm_websocket_message) == 24, "layout of cm_websocket_message");
CM_STATIC_ASSERT(sizeof(cm_websocket_callbacks) == 48, "layout of cm_websocket_callbacks");
CM_STATIC_ASSERT(sizeof(cm_websocket_options) == 48, "layout of cm_websocket_options");
CM_STATIC_ASSERT(sizeof(cm_websocket_v1) == 88, "layout of cm_websocket_v1");
CM_STATIC_ASSERT(offsetof(cm_websocket_v1, pause_reading) == CM_WEBSOCKET_V1_BYTES_MIN, "layout of cm_websocket_v1");

#endif
