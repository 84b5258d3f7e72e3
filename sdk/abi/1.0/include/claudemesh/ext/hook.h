/* cm.hook/1: code that sees, changes, delays or refuses what another plugin is about to do. Provided by hook plugins.
 *
 * Hooks run in ascending `order`. CONTINUE hands the event to the next hook; REPLACE does so with a new payload; DENY
 * ends the chain: nothing happens and the cause gets the text; DEFER answers later through `finish` until the deadline.
 * A guard fails closed (an error or a missed deadline is DENY), an observer fails open (it is CONTINUE). */
#ifndef CLAUDEMESH_EXT_HOOK_H
#define CLAUDEMESH_EXT_HOOK_H

#include <claudemesh/abi.h>

#ifdef __cplusplus
extern "C" {
#endif

#define CM_HOOK_ID "cm.hook/1"

#define CM_HOOK_CONTINUE UINT32_C(0)
#define CM_HOOK_DEFER UINT32_C(1)
#define CM_HOOK_DENY UINT32_C(2)
#define CM_HOOK_REPLACE UINT32_C(3)

#define CM_HOOK_OBSERVER UINT32_C(0)
#define CM_HOOK_GUARD UINT32_C(1)

/* `point` says what is about to happen; a hook ignores points that it does not know by answering CONTINUE:
 *   broker.accept     {"mesh","sender","target","priority","bytes"}: a message before it is stored; payload: ciphertext
 *   daemon.send       {"mesh","to","priority"}: a message before it is sealed; payload = the text
 *   daemon.received   {"mesh","from","name","id"}: a message after it is durable in the inbox; payload = the text */
typedef struct cm_hook_event {
  uint32_t size;
  uint32_t reserved;
  cm_handle ticket; /* for finish */
  cm_text_hview point;
  cm_text_hview json; /* facts, an object */
  cm_bytes_hview payload;
} cm_hook_event;

/* Given to the hook so that it can answer: valid until invoke returns, except `finish`, valid until the deadline.
 * Since ABI 1.0. */
typedef struct cm_hook_reply {
  uint32_t size;
  uint32_t reserved;
  void* context;
  /* The text of DENY, or the payload of REPLACE. Copied. [loop] */
  void (*set_payload)(void* context, cm_handle ticket, cm_bytes_pview payload) CM_NOEXCEPT;
  /* The late answer of DEFER. CM_GONE after the deadline. [loop] */
  cm_status (*finish)(void* context, cm_handle ticket, uint32_t result, cm_bytes_pview payload) CM_NOEXCEPT;
} cm_hook_reply;

/* What a hook plugin offers as cm.hook/1. Memory of the plugin, valid until its destroy. Since ABI 1.0. */
typedef struct cm_hook_v1 {
  uint32_t size;
  uint32_t kind;       /* CM_HOOK_OBSERVER or CM_HOOK_GUARD */
  int32_t order;       /* ascending; ties by instance name */
  uint32_t timeout_ms; /* for DEFER; 0 means 5,000 */
  /* Looks at one event and answers CM_HOOK_*; any other number counts as a defect and is judged by `kind`. [loop] */
  uint32_t (*invoke)(void* instance, const cm_hook_event* event, const cm_hook_reply* reply) CM_NOEXCEPT;
} cm_hook_v1;

#ifdef __cplusplus
}
#endif

CM_STATIC_ASSERT(sizeof(cm_hook_event) == 64, "layout of cm_hook_event");
CM_STATIC_ASSERT(sizeof(cm_hook_reply) == 32, "layout of cm_hook_reply");
CM_STATIC_ASSERT(sizeof(cm_hook_v1) == 24, "layout of cm_hook_v1");

#endif
