/* The small host tables: buffers, log, loop, timers, clocks, randomness, metrics, events, workers, configuration and
 * the registry. Each is obtained by cm_host.get with the id above it. The first argument `self` is cm_host.self. */
#ifndef CLAUDEMESH_EXT_HOST_H
#define CLAUDEMESH_EXT_HOST_H

#include <claudemesh/abi.h>

#ifdef __cplusplus
extern "C" {
#endif

/* --- cm.buffer/1: reference-counted bytes ------------------------------------------------------------------- */
#define CM_BUFFER_ID "cm.buffer/1"

/* Counts references to bytes of the host. Since ABI 1.0. */
typedef struct cm_buffer_v1 {
  uint32_t size;
  uint32_t reserved;
  /* A new buffer with one reference, filled from `bytes` (the only copy in its life). CM_BUSY over the limit. [any] */
  cm_status (*create)(cm_handle self, cm_bytes_pview bytes, cm_hbuf* out_buffer) CM_NOEXCEPT;
  /* Takes one more reference. A stale or forged handle is ignored. [any] */
  void (*retain)(cm_handle self, cm_handle buffer) CM_NOEXCEPT;
  /* Gives one reference back; the last one frees the bytes. [any] */
  void (*release)(cm_handle self, cm_handle buffer) CM_NOEXCEPT;
} cm_buffer_v1;

/* --- cm.log/1 ------------------------------------------------------------------------------------------------ */
#define CM_LOG_ID "cm.log/1"
#define CM_LOG_TRACE UINT32_C(0)
#define CM_LOG_DEBUG UINT32_C(1)
#define CM_LOG_INFO UINT32_C(2)
#define CM_LOG_WARN UINT32_C(3)
#define CM_LOG_ERROR UINT32_C(4)
#define CM_LOG_CRITICAL UINT32_C(5)
#define CM_LOG_HOST_MISBEHAVING UINT32_C(6)   /* the host broke the contract */
#define CM_LOG_PLUGIN_MISBEHAVING UINT32_C(7) /* another plugin broke the contract */

/* One named value beside a message. */
typedef struct cm_log_field {
  cm_text_pview key;
  cm_text_pview value;
} cm_log_field;

/* Writes lines to the log of the host. Since ABI 1.0. */
typedef struct cm_log_v1 {
  uint32_t size;
  uint32_t reserved;
  /* Never put a secret in a message or field. The host adds time, level and the instance's name. [any] */
  void (*write)(cm_handle self, uint32_t level, cm_text_pview message, const cm_log_field* fields,
                uint64_t field_count) CM_NOEXCEPT;
  /* Would a line of this level be written now? Saves building what nobody reads. [any] */
  bool (*enabled)(cm_handle self, uint32_t level) CM_NOEXCEPT;
} cm_log_v1;

/* --- cm.loop/1 ----------------------------------------------------------------------------------------------- */
#define CM_LOOP_ID "cm.loop/1"

/* The way to a loop from anywhere. Since ABI 1.0. */
typedef struct cm_loop_v1 {
  uint32_t size;
  uint32_t reserved;
  /* Runs `function(user)` on the loop of `instance` (cm_host.self of this or another instance), later, in the order of
   * the posts of one thread. After the instance's stop a post is dropped and counted: CM_GONE is answered if that is
   * already known; otherwise `dropped(user)`, unless null, is called instead of `function`, on any thread, so that the
   * poster can free `user`. With CM_OK exactly one of the two is called. [any] */
  cm_status (*post)(cm_handle self, cm_handle instance, cm_callback function, cm_callback dropped,
                    void* user) CM_NOEXCEPT;
  bool (*on_loop)(cm_handle self) CM_NOEXCEPT; /* is this thread the instance's loop now? [any] */
} cm_loop_v1;

/* --- cm.timer/1 ---------------------------------------------------------------------------------------------- */
#define CM_TIMER_ID "cm.timer/1"

/* Calls later and periodic calls. Since ABI 1.0. */
typedef struct cm_timer_v1 {
  uint32_t size;
  uint32_t reserved;
  /* Calls `function(user)` on the instance's loop after `delay_us` and then, if `period_us` is not 0, every period.
   * Limit: 65,536 timers per instance (CM_BUSY). [loop] */
  cm_status (*start)(cm_handle self, uint64_t delay_us, uint64_t period_us, cm_callback function, void* user,
                     cm_handle* out_timer) CM_NOEXCEPT;
  /* After the return the function will not be called. CM_GONE if it has fired (one-shot) or is unknown. [loop] */
  cm_status (*cancel)(cm_handle self, cm_handle timer) CM_NOEXCEPT;
} cm_timer_v1;

/* --- cm.clock/1 ---------------------------------------------------------------------------------------------- */
#define CM_CLOCK_ID "cm.clock/1"

/* Time; virtual in the deterministic host. Since ABI 1.0. */
typedef struct cm_clock_v1 {
  uint32_t size;
  uint32_t reserved;
  uint64_t (*monotonic_us)(cm_handle self) CM_NOEXCEPT; /* never goes back; for durations. [any] */
  int64_t (*unix_ms)(cm_handle self) CM_NOEXCEPT;       /* wall clock, may jump; for time stamps. [any] */
} cm_clock_v1;

/* --- cm.random/1 --------------------------------------------------------------------------------------------- */
#define CM_RANDOM_ID "cm.random/1"

/* Random bytes; of a seed in the deterministic host. Since ABI 1.0. */
typedef struct cm_random_v1 {
  uint32_t size;
  uint32_t reserved;
  /* Fills `count` bytes of the caller from the cryptographic generator of the system. [any] */
  void (*fill)(cm_handle self, uint8_t* bytes, uint64_t count) CM_NOEXCEPT;
} cm_random_v1;

/* --- cm.metrics/1 -------------------------------------------------------------------------------------------- */
#define CM_METRICS_ID "cm.metrics/1"
#define CM_METRIC_COUNTER UINT32_C(1)
#define CM_METRIC_GAUGE UINT32_C(2)
#define CM_METRIC_HISTOGRAM UINT32_C(3) /* of microseconds or bytes, buckets are powers of two */

/* Series of numbers for the metrics page. Since ABI 1.0. */
typedef struct cm_metrics_v1 {
  uint32_t size;
  uint32_t reserved;
  /* Defines one series; only while configuring (CM_DENIED later). `name` [a-z_:][a-z0-9_:]*; `labels` as Prometheus
   * writes them without braces, like `reason="rate_limit"`, or empty. The host adds plugin="<instance>". [loop] */
  cm_status (*define)(cm_handle self, uint32_t kind, cm_text_pview name, cm_text_pview labels, cm_text_pview help,
                      uint32_t* out_metric) CM_NOEXCEPT;
  void (*add)(cm_handle self, uint32_t metric, int64_t amount) CM_NOEXCEPT;      /* counter, gauge. [any] */
  void (*set)(cm_handle self, uint32_t metric, int64_t value) CM_NOEXCEPT;       /* gauge. [any] */
  void (*observe)(cm_handle self, uint32_t metric, uint64_t value) CM_NOEXCEPT;  /* histogram. [any] */
} cm_metrics_v1;

/* --- cm.events/1: small notices between the plugins of one host ---------------------------------------------- */
#define CM_EVENTS_ID "cm.events/1"

/* One event. The texts are valid until it returns. [loop] */
typedef void (*cm_event_callback)(void* user, cm_text_hview topic, cm_text_hview json) CM_NOEXCEPT;

/* Publishes and receives events inside one host. Since ABI 1.0. */
typedef struct cm_events_v1 {
  uint32_t size;
  uint32_t reserved;
  /* Each subscriber gets the event on its own loop, later. At most 64 KiB of JSON. [any] */
  cm_status (*publish)(cm_handle self, cm_text_pview topic, cm_text_pview json) CM_NOEXCEPT;
  /* `topic` exact, or a prefix that ends with '*'. [loop] */
  cm_status (*subscribe)(cm_handle self, cm_text_pview topic, cm_event_callback callback, void* user,
                         cm_handle* out_subscription) CM_NOEXCEPT;
  /* After the return the callback will not be called. CM_GONE: the handle is stale. [loop] */
  cm_status (*unsubscribe)(cm_handle self, cm_handle subscription) CM_NOEXCEPT;
} cm_events_v1;

/* --- cm.worker/1: where blocking work goes ------------------------------------------------------------------- */
#define CM_WORKER_ID "cm.worker/1"
#define CM_WORKER_POOL CM_NO_HANDLE /* the shared pool: jobs of one instance may run at the same time */

/* Runs what blocks on threads of the host. Since ABI 1.0. */
typedef struct cm_worker_v1 {
  uint32_t size;
  uint32_t reserved;
  /* A dedicated thread that runs its jobs one after the other. `name` is shown in traces, up to 15 bytes. [loop] */
  cm_status (*create_queue)(cm_handle self, cm_text_pview name, cm_handle* out_queue) CM_NOEXCEPT;
  /* Ends the queue after the jobs it holds. Does not wait. [loop] */
  cm_status (*close_queue)(cm_handle self, cm_handle queue) CM_NOEXCEPT;
  /* Runs `job(user)` on the queue (or CM_WORKER_POOL). The job comes back with cm.loop/1 post. Each accepted job runs
   * exactly once, also during stop: the host waits for jobs before destroy. CM_BUSY when 65,536 are waiting. [any] */
  cm_status (*submit)(cm_handle self, cm_handle queue, cm_callback job, void* user) CM_NOEXCEPT;
} cm_worker_v1;

/* --- cm.config/1: the validated options of this instance ------------------------------------------------------ */
#define CM_CONFIG_ID "cm.config/1"
#define CM_CONFIG_ACTIVE UINT32_C(0)    /* what the instance runs with */
#define CM_CONFIG_CANDIDATE UINT32_C(1) /* the new values, between reload_prepare and reload_finish */

/* The host has checked names, types, ranges and choices against the manifest, filled defaults and replaced
 * ${VARIABLES}; asking for an undeclared option or for the wrong type is CM_INVALID. An optional option that has
 * neither value nor default is CM_GONE. Durations are milliseconds, sizes are bytes. Text stays valid until destroy or,
 * for the candidate, until reload_finish. Every function takes `which`: CM_CONFIG_ACTIVE or CM_CONFIG_CANDIDATE
 * (CM_INVALID outside of a reload). Since ABI 1.0. */
typedef struct cm_config_v1 {
  uint32_t size;
  uint32_t reserved;
  /* NAME of [plugins.NAME]. [loop] */
  cm_text_hview (*instance_name)(cm_handle self) CM_NOEXCEPT;
  /* An option of type bool. [loop] */
  cm_status (*get_bool)(cm_handle self, uint32_t which, cm_text_pview option, bool* out) CM_NOEXCEPT;
  /* int as it stands, duration in milliseconds, size in bytes. [loop] */
  cm_status (*get_int)(cm_handle self, uint32_t which, cm_text_pview option, int64_t* out) CM_NOEXCEPT;
  /* An option of type float. [loop] */
  cm_status (*get_float)(cm_handle self, uint32_t which, cm_text_pview option, double* out) CM_NOEXCEPT;
  /* string, path (absolute), address, secret, choice, plugin. [loop] */
  cm_status (*get_text)(cm_handle self, uint32_t which, cm_text_pview option, cm_text_hview* out) CM_NOEXCEPT;
  /* How many elements an option of type list has. [loop] */
  cm_status (*list_size)(cm_handle self, uint32_t which, cm_text_pview option, uint64_t* out) CM_NOEXCEPT;
  /* One element, counted from 0; CM_INVALID behind the end. [loop] */
  cm_status (*list_text)(cm_handle self, uint32_t which, cm_text_pview option, uint64_t index,
                         cm_text_hview* out) CM_NOEXCEPT;
} cm_config_v1;

/* --- cm.registry/1: extensions of other plugins --------------------------------------------------------------- */
#define CM_REGISTRY_ID "cm.registry/1"

/* An extension of another instance, as acquire answers it. */
typedef struct cm_extension {
  void* instance;    /* first argument of the table's functions */
  const void* table; /* begins with its size; the functions of a table tell their thread tags */
  cm_handle provider; /* cm_host.self of the providing instance */
  cm_handle reference; /* for release */
} cm_extension;

/* Finds extensions of other instances and counts who uses them. Since ABI 1.0. */
typedef struct cm_registry_v1 {
  uint32_t size;
  uint32_t reserved;
  /* An extension of the instance NAME (an option of type `plugin` gives the name; it makes the provider start first and
   * stop last). Empty name: the only provider of that id, CM_INVALID if there are several, CM_GONE if none. The result
   * stays usable until release, or until `going_away` has returned. [loop] */
  cm_status (*acquire)(cm_handle self, cm_text_pview instance_name, cm_text_pview extension_id, cm_callback going_away,
                       void* user, cm_extension* out) CM_NOEXCEPT;
  /* Gives the extension back. Nothing of it may be called afterwards; a stale reference is ignored. [loop] */
  void (*release)(cm_handle self, cm_handle reference) CM_NOEXCEPT;
} cm_registry_v1;

#ifdef __cplusplus
}
#endif

