/* Part of bad_plugin.c: the life cycle, the factory and the entry. */

static cm_status read_options(struct bad* bad, uint32_t which) {
  cm_text_hview word = {NULL, 0};
  cm_status status = bad->config->get_text(self_of(bad), which, text("word"), &word);
  CRASH_IF(FAULT_IN("config"), status);
#ifdef BAD_SHORT_WORD
  char small[16]; /* the schema allows 5000 bytes */
  if (word.size > sizeof(small)) {
    abort();
  }
#endif
  if (status == CM_OK && word.size < sizeof(bad->word)) {
    memcpy(bad->word, word.data, word.size);
  }
  if (status == CM_OK) {
    status = bad->config->get_int(self_of(bad), which, text("limit"), &bad->limit);
  }
#ifdef BAD_UNDECLARED_OPTION
  bool flag = false;
  bad->config->get_bool(self_of(bad), which, text("limit"), &flag);
#endif
#ifdef BAD_LOGS_SECRET
  cm_text_hview key = {NULL, 0};
  if (bad->config->get_text(self_of(bad), which, text("key"), &key) == CM_OK && key.size > 0) {
    const cm_text_pview line = {key.data, key.size};
    bad->log->write(self_of(bad), CM_LOG_INFO, line, NULL, 0);
  }
#endif
  return status;
}

static const void* table_of(const struct bad* bad, const char* id, uint32_t size) {
  const uint32_t* table = bad->host->get(self_of(bad), id);
#ifdef BAD_IGNORES_SIZE
  (void)size;
  return table;
#else
  return table != NULL && *table >= size ? table : NULL;
#endif
}

static bool take_tables(struct bad* bad) {
  bad->config = table_of(bad, CM_CONFIG_ID, sizeof(cm_config_v1));
  bad->log = table_of(bad, CM_LOG_ID, sizeof(cm_log_v1));
  bad->metrics = table_of(bad, CM_METRICS_ID, sizeof(cm_metrics_v1));
  bad->timer = table_of(bad, CM_TIMER_ID, sizeof(cm_timer_v1));
  bad->loop = table_of(bad, CM_LOOP_ID, sizeof(cm_loop_v1));
  bad->worker = table_of(bad, CM_WORKER_ID, sizeof(cm_worker_v1));
  bad->buffer = table_of(bad, CM_BUFFER_ID, sizeof(cm_buffer_v1));
  bad->events = table_of(bad, CM_EVENTS_ID, sizeof(cm_events_v1));
  bad->clock = table_of(bad, CM_CLOCK_ID, sizeof(cm_clock_v1));
  bad->registry = table_of(bad, CM_REGISTRY_ID, sizeof(cm_registry_v1));
  bad->server = table_of(bad, CM_HTTP_SERVER_ID, sizeof(cm_http_server_v1));
  bad->client = table_of(bad, CM_HTTP_CLIENT_ID, sizeof(cm_http_client_v1));
  bad->websocket = table_of(bad, CM_WEBSOCKET_ID, sizeof(cm_websocket_v1));
  return bad->config != NULL && bad->log != NULL && bad->metrics != NULL && bad->timer != NULL && bad->loop != NULL &&
         bad->worker != NULL && bad->buffer != NULL && bad->events != NULL && bad->clock != NULL &&
         bad->registry != NULL && bad->server != NULL && bad->client != NULL && bad->websocket != NULL;
}

