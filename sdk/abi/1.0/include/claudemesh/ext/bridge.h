/* cm.bridge/1: a place outside the mesh (a chat service, a voice room, another mesh) joined to it. Provided by bridge
 * plugins; used by whoever runs or judges them: the daemon's local API, the command line, `claudemesh plugin check`.
 *
 * A bridge sends and receives on the mesh by cm.peer/1, as a local identity of the daemon, and on the other side by
 * whatever that side speaks. What it must do in between is the same for all bridges, and this table makes it visible:
 *
 *  1. Mapping. A message crosses only where a mapping says so: between one remote channel and one mesh target.
 * Everything else is CM_BRIDGE_UNMAPPED. A remote user may be given a name for the mesh side.
 *  2. Echo. What the bridge itself put somewhere never comes back: a message of the bridge's own account (remote) or
 * own key (mesh) is CM_BRIDGE_ECHO.
 *  3. Once. A message is known by (mapping, message id). The second time it is CM_BRIDGE_DUPLICATE, for at least
 *     CM_BRIDGE_REMEMBERED messages of each direction. Towards the mesh the client message id is made of the remote id
 *     (CM_BRIDGE_CLIENT_ID_PREFIX), so that a repetition after a restart is recognised by the daemon as well.
 *  4. Loops. Each crossing adds the bridge's mark to the message's trail, which travels with it (below). A message
 * whose trail contains the bridge's own mark, or CM_BRIDGE_HOPS_MAX marks, is CM_BRIDGE_LOOP: two bridges between the
 * same two places, or a ring of them, end after one turn.
 *
 * Marks. A mark is `NETWORK:NAME`, at most CM_BRIDGE_MARK_BYTES_MAX bytes of [a-z0-9._:-], for example
 * "slack:acme"; it is the same over restarts and different for each bridge. Where a side can carry
 * data beside the text, the trail is put there. Where it cannot (the mesh: a message is one text), it is the last line
 * of the text: CM_BRIDGE_TRAIL_LINE, then the marks in the order of the crossings, separated by one space. A bridge
 * takes that line off before it shows the text to people on the other side, and puts it on again with its own mark
 * where needed.
 *
 * Nothing in this table is a pointer into the host, so it works for an isolated plugin as well. All functions: the
 * bridge's loop. All callbacks: the same loop, never from inside a function of this table unless it says so. */
#ifndef CLAUDEMESH_EXT_BRIDGE_H
#define CLAUDEMESH_EXT_BRIDGE_H

#include <claudemesh/abi.h>

