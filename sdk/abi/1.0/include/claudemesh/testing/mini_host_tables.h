/* The functions behind the tables of mini_host.h, which includes this file in its middle. */
#ifndef CLAUDEMESH_TESTING_MINI_HOST_H
#include <claudemesh/testing/mini_host.h>
#elif !defined(CLAUDEMESH_TESTING_MINI_HOST_TABLES_H)
#define CLAUDEMESH_TESTING_MINI_HOST_TABLES_H

/* --- the small tables --- */
static void cm_test_log(cm_handle self, uint32_t level, cm_text_pview message, const cm_log_field* fields,
                        uint64_t count) CM_NOEXCEPT {
  (void)self;
  (void)fields;
  (void)count;
  fprintf(stderr, "log %u: %.*s\n", (unsigned)level, (int)message.size, message.data);
}
static bool cm_test_log_enabled(cm_handle self, uint32_t level) CM_NOEXCEPT {
  (void)self;
  return level >= CM_LOG_INFO;
}
static cm_status cm_test_submit(cm_callback function, void* user) {
  if (cm_test.job_count == CM_TEST_MAX) {
    return CM_BUSY;
  }
  cm_test.jobs[cm_test.job_count].function = function;
  cm_test.jobs[cm_test.job_count++].user = user;
  return CM_OK;
}
static cm_status cm_test_post(cm_handle self, cm_handle instance, cm_callback function, cm_callback dropped,
                              void* user) CM_NOEXCEPT {
  (void)self;
  (void)instance;
  (void)dropped;
  return cm_test_submit(function, user);
}
static bool cm_test_on_loop(cm_handle self) CM_NOEXCEPT {
  return (void)self, true;
}
static cm_status cm_test_timer_start(cm_handle self, uint64_t delay_us, uint64_t period_us, cm_callback function,
                                     void* user, cm_handle* out) CM_NOEXCEPT {
  (void)self;
  for (uint32_t i = 0; i < CM_TEST_MAX; ++i) {
    if (cm_test.timers[i].handle == CM_NO_HANDLE) {
      const cm_test_timer timer = {++cm_test.next_handle, cm_test.now_us + delay_us, period_us, function, user};
      cm_test.timers[i] = timer;
      *out = timer.handle;
      return CM_OK;
    }
  }
  return CM_BUSY;
}
static cm_status cm_test_timer_cancel(cm_handle self, cm_handle timer) CM_NOEXCEPT {
  (void)self;
  for (uint32_t i = 0; i < CM_TEST_MAX; ++i) {
    if (timer != CM_NO_HANDLE && cm_test.timers[i].handle == timer) {
      cm_test.timers[i].handle = CM_NO_HANDLE;
      return CM_OK;
    }
  }
  return CM_GONE;
}
static uint64_t cm_test_monotonic_us(cm_handle self) CM_NOEXCEPT {
  return (void)self, cm_test.now_us;
}
static int64_t cm_test_unix_ms(cm_handle self) CM_NOEXCEPT {
  (void)self;
  return INT64_C(1700000000000) + (int64_t)(cm_test.now_us / 1000);
}
static void cm_test_random(cm_handle self, uint8_t* bytes, uint64_t count) CM_NOEXCEPT {
  static uint64_t state = 1;
  (void)self;
  for (uint64_t i = 0; i < count; ++i) {
    state = state * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    bytes[i] = (uint8_t)(state >> 56);
  }
}
static cm_status cm_test_metric_define(cm_handle self, uint32_t kind, cm_text_pview name, cm_text_pview labels,
                                       cm_text_pview help, uint32_t* out) CM_NOEXCEPT {
  (void)self, (void)kind, (void)name, (void)labels, (void)help;
  *out = 1;
  return CM_OK;
}
static void cm_test_metric_add(cm_handle self, uint32_t metric, int64_t amount) CM_NOEXCEPT {
  (void)self, (void)metric, (void)amount;
}
static void cm_test_metric_observe(cm_handle self, uint32_t metric, uint64_t value) CM_NOEXCEPT {
  (void)self, (void)metric, (void)value;
}
static cm_status cm_test_queue_create(cm_handle self, cm_text_pview name, cm_handle* out) CM_NOEXCEPT {
  (void)self, (void)name;
  *out = ++cm_test.next_handle;
  return CM_OK;
}
static cm_status cm_test_queue_close(cm_handle self, cm_handle queue) CM_NOEXCEPT {
  return (void)self, (void)queue, CM_OK;
}
static cm_status cm_test_worker_submit(cm_handle self, cm_handle queue, cm_callback job, void* user) CM_NOEXCEPT {
  (void)self, (void)queue;
  return cm_test_submit(job, user);
}