static cm_status configure(cm_instance* instance) {
  struct bad* bad = (struct bad*)instance;
#ifndef BAD_ANY_ORDER
  if (bad->phase != kCreated) {
    return refuse(bad, CM_INVALID, "configured twice");
  }
#endif
#ifdef BAD_SECOND_LIFE
  static int lives = 0;
  if (++lives > 3) {
    return refuse(bad, CM_BUSY, "tired");
  }
#endif
#ifdef BAD_LONGER_TABLES
  const uint32_t* log_size = bad->host->get(self_of(bad), CM_LOG_ID);
  if (log_size != NULL && *log_size != sizeof(cm_log_v1)) {
    return refuse(bad, CM_UNSUPPORTED, "a table of another size");
  }
#endif
#ifdef BAD_MISSING_TABLES
  take_tables(bad);
  bad->log->enabled(self_of(bad), CM_LOG_INFO);
#endif
  if (!take_tables(bad)) {
    return refuse(bad, CM_DENIED, "a table is missing; add it to `permissions`");
  }
#ifdef BAD_DEFERS_CONFIGURE
  return CM_DEFER;
#endif
#ifdef BAD_BEHIND_SIZE
  typedef struct {
    cm_log_v1 known;
    cm_status (*newer)(cm_handle);
  } log_of_tomorrow;
  ((const log_of_tomorrow*)bad->log)->newer(self_of(bad));
#endif
  const cm_status options = read_options(bad, CM_CONFIG_ACTIVE);
  if (options != CM_OK) {
    return refuse(bad, options, "the options cannot be read");
  }
#ifdef BAD_CANDIDATE
  int64_t candidate = 0;
  bad->config->get_int(self_of(bad), CM_CONFIG_CANDIDATE, text("limit"), &candidate);
#endif
#ifdef BAD_DEFAULT_REFUSED
  if (bad->limit == 5) {
    return refuse(bad, CM_INVALID, "the limit 5 is not possible; set another one");
  }
#endif
  const cm_status defined =
      bad->metrics->define(self_of(bad), CM_METRIC_COUNTER, text("bad_total"), text(""), text("Nothing"), &bad->metric);
  CRASH_IF(FAULT_IN("metrics"), defined);
  bad->has_metric = defined == CM_OK;
#ifdef BAD_WORKS_EARLY
  bad->timer->start(self_of(bad), 1000, 0, never, bad, &bad->tick);
  bad->timer->cancel(self_of(bad), bad->tick);
#endif
#ifdef BAD_LEAVES_AFTER_CONFIGURE
  bad->events->subscribe(self_of(bad), text("bad.*"), on_event, bad, &bad->subscription);
#endif
  bad->phase = kConfigured;
  return CM_OK;
}

static void* spin(void* user) {
  (void)user;
  for (;;) {
#ifdef BAD_CALLS_AFTER_STOP
    const struct timespec a_moment = {0, 200000};
    nanosleep(&a_moment, NULL);
    struct bad* bad = user;
    if (bad->phase == kStopped) {
      bad->loop->post(self_of(bad), self_of(bad), never, NULL, bad);
    }
#else
    pause();
#endif
  }
  return NULL;
}

static void become_ready(void* user) {
  struct bad* bad = user;
  bad->host->complete(self_of(bad), bad->start_ticket, CM_OK, text(""));
#ifdef BAD_COMPLETES_TWICE
  bad->host->complete(self_of(bad), bad->start_ticket, CM_OK, text(""));
#endif
}

static void misbehave_at_start(struct bad* bad) {
  (void)bad;
#if defined(BAD_THREAD) || defined(BAD_CALLS_AFTER_STOP)
  pthread_t thread;
  pthread_create(&thread, NULL, spin, bad);
  pthread_detach(thread);
#else
  (void)spin;
#endif
#ifdef BAD_SIGNAL
  signal(SIGUSR2, SIG_IGN);
#endif
#ifdef BAD_DESCRIPTOR
  if (open("/dev/null", O_RDONLY) < 0) {
    abort();
  }
#endif
#ifdef BAD_MEMORY
  bad->leaked = malloc(BAD_MEMORY);
  memset(bad->leaked, 1, BAD_MEMORY);
#endif
#ifdef BAD_KEPT_MEMORY
  static size_t* kept = NULL; /* 8 bytes more in each life, which show in some lives only */
  static size_t kept_count = 0;
  if (kept_count % 4 == 0) {
    kept = realloc(kept, (kept_count + 4) * sizeof(size_t));
  }
  kept[kept_count++] = 1;
#endif
#ifdef BAD_RELEASES_TWICE
  cm_hbuf twice = {CM_NO_HANDLE, NULL, 0};
  const cm_bytes_pview byte = {(const uint8_t*)"x", 1};
  if (bad->buffer->create(self_of(bad), byte, &twice) == CM_OK) {
    bad->buffer->release(self_of(bad), twice.handle);
    bad->buffer->release(self_of(bad), twice.handle);
  }
#endif
}

