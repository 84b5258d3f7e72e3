/* How other plugins extend the broker without being part of it. Provided by ws_broker; used on the broker's loop (an
 * option of type `plugin` with `same_loop`).
 *
 *   cm.broker.messages/1  the wire protocol: types of requests, targets of messages, HTTP routes, pushes, facts.
 * Feature plugins: topics, state, tasks, streams, vault, webhooks, peer to peer signals. cm.broker.delivery/1  another
 * way to reach a recipient that has no connection: webhook, mail, a partner broker.
 *
 * The first argument of every function is the `instance` of cm_extension, the second, `caller`, is cm_host.self of the
 * user: what it registered ends with its stop. All functions and callbacks: the broker's loop. Callbacks never come
 * from inside a function of these tables unless it says so. Views that a callback gets are valid until it returns.
 *
 * Authorisation. Every request comes from an authenticated presence of one mesh, and the broker tells what it knows of
 * it (cm_broker_sender). Whether that is enough for the request is the feature's decision; it must look at nothing that
 * the client wrote about itself in the frame. A feature never sees a presence of another mesh than the one it asks
 * about. */
#ifndef CLAUDEMESH_EXT_BROKER_H
#define CLAUDEMESH_EXT_BROKER_H

#include <claudemesh/abi.h>
#include <claudemesh/ext/http.h>
#include <claudemesh/ext/storage.h>