/* --- options --- */
static const char* cm_test_find_option(cm_text_pview name) {
  for (uint32_t i = cm_test.option_count; i > 0; --i) {
    if (cm_test_same(cm_test.options[i - 1][0], name)) {
      return cm_test.options[i - 1][1];
    }
  }
  return NULL;
}
static cm_text_hview cm_test_instance_name(cm_handle self) CM_NOEXCEPT {
  return (void)self, cm_test_hview("test");
}
static cm_status cm_test_get_bool(cm_handle self, uint32_t which, cm_text_pview name, bool* out) CM_NOEXCEPT {
  const char* value = cm_test_find_option(name);
  (void)self, (void)which;
  return value == NULL ? CM_GONE : (*out = strcmp(value, "true") == 0, CM_OK);
}
static cm_status cm_test_get_int(cm_handle self, uint32_t which, cm_text_pview name, int64_t* out) CM_NOEXCEPT {
  const char* value = cm_test_find_option(name);
  (void)self, (void)which;
  return value == NULL ? CM_GONE : (*out = strtoll(value, NULL, 10), CM_OK);
}
static cm_status cm_test_get_float(cm_handle self, uint32_t which, cm_text_pview name, double* out) CM_NOEXCEPT {
  const char* value = cm_test_find_option(name);
  (void)self, (void)which;
  return value == NULL ? CM_GONE : (*out = strtod(value, NULL), CM_OK);
}
static cm_status cm_test_get_text(cm_handle self, uint32_t which, cm_text_pview name, cm_text_hview* out) CM_NOEXCEPT {
  const char* value = cm_test_find_option(name);
  (void)self, (void)which;
  return value == NULL ? CM_GONE : (*out = cm_test_hview(value), CM_OK);
}
/* Lists are written with commas: "a,b". */
static cm_status cm_test_list_text(cm_handle self, uint32_t which, cm_text_pview name, uint64_t index,
                                   cm_text_hview* out) CM_NOEXCEPT {
  const char* value = cm_test_find_option(name);
  (void)self, (void)which;
  for (uint64_t i = 0; value != NULL && *value != 0; ++i) {
    const char* comma = strchr(value, ',');
    if (i == index) {
      out->data = value;
      out->size = comma == NULL ? strlen(value) : (uint64_t)(comma - value);
      return CM_OK;
    }
    value = comma == NULL ? NULL : comma + 1;
  }
  return CM_GONE;
}
static cm_status cm_test_list_size(cm_handle self, uint32_t which, cm_text_pview name, uint64_t* out) CM_NOEXCEPT {
  cm_text_hview ignored;
  uint64_t count = 0;
  while (cm_test_list_text(self, which, name, count, &ignored) == CM_OK) {
    ++count;
  }
  *out = count;
  return CM_OK;
}