static cm_status start(cm_instance* instance, cm_handle ticket) {
  struct bad* bad = (struct bad*)instance;
#ifndef BAD_ANY_ORDER
  if (bad->phase != kConfigured) {
    return refuse(bad, CM_INVALID, "started out of turn");
  }
#else
  if (bad->phase != kConfigured) {
    return CM_OK;
  }
#endif
  bad->phase = kStarted;
  bad->start_ticket = ticket;
  bad->last_unix_ms = bad->clock->unix_ms(self_of(bad));
  bad->next_tick_us = bad->clock->monotonic_us(self_of(bad));
  misbehave_at_start(bad);
  cm_status status = bad->timer->start(self_of(bad), 1000000, 1000000, on_tick, bad, &bad->tick);
  CRASH_IF(FAULT_IN("timer"), status);
  const cm_bytes_pview bytes = {(const uint8_t*)"bytes", 5};
  status = bad->buffer->create(self_of(bad), bytes, &bad->bytes);
  CRASH_IF(FAULT_IN("buffer"), status);
  status = bad->events->subscribe(self_of(bad), text("bad.*"), on_event, bad, &bad->subscription);
  CRASH_IF(FAULT_IN("events"), status);
  status = bad->worker->create_queue(self_of(bad), text("bad"), &bad->queue);
  CRASH_IF(FAULT_IN("worker"), status);
  begin_network(bad);
#ifdef USE_STORE
  status = bad->registry->acquire(self_of(bad), text("check_store"), text(CM_STORAGE_ID), never, bad, &bad->store);
  CRASH_IF(FAULT_IN("registry"), status);
#endif
#ifdef USE_PROCESS
  begin_process(bad);
#endif
#ifdef BAD_STOP_WHILE_STARTING
  bad->phase = kConfigured; /* stop looks at it, and believes that nothing runs yet */
#endif
  status = bad->loop->post(self_of(bad), self_of(bad), become_ready, NULL, bad);
  CRASH_IF(FAULT_IN("loop"), status);
  return status == CM_OK ? CM_DEFER : refuse(bad, status, "the loop takes no posts");
}

static void release_all(struct bad* bad);

static void drained(void* user) {
  struct bad* bad = user;
#ifdef BAD_STOP_WHILE_DRAINING
  bad->phase = kStopped;
#endif
  bad->host->complete(self_of(bad), bad->start_ticket, CM_OK, text(""));
}

static cm_status drain(cm_instance* instance, cm_handle ticket, uint64_t deadline_ms) {
  struct bad* bad = (struct bad*)instance;
  (void)deadline_ms;
  if (bad->phase != kStarted) {
    return refuse(bad, CM_INVALID, "drained before it was started");
  }
#ifdef BAD_DRAIN_DEADLINE
  (void)drained;
  (void)ticket;
  return CM_DEFER; /* and never an answer */
#elif defined(BAD_DRAIN_FAILS)
  (void)drained;
  (void)ticket;
  return refuse(bad, CM_INTERNAL, "no");
#elif defined(BAD_STOP_WHILE_DRAINING)
  bad->start_ticket = ticket;
  bad->phase = kConfigured; /* until `drained` sets it right */
  return bad->loop->post(self_of(bad), self_of(bad), drained, NULL, bad) == CM_OK ? CM_DEFER : CM_OK;
#else
  (void)drained;
  (void)ticket;
#ifdef BAD_NEEDS_DRAIN
  bad->limit = -77;
#endif
  return CM_OK;
#endif
}