CM_STATIC_ASSERT(sizeof(cm_buffer_v1) == 32, "layout of cm_buffer_v1");
CM_STATIC_ASSERT(sizeof(cm_log_field) == 32, "layout of cm_log_field");
CM_STATIC_ASSERT(sizeof(cm_log_v1) == 24, "layout of cm_log_v1");
CM_STATIC_ASSERT(sizeof(cm_loop_v1) == 24, "layout of cm_loop_v1");
CM_STATIC_ASSERT(sizeof(cm_timer_v1) == 24, "layout of cm_timer_v1");
CM_STATIC_ASSERT(sizeof(cm_clock_v1) == 24, "layout of cm_clock_v1");
CM_STATIC_ASSERT(sizeof(cm_random_v1) == 16, "layout of cm_random_v1");
CM_STATIC_ASSERT(sizeof(cm_metrics_v1) == 40, "layout of cm_metrics_v1");
CM_STATIC_ASSERT(sizeof(cm_events_v1) == 32, "layout of cm_events_v1");
CM_STATIC_ASSERT(sizeof(cm_worker_v1) == 32, "layout of cm_worker_v1");
CM_STATIC_ASSERT(sizeof(cm_config_v1) == 64, "layout of cm_config_v1");
CM_STATIC_ASSERT(sizeof(cm_extension) == 32, "layout of cm_extension");
CM_STATIC_ASSERT(sizeof(cm_registry_v1) == 24, "layout of cm_registry_v1");

#endif
