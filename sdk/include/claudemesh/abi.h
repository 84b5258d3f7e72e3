/* Base types of the claudemesh plugin ABI: numbers, text, handles, status codes. C11 and C++20, freestanding.
 *
 * Vocabulary. *Host*: the program that loads plugins. *Plugin*: one shared library. *Instance*: one configured use of a
 * plugin. *Table*: a struct of function pointers whose first member is its own size in bytes. Tables are append-only:
 * an older table is a strict prefix of a newer one, and a function must only be called when `size` covers it
 * (CM_HAS_FUNCTION).
 *
 * Thread tags, stated at each function:
 *   [control]  the control thread, one call at a time, only during life-cycle steps;
 *   [loop]     the instance's own loop; an instance is never entered twice at once;
 *   [any]      any thread, concurrently;
 *   [worker]   a worker thread of the host; may block.
 *
 * Ownership is in the type name, seen from the two sides of a table: the *provider* (the host, or the plugin that
 * stands in for it) and the *caller* (the plugin that uses it):
 *   *_hview  memory of the provider (host side), valid until the call or callback returns;
 *   *_pview  memory of the caller (plugin side), valid until the call returns;
 *   cm_hbuf  a reference-counted buffer of the host; retain and release are in `cm.buffer/1`.
 */
#ifndef CLAUDEMESH_ABI_H
#define CLAUDEMESH_ABI_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#define CM_NOEXCEPT noexcept
#else
#define CM_NOEXCEPT
#endif

/* ABI version: major << 16 | minor. A host serves a list of versions; a plugin picks one of them in `init`. */
#define CM_ABI_VERSION_1_0 UINT32_C(0x00010000)
#define CM_ABI_VERSION_CURRENT CM_ABI_VERSION_1_0

/* The version that a plugin is written for. Functions of a later one are hidden, so that calling them is an error of
 * the compiler and not of a user's host. Define it before the first include to target an older version. */
#ifndef CM_TARGET_ABI
#define CM_TARGET_ABI CM_ABI_VERSION_CURRENT
#endif

/* The answer of every fallible function. Text for a person goes through `set_error` of cm_host. Out parameters are
 * untouched unless the status is CM_OK. */
typedef uint32_t cm_status;
#define CM_OK UINT32_C(0)
#define CM_INVALID UINT32_C(1)     /* the arguments are wrong; repeating cannot help */
#define CM_UNSUPPORTED UINT32_C(2) /* the other side has no such function, revision or feature */
#define CM_DENIED UINT32_C(3)      /* permission, authentication, policy */
#define CM_BUSY UINT32_C(4)        /* a limit is reached or the resource is taken; later may work */
#define CM_GONE UINT32_C(5)        /* a stale handle, or the object is being torn down */
#define CM_IO UINT32_C(6)          /* the network or the disk failed */
#define CM_INTERNAL UINT32_C(7)    /* a defect */
#define CM_DEFER UINT32_C(8)       /* not a failure: the answer follows through the ticket that was given */

/* A host object: 32 bits of generation above 32 bits of index. 0 is "none". A stale handle gives CM_GONE. */
typedef uint64_t cm_handle;
#define CM_NO_HANDLE UINT64_C(0)

/* Bytes of the provider. `data` may be null when `size`, in bytes, is 0. */
typedef struct cm_bytes_hview {
  const uint8_t* data;
  uint64_t size;
} cm_bytes_hview;

/* Bytes of the caller. `data` may be null when `size`, in bytes, is 0. */
typedef struct cm_bytes_pview {
  const uint8_t* data;
  uint64_t size;
} cm_bytes_pview;

/* UTF-8 text of the provider; not zero-terminated unless a function says so. `size` in bytes. */
typedef struct cm_text_hview {
  const char* data;
  uint64_t size;
} cm_text_hview;

/* UTF-8 text of the caller; need not be zero-terminated. `size` in bytes. */
typedef struct cm_text_pview {
  const char* data;
  uint64_t size;
} cm_text_pview;

/* A reference-counted, immutable buffer of the host. `handle` 0 is the empty buffer. data and size stay valid and
 * unchanged as long as the holder has a reference. */
typedef struct cm_hbuf {
  cm_handle handle;
  const uint8_t* data;
  uint64_t size;
} cm_hbuf;

/* A callback into the plugin: `user` belongs to the plugin and is handed back untouched. [loop], unless the function
 * that takes it says otherwise: a job of cm.worker/1 runs on a [worker] thread. */
typedef void (*cm_callback)(void* user) CM_NOEXCEPT;

/* True when the table behind `table` (not null) is new enough to contain `function`. */
#define CM_HAS_FUNCTION(table, type, function) \
  ((table)->size >= offsetof(type, function) + sizeof((table)->function))

/* Stops the compiler when a layout is not what the other side expects. */
#ifdef __cplusplus
}
#define CM_STATIC_ASSERT(condition, text) static_assert(condition, text)
#else
#define CM_STATIC_ASSERT(condition, text) _Static_assert(condition, text)
#endif

CM_STATIC_ASSERT(sizeof(void*) == 8, "the claudemesh ABI is defined for 64-bit platforms");
CM_STATIC_ASSERT(sizeof(cm_bytes_hview) == 16, "layout of cm_bytes_hview");
CM_STATIC_ASSERT(offsetof(cm_bytes_hview, size) == 8, "layout of cm_bytes_hview");
CM_STATIC_ASSERT(sizeof(cm_bytes_pview) == 16, "layout of cm_bytes_pview");
CM_STATIC_ASSERT(sizeof(cm_text_hview) == 16, "layout of cm_text_hview");
CM_STATIC_ASSERT(sizeof(cm_text_pview) == 16, "layout of cm_text_pview");
CM_STATIC_ASSERT(sizeof(cm_hbuf) == 24, "layout of cm_hbuf");

#endif