static void release_all(struct bad* bad) {
#ifdef USE_PROCESS
  if (bad->child != CM_NO_HANDLE) {
    bad->process->kill(self_of(bad), bad->child, 0);
  }
#endif
  end_hook(bad);
  end_network(bad);
#ifndef BAD_LEAVES_TIMER
  if (bad->tick != CM_NO_HANDLE) {
    bad->timer->cancel(self_of(bad), bad->tick);
  }
#endif
  if (bad->reconnect != CM_NO_HANDLE) {
    bad->timer->cancel(self_of(bad), bad->reconnect);
  }
#ifndef BAD_LEAVES_SUBSCRIPTION
  if (bad->subscription != CM_NO_HANDLE) {
    bad->events->unsubscribe(self_of(bad), bad->subscription);
  }
#endif
#ifndef BAD_LEAVES_QUEUE
  if (bad->queue != CM_NO_HANDLE) {
    bad->worker->close_queue(self_of(bad), bad->queue);
  }
#endif
#ifndef BAD_LEAVES_BUFFER
  if (bad->bytes.handle != CM_NO_HANDLE) {
    bad->buffer->release(self_of(bad), bad->bytes.handle);
  }
#endif
#ifdef USE_STORE
#ifndef BAD_LEAVES_REFERENCE
  if (bad->store.reference != CM_NO_HANDLE) {
    bad->registry->release(self_of(bad), bad->store.reference);
  }
#endif
#endif
}

static void stop(cm_instance* instance) {
  struct bad* bad = (struct bad*)instance;
#if defined(BAD_STOP_WHILE_STARTING) || defined(BAD_STOP_WHILE_DRAINING)
  if (bad->phase == kConfigured) {
    return;
  }
#endif
#ifdef BAD_NEEDS_DRAIN
  if (bad->limit != -77) {
    bad->phase = kStopped;
    return;
  }
#endif
  bad->phase = kStopped;
  release_all(bad);
}

static void destroy(cm_instance* instance) {
  struct bad* bad = (struct bad*)instance;
#ifdef BAD_DESTROY_AFTER_CREATE
  if (bad->phase == kCreated) {
    bad->timer->cancel(self_of(bad), 1);
  }
#endif
#ifdef BAD_DYING_HOST
  /* Trusts that its start was complete. */
  if (bad->phase != kCreated && bad->phase != kConfigured && bad->bytes.size != 5) {
    abort();
  }
#endif
#ifndef BAD_CALLS_AFTER_STOP
  free(bad);
#endif
#ifdef BAD_OWN_INSTANCE
  extern int instances;
  --instances;
#endif
}

#ifdef BAD_OWN_INSTANCE
int instances __attribute__((visibility("hidden")));
#endif

static const void* get_extension(cm_instance* instance, const char* id) {
  struct bad* bad = (struct bad*)instance;
#ifdef BAD_EVERY_EXTENSION
  (void)id;
  return &bad->hook;
#else
  return strcmp(id, CM_HOOK_ID) == 0 ? &bad->hook : NULL;
#endif
}

static cm_status reload_prepare(cm_instance* instance) {
  struct bad* bad = (struct bad*)instance;
  int64_t limit = 0;
  const cm_status status = bad->config->get_int(self_of(bad), CM_CONFIG_CANDIDATE, text("limit"), &limit);
#ifdef BAD_RELOAD_SILENT
  if (limit > 900) {
    return CM_INVALID;
  }
#endif
#ifdef BAD_ABORT_LEAVES
  cm_handle subscription = CM_NO_HANDLE;
  bad->events->subscribe(self_of(bad), text("reload.*"), on_event, bad, &subscription);
#endif
  return status == CM_OK ? CM_OK : refuse(bad, status, "the limit cannot be read");
}