#ifdef __cplusplus
extern "C" {
#endif

/* --- facts ------------------------------------------------------------------------------------------------------- */

/* cm_broker_sender.flags */
#define CM_BROKER_OWNER UINT32_C(1)   /* its member key is the mesh's owner key */
#define CM_BROKER_ADMIN UINT32_C(2)   /* role "admin", or the owner */
#define CM_BROKER_SESSION UINT32_C(4) /* a launched session, vouched for by the member (session_hello) */
#define CM_BROKER_ONLINE UINT32_C(8)  /* has a connection now; without it the presence is in its time of grace */
#define CM_BROKER_VISIBLE UINT32_C(16)
#define CM_BROKER_ACKNOWLEDGES UINT32_C(32) /* its client confirms what it has stored */

/* An authenticated connection, or the time of grace after it. The handle is stale once the presence was removed. */
typedef struct cm_broker_sender {
  uint32_t size;
  uint32_t flags;
  cm_handle presence;
  cm_text_hview mesh_id;
  cm_text_hview mesh_slug;
  cm_text_hview member_id;
  cm_text_hview member_pubkey; /* 64 hex */
  cm_text_hview member_name;
  cm_text_hview session_pubkey; /* empty for a member's own connection */
  cm_text_hview session_id;
  cm_text_hview presence_id;   /* as other peers see it */
  cm_text_hview display_name;  /* of the presence */
  cm_text_hview groups_json;   /* [{"name","role"?}] */
  cm_text_hview features_json; /* what was negotiated: {"name": version, ...}; may be empty */
} cm_broker_sender;

/* A member of a mesh, present or not. */
typedef struct cm_broker_member {
  uint32_t size;
  uint32_t flags; /* OWNER, ADMIN; ONLINE: at least one connection */
  cm_text_hview mesh_id;
  cm_text_hview member_id;
  cm_text_hview member_pubkey;
  cm_text_hview name;
  cm_text_hview groups_json; /* its default groups */
  int64_t joined_unix_ms;
  int64_t revoked_unix_ms; /* 0: active */
} cm_broker_member;

/* A mesh of this broker. */
typedef struct cm_broker_mesh {
  uint32_t size;
  uint32_t reserved;
  cm_text_hview mesh_id;
  cm_text_hview slug;
  cm_text_hview name;
  cm_text_hview owner_pubkey;
  uint64_t members; /* active */
  uint64_t presences;
} cm_broker_mesh;

/* One presence; valid until it returns. [loop] */
typedef void (*cm_broker_presence_row)(void* user, const cm_broker_sender* presence) CM_NOEXCEPT;
/* One member; valid until it returns. [loop] */
typedef void (*cm_broker_member_row)(void* user, const cm_broker_member* member) CM_NOEXCEPT;
/* One mesh; valid until it returns. [loop] */
typedef void (*cm_broker_mesh_row)(void* user, const cm_broker_mesh* mesh) CM_NOEXCEPT;

/* --- cm.broker.messages/1: requests ------------------------------------------------------------------------------- */

#define CM_BROKER_MESSAGES_ID "cm.broker.messages/1"

#define CM_BROKER_TYPE_BYTES_MAX UINT32_C(64)
#define CM_BROKER_TYPES_MAX UINT32_C(1024) /* of all plugins together */
#define CM_BROKER_REQUESTS_WAITING_MAX UINT32_C(65536)
#define CM_BROKER_REPLY_TIMEOUT_MS UINT32_C(30000)
#define CM_BROKER_FRAME_BYTES_MAX UINT32_C(8388608) /* of one reply or push */

/* One frame of a client: `type` is its "type", `json` all of it, valid JSON, an object, with "_reqId" if it has one.
 * `request` is answered exactly once with `reply`, `no_reply` or `error`, now or later. Replies of one connection leave
 * in the order of its requests, so a slow answer holds up the others: after CM_BROKER_REPLY_TIMEOUT_MS the broker sends
 * the error `internal` and counts it. If the client leaves, the request stays valid and the reply is dropped.
 * [loop] */
typedef void (*cm_broker_request_handler)(void* user, cm_handle request, const cm_broker_sender* sender,
                                          cm_text_hview type, cm_text_hview json) CM_NOEXCEPT;

/* --- cm.broker.messages/1: targets of `send` ---------------------------------------------------------------------- */

/* A `send` to a target that a plugin has registered ("#"), after the broker's own checks (size, rate, repeats, hooks)
 * and before it is stored. */
typedef struct cm_broker_send {
  uint32_t size;
  uint32_t priority;        /* CM_PRIORITY_* of ext/transport.h */
  cm_text_hview target;     /* with the prefix: "#k3v..." */
  cm_text_hview message_id; /* what the broker will call it if it accepts */
  cm_text_hview client_message_id;
  cm_text_hview nonce;
  cm_text_hview ciphertext;
  cm_text_hview reply_to_id;
  cm_text_hview mentions_json; /* [text], or empty */
  int64_t body_version;        /* 1 if the frame has none */
  int64_t created_unix_ms;
} cm_broker_send;

/* Who gets it, and what is written with it. */
typedef struct cm_broker_audience {
  uint32_t size;
  uint32_t reserved;
  /* One delivery each, the sender too if it is listed; unknown or revoked ones are skipped. */
  const cm_text_pview* member_ids;
  uint64_t member_count;
  cm_text_pview topic; /* name for the pushes' "topic"; may be empty */
  /* Runs in the very transaction that stores the message and its deliveries: both or neither. Any answer but CM_OK
   * refuses the message: CM_INVALID, CM_DENIED for good, others to be repeated. Null: nothing more to write.
   * [worker] */
  cm_storage_work work;
  void* work_user;
  /* Exactly once when `route` was accepted: CM_OK after the commit and before the pushes, else nothing was stored; it
   * frees work_user. As cm_storage_done: after the caller's stop with CM_GONE, on any thread. May be null. */
  cm_storage_done done;
} cm_broker_audience;

/* `request` is answered exactly once with `route` or `error`, at the latest after CM_BROKER_REPLY_TIMEOUT_MS.
 * [loop] */
typedef void (*cm_broker_target_handler)(void* user, cm_handle request, const cm_broker_sender* sender,
                                         const cm_broker_send* send) CM_NOEXCEPT;

/* --- cm.broker.messages/1: pushes --------------------------------------------------------------------------------- */

/* cm_broker_to.kind: all within one mesh */
#define CM_BROKER_TO_PRESENCE UINT32_C(1) /* `presence` */
#define CM_BROKER_TO_MEMBER UINT32_C(2)   /* every connection of `member_id` */
#define CM_BROKER_TO_MESH UINT32_C(3)
#define CM_BROKER_TO_KEY UINT32_C(4) /* the newest connection with this session or member key, in `member_id` */

/* Who gets a push. Text is copied. */
typedef struct cm_broker_to {
  uint32_t size;
  uint32_t kind;
  cm_text_pview mesh_id; /* not needed for CM_BROKER_TO_PRESENCE */
  cm_text_pview member_id;
  cm_handle presence;
  cm_handle except; /* a presence that is left out, or CM_NO_HANDLE */
} cm_broker_to;

/* A "push" without ciphertext that tells of an event (wire: subtype "system" or "webhook"). */
typedef struct cm_broker_event {
  uint32_t size;
  uint32_t priority;
  cm_text_pview sender; /* "system", "webhook:ci" */
  cm_text_pview subtype;
  cm_text_pview event;
  cm_text_pview event_json; /* any JSON value */
} cm_broker_event;

/* --- cm.broker.messages/1: notices -------------------------------------------------------------------------------- */

/* All may be null. Unlike other callbacks they come from inside the broker's own work: they may call any function of
 * the table, but what they send leaves after it. Since ABI 1.0. */
typedef struct cm_broker_watch {
  uint32_t size;
  uint32_t reserved;
  /* A presence is there; not told for a silent reattach. [loop] */
  void (*presence_joined)(void* user, const cm_broker_sender* presence) CM_NOEXCEPT;
  /* A presence ended, after its time of grace; its handle is stale on return. [loop] */
  void (*presence_left)(void* user, const cm_broker_sender* presence) CM_NOEXCEPT;
  /* A member joined a mesh. [loop] */
  void (*member_joined)(void* user, const cm_broker_member* member) CM_NOEXCEPT;
  /* A member was revoked or banned. [loop] */
  void (*member_removed)(void* user, const cm_broker_member* member) CM_NOEXCEPT;
  /* A mesh was made. [loop] */
  void (*mesh_created)(void* user, const cm_broker_mesh* mesh) CM_NOEXCEPT;
  /* A mesh was closed for good. [loop] */
  void (*mesh_archived)(void* user, const cm_broker_mesh* mesh) CM_NOEXCEPT;
} cm_broker_watch;

/* --- cm.broker.messages/1: HTTP on the broker's port -------------------------------------------------------------- */

/* `request` is a handle of the broker's, answered exactly once with `http_respond`, by the rules of cm.http.server/1.
 * [loop] */
typedef void (*cm_broker_http_handler)(void* user, cm_handle request, const cm_http_request_info* info) CM_NOEXCEPT;

/* Extends what the broker understands, offered as cm.broker.messages/1. Since ABI 1.0. */
typedef struct cm_broker_messages_v1 {
  uint32_t size;
  uint32_t reserved;

  /* Serves requests of `type` ([a-z][a-z0-9_]*). CM_DENIED: the broker serves it itself; CM_BUSY: another plugin has
   * it; CM_INVALID: the name. A type of the protocol that nobody has registered gets the reply of an empty feature; one
   * that is not of the protocol is ignored, as 1.37.0 does. Registered types count as the protocol's from then on.
   * [loop] */
  cm_status (*serve_type)(void* instance, cm_handle caller, cm_text_pview type, cm_broker_request_handler handler,
                          void* user) CM_NOEXCEPT;
  /* Adds members to a reply of the broker: `type` is "mesh_info" or "hello_ack"; the reply of the handler is a JSON
   * object whose members are added (a name that is there already is not). It has to come from inside the handler: what
   * comes later is dropped and counted. [loop] */
  cm_status (*contribute)(void* instance, cm_handle caller, cm_text_pview type, cm_broker_request_handler handler,
                          void* user) CM_NOEXCEPT;
  /* Routes messages whose target begins with `prefix`, one printable ASCII character other than '@', '*' and those of
   * names and keys. CM_BUSY: taken. Without a plugin such a send is refused as on a broker without topics. [loop] */
  cm_status (*serve_target)(void* instance, cm_handle caller, cm_text_pview prefix, cm_broker_target_handler handler,
                            void* user) CM_NOEXCEPT;
  /* Paths as in cm.http.server/1 `route`. CM_BUSY: the broker or another plugin has it. [loop] */
  cm_status (*serve_http)(void* instance, cm_handle caller, cm_text_pview method, cm_text_pview pattern,
                          cm_broker_http_handler handler, void* user) CM_NOEXCEPT;

  /* One frame, an object with "type"; the broker adds the request's "_reqId" if there is none. CM_GONE: the client has
   * left or the request was answered (the latter is counted as misbehaviour). CM_INVALID: no object, no type, or too
   * long; the request is then still open. [loop] */
  cm_status (*reply)(void* instance, cm_handle caller, cm_handle request, cm_text_pview json) CM_NOEXCEPT;
  /* Ends a request for which the protocol has no reply. CM_GONE: it was answered. [loop] */
  cm_status (*no_reply)(void* instance, cm_handle caller, cm_handle request) CM_NOEXCEPT;
  /* {"type":"error","code","message","_reqId"?}; of a `send`: its negative ack. `message` names no secret. [loop] */
  cm_status (*error)(void* instance, cm_handle caller, cm_handle request, cm_text_pview code,
                     cm_text_pview message) CM_NOEXCEPT;
  /* Accepts a `send`. Text is copied. CM_INVALID: fields; the request is then still open. [loop] */
  cm_status (*route)(void* instance, cm_handle caller, cm_handle request,
                     const cm_broker_audience* audience) CM_NOEXCEPT;
  /* The whole answer; copied. CM_GONE: answered before, or the client went away. [loop] */
  cm_status (*http_respond)(void* instance, cm_handle caller, cm_handle request, uint32_t status,
                            const cm_http_header* headers, uint64_t header_count, cm_bytes_pview body) CM_NOEXCEPT;
  /* The value of a header, empty when there is none; lives as long as the request. [loop] */
  cm_text_hview (*http_header)(void* instance, cm_handle caller, cm_handle request, cm_text_pview name) CM_NOEXCEPT;
  /* A part of the path by the name it has in the pattern, decoded; empty when there is none. [loop] */
  cm_text_hview (*http_path_parameter)(void* instance, cm_handle caller, cm_handle request,
                                       cm_text_pview name) CM_NOEXCEPT;

  /* Sends one frame (an object with "type") to whoever is connected now; nothing is stored. `out_count` (may be null):
   * how many connections took it. CM_GONE: the presence or mesh is unknown. [loop] */
  cm_status (*push)(void* instance, cm_handle caller, const cm_broker_to* to, cm_text_pview json,
                    uint64_t* out_count) CM_NOEXCEPT;
  /* The same for an event. [loop] */
  cm_status (*push_event)(void* instance, cm_handle caller, const cm_broker_to* to, const cm_broker_event* event,
                          uint64_t* out_count) CM_NOEXCEPT;

  /* Calls `row` for every mesh before it returns. [loop] */
  cm_status (*meshes)(void* instance, cm_handle caller, cm_broker_mesh_row row, void* user) CM_NOEXCEPT;
  /* Calls `row` for every member of the mesh, revoked ones too, before it returns. CM_GONE: no such mesh. [loop] */
  cm_status (*members)(void* instance, cm_handle caller, cm_text_pview mesh_id, cm_broker_member_row row,
                       void* user) CM_NOEXCEPT;
  /* Calls `row` for every presence of the mesh before it returns. CM_GONE: no such mesh. [loop] */
  cm_status (*presences)(void* instance, cm_handle caller, cm_text_pview mesh_id, cm_broker_presence_row row,
                         void* user) CM_NOEXCEPT;
  /* Calls `row` for one presence before it returns. CM_GONE: it ended. [loop] */
  cm_status (*presence)(void* instance, cm_handle caller, cm_handle presence, cm_broker_presence_row row,
                        void* user) CM_NOEXCEPT;

  /* Calls what `callbacks` names from now on, until unwatch. The struct is copied. [loop] */
  cm_status (*watch)(void* instance, cm_handle caller, const cm_broker_watch* callbacks, void* user,
                     cm_handle* out_watch) CM_NOEXCEPT;
  /* Ends it; no callback follows. A stale handle is ignored. [loop] */
  void (*unwatch)(void* instance, cm_handle caller, cm_handle watch) CM_NOEXCEPT;
  /* A record of the mesh's audit log. `actor_member_id` may be empty; `payload_json` is an object, without secrets and
   * without message bodies. [loop] */
  cm_status (*audit)(void* instance, cm_handle caller, cm_text_pview mesh_id, cm_text_pview event_type,
                     cm_text_pview actor_member_id, cm_text_pview payload_json) CM_NOEXCEPT;
} cm_broker_messages_v1;

/* --- cm.broker.delivery/1 ----------------------------------------------------------------------------------------- */

#define CM_BROKER_DELIVERY_ID "cm.broker.delivery/1"

#define CM_BROKER_WAYS_MAX UINT32_C(16)
#define CM_BROKER_OFFERS_MAX UINT32_C(1024) /* taken and not confirmed, of one way */
/* Then the offer is withdrawn and made again, with growing pauses. */
#define CM_BROKER_CONFIRM_TIMEOUT_MS UINT32_C(60000)

/* A message and one recipient without a connection. Everything of it repeats byte for byte when it is offered again. */
typedef struct cm_broker_offer {
  uint32_t size;
  uint32_t priority;
  uint32_t attempt; /* 1 for the first */
  uint32_t flags;   /* CM_BROKER_OFFER_MULTICAST */
  cm_text_hview mesh_id;
  cm_text_hview message_id;
  cm_text_hview member_id; /* of the recipient */
  cm_text_hview member_pubkey;
  cm_text_hview session_pubkey; /* the key it is addressed to, if it is a session's; else empty */
  cm_text_hview push_json;      /* the frame that a connection would get: sender, nonce, ciphertext, ... */
  int64_t expires_unix_ms;
} cm_broker_offer;
#define CM_BROKER_OFFER_MULTICAST UINT32_C(1)

/* Answers to an offer. */
#define CM_BROKER_TAKEN UINT32_C(1)   /* `confirm` follows */
#define CM_BROKER_REFUSED UINT32_C(2) /* not for this way; no more offers for this member until `reachable` */
#define CM_BROKER_LATER UINT32_C(3)   /* not now; offered again after a pause, or on `reachable` */

/* Outcomes of `confirm`. */
/* The recipient has it for good (its own 2xx, its receipt): as if a client had acknowledged it. Never say so because it
 * was merely sent. */
#define CM_BROKER_DELIVERED UINT32_C(1)
/* Transient: offered again, not before retry_after_ms. */
#define CM_BROKER_FAILED UINT32_C(2)
/* This message will never be taken by this recipient on this way; others may try, and it stays for a connection. */
#define CM_BROKER_REJECTED UINT32_C(3)

/* Another way to reach a recipient. Copied by add_way. Since ABI 1.0. */
typedef struct cm_broker_way {
  uint32_t size;
  int32_t order;      /* ascending: the first way that takes an offer has it */
  cm_text_pview name; /* "webhook"; [a-z][a-z0-9_]*, unique; for metrics and logs. Copied */
  /* Asked for each waiting message of a member of any mesh that has no connection. [loop] */
  uint32_t (*offer)(void* user, cm_handle offer, const cm_broker_offer* facts) CM_NOEXCEPT;
  /* A taken offer is void: the recipient has connected and got it, the message expired or was removed, or the
   * confirmation came too late. The handle is stale on return. May be null. [loop] */
  void (*withdrawn)(void* user, cm_handle offer) CM_NOEXCEPT;
} cm_broker_way;

/* Takes part in the delivery, offered as cm.broker.delivery/1. Since ABI 1.0. */
typedef struct cm_broker_delivery_v1 {
  uint32_t size;
  uint32_t reserved;
  /* CM_BUSY: CM_BROKER_WAYS_MAX, or the name is taken. Offers for what waits already begin at once. [loop] */
  cm_status (*add_way)(void* instance, cm_handle caller, const cm_broker_way* way, void* user,
                       cm_handle* out_way) CM_NOEXCEPT;
  /* Open offers are made to others; no callback follows. [loop] */
  void (*remove_way)(void* instance, cm_handle caller, cm_handle way) CM_NOEXCEPT;
  /* Exactly once per taken offer. CM_GONE: withdrawn before; the recipient may then see the message twice, with one id.
   * [loop] */
  cm_status (*confirm)(void* instance, cm_handle caller, cm_handle offer, uint32_t outcome, uint64_t retry_after_ms,
                       cm_text_pview reason) CM_NOEXCEPT;
  /* The member can be reached by this way now (again): registered a webhook, came back. [loop] */
  cm_status (*reachable)(void* instance, cm_handle caller, cm_handle way, cm_text_pview mesh_id,
                         cm_text_pview member_id) CM_NOEXCEPT;
} cm_broker_delivery_v1;

#ifdef __cplusplus
}
#endif

