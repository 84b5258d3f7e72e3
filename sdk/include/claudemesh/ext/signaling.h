/* cm.signaling/1: small opaque messages between two peers that are online now, by way of their broker, so that they can
 * agree on a direct connection (wire types p2p_offer, p2p_answer, p2p_candidate). Provided by broker_link, used by
 * direct transports (webrtc_p2p) on its loop (an option with `same_loop`).
 *
 * A signal is never stored: it reaches a connected peer or it is refused. The broker vouches for the sender, and passes
 * signals only between presences of one mesh that may message each other; it reads the envelope and never the payload.
 * Nobody repeats a signal: the user decides. Payloads that must stay unread by the broker are sealed by the user. */
#ifndef CLAUDEMESH_EXT_SIGNALING_H
#define CLAUDEMESH_EXT_SIGNALING_H

#include <claudemesh/abi.h>

#ifdef __cplusplus
extern "C" {
#endif

#define CM_SIGNALING_ID "cm.signaling/1"

#define CM_SIGNAL_PAYLOAD_BYTES_MAX UINT32_C(32768) /* a frame of the wire has at most 64 KiB */
#define CM_SIGNAL_CALL_BYTES_MAX UINT32_C(64)
#define CM_SIGNAL_WAITING_MAX UINT32_C(256) /* signals of one attachment that wait for the broker's answer */

/* cm_signal.kind */
#define CM_SIGNAL_OFFER UINT32_C(1)     /* opens a call: p2p_offer */
#define CM_SIGNAL_ANSWER UINT32_C(2)    /* p2p_answer */
#define CM_SIGNAL_CANDIDATE UINT32_C(3) /* either way, any number: p2p_candidate */
#define CM_SIGNAL_CLOSE UINT32_C(4)     /* either way: the call is over or was refused; payload: the reason as text */

/* Who listens. All text is copied. */
typedef struct cm_signaling_identity {
  uint32_t size;
  uint32_t reserved;
  cm_text_pview url; /* of the broker, as in cm_link_identity */
  cm_text_pview mesh_id;
  cm_text_pview member_pubkey;  /* 64 hex */
  cm_text_pview session_pubkey; /* empty: the member's own (control) connection */
} cm_signaling_identity;

/* A signal on its way out. Copied by send. */
typedef struct cm_signal {
  uint32_t size;
  uint32_t kind;
  cm_text_pview to;   /* session or member key of the peer, 64 hex, as `peers_list` tells it */
  cm_text_pview call; /* made by the caller, [A-Za-z0-9_-]{1,64}: the same in all signals of one attempt */
  cm_bytes_pview payload;
} cm_signal;

/* A signal that came. `from` and `from_member` are what the broker knows of the sender's connection, not what the
 * sender says. Valid until the callback returns. */
typedef struct cm_signal_received {
  uint32_t size;
  uint32_t kind;             /* kinds that this revision does not know are not delivered */
  cm_text_hview from;        /* the key to answer to */
  cm_text_hview from_member; /* the member's key; empty if the broker does not tell */
  cm_text_hview from_name;   /* display name */
  cm_text_hview call;
  cm_bytes_hview payload;
} cm_signal_received;

/* What became of a sent signal. */
#define CM_SIGNAL_PASSED UINT32_C(1)  /* written to the peer's connection; no word yet on whether it was read */
#define CM_SIGNAL_NO_PEER UINT32_C(2) /* nobody with that key is online in the mesh */
#define CM_SIGNAL_REFUSED UINT32_C(3) /* grants, rate, size, or a client without signals: do not try again soon */
#define CM_SIGNAL_UNREACHABLE UINT32_C(4) /* the connection to the broker ended, or it gave no answer in time */

/* What became of a signal: CM_SIGNAL_PASSED and on; `reason` is for a person. [loop] */
typedef void (*cm_signal_sent)(void* user, cm_handle attachment, uint32_t outcome, cm_text_hview reason) CM_NOEXCEPT;

/* cm_signaling_callbacks.state */
#define CM_SIGNALING_DOWN UINT32_C(1)        /* not connected; it comes back by itself */
#define CM_SIGNALING_UP UINT32_C(2)          /* connected to a broker that passes signals */
#define CM_SIGNALING_UNSUPPORTED UINT32_C(3) /* connected to a broker that does not: an older one, or switched off */

/* All on the caller's loop, never from inside a function of this table. Since ABI 1.0. */
typedef struct cm_signaling_callbacks {
  uint32_t size;
  uint32_t reserved;
  /* The state is now CM_SIGNALING_*. The first call tells the present one. [loop] */
  void (*state)(void* user, cm_handle attachment, uint32_t state) CM_NOEXCEPT;
  /* One signal, in the order in which one sender sent them; valid until it returns. [loop] */
  void (*signal)(void* user, cm_handle attachment, const cm_signal_received* signal) CM_NOEXCEPT;
} cm_signaling_callbacks;

/* Passes small messages between clients that are online, to set up direct connections. Since ABI 1.0. */
typedef struct cm_signaling_v1 {
  uint32_t size;
  uint32_t reserved;
  /* Listens for signals to this identity. It rides on the connection that the daemon opened for it (cm.transport/1) and
   * opens none itself; without one the state is DOWN. `caller` is cm_host.self of the user: its stop detaches. CM_BUSY:
   * the identity has a listener already. [loop] */
  cm_status (*attach)(void* instance, cm_handle caller, const cm_signaling_identity* identity,
                      const cm_signaling_callbacks* callbacks, void* user, cm_handle* out_attachment) CM_NOEXCEPT;
  void (*detach)(void* instance, cm_handle attachment) CM_NOEXCEPT; /* no callback follows. [loop] */
  /* `sent` (may be null) is called exactly once per accepted call unless detached before. CM_INVALID: fields or size;
   * CM_BUSY: CM_SIGNAL_WAITING_MAX; CM_GONE: not UP. [loop] */
  cm_status (*send)(void* instance, cm_handle attachment, const cm_signal* signal, cm_signal_sent sent,
                    void* user) CM_NOEXCEPT;
} cm_signaling_v1;

#ifdef __cplusplus
}
#endif

CM_STATIC_ASSERT(sizeof(cm_signaling_identity) == 72, "layout of cm_signaling_identity");
CM_STATIC_ASSERT(sizeof(cm_signal) == 56, "layout of cm_signal");
CM_STATIC_ASSERT(offsetof(cm_signal, payload) == 40, "layout of cm_signal");
CM_STATIC_ASSERT(sizeof(cm_signal_received) == 88, "layout of cm_signal_received");
CM_STATIC_ASSERT(sizeof(cm_signaling_callbacks) == 24, "layout of cm_signaling_callbacks");
CM_STATIC_ASSERT(sizeof(cm_signaling_v1) == 32, "layout of cm_signaling_v1");

#endif