static void reload_finish(cm_instance* instance, bool commit) {
  struct bad* bad = (struct bad*)instance;
  if (commit) {
    read_options(bad, CM_CONFIG_ACTIVE);
#ifdef BAD_RELOADS_GROW
    cm_handle subscription = CM_NO_HANDLE;
    bad->events->subscribe(self_of(bad), text("reload.*"), on_event, bad, &subscription);
#endif
  }
}

static const cm_instance_table_v1 instance_table = {
#ifdef BAD_EMPTY_TABLE
    0,
#else
    sizeof(cm_instance_table_v1),
#endif
    0,
    configure,
    start,
    drain,
    stop,
    destroy,
    get_extension,
    reload_prepare,
#ifdef BAD_HALF_RELOAD
    NULL,
#else
    reload_finish,
#endif
};

static cm_status create(const cm_host* host, cm_instance** out_instance, const cm_instance_table_v1** out_table) {
#ifdef BAD_OWN_INSTANCE
  if (instances != 0) {
    return CM_BUSY;
  }
  ++instances;
#endif
  struct bad* bad = calloc(1, sizeof(*bad));
  bad->host = host;
  bad->hook.size = sizeof(bad->hook);
#ifdef BAD_HOOK_KIND
  bad->hook.kind = 5;
#else
  bad->hook.kind = CM_HOOK_GUARD;
#endif
  bad->hook.timeout_ms = 2000;
  bad->hook.invoke = invoke;
  *out_instance = (cm_instance*)bad;
#ifndef BAD_NO_TABLE
  *out_table = &instance_table;
#endif
  return CM_OK;
}

static const cm_factory_v1 factory = {sizeof(cm_factory_v1), 0, create};

static cm_status init(const uint32_t* offered_versions, uint32_t offered_count, uint32_t* out_picked) {
#ifdef BAD_TAKES_FIRST
  if (offered_count == 0) {
    return CM_UNSUPPORTED;
  }
  *out_picked = offered_versions[0];
  return CM_OK;
#elif defined(BAD_READS_EMPTY_OFFER)
  (void)offered_count;
  *out_picked = CM_ABI_VERSION_1_0;
  return offered_versions[0] == 0 ? CM_UNSUPPORTED : CM_OK;
#elif defined(BAD_PICKS_NOTHING)
  (void)offered_versions;
  (void)offered_count;
  *out_picked = UINT32_C(0x00050000);
  return CM_OK;
#else
  for (uint32_t i = 0; i < offered_count; ++i) {
    if (offered_versions[i] == CM_ABI_VERSION_1_0) {
      *out_picked = CM_ABI_VERSION_1_0;
      return CM_OK;
    }
  }
  return CM_UNSUPPORTED;
#endif
}

static const void* get_factory(const char* factory_id) {
#ifdef BAD_EVERY_FACTORY
  (void)factory_id;
  return &factory;
#else
  return strcmp(factory_id, CM_FACTORY_ID) == 0 ? &factory : NULL;
#endif
}

#ifdef BAD_SECOND_SYMBOL
CM_EXPORT int bad_second_symbol = 1;
#endif
#ifdef BAD_UNDEFINED_SYMBOL
extern void bad_symbol_that_nobody_has(void);
CM_EXPORT void bad_caller(void);
CM_EXPORT void bad_caller(void) {
  bad_symbol_that_nobody_has();
}
#endif
#ifdef BAD_CONSTRUCTOR
__attribute__((constructor)) static void at_load(void) {
  if (open("/dev/null", O_RDONLY) < 0) {
    abort();
  }
}
#endif

#ifndef BAD_ENTRY_ABI
#define BAD_ENTRY_ABI CM_ABI_VERSION_1_0
#endif
#ifndef BAD_ENTRY_RESERVED
#define BAD_ENTRY_RESERVED 0
#endif
const cm_plugin_entry_v1 cm_plugin_entry = {
    CM_PLUGIN_MAGIC, sizeof(cm_plugin_entry_v1), BAD_ENTRY_ABI, BAD_ENTRY_ABI, BAD_ENTRY_RESERVED, init, NULL,
    get_factory};
