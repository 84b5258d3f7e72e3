/* cm.transport/1: a way to carry sealed messages of one mesh membership to other peers. Provided by transport plugins
 * (broker_link, webrtc_p2p, webhook), used by the daemon, on whose loop they live (an option with `same_loop`).
 *
 * The transport never holds a secret key: it asks for signatures. It never retries a message on its own: the caller's
 * durable outbox does. In this table the provider is the transport. */
#ifndef CLAUDEMESH_EXT_TRANSPORT_H
#define CLAUDEMESH_EXT_TRANSPORT_H

#include <claudemesh/abi.h>

#ifdef __cplusplus
extern "C" {
#endif

#define CM_TRANSPORT_ID "cm.transport/1"

#define CM_LINK_CONNECTING UINT32_C(1)
#define CM_LINK_OPEN UINT32_C(2)
#define CM_LINK_RECONNECTING UINT32_C(3)
#define CM_LINK_CLOSED UINT32_C(4)  /* final: closed by the caller */
#define CM_LINK_REFUSED UINT32_C(5) /* final until reopened: revoked, banned, kicked, required feature missing */

#define CM_PRIORITY_NOW UINT32_C(1)
#define CM_PRIORITY_NEXT UINT32_C(2)
#define CM_PRIORITY_LOW UINT32_C(3)

/* Who the link speaks for. All text is copied by open. */
typedef struct cm_link_identity {
  uint32_t size;
  uint32_t kind; /* CM_LINK_MEMBER or CM_LINK_SESSION */
  cm_text_pview url;
  cm_text_pview mesh_id;
  cm_text_pview member_id;
  cm_text_pview member_pubkey;
  cm_text_pview session_pubkey; /* CM_LINK_SESSION only */
  cm_text_pview session_id;
  cm_text_pview display_name; /* may be empty */
  cm_text_pview cwd;
  cm_text_pview role;
  cm_text_pview groups_json;   /* [{"name","role"?}], may be empty */
  cm_text_pview features_json; /* {"require":[...],"optional":[...]} */
  int64_t pid;
} cm_link_identity;
#define CM_LINK_MEMBER UINT32_C(1)
#define CM_LINK_SESSION UINT32_C(2)

#define CM_SIGN_MEMBER UINT32_C(1)
#define CM_SIGN_SESSION UINT32_C(2)

/* A sealed message on its way out. The bytes never change between attempts (same id, same fingerprint, same text). */
typedef struct cm_outbound {
  uint32_t size;
  uint32_t priority;
  cm_text_pview client_message_id;
  cm_text_pview request_fingerprint; /* 64 hex */
  cm_text_pview target;              /* targetSpec of the wire protocol */
  cm_text_pview nonce;
  cm_text_pview ciphertext;
  cm_text_pview reply_to_id;
} cm_outbound;

#define CM_SEND_ACCEPTED UINT32_C(1)  /* durable at the other side */
#define CM_SEND_DUPLICATE UINT32_C(2) /* was accepted before, same fingerprint */
#define CM_SEND_RETRY UINT32_C(3)     /* transient: try again, not before retry_after_ms */
#define CM_SEND_REJECTED UINT32_C(4)  /* permanent: never try this id again */

/* What became of one sent message; valid until `sent` returns. */
typedef struct cm_send_result {
  uint32_t size;
  uint32_t outcome;
  cm_text_hview client_message_id;
  cm_text_hview message_id; /* of the broker, when accepted or duplicate */
  cm_text_hview code;       /* "rate_limit", "idempotency_key_reused", "timeout", "closed", ... */
  cm_text_hview error;
  uint64_t retry_after_ms;
} cm_send_result;

/* A received push. Absent text is empty. */
typedef struct cm_inbound {
  uint32_t size;
  uint32_t priority;
  cm_text_hview message_id;
  cm_text_hview client_message_id;
  cm_text_hview sender_pubkey;
  cm_text_hview sender_member_pubkey;
  cm_text_hview sender_name;
  cm_text_hview topic;
  cm_text_hview reply_to_id;
  cm_text_hview subtype;
  cm_text_hview nonce;
  cm_text_hview ciphertext;
  cm_text_hview created_at; /* ISO 8601 */
  cm_text_hview event;      /* of system pushes */
  cm_text_hview event_json;
  cm_text_hview target; /* targetSpec, when the other side told it: "*", "@group"; such a body is not sealed */
} cm_inbound;

/* The reply to a request: its JSON, or the text of the error unless `status` is CM_OK. [loop] */
typedef void (*cm_reply_callback)(void* user, cm_status status, cm_text_hview json_or_error) CM_NOEXCEPT;

/* What the caller of `open` wants to hear, all on the caller's loop. Since ABI 1.0. */
typedef struct cm_link_callbacks {
  uint32_t size;
  uint32_t reserved;
  /* The link is now CM_LINK_*. `detail_json`: {"reason"?, "code"?, "features"?: {...}, "degraded"?: [names of missing
   * features], "attempt"?, "retry_in_ms"?}. [loop] */
  void (*state)(void* user, cm_handle link, uint32_t state, cm_text_hview detail_json) CM_NOEXCEPT;
  /* Received messages, in order; valid until it returns. Confirm with `acknowledge` what became durable. [loop] */
  void (*inbound)(void* user, cm_handle link, const cm_inbound* messages, uint64_t count) CM_NOEXCEPT;
  /* What became of sent messages, one result for each, in any order; valid until it returns. [loop] */
  void (*sent)(void* user, cm_handle link, const cm_send_result* results, uint64_t count) CM_NOEXCEPT;
  /* Signs `text` with the key of CM_SIGN_*: 64 bytes to `out_signature`. CM_GONE: that key is no longer
   * there. [loop] */
  cm_status (*sign)(void* user, cm_handle link, uint32_t key, cm_text_hview text, uint8_t* out_signature) CM_NOEXCEPT;
} cm_link_callbacks;

/* One way to carry messages, offered as cm.transport/1. Since ABI 1.0. */
typedef struct cm_transport_v1 {
  uint32_t size;
  uint32_t reserved;
  /* A word for logs and lists, "broker"; valid as long as the instance. [loop] */
  cm_text_hview (*name)(void* instance) CM_NOEXCEPT;
  /* Connects and keeps connected, with back-off and jitter, until close. [loop] */
  cm_status (*open)(void* instance, const cm_link_identity* identity, const cm_link_callbacks* callbacks, void* user,
                    cm_handle* out_link) CM_NOEXCEPT;
  /* Ends the link; no callback follows. A stale handle is ignored. [loop] */
  void (*close)(void* instance, cm_handle link) CM_NOEXCEPT;
  /* One `sent` follows for each message of an accepted call; CM_BUSY: the window is full; CM_GONE: not open. [loop] */
  cm_status (*send)(void* instance, cm_handle link, const cm_outbound* messages, uint64_t count,
                    uint64_t* out_taken) CM_NOEXCEPT;
  /* Confirms that a message is durable here; the other side may forget it. [loop] */
  cm_status (*acknowledge)(void* instance, cm_handle link, cm_text_pview message_id,
                           cm_text_pview client_message_id) CM_NOEXCEPT;
  /* A request of the wire protocol: `json` is an object with "type" and without "_reqId"; the reply is the frame with
   * the same "_reqId", whatever its type. CM_BUSY status in the callback: timed out. With a null callback the request
   * is sent without waiting for a reply. [loop] */
  cm_status (*request)(void* instance, cm_handle link, cm_text_pview json, uint64_t timeout_ms,
                       cm_reply_callback callback, void* user) CM_NOEXCEPT;
} cm_transport_v1;

#ifdef __cplusplus
}
#endif

CM_STATIC_ASSERT(sizeof(cm_link_identity) == 192, "layout of cm_link_identity");
CM_STATIC_ASSERT(sizeof(cm_outbound) == 104, "layout of cm_outbound");
CM_STATIC_ASSERT(sizeof(cm_send_result) == 80, "layout of cm_send_result");
CM_STATIC_ASSERT(sizeof(cm_inbound) == 232, "layout of cm_inbound");
CM_STATIC_ASSERT(sizeof(cm_link_callbacks) == 40, "layout of cm_link_callbacks");
CM_STATIC_ASSERT(sizeof(cm_transport_v1) == 56, "layout of cm_transport_v1");

#endif
