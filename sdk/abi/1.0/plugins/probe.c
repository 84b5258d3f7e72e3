/* Uses every table of the host once, step after step, and logs either "recorded probe: all N steps passed" or which
 * step failed. It is kept with the headers of its revision of the ABI: a newer host must run it unchanged. */
#include <claudemesh/ext/hook.h>
#include <claudemesh/ext/host.h>
#include <claudemesh/ext/http.h>
#include <claudemesh/ext/storage.h>
#include <claudemesh/ext/websocket.h>
#include <claudemesh/plugin.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define STEPS 8

typedef struct probe {
  const cm_host* host;
  cm_handle self;
  const cm_buffer_v1* buffer;
  const cm_log_v1* log;
  const cm_loop_v1* loop;
  const cm_timer_v1* timer;
  const cm_clock_v1* clock;
  const cm_random_v1* random;
  const cm_metrics_v1* metrics;
  const cm_events_v1* events;
  const cm_worker_v1* worker;
  const cm_config_v1* config;
  const cm_registry_v1* registry;
  const cm_http_server_v1* server;
  const cm_http_client_v1* client;
  const cm_websocket_v1* websocket;
  cm_extension guard, pacer, store;
  uint32_t counter, gauge, histogram;
  cm_handle queue, subscription, listener, accepted, opened, ticket;
  int64_t pause_ms;
  uint64_t started_us;
  cm_statement create_row, read_row;
  int64_t read_value;
  uint32_t steps;
  char url[128];
} probe;

static cm_text_pview text(const char* literal) {
  const cm_text_pview view = {literal, strlen(literal)};
  return view;
}
static cm_bytes_pview bytes(const char* literal) {
  const cm_bytes_pview view = {(const uint8_t*)literal, strlen(literal)};
  return view;
}
static cm_text_pview same(cm_text_hview view) {
  const cm_text_pview copy = {view.data, view.size};
  return copy;
}
static bool equals(const void* data, uint64_t size, const char* literal) {
  return size == strlen(literal) && memcmp(data, literal, size) == 0;
}