CM_STATIC_ASSERT(sizeof(cm_broker_sender) == 192, "layout of cm_broker_sender");
CM_STATIC_ASSERT(offsetof(cm_broker_sender, mesh_id) == 16, "layout of cm_broker_sender");
CM_STATIC_ASSERT(sizeof(cm_broker_member) == 104, "layout of cm_broker_member");
CM_STATIC_ASSERT(sizeof(cm_broker_mesh) == 88, "layout of cm_broker_mesh");
CM_STATIC_ASSERT(sizeof(cm_broker_send) == 136, "layout of cm_broker_send");
CM_STATIC_ASSERT(sizeof(cm_broker_audience) == 64, "layout of cm_broker_audience");
CM_STATIC_ASSERT(offsetof(cm_broker_audience, work) == 40, "layout of cm_broker_audience");
CM_STATIC_ASSERT(sizeof(cm_broker_to) == 56, "layout of cm_broker_to");
CM_STATIC_ASSERT(sizeof(cm_broker_event) == 72, "layout of cm_broker_event");
CM_STATIC_ASSERT(sizeof(cm_broker_watch) == 56, "layout of cm_broker_watch");
CM_STATIC_ASSERT(sizeof(cm_broker_messages_v1) == 168, "layout of cm_broker_messages_v1");
CM_STATIC_ASSERT(offsetof(cm_broker_messages_v1, reply) == 40, "layout of cm_broker_messages_v1");
CM_STATIC_ASSERT(offsetof(cm_broker_messages_v1, push) == 96, "layout of cm_broker_messages_v1");
CM_STATIC_ASSERT(sizeof(cm_broker_offer) == 120, "layout of cm_broker_offer");
CM_STATIC_ASSERT(sizeof(cm_broker_way) == 40, "layout of cm_broker_way");
CM_STATIC_ASSERT(sizeof(cm_broker_delivery_v1) == 40, "layout of cm_broker_delivery_v1");

#endif