/* --- registry --- */
static cm_status cm_test_acquire(cm_handle self, cm_text_pview name, cm_text_pview id, cm_callback going_away,
                                 void* user, cm_extension* out) CM_NOEXCEPT {
  (void)self, (void)name, (void)going_away, (void)user;
  for (uint32_t i = 0; i < cm_test.extension_count; ++i) {
    if (cm_test_same(cm_test.extensions[i].id, id)) {
      *out = cm_test.extensions[i].extension;
      return CM_OK;
    }
  }
  return CM_GONE;
}
static void cm_test_release(cm_handle self, cm_handle reference) CM_NOEXCEPT {
  (void)self, (void)reference;
}

/* --- HTTP --- */
static cm_status cm_test_http_send(cm_handle self, const cm_http_call* call, cm_http_callback callback, void* user,
                                   cm_handle* out) CM_NOEXCEPT {
  cm_test_http_call* made = &cm_test.calls[cm_test.call_count++ % 16];
  (void)self;
  made->handle = ++cm_test.next_handle;
  cm_test_copy(made->method, sizeof made->method, call->method.data, call->method.size);
  cm_test_copy(made->url, sizeof made->url, call->url.data, call->url.size);
  cm_test_copy(made->body, sizeof made->body, call->body.data, call->body.size);
  made->callback = callback;
  made->user = user;
  *out = made->handle;
  return CM_OK;
}
static cm_status cm_test_http_cancel(cm_handle self, cm_handle call) CM_NOEXCEPT {
  (void)self;
  for (uint32_t i = 0; i < 16; ++i) {
    if (cm_test.calls[i].handle == call) {
      cm_test.calls[i].handle = CM_NO_HANDLE;
      return CM_OK;
    }
  }
  return CM_GONE;
}
static cm_status cm_test_listen(cm_handle self, const cm_http_listen_options* options, cm_handle* out) CM_NOEXCEPT {
  (void)self, (void)options;
  *out = ++cm_test.next_handle;
  return CM_OK;
}
static cm_status cm_test_local_address(cm_handle self, cm_handle listener, cm_text_hview* out) CM_NOEXCEPT {
  (void)self, (void)listener;
  *out = cm_test_hview("127.0.0.1:1");
  return CM_OK;
}
static cm_status cm_test_add_route(cm_handle self, cm_handle listener, cm_text_pview method, cm_text_pview pattern,
                                   cm_http_handler handler, void* user) CM_NOEXCEPT {
  cm_test_route* route = &cm_test.routes[cm_test.route_count++ % 32];
  (void)self, (void)listener;
  cm_test_copy(route->method, sizeof route->method, method.data, method.size);
  cm_test_copy(route->pattern, sizeof route->pattern, pattern.data, pattern.size);
  route->handler = handler;
  route->user = user;
  return CM_OK;
}
static cm_status cm_test_fallback(cm_handle self, cm_handle listener, cm_http_handler handler, void* user) CM_NOEXCEPT {
  (void)self, (void)listener, (void)handler, (void)user;
  return CM_OK;
}
static cm_status cm_test_close(cm_handle self, cm_handle listener) CM_NOEXCEPT {
  return (void)self, (void)listener, CM_OK;
}
static cm_text_hview cm_test_header(cm_handle self, cm_handle request, cm_text_pview name) CM_NOEXCEPT {
  (void)self, (void)request, (void)name;
  return cm_test_hview("");
}
static cm_text_hview cm_test_query(cm_handle self, cm_handle request, cm_text_pview name, bool* present) CM_NOEXCEPT {
  (void)self, (void)request, (void)name;
  if (present != NULL) {
    *present = false;
  }
  return cm_test_hview("");
}
static cm_status cm_test_respond(cm_handle self, cm_handle request, uint32_t status, const cm_http_header* headers,
                                 uint64_t count, cm_bytes_pview body) CM_NOEXCEPT {
  (void)self, (void)request, (void)headers, (void)count;
  if (cm_test.response_status != 0) {
    return CM_GONE;
  }
  cm_test.response_status = status;
  cm_test_copy(cm_test.response, sizeof cm_test.response, body.data, body.size);
  return CM_OK;
}

#endif
