/* cm.process/1: child programs with limits. A table of the host.
 *
 * The program runs under the user of the host, in a session and process group of its own, with exactly the descriptors
 * 0, 1 and 2, the environment and the limits that the options name. Nothing of the host's environment is inherited.
 * Whatever happens to the plugin or the host, no child outlives the instance: at its stop, and when the host ends in
 * any way, the whole process group is killed (SIGKILL) and collected; a plugin that wants to be gentle calls `kill` in
 * drain.
 *
 * Programs are started on a thread of the host, so `spawn` never blocks the loop. */
#ifndef CLAUDEMESH_EXT_PROCESS_H
#define CLAUDEMESH_EXT_PROCESS_H

#include <claudemesh/abi.h>

#ifdef __cplusplus
extern "C" {
#endif

#define CM_PROCESS_ID "cm.process/1"

/* Bounds of the host. A call beyond one is CM_INVALID (sizes) or CM_BUSY (counts). */
#define CM_PROCESS_CHILDREN_MAX UINT32_C(256)             /* of one instance, at the same time */
#define CM_PROCESS_ARGUMENTS_MAX UINT32_C(1024)           /* arguments, and the same for environment entries */
#define CM_PROCESS_TEXT_BYTES_MAX UINT32_C(131072)        /* of one argument or environment entry */
#define CM_PROCESS_TEXT_BYTES_TOTAL_MAX UINT32_C(1048576) /* of all of them together */
#define CM_PROCESS_CHUNK_BYTES_MAX UINT32_C(65536)        /* of one `output` */

/* cm_process_options.flags */
#define CM_PROCESS_INPUT UINT32_C(1)          /* standard input is a pipe of `write`; without it, it is /dev/null */
#define CM_PROCESS_MERGE_OUTPUT UINT32_C(2)   /* standard error arrives as standard output, in the order of writing */
#define CM_PROCESS_DISCARD_OUTPUT UINT32_C(4) /* both go to /dev/null and `output` is never called */

/* All text is copied by spawn. No text may contain a zero byte. 0 in a limit means the default. */
typedef struct cm_process_options {
  uint32_t size;
  uint32_t flags;
  cm_text_pview program;          /* absolute path; PATH is not searched and no shell is involved */
  const cm_text_pview* arguments; /* argv[1] and on; argv[0] is `program` */
  uint64_t argument_count;
  const cm_text_pview* environment; /* "NAME=value", the complete environment; names are not repeated */
  uint64_t environment_count;
  cm_text_pview working_folder; /* absolute; empty: "/" */
  cm_bytes_pview input;         /* written first; needs CM_PROCESS_INPUT */
  uint64_t memory_bytes_max;    /* address space (RLIMIT_AS). Default 1 GiB */
  uint64_t cpu_ms_max;          /* processor time, rounded up to seconds (RLIMIT_CPU). Default none */
  uint64_t descriptors_max;     /* RLIMIT_NOFILE. Default 256, at least 3 */
  uint64_t time_ms_max;         /* from start to exit; then TERM, the grace, and KILL. Default none */
  uint64_t output_bytes_max;    /* of both streams together; then KILL. Default 64 MiB */
  uint64_t input_bytes_max;     /* that may wait for the child to read. Default 1 MiB */
  uint64_t grace_ms;            /* between TERM and KILL. Default 5 s */
} cm_process_options;

/* cm_process_exit.reason */
#define CM_PROCESS_EXITED UINT32_C(1)       /* by itself, with `code` */
#define CM_PROCESS_SIGNALED UINT32_C(2)     /* by a signal of others: a crash, the CPU limit, the kernel */
#define CM_PROCESS_KILLED UINT32_C(3)       /* because of `kill` */
#define CM_PROCESS_TIMED_OUT UINT32_C(4)    /* time_ms_max */
#define CM_PROCESS_OUTPUT_LIMIT UINT32_C(5) /* output_bytes_max */
#define CM_PROCESS_NOT_STARTED UINT32_C(6)  /* no such program or folder, no resources: see `text` */

/* How a child ended; valid until `exited` returns. */
typedef struct cm_process_exit {
  uint32_t size;
  uint32_t reason;
  int32_t code;               /* what the program returned, 0 to 255; -1 if a signal ended it or it never ran */
  int32_t signal;             /* the number of the signal that ended it; 0: none */
  uint64_t cpu_us;            /* user and system time */
  uint64_t memory_bytes_peak; /* largest resident set */
  uint64_t output_bytes;      /* of both streams, as far as they were read */
  cm_text_hview text;         /* for a person: "ended by itself with code 3", "took longer than 2000 ms", ... */
} cm_process_exit;

#define CM_PROCESS_STDOUT UINT32_C(1)
#define CM_PROCESS_STDERR UINT32_C(2)

/* All are called on the instance's loop; any may be null. None is called from inside a function of this table.
 * Since ABI 1.0. */
typedef struct cm_process_callbacks {
  uint32_t size;
  uint32_t reserved;
  /* A piece of a stream, in order within the stream; a piece may end anywhere, also inside a character. Empty `bytes`:
   * the end of that stream, once. [loop] */
  void (*output)(void* user, cm_handle process, uint32_t stream, cm_bytes_hview bytes) CM_NOEXCEPT;
  /* All bytes of `write` have been read by the child, or it closed its end; only after `write` answered CM_BUSY.
   * [loop] */
  void (*input_drained)(void* user, cm_handle process) CM_NOEXCEPT;
  /* Exactly once per accepted spawn, after the last `output`, unless the instance is stopped before. The handle is
   * stale from here on. Descriptors that grandchildren keep open are not waited for: when the child itself has ended,
   * what is in the pipes is delivered, then they are closed and the rest of its process group is killed. [loop] */
  void (*exited)(void* user, cm_handle process, const cm_process_exit* exit) CM_NOEXCEPT;
} cm_process_callbacks;

/* Starts, feeds and ends child programs. Since ABI 1.0. */
typedef struct cm_process_v1 {
  uint32_t size;
  uint32_t reserved;
  /* Starts a program. CM_INVALID: the options are wrong; CM_BUSY: too many children. Everything that shows only when it
   * is tried (no such file) comes as `exited` with CM_PROCESS_NOT_STARTED. [loop] */
  cm_status (*spawn)(cm_handle self, const cm_process_options* options, const cm_process_callbacks* callbacks,
                     void* user, cm_handle* out_process) CM_NOEXCEPT;
  /* Queues bytes for the child's standard input; they are copied. CM_BUSY: NOTHING was taken because more than
   * input_bytes_max would wait; `input_drained` tells when. CM_GONE: the child closed its input, or it was closed here.
   * CM_INVALID: no CM_PROCESS_INPUT. [loop] */
  cm_status (*write)(cm_handle self, cm_handle process, cm_bytes_pview bytes) CM_NOEXCEPT;
  /* The child sees the end of its input after what was written. CM_GONE if it was closed before. [loop] */
  cm_status (*close_input)(cm_handle self, cm_handle process) CM_NOEXCEPT;
  /* While paused, output stays in the pipes and the child blocks when they are full. The end of the child is still
   * noticed; `exited` then waits for resume, at most time_ms_max if that is set. [loop] */
  cm_status (*pause_output)(cm_handle self, cm_handle process, bool paused) CM_NOEXCEPT;
  /* SIGTERM to the process group, SIGKILL after `grace_ms` (0: at once, no SIGTERM). `exited` follows. A second call
   * can only shorten the grace. [loop] */
  cm_status (*kill)(cm_handle self, cm_handle process, uint64_t grace_ms) CM_NOEXCEPT;
  /* Kills the process group at once (SIGKILL). The handle is stale at return and NO callback follows, so that an owner
   * may be destroyed right after. [loop] */
  cm_status (*abandon)(cm_handle self, cm_handle process) CM_NOEXCEPT;
  /* The number of the process for a log, or 0 while it is being started. Never signal it yourself. [loop] */
  uint64_t (*process_id)(cm_handle self, cm_handle process) CM_NOEXCEPT;
} cm_process_v1;

#ifdef __cplusplus
}
#endif

CM_STATIC_ASSERT(sizeof(cm_process_options) == 144, "layout of cm_process_options");
CM_STATIC_ASSERT(offsetof(cm_process_options, arguments) == 24, "layout of cm_process_options");
CM_STATIC_ASSERT(offsetof(cm_process_options, working_folder) == 56, "layout of cm_process_options");
CM_STATIC_ASSERT(offsetof(cm_process_options, memory_bytes_max) == 88, "layout of cm_process_options");
CM_STATIC_ASSERT(sizeof(cm_process_exit) == 56, "layout of cm_process_exit");
CM_STATIC_ASSERT(offsetof(cm_process_exit, text) == 40, "layout of cm_process_exit");
CM_STATIC_ASSERT(sizeof(cm_process_callbacks) == 32, "layout of cm_process_callbacks");
CM_STATIC_ASSERT(sizeof(cm_process_v1) == 64, "layout of cm_process_v1");
CM_STATIC_ASSERT(offsetof(cm_process_v1, kill) == 40, "layout of cm_process_v1");

#endif