#ifdef __cplusplus
extern "C" {
#endif

#define CM_BRIDGE_ID "cm.bridge/1"

#define CM_BRIDGE_HOPS_MAX UINT32_C(4)
#define CM_BRIDGE_MARK_BYTES_MAX UINT32_C(64)
#define CM_BRIDGE_REMEMBERED UINT32_C(1024)
#define CM_BRIDGE_MAPPINGS_MAX UINT32_C(4096)
#define CM_BRIDGE_TEXT_BYTES_MAX UINT32_C(49152) /* of one message, with its trail */
#define CM_BRIDGE_CLIENT_ID_PREFIX "brg-"
#define CM_BRIDGE_TRAIL_LINE "\n-- via " /* begins the last line of a text that crossed */

/* --- state ------------------------------------------------------------------------------------------------------ */

#define CM_BRIDGE_CONNECTING UINT32_C(1)
#define CM_BRIDGE_UP UINT32_C(2)          /* both sides can be reached */
#define CM_BRIDGE_REMOTE_DOWN UINT32_C(3) /* it tries again by itself */
#define CM_BRIDGE_MESH_DOWN UINT32_C(4)
#define CM_BRIDGE_REFUSED UINT32_C(5) /* final until reconfigured: bad token, account closed. See `detail` */
#define CM_BRIDGE_STOPPED UINT32_C(6)

/* Counters never go back while the instance lives. to_*: handed over to that side and taken by it. */
typedef struct cm_bridge_status {
  uint32_t size;
  uint32_t state;
  cm_text_hview mark;   /* of this bridge, "slack:acme" */
  cm_text_hview detail; /* for a person, without secrets; may be empty */
  uint64_t mappings;
  uint64_t to_mesh;
  uint64_t to_remote;
  uint64_t dropped_unmapped;
  uint64_t dropped_echo;
  uint64_t dropped_duplicate;
  uint64_t dropped_loop;
  uint64_t dropped_filtered; /* for a reason of its own: a bot's message, an empty text, a direction that is off */
  uint64_t failed;           /* the other side refused for good, or the bridge gave up */
  uint64_t waiting;          /* taken and not handed over yet */
} cm_bridge_status;

/* --- mapping ---------------------------------------------------------------------------------------------------- */

/* cm_bridge_mapping.directions */
#define CM_BRIDGE_TO_MESH UINT32_C(1)
#define CM_BRIDGE_TO_REMOTE UINT32_C(2)

/* One joint. In the callback of `mappings` all text is valid until it returns; in `map` it is copied. */
typedef struct cm_bridge_mapping {
  uint32_t size;
  uint32_t directions;
  cm_text_pview id;           /* [A-Za-z0-9_-]{1,64}, unique; a second `map` with it replaces the first */
  cm_text_pview remote;       /* the remote side's own name of the channel or chat: "C0123", "-1001234", "room-7" */
  cm_text_pview mesh;         /* slug; empty: the only one joined */
  cm_text_pview target;       /* on the mesh: name, key, @group, * or #topic, as in cm.peer/1 */
  cm_text_pview options_json; /* of the bridge's own meaning; an object, or empty */
} cm_bridge_mapping;

/* One mapping; valid until it returns. [loop] */
typedef void (*cm_bridge_mapping_row)(void* user, const cm_bridge_mapping* mapping) CM_NOEXCEPT;

/* --- messages --------------------------------------------------------------------------------------------------- */

/* cm_bridge_message.flags */
/* A rehearsal goes through every rule, and is remembered and counted as a duplicate next time, but the last step, the
 * hand-over to the other side, is only reported. It makes a bridge testable without its network. */
#define CM_BRIDGE_REHEARSAL UINT32_C(1)
#define CM_BRIDGE_FROM_SELF UINT32_C(2) /* the author is the bridge itself, as the feeding side knows it */

/* A message as one side gave it. Copied by the call. */
typedef struct cm_bridge_message {
  uint32_t size;
  uint32_t flags;
  cm_text_pview channel;     /* deliver_remote: `remote` of a mapping. deliver_mesh: the target it was sent to */
  cm_text_pview mesh;        /* deliver_mesh: slug; else empty */
  cm_text_pview message_id;  /* of that side; not empty */
  cm_text_pview author_id;   /* remote user id, or the key of the sender on the mesh */
  cm_text_pview author_name; /* for people */
  cm_text_pview text;        /* UTF-8, with the trail line if it came in the text */
  cm_text_pview trail;       /* marks separated by a space, when the side carries them beside the text; else empty */
  cm_text_pview reply_to;    /* message id on that side, or empty */
  int64_t unix_ms;           /* when it was written there; 0: unknown */
} cm_bridge_message;

/* What became of it. */
#define CM_BRIDGE_FORWARDED UINT32_C(1) /* the other side has taken it (mesh: durable in the outbox) */
#define CM_BRIDGE_REHEARSED UINT32_C(2) /* would have been handed over */
#define CM_BRIDGE_UNMAPPED UINT32_C(3)
#define CM_BRIDGE_ECHO UINT32_C(4)
#define CM_BRIDGE_DUPLICATE UINT32_C(5)
#define CM_BRIDGE_LOOP UINT32_C(6)
#define CM_BRIDGE_FILTERED UINT32_C(7)
#define CM_BRIDGE_FAILED UINT32_C(8)

/* One crossing, as it ended. All text is valid until the callback returns. For drops `text` and what follows it is
 * empty. */
typedef struct cm_bridge_crossing {
  uint32_t size;
  uint32_t outcome;          /* CM_BRIDGE_FORWARDED ... */
  uint32_t direction;        /* CM_BRIDGE_TO_MESH or CM_BRIDGE_TO_REMOTE */
  uint32_t flags;            /* CM_BRIDGE_REHEARSAL */
  cm_text_hview mapping_id;  /* empty when unmapped */
  cm_text_hview message_id;  /* on the side it came from */
  cm_text_hview reason;      /* for a person */
  cm_text_hview channel;     /* on the side it went to: mesh target, or remote channel */
  cm_text_hview mesh;        /* slug, when it went to the mesh */
  cm_text_hview author_name; /* as shown on the other side */
  cm_text_hview text;        /* exactly what the other side gets, with the trail line if that is in the text */
  cm_text_hview trail;       /* with this bridge's mark as the last */
  cm_text_hview new_id;      /* mesh: the client message id; remote: its message id if it tells one */
} cm_bridge_crossing;

/* One ended crossing; valid until it returns. [loop] */
typedef void (*cm_bridge_crossed)(void* user, const cm_bridge_crossing* crossing) CM_NOEXCEPT;

/* --- the table -------------------------------------------------------------------------------------------------- */

/* One bridge, offered as cm.bridge/1. Since ABI 1.0. */
typedef struct cm_bridge_v1 {
  uint32_t size;
  uint32_t reserved;
  /* What is on the other side: "slack", "telegram", "mesh"; valid until destroy. [loop] */
  cm_text_hview (*network)(void* instance) CM_NOEXCEPT;
  /* `out_status->size` is set by the caller; only that many bytes are written. Views: until the next call. [loop] */
  cm_status (*status)(void* instance, cm_bridge_status* out_status) CM_NOEXCEPT;
  /* Calls `row` for each mapping, in the order of the ids, before it returns. [loop] */
  cm_status (*mappings)(void* instance, cm_bridge_mapping_row row, void* user) CM_NOEXCEPT;
  /* Adds or replaces one, until the instance ends; what shall stay is in the options. CM_INVALID: wrong fields, or the
   * same remote channel and target under another id; CM_BUSY: CM_BRIDGE_MAPPINGS_MAX; CM_UNSUPPORTED: only the options
   * decide. [loop] */
  cm_status (*map)(void* instance, const cm_bridge_mapping* mapping) CM_NOEXCEPT;
  /* Takes one away. CM_GONE: unknown. [loop] */
  cm_status (*unmap)(void* instance, cm_text_pview id) CM_NOEXCEPT;
  /* Treats `message` exactly as one that came from the remote side. `crossed` is called exactly once per accepted call
   * and mapping that the channel has (once with CM_BRIDGE_UNMAPPED if it has none), perhaps much later when the other
   * side is slow, unless the instance stops before. CM_BUSY: too much is waiting, nothing was taken. [loop] */
  cm_status (*deliver_remote)(void* instance, const cm_bridge_message* message, cm_bridge_crossed crossed,
                              void* user) CM_NOEXCEPT;
  /* The same for a message of the mesh, as cm.peer/1 would tell it. [loop] */
  cm_status (*deliver_mesh)(void* instance, const cm_bridge_message* message, cm_bridge_crossed crossed,
                            void* user) CM_NOEXCEPT;
  /* Every crossing, of deliver_* and of the bridge's own traffic, in the order in which they end. [loop] */
  cm_status (*observe)(void* instance, cm_bridge_crossed crossed, void* user, cm_handle* out_observer) CM_NOEXCEPT;
  /* Ends an observation; no call follows. A stale handle is ignored. [loop] */
  void (*unobserve)(void* instance, cm_handle observer) CM_NOEXCEPT;
} cm_bridge_v1;

#ifdef __cplusplus
}
#endif

CM_STATIC_ASSERT(sizeof(cm_bridge_status) == 120, "layout of cm_bridge_status");
CM_STATIC_ASSERT(offsetof(cm_bridge_status, mappings) == 40, "layout of cm_bridge_status");
CM_STATIC_ASSERT(sizeof(cm_bridge_mapping) == 88, "layout of cm_bridge_mapping");
CM_STATIC_ASSERT(sizeof(cm_bridge_message) == 144, "layout of cm_bridge_message");
CM_STATIC_ASSERT(offsetof(cm_bridge_message, unix_ms) == 136, "layout of cm_bridge_message");
CM_STATIC_ASSERT(sizeof(cm_bridge_crossing) == 160, "layout of cm_bridge_crossing");
CM_STATIC_ASSERT(offsetof(cm_bridge_crossing, mapping_id) == 16, "layout of cm_bridge_crossing");
CM_STATIC_ASSERT(sizeof(cm_bridge_v1) == 80, "layout of cm_bridge_v1");
CM_STATIC_ASSERT(offsetof(cm_bridge_v1, deliver_remote) == 48, "layout of cm_bridge_v1");

#endif
