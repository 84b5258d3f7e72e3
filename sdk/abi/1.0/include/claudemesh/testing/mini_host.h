/* A small host for the unit tests of one plugin library: loads it, drives one instance through its life, and answers
 * the host tables from memory. C11 and C++20, one test program per include, one instance per process, one thread.
 *
 * Time stands still until cm_test_advance_us; posts, jobs and events run in cm_test_run. HTTP calls are recorded and
 * answered by the test. It checks no permissions and no threads: that is what `claudemesh plugin check` is for.
 *
 *   cm_test_open(argv[1]);                          // the library
 *   cm_test_option("word", "secret");               // options that configure will read; also as "list:a,b" values
 *   CM_TEST(cm_test_begin() == CM_OK);              // create, configure, start
 *   const cm_hook_v1* hook = cm_test_extension("cm.hook/1");
 *   ...
 *   return cm_test_end();                           // drain, stop, destroy; 0 if no CM_TEST has failed */
#ifndef CLAUDEMESH_TESTING_MINI_HOST_H
#define CLAUDEMESH_TESTING_MINI_HOST_H

#include <claudemesh/ext/host.h>
#include <claudemesh/ext/http.h>
#include <claudemesh/plugin.h>

#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#ifdef __cplusplus
extern "C" {
#endif

#define CM_TEST_MAX 256

/* Reports a false condition and goes on. */
#define CM_TEST(condition)                                                     \
  do {                                                                         \
    if (!(condition)) {                                                        \
      fprintf(stderr, "%s:%d: %s is false\n", __FILE__, __LINE__, #condition); \
      cm_test.failures++;                                                      \
    }                                                                          \
  } while (0)

/* A timer that waits; handle 0: the place is free. */
typedef struct cm_test_timer {
  cm_handle handle;
  uint64_t due_us;
  uint64_t period_us;
  cm_callback function;
  void* user;
} cm_test_timer;

/* A post or a job that waits for cm_test_run. */
typedef struct cm_test_job {
  cm_callback function;
  void* user;
} cm_test_job;

/* An HTTP call that the plugin made; body and URL are cut to these sizes. */
typedef struct cm_test_http_call {
  cm_handle handle; /* 0: answered or cancelled */
  char method[16];
  char url[1024];
  char body[65536];
  cm_http_callback callback;
  void* user;
} cm_test_http_call;

/* A route that the plugin serves. */
typedef struct cm_test_route {
  char method[16];
  char pattern[128];
  cm_http_handler handler;
  void* user;
} cm_test_route;

static struct {
  int failures;
  const cm_plugin_entry_v1* entry;
  cm_instance* instance;
  const cm_instance_table_v1* table;
  cm_host host;
  char error[1024];
  const char* options[CM_TEST_MAX][2];
  uint32_t option_count;
  struct {
    const char* id;
    cm_extension extension;
  } extensions[8];
  uint32_t extension_count;
  uint64_t now_us;
  cm_handle next_handle;
  cm_test_timer timers[CM_TEST_MAX];
  cm_test_job jobs[CM_TEST_MAX];
  uint32_t job_count;
  cm_test_http_call calls[16];
  uint32_t call_count; /* ever made; the place is the number modulo 16 */
  cm_test_route routes[32];
  uint32_t route_count;
  cm_http_request_info request;
  uint32_t response_status; /* of the last request; 0: not answered yet */
  char response[65536];
  bool completed;
  cm_status completed_status;
} cm_test;

/* Text as the host gives it, without a copy. */
static inline cm_text_hview cm_test_hview(const char* text) {
  const cm_text_hview view = {text, (uint64_t)strlen(text)};
  return view;
}
/* Text as a plugin gives it, without a copy. */
static inline cm_text_pview cm_test_pview(const char* text) {
  const cm_text_pview view = {text, (uint64_t)strlen(text)};
  return view;
}
/* Are the two the same bytes? */
static inline bool cm_test_same(const char* text, cm_text_pview view) {
  return strlen(text) == view.size && memcmp(text, view.data, view.size) == 0;
}
/* Copies what fits and ends it with a zero. */
static inline void cm_test_copy(char* out, size_t out_size, const void* data, uint64_t size) {
  const size_t count = size < out_size - 1 ? (size_t)size : out_size - 1;
  if (count != 0) {
    memcpy(out, data, count);
  }
  out[count] = 0;
}

/* The functions behind the tables. */
#include <claudemesh/testing/mini_host_tables.h>

static const void* cm_test_get(cm_handle self, const char* id) CM_NOEXCEPT {
  static const cm_log_v1 log = {sizeof(cm_log_v1), 0, cm_test_log, cm_test_log_enabled};
  static const cm_loop_v1 loop = {sizeof(cm_loop_v1), 0, cm_test_post, cm_test_on_loop};
  static const cm_timer_v1 timer = {sizeof(cm_timer_v1), 0, cm_test_timer_start, cm_test_timer_cancel};
  static const cm_clock_v1 clock = {sizeof(cm_clock_v1), 0, cm_test_monotonic_us, cm_test_unix_ms};
  static const cm_random_v1 random = {sizeof(cm_random_v1), 0, cm_test_random};
  static const cm_metrics_v1 metrics = {
      sizeof(cm_metrics_v1), 0, cm_test_metric_define, cm_test_metric_add, cm_test_metric_add, cm_test_metric_observe};
  static const cm_worker_v1 worker = {sizeof(cm_worker_v1), 0, cm_test_queue_create, cm_test_queue_close,
                                      cm_test_worker_submit};
  static const cm_config_v1 config = {sizeof(cm_config_v1),  0,
                                      cm_test_instance_name, cm_test_get_bool,
                                      cm_test_get_int,       cm_test_get_float,
                                      cm_test_get_text,      cm_test_list_size,
                                      cm_test_list_text};
  static const cm_registry_v1 registry = {sizeof(cm_registry_v1), 0, cm_test_acquire, cm_test_release};
  static const cm_http_client_v1 client = {sizeof(cm_http_client_v1), 0, cm_test_http_send, cm_test_http_cancel};
  static const cm_http_server_v1 server = {sizeof(cm_http_server_v1),
                                           0,
                                           cm_test_listen,
                                           cm_test_local_address,
                                           cm_test_add_route,
                                           cm_test_fallback,
                                           cm_test_close,
                                           cm_test_header,
                                           cm_test_header,
                                           cm_test_query,
                                           cm_test_respond,
                                           NULL,
                                           NULL,
                                           NULL};
  static const struct {
    const char* id;
    const void* table;
  } tables[] = {
      {CM_LOG_ID, &log},           {CM_LOOP_ID, &loop},          {CM_TIMER_ID, &timer},       {CM_CLOCK_ID, &clock},
      {CM_RANDOM_ID, &random},     {CM_METRICS_ID, &metrics},    {CM_WORKER_ID, &worker},     {CM_CONFIG_ID, &config},
      {CM_REGISTRY_ID, &registry}, {CM_HTTP_CLIENT_ID, &client}, {CM_HTTP_SERVER_ID, &server}};
  (void)self;
  for (size_t i = 0; i < sizeof tables / sizeof tables[0]; ++i) {
    if (strcmp(tables[i].id, id) == 0) {
      return tables[i].table;
    }
  }
  return NULL;
}
/* cm_host.set_error: the text is in cm_test.error. */
static void cm_test_set_error(cm_handle self, cm_text_pview text) CM_NOEXCEPT {
  (void)self;
  cm_test_copy(cm_test.error, sizeof cm_test.error, text.data, text.size);
}
/* cm_host.complete: cm_test.completed and cm_test.completed_status tell. */
static cm_status cm_test_complete(cm_handle self, cm_handle ticket, cm_status status, cm_text_pview text) CM_NOEXCEPT {
  (void)ticket;
  cm_test.completed = true;
  cm_test.completed_status = status;
  cm_test_set_error(self, text);
  return CM_OK;
}

/* --- what a test calls --- */

/* Runs what was posted and submitted, and what that posts, until nothing is left. */
static inline void cm_test_run(void) {
  for (uint32_t i = 0; i < cm_test.job_count; ++i) {
    const cm_test_job job = cm_test.jobs[i];
    if (i + 1 == cm_test.job_count) {
      cm_test.job_count = 0;
      i = UINT32_MAX; /* begins again with what the last one adds */
    }
    job.function(job.user);
  }
}
/* Lets time pass: timers that are due fire in their order, and everything posted runs. */
static inline void cm_test_advance_us(uint64_t time_us) {
  const uint64_t end_us = cm_test.now_us + time_us;
  for (;;) {
    cm_test_timer* next = NULL;
    cm_test_run();
    for (uint32_t i = 0; i < CM_TEST_MAX; ++i) {
      cm_test_timer* timer = &cm_test.timers[i];
      if (timer->handle != CM_NO_HANDLE && timer->due_us <= end_us && (next == NULL || timer->due_us < next->due_us)) {
        next = timer;
      }
    }
    if (next == NULL) {
      break;
    }
    const cm_test_timer fired = *next;
    cm_test.now_us = fired.due_us;
    if (fired.period_us != 0) {
      next->due_us += fired.period_us;
    } else {
      next->handle = CM_NO_HANDLE;
    }
    fired.function(fired.user);
  }
  cm_test.now_us = end_us;
}
/* The value is kept, not copied. */
static inline void cm_test_option(const char* name, const char* value) {
  cm_test.options[cm_test.option_count][0] = name;
  cm_test.options[cm_test.option_count++][1] = value;
}
/* An extension of another plugin, played by the test: `instance` is what its functions get first. */
static inline void cm_test_offer(const char* id, void* instance, const void* table) {
  const cm_extension extension = {instance, table, 1, 1};
  cm_test.extensions[cm_test.extension_count].id = id;
  cm_test.extensions[cm_test.extension_count++].extension = extension;
}
/* Loads the library; ends the program if that fails. */
static inline void cm_test_open(const char* path) {
  static const uint32_t offered[] = {CM_ABI_VERSION_1_0};
  void* library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
  uint32_t picked = 0;
  if (library == NULL) {
    fprintf(stderr, "%s\n", dlerror());
    exit(2);
  }
  cm_test.entry = (const cm_plugin_entry_v1*)dlsym(library, "cm_plugin_entry");
  if (cm_test.entry == NULL || cm_test.entry->magic != CM_PLUGIN_MAGIC ||
      cm_test.entry->init(offered, 1, &picked) != CM_OK) {
    fprintf(stderr, "%s is no plugin of this ABI\n", path);
    exit(2);
  }
}
/* Runs what a step posted; the status of the step, or of its late answer. */
static inline cm_status cm_test_step(cm_status status) {
  cm_test_run();
  return status != CM_DEFER ? status : cm_test.completed ? cm_test.completed_status : CM_DEFER;
}
/* create, configure and start. CM_DEFER: start has not finished yet; cm_test.completed tells when. */
static inline cm_status cm_test_begin(void) {
  const cm_factory_v1* factory = (const cm_factory_v1*)cm_test.entry->get_factory(CM_FACTORY_ID);
  const cm_host host = {sizeof(cm_host), CM_ABI_VERSION_1_0, 1, cm_test_get, cm_test_set_error, cm_test_complete};
  cm_status status = CM_OK;
  cm_test.host = host;
  cm_test.completed = false;
  status = factory->create(&cm_test.host, &cm_test.instance, &cm_test.table);
  if (status == CM_OK) {
    status = cm_test.table->configure(cm_test.instance);
  }
  return status == CM_OK ? cm_test_step(cm_test.table->start(cm_test.instance, 2)) : status;
}
/* A table that the plugin provides, or null. */
static inline const void* cm_test_extension(const char* id) {
  return cm_test.table->get_extension(cm_test.instance, id);
}
/* A request to a route of the plugin. The answer: cm_test.response_status (0: not yet) and cm_test.response. */
static inline bool cm_test_http_request(const char* method, const char* path, const char* body) {
  for (uint32_t i = 0; i < cm_test.route_count; ++i) {
    if (strcmp(cm_test.routes[i].method, method) == 0 && strcmp(cm_test.routes[i].pattern, path) == 0) {
      cm_http_request_info* info = &cm_test.request;
      memset(info, 0, sizeof *info);
      info->size = sizeof *info;
      info->method = cm_test_hview(method);
      info->target = info->path = cm_test_hview(path);
      info->query = cm_test_hview("");
      info->body.data = (const uint8_t*)body;
      info->body.size = strlen(body);
      info->remote_address = cm_test_hview("127.0.0.1:2");
      cm_test.response_status = 0;
      cm_test.routes[i].handler(cm_test.routes[i].user, ++cm_test.next_handle, info);
      cm_test_run();
      return true;
    }
  }
  return false;
}
/* The oldest HTTP call that waits for its answer, or null. */
static inline cm_test_http_call* cm_test_http_waiting(void) {
  cm_test_http_call* oldest = NULL;
  for (uint32_t i = 0; i < 16; ++i) {
    cm_test_http_call* call = &cm_test.calls[i];
    if (call->handle != CM_NO_HANDLE && (oldest == NULL || call->handle < oldest->handle)) {
      oldest = call;
    }
  }
  return oldest;
}
/* Answers it. `status` 0: no connection. */
static inline void cm_test_http_answer(cm_test_http_call* call, uint32_t status, const char* body) {
  cm_http_result result;
  const cm_handle handle = call->handle;
  memset(&result, 0, sizeof result);
  result.size = sizeof result;
  result.status = status == 0 ? CM_IO : CM_OK;
  result.http_status = status;
  result.error = cm_test_hview(status == 0 ? "no connection" : "");
  result.headers = cm_test_hview("");
  result.body.data = (const uint8_t*)body;
  result.body.size = strlen(body);
  call->handle = CM_NO_HANDLE;
  call->callback(call->user, handle, &result);
  cm_test_run();
}
/* drain, stop, destroy. The program's exit code: 0 when no CM_TEST failed. */
static inline int cm_test_end(void) {
  cm_test.completed = false;
  CM_TEST(cm_test_step(cm_test.table->drain(cm_test.instance, 3, 1000)) == CM_OK);
  cm_test.table->stop(cm_test.instance);
  cm_test_run();
  for (uint32_t i = 0; i < CM_TEST_MAX; ++i) {
    CM_TEST(cm_test.timers[i].handle == CM_NO_HANDLE); /* everything started ends in stop */
  }
  cm_test.table->destroy(cm_test.instance);
  if (cm_test.entry->deinit != NULL) {
    cm_test.entry->deinit();
  }
  printf("%d failed\n", cm_test.failures);
  return cm_test.failures == 0 ? 0 : 1;
}

#ifdef __cplusplus
}
#endif

#endif
