/* cm.peer/1: send and receive as a local identity of the daemon. Provided by peer_daemon; used by bridges and other
 * programs inside the same host, on the daemon's loop (an option with `same_loop`). */
#ifndef CLAUDEMESH_EXT_PEER_H
#define CLAUDEMESH_EXT_PEER_H

#include <claudemesh/abi.h>

#ifdef __cplusplus
extern "C" {
#endif

#define CM_PEER_ID "cm.peer/1"

/* A message to send; everything is copied by `send`. */
typedef struct cm_peer_message {
  uint32_t size;
  uint32_t priority;
  cm_text_pview mesh; /* slug; empty when only one is joined */
  cm_text_pview to;   /* name, key, key prefix, @group, * or #topic, as for the command line */
  cm_text_pview text;
  cm_text_pview client_message_id; /* idempotency key; empty: the daemon makes one */
} cm_peer_message;

/* `http_status` and `json` are those of POST /v1/send: 202 means durable in the outbox. Once per accepted send.
 * [loop] */
typedef void (*cm_peer_sent)(void* user, uint32_t http_status, cm_text_hview json) CM_NOEXCEPT;
/* An event of GET /v1/events: kind "message", "peer_join", "peer_leave", "system", "broker_status". [loop] */
typedef void (*cm_peer_event)(void* user, cm_text_hview kind, cm_text_hview json) CM_NOEXCEPT;

/* A local identity of the daemon, for code in the same host. Since ABI 1.0. */
typedef struct cm_peer_v1 {
  uint32_t size;
  uint32_t reserved;
  /* Puts a message into the daemon's outbox; `sent` follows, unless the answer is not CM_OK. [loop] */
  cm_status (*send)(void* instance, const cm_peer_message* message, cm_peer_sent sent, void* user) CM_NOEXCEPT;
  /* Calls `event` for what happens from now on, until unsubscribe. CM_INVALID: no `event`. [loop] */
  cm_status (*subscribe)(void* instance, cm_peer_event event, void* user, cm_handle* out_subscription) CM_NOEXCEPT;
  /* After the return `event` will not be called. A stale handle is ignored. [loop] */
  void (*unsubscribe)(void* instance, cm_handle subscription) CM_NOEXCEPT;
} cm_peer_v1;

#ifdef __cplusplus
}
#endif

CM_STATIC_ASSERT(sizeof(cm_peer_message) == 72, "layout of cm_peer_message");
CM_STATIC_ASSERT(sizeof(cm_peer_v1) == 32, "layout of cm_peer_v1");

#endif