/* Every failed check names its line; the first one ends the run. */
static void failed(probe* self, int line, const char* what) {
  char number[16];
  snprintf(number, sizeof number, "%d", line);
  const cm_log_field field = {text("line"), text(number)};
  const cm_log_field fields[2] = {field, {text("check"), text(what)}};
  self->log->write(self->self, CM_LOG_ERROR, text("recorded probe: failed"), fields, 2);
}
#define CHECK(condition)                  \
  do {                                    \
    if (!(condition)) {                   \
      failed(self, __LINE__, #condition); \
      return;                             \
    }                                     \
  } while (0)

static void passed(probe* self) {
  ++self->steps;
  self->metrics->add(self->self, self->counter, 1);
  self->metrics->set(self->self, self->gauge, self->steps);
  self->metrics->observe(self->self, self->histogram, self->steps);
  if (self->steps == STEPS) {
    self->log->write(self->self, CM_LOG_INFO, text("recorded probe: all 8 steps passed"), NULL, 0);
  }
}

/* --- 8: WebSocket --------------------------------------------------------------------------------------------------
 */

static void socket_closed(void* user, cm_handle socket, uint32_t code, cm_text_hview reason, bool clean) {
  probe* self = user;
  if (socket != self->opened) {
    return;
  }
  (void)reason; /* the peer need not repeat it */
  CHECK(code == 1000 && clean);
  passed(self);
}
static void echo_messages(void* user, cm_handle socket, const cm_websocket_message* messages, uint64_t count) {
  probe* self = user;
  for (uint64_t i = 0; i < count; ++i) {
    const cm_bytes_pview payload = {messages[i].data, messages[i].size};
    CHECK(self->websocket->send(self->self, socket, messages[i].kind, payload) == CM_OK);
  }
}
static void opened_messages(void* user, cm_handle socket, const cm_websocket_message* messages, uint64_t count) {
  probe* self = user;
  CHECK(count == 1 && messages[0].kind == CM_WEBSOCKET_TEXT && equals(messages[0].data, messages[0].size, "echo me"));
  CHECK(self->websocket->close(self->self, socket, 1000, text("enough")) == CM_OK);
}
static void socket_opened(void* user, cm_handle socket) {
  probe* self = user;
  CHECK(socket == self->opened);
  CHECK(self->websocket->ping(self->self, socket) == CM_OK);
  CHECK(self->websocket->send(self->self, socket, CM_WEBSOCKET_TEXT, bytes("echo me")) == CM_OK);
}
static void on_upgrade(void* user, cm_handle request, const cm_http_request_info* info) {
  static const cm_websocket_callbacks callbacks = {sizeof callbacks, 0, NULL, echo_messages, NULL, NULL, socket_closed};
  probe* self = user;
  CHECK(equals(info->path.data, info->path.size, "/socket"));
  CHECK(self->websocket->accept(self->self, request, NULL, &callbacks, self, &self->accepted) == CM_OK);
}
static void websocket_step(probe* self) {
  static const cm_websocket_callbacks callbacks = {sizeof callbacks, 0, socket_opened, opened_messages, NULL, NULL,
                                                   socket_closed};
  char url[160];
  snprintf(url, sizeof url, "ws://%s/socket", self->url);
  CHECK(self->websocket->connect(self->self, text(url), NULL, &callbacks, self, &self->opened) == CM_OK);
}

/* --- 7: HTTP -------------------------------------------------------------------------------------------------------
 */

static void on_hello(void* user, cm_handle request, const cm_http_request_info* info) {
  probe* self = user;
  const cm_http_header header = {text("x-probe"), text("1")};
  bool present = false;
  const cm_text_hview name = self->server->path_parameter(self->self, request, text("name"));
  const cm_text_hview query = self->server->query_parameter(self->self, request, text("q"), &present);
  const cm_text_hview host = self->server->header(self->self, request, text("Host"));
  CHECK(equals(info->method.data, info->method.size, "POST") && equals(info->body.data, info->body.size, "body"));
  CHECK(equals(name.data, name.size, "a b") && present && equals(query.data, query.size, "1") && host.size != 0);
  CHECK(self->server->respond(self->self, request, 201, &header, 1, bytes("made")) == CM_OK);
  CHECK(self->server->respond(self->self, request, 200, NULL, 0, bytes("twice")) == CM_GONE);
}
static void on_response(void* user, cm_handle call, const cm_http_result* result) {
  probe* self = user;
  (void)call;
  CHECK(result->status == CM_OK && result->http_status == 201 && equals(result->body.data, result->body.size, "made"));
  passed(self);
  websocket_step(self);
}
static void http_step(probe* self) {
  cm_http_listen_options options = {.size = sizeof options, .address = text("127.0.0.1:0")};
  cm_text_hview address;
  CHECK(self->server->listen(self->self, &options, &self->listener) == CM_OK);
  CHECK(self->server->local_address(self->self, self->listener, &address) == CM_OK && address.size < sizeof self->url);
  memcpy(self->url, address.data, address.size);
  CHECK(self->server->route(self->self, self->listener, text("POST"), text("/hello/:name"), on_hello, self) == CM_OK);
  CHECK(self->server->route(self->self, self->listener, text("GET"), text("/socket"), on_upgrade, self) == CM_OK);
  char url[200];
  snprintf(url, sizeof url, "http://%s/hello/a%%20b?q=1", self->url);
  cm_http_call call = {.size = sizeof call, .method = text("POST"), .url = text(url), .body = bytes("body")};
  cm_handle handle = CM_NO_HANDLE;
  CHECK(self->client->send(self->self, &call, on_response, self, &handle) == CM_OK && handle != CM_NO_HANDLE);
}

/* --- 6: storage ----------------------------------------------------------------------------------------------------
 */

static bool one_row(void* user, const cm_value* columns, uint32_t count) {
  probe* self = user;
  self->read_value = count == 1 && columns[0].type == CM_VALUE_INT ? columns[0].integer : -1;
  return true;
}
static cm_status write_work(void* user, cm_storage_transaction* transaction, const cm_storage_sql_v1* sql) {
  probe* self = user;
  const cm_value value = {.type = CM_VALUE_INT, .integer = 42};
  uint64_t changes = 0;
  const cm_status status = sql->execute(transaction, self->create_row, &value, 1, &changes);
  return status == CM_OK && changes != 1 ? CM_INTERNAL : status;
}
static cm_status read_work(void* user, cm_storage_transaction* transaction, const cm_storage_sql_v1* sql) {
  probe* self = user;
  return sql->query(transaction, self->read_row, NULL, 0, one_row, self);
}
static void was_read(void* user, cm_status status, cm_text_hview error) {
  probe* self = user;
  (void)error;
  CHECK(status == CM_OK && self->read_value == 42);
  passed(self);
  http_step(self);
}
static void was_written(void* user, cm_status status, cm_text_hview error) {
  probe* self = user;
  const cm_storage_v1* storage = self->store.table;
  (void)error;
  CHECK(status == CM_OK);
  CHECK(storage->read(self->store.instance, self->self, read_work, was_read, self) == CM_OK);
}
static void was_migrated(void* user, cm_status status, cm_text_hview error) {
  probe* self = user;
  const cm_storage_v1* storage = self->store.table;
  (void)error;
  CHECK(status == CM_OK);
  CHECK(storage->submit(self->store.instance, self->self, write_work, was_written, self) == CM_OK);
}
static void storage_step(probe* self) {
  const cm_storage_v1* storage = self->store.table;
  const cm_migration migration = {1, 0, text("0001_row"), text("CREATE TABLE row (value INTEGER)")};
  void* store = self->store.instance;
  CHECK(storage->statement(store, text("INSERT INTO row (value) VALUES (?1)"), &self->create_row) == CM_OK);
  CHECK(storage->statement(store, text("SELECT value FROM row"), &self->read_row) == CM_OK);
  CHECK(storage->dialect(store, text("blob")).size != 0);
  CHECK(storage->migrate(store, self->self, text("probe"), &migration, 1, was_migrated, self) == CM_OK);
}

/* --- 5: hooks ------------------------------------------------------------------------------------------------------
 */

static char hook_text[256];
static void set_payload(void* context, cm_handle ticket, cm_bytes_pview payload) {
  (void)context;
  (void)ticket;
  const uint64_t size = payload.size < sizeof hook_text - 1 ? payload.size : sizeof hook_text - 1;
  memcpy(hook_text, payload.data, size);
  hook_text[size] = '\0';
}
static cm_status finish(void* context, cm_handle ticket, uint32_t result, cm_bytes_pview payload) {
  probe* self = context;
  (void)payload;
  if (ticket != 7 || result != CM_HOOK_CONTINUE) {
    failed(self, __LINE__, "the late answer is CONTINUE for ticket 7");
    return CM_GONE;
  }
  passed(self);
  storage_step(self);
  return CM_OK;
}
static uint32_t ask(probe* self, const cm_extension* hook, cm_handle ticket, const char* message) {
  const cm_hook_v1* table = hook->table;
  const cm_hook_reply reply = {sizeof reply, 0, self, set_payload, finish};
  cm_hook_event event = {.size = sizeof event, .ticket = ticket};
  event.point = (cm_text_hview){"daemon.send", 11};
  event.json = (cm_text_hview){"{}", 2};
  event.payload = (cm_bytes_hview){(const uint8_t*)message, strlen(message)};
  return table->invoke(hook->instance, &event, &reply);
}
static void hook_step(probe* self) {
  CHECK(ask(self, &self->guard, 1, "a fine message") == CM_HOOK_CONTINUE);
  CHECK(ask(self, &self->guard, 2, "a forbidden message") == CM_HOOK_DENY && hook_text[0] != '\0');
  CHECK(ask(self, &self->pacer, 6, "first") == CM_HOOK_CONTINUE);
  CHECK(ask(self, &self->pacer, 7, "second") == CM_HOOK_DEFER);
}

/* --- 4: events -----------------------------------------------------------------------------------------------------
 */

static void on_event(void* user, cm_text_hview topic, cm_text_hview json) {
  probe* self = user;
  CHECK(self->loop->on_loop(self->self));
  CHECK(equals(topic.data, topic.size, "probe.hello") && equals(json.data, json.size, "{\"n\":1}"));
  CHECK(self->events->unsubscribe(self->self, self->subscription) == CM_OK);
  CHECK(self->events->unsubscribe(self->self, self->subscription) == CM_GONE);
  passed(self);
  hook_step(self);
}
static void event_step(probe* self) {
  CHECK(self->events->subscribe(self->self, text("probe.*"), on_event, self, &self->subscription) == CM_OK);
  CHECK(self->events->publish(self->self, text("probe.hello"), text("{\"n\":1}")) == CM_OK);
}

/* --- 3: workers and posts ------------------------------------------------------------------------------------------
 */

static void back_on_loop(void* user) {
  probe* self = user;
  CHECK(self->loop->on_loop(self->self));
  CHECK(self->worker->close_queue(self->self, self->queue) == CM_OK);
  passed(self);
  event_step(self);
}
static void dropped(void* user) {
  (void)user;
}
static void on_worker(void* user) {
  probe* self = user;
  CHECK(!self->loop->on_loop(self->self));
  CHECK(self->loop->post(self->self, self->self, back_on_loop, dropped, self) == CM_OK);
}
static void worker_step(probe* self) {
  CHECK(self->worker->create_queue(self->self, text("probe"), &self->queue) == CM_OK);
  CHECK(self->worker->submit(self->self, self->queue, on_worker, self) == CM_OK);
}

/* --- 2: timers -----------------------------------------------------------------------------------------------------
 */

static void timer_fired(void* user) {
  probe* self = user;
  const uint64_t waited_us = self->clock->monotonic_us(self->self) - self->started_us;
  CHECK(waited_us >= (uint64_t)self->pause_ms * 1000);
  passed(self);
  worker_step(self);
}
static void never(void* user) {
  failed(user, __LINE__, "a cancelled timer does not fire");
}
static void timer_step(probe* self) {
  cm_handle timer = CM_NO_HANDLE;
  self->started_us = self->clock->monotonic_us(self->self);
  CHECK(self->timer->start(self->self, 1000, 0, never, self, &timer) == CM_OK);
  CHECK(self->timer->cancel(self->self, timer) == CM_OK && self->timer->cancel(self->self, timer) == CM_GONE);
  CHECK(self->timer->start(self->self, (uint64_t)self->pause_ms * 1000, 0, timer_fired, self, &timer) == CM_OK);
}

/* --- 1: what answers at once ---------------------------------------------------------------------------------------
 */

static void plain_step(probe* self) {
  cm_hbuf made;
  uint8_t random[32] = {0};
  uint8_t zeros[32] = {0};
  uint64_t words = 0;
  cm_text_hview word;
  int64_t wrong = -5;
  CHECK(self->buffer->create(self->self, bytes("kept"), &made) == CM_OK && equals(made.data, made.size, "kept"));
  self->buffer->retain(self->self, made.handle);
  self->buffer->release(self->self, made.handle);
  CHECK(equals(made.data, made.size, "kept"));
  self->buffer->release(self->self, made.handle);
  self->random->fill(self->self, random, sizeof random);
  CHECK(memcmp(random, zeros, sizeof random) != 0);
  CHECK(self->clock->unix_ms(self->self) > 0);
  const cm_text_hview name = self->config->instance_name(self->self);
  CHECK(equals(name.data, name.size, "probe"));
  CHECK(self->config->list_size(self->self, CM_CONFIG_ACTIVE, text("words"), &words) == CM_OK && words == 2);
  CHECK(self->config->list_text(self->self, CM_CONFIG_ACTIVE, text("words"), 1, &word) == CM_OK);
  CHECK(equals(word.data, word.size, "two"));
  CHECK(self->config->get_int(self->self, CM_CONFIG_ACTIVE, text("words"), &wrong) == CM_INVALID && wrong == -5);
  CHECK(self->host->get(self->self, "cm.nonsense/1") == NULL);
  CHECK(self->log->enabled(self->self, CM_LOG_ERROR));
  passed(self);
  timer_step(self);
}

/* --- life cycle ----------------------------------------------------------------------------------------------------
 */

static cm_status acquire(probe* self, const char* option, const char* id, cm_extension* out) {
  cm_text_hview name;
  const cm_status status = self->config->get_text(self->self, CM_CONFIG_ACTIVE, text(option), &name);
  return status != CM_OK ? status : self->registry->acquire(self->self, same(name), text(id), NULL, NULL, out);
}
static cm_status configure(cm_instance* instance) {
  probe* self = (probe*)instance;
  const cm_host* host = self->host;
  const struct {
    const void** table;
    const char* id;
  } tables[] = {{(const void**)&self->buffer, CM_BUFFER_ID},      {(const void**)&self->log, CM_LOG_ID},
                {(const void**)&self->loop, CM_LOOP_ID},          {(const void**)&self->timer, CM_TIMER_ID},
                {(const void**)&self->clock, CM_CLOCK_ID},        {(const void**)&self->random, CM_RANDOM_ID},
                {(const void**)&self->metrics, CM_METRICS_ID},    {(const void**)&self->events, CM_EVENTS_ID},
                {(const void**)&self->worker, CM_WORKER_ID},      {(const void**)&self->config, CM_CONFIG_ID},
                {(const void**)&self->registry, CM_REGISTRY_ID},  {(const void**)&self->server, CM_HTTP_SERVER_ID},
                {(const void**)&self->client, CM_HTTP_CLIENT_ID}, {(const void**)&self->websocket, CM_WEBSOCKET_ID}};
  for (size_t i = 0; i < sizeof tables / sizeof tables[0]; ++i) {
    *tables[i].table = host->get(self->self, tables[i].id);
    if (*tables[i].table == NULL) {
      host->set_error(self->self, text(tables[i].id));
      return CM_UNSUPPORTED;
    }
  }
  cm_status status = self->config->get_int(self->self, CM_CONFIG_ACTIVE, text("pause"), &self->pause_ms);
  const struct {
    uint32_t kind;
    const char* name;
    uint32_t* out;
  } series[] = {{CM_METRIC_COUNTER, "probe_steps_total", &self->counter},
                {CM_METRIC_GAUGE, "probe_step", &self->gauge},
                {CM_METRIC_HISTOGRAM, "probe_steps", &self->histogram}};
  for (size_t i = 0; i < 3 && status == CM_OK; ++i) {
    status =
        self->metrics->define(self->self, series[i].kind, text(series[i].name), text(""), text("Steps"), series[i].out);
  }
  return status;
}
static void begin(void* user) {
  probe* self = user;
  CHECK(self->host->complete(self->self, self->ticket, CM_OK, text("")) == CM_OK);
  plain_step(self);
}
static cm_status start(cm_instance* instance, cm_handle ticket) {
  probe* self = (probe*)instance;
  cm_status status = acquire(self, "guard", CM_HOOK_ID, &self->guard);
  status = status != CM_OK ? status : acquire(self, "pacer", CM_HOOK_ID, &self->pacer);
  status = status != CM_OK ? status : acquire(self, "store", CM_STORAGE_ID, &self->store);
  status = status != CM_OK ? status : self->loop->post(self->self, self->self, begin, dropped, self);
  self->ticket = ticket;
  return status == CM_OK ? CM_DEFER : status;
}
static cm_status drain(cm_instance* instance, cm_handle ticket, uint64_t deadline_ms) {
  (void)instance;
  (void)ticket;
  (void)deadline_ms;
  return CM_OK;
}
static void stop(cm_instance* instance) {
  probe* self = (probe*)instance;
  if (self->accepted != CM_NO_HANDLE) {
    self->websocket->terminate(self->self, self->accepted); /* may be stale: then it answers CM_GONE */
  }
  if (self->listener != CM_NO_HANDLE) {
    self->server->close(self->self, self->listener);
  }
  self->registry->release(self->self, self->guard.reference);
  self->registry->release(self->self, self->pacer.reference);
  self->registry->release(self->self, self->store.reference);
}
static void destroy(cm_instance* instance) {
  free(instance);
}
static const void* get_extension(cm_instance* instance, const char* id) {
  (void)instance;
  (void)id;
  return NULL;
}
static const cm_instance_table_v1 instance_table = {
    sizeof(cm_instance_table_v1), 0, configure, start, drain, stop, destroy, get_extension, NULL, NULL};

static cm_status create(const cm_host* host, cm_instance** out_instance, const cm_instance_table_v1** out_table) {
  probe* self = calloc(1, sizeof *self);
  if (self == NULL) {
    return CM_BUSY;
  }
  self->host = host;
  self->self = host->self;
  *out_instance = (cm_instance*)self;
  *out_table = &instance_table;
  return CM_OK;
}
static const cm_factory_v1 factory = {sizeof(cm_factory_v1), 0, create};

static cm_status init(const uint32_t* offered_versions, uint32_t offered_count, uint32_t* out_picked) {
  for (uint32_t i = 0; i < offered_count; ++i) {
    if (offered_versions[i] == CM_ABI_VERSION_1_0) {
      *out_picked = CM_ABI_VERSION_1_0;
      return CM_OK;
    }
  }
  return CM_UNSUPPORTED;
}
static const void* get_factory(const char* id) {
  return strcmp(id, CM_FACTORY_ID) == 0 ? &factory : NULL;
}

const cm_plugin_entry_v1 cm_plugin_entry = {
    CM_PLUGIN_MAGIC, sizeof(cm_plugin_entry_v1), CM_ABI_VERSION_1_0, CM_ABI_VERSION_1_0, 0, init, NULL, get_factory};
