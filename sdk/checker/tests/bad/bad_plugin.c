/* A hook that does everything right, unless a BAD_... macro makes it do one thing wrong. Each badness becomes a library
 * of its own (CMakeLists.txt), and a test says which check must find it. It uses every table, so that every check has
 * something to look at: a periodic timer, a worker's job that comes back by a post, a buffer, an event, a listener, an
 * HTTP call, a WebSocket and, with USE_STORE, another plugin. */
#define _GNU_SOURCE
#include <claudemesh/ext/hook.h>
#include <claudemesh/ext/host.h>
#include <claudemesh/ext/http.h>
#include <claudemesh/ext/process.h>
#include <claudemesh/ext/storage.h>
#include <claudemesh/ext/websocket.h>
#include <claudemesh/plugin.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#ifndef BAD_MANIFEST_EXTRA
#define BAD_MANIFEST_EXTRA ""
#endif
#ifndef BAD_LICENSE
#define BAD_LICENSE "\"license\":\"MIT\","
#endif
#ifndef BAD_KINDS
#define BAD_KINDS "[\"hook\"]"
#endif
#ifndef BAD_PROVIDES
#define BAD_PROVIDES "[\"cm.hook/1\"]"
#endif
#ifndef BAD_REQUIRES_EXTRA
#define BAD_REQUIRES_EXTRA ""
#endif
#ifndef BAD_DESCRIPTION
#define BAD_DESCRIPTION "\"description\":\"Does one thing wrong.\","
#endif
#ifndef BAD_PLATFORM
#define BAD_PLATFORM ""
#endif
#ifndef BAD_ABI
#define BAD_ABI "{\"min\":\"1.0\",\"built\":\"1.0\"}"
#endif
#ifndef BAD_LIMIT_RANGE
#define BAD_LIMIT_RANGE "\"min\":1,\"max\":1000,"
#endif
#ifdef USE_STORE
#define STORE_OPTION \
  ",{\"name\":\"store\",\"type\":\"plugin\",\"extension\":\"cm.storage/1\",\"required\":true,\"doc\":\"A store.\"}"
#else
#define STORE_OPTION ""
#endif

#ifndef BAD_NO_MANIFEST
CM_PLUGIN_MANIFEST(
    "{\"id\":\"org.test.bad\",\"name\":\"bad\",\"version\":\"1.0.0\",\"abi\":" BAD_ABI
    "," BAD_DESCRIPTION BAD_LICENSE BAD_PLATFORM "\"kinds\":" BAD_KINDS
    ",\"requires\":[\"cm.config/1\",\"cm.log/1\",\"cm.metrics/1\",\"cm.timer/1\",\"cm.loop/1\",\"cm.worker/1\","
    "\"cm.buffer/1\",\"cm.events/1\",\"cm.clock/1\",\"cm.registry/1\",\"cm.http.server/1\",\"cm.http.client/1\","
    "\"cm.websocket/1\"" BAD_REQUIRES_EXTRA "],\"provides\":" BAD_PROVIDES
    ",\"options\":[{\"name\":\"word\",\"type\":\"string\",\"required\":true,\"max\":5000,\"doc\":\"A word.\"},"
    "{\"name\":\"limit\",\"type\":\"int\",\"default\":5," BAD_LIMIT_RANGE
    "\"reloadable\":true,\"doc\":\"A limit.\"},"
    "{\"name\":\"key\",\"type\":\"secret\",\"default\":\"\",\"doc\":\"A key.\"}" STORE_OPTION BAD_MANIFEST_EXTRA "]}");
#endif

enum { kTables = 13, kCreated = 0, kConfigured = 1, kStarted = 2, kStopped = 3 };

struct late {
  struct bad* self;
  cm_handle timer;
  cm_handle ticket;
  void* context;
  cm_status (*finish)(void*, cm_handle, uint32_t, cm_bytes_pview);
  struct late* next;
};

struct bad {
  cm_hook_v1 hook;
  const cm_host* host;
  const cm_config_v1* config;
  const cm_log_v1* log;
  const cm_metrics_v1* metrics;
  const cm_timer_v1* timer;
  const cm_loop_v1* loop;
  const cm_worker_v1* worker;
  const cm_buffer_v1* buffer;
  const cm_events_v1* events;
  const cm_clock_v1* clock;
  const cm_registry_v1* registry;
  const cm_http_server_v1* server;
  const cm_http_client_v1* client;
  const cm_websocket_v1* websocket;
  int phase;
  bool has_metric;
  uint32_t metric;
  char word[8192];
  int64_t limit;
  cm_handle tick;
  cm_handle subscription;
  cm_handle queue;
  cm_handle listener;
  cm_handle call;
  cm_handle socket;
  cm_handle reconnect;
  uint64_t patience_ms;
  cm_hbuf bytes;
  cm_extension store;
  struct late* waiting;
  int64_t last_unix_ms;
  uint64_t next_tick_us;
  cm_handle start_ticket;
  char* leaked;
#ifdef USE_PROCESS
  const cm_process_v1* process;
  cm_handle child;
#endif
};

static cm_text_pview text(const char* literal) {
  const cm_text_pview view = {literal, strlen(literal)};
  return view;
}

static cm_handle self_of(const struct bad* bad) {
  return bad->host->self;
}

static cm_status refuse(struct bad* bad, cm_status status, const char* why) {
#ifndef BAD_SILENT_REFUSAL
  bad->host->set_error(self_of(bad), text(why));
#else
  (void)bad;
  (void)why;
#endif
  return status;
}

/* What the badness of a failing call does: a plugin that does not look at a status crashes sooner or later. */
#define CRASH_IF(macro_is_set, status)                                \
  do {                                                                \
    if ((macro_is_set) && (status) != CM_OK && (status) != CM_GONE) { \
      abort();                                                        \
    }                                                                 \
  } while (0)
#ifdef BAD_FAULT
#define FAULT_IN(name) (strcmp(BAD_FAULT, name) == 0)
#else
#define FAULT_IN(name) 0
#endif

/* Each part uses the ones above it. */
/* clang-format off */
#include "bad_work.h"
#include "bad_hook.h"
#include "bad_life.h"
/* clang-format on */
