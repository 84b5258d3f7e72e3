/* Part of bad_plugin.c: what it does while it runs. */

static void never(void* user) {
  (void)user;
}

static void post_back(void* user) {
  struct bad* bad = user;
#ifdef BAD_ENDLESS_POSTS
  bad->loop->post(self_of(bad), self_of(bad), post_back, NULL, bad);
#endif
  if (bad->has_metric) {
    bad->metrics->add(self_of(bad), bad->metric, 1);
  }
}

static void job(void* user) {
  struct bad* bad = user;
#ifdef SLOW_JOB
  static bool paused = false; /* once is enough; a worker may take its time */
  const struct timespec more_than_a_callback_may = {1, 200000000};
  if (!paused) {
    paused = true;
    nanosleep(&more_than_a_callback_may, NULL);
  }
#endif
#ifdef BAD_LOOP_CALL_IN_JOB
  cm_handle timer = CM_NO_HANDLE;
  if (bad->timer->start(self_of(bad), 1000, 0, never, bad, &timer) == CM_OK) {
    bad->timer->cancel(self_of(bad), timer);
  }
#endif
  const cm_status status = bad->loop->post(self_of(bad), self_of(bad), post_back, NULL, bad);
  CRASH_IF(FAULT_IN("loop"), status);
}

static void on_event(void* user, cm_text_hview topic, cm_text_hview json) {
  (void)user;
  (void)topic;
  (void)json;
}

static void on_tick(void* user) {
  struct bad* bad = user;
  const int64_t now_ms = bad->clock->unix_ms(self_of(bad));
#ifdef BAD_CLOCK_FORWARD
  for (int i = 0; i < 20000 && bad->last_unix_ms + 1000 < now_ms; ++i) { /* catches up second by second */
    bad->last_unix_ms += 1000;
    bad->events->publish(self_of(bad), text("bad.second"), text("{}"));
  }
#endif
#ifdef BAD_CLOCK_BACKWARD
  if (now_ms < bad->last_unix_ms) {
    abort();
  }
#endif
  bad->last_unix_ms = now_ms;
#ifdef BAD_SLEEP
  const uint64_t now_us = bad->clock->monotonic_us(self_of(bad));
  while (bad->next_tick_us + 1000000 < now_us) {
    bad->next_tick_us += 1000000;
    bad->events->publish(self_of(bad), text("bad.second"), text("{}"));
  }
#endif
  const cm_status published = bad->events->publish(self_of(bad), text("bad.tick"), text("{}"));
  CRASH_IF(FAULT_IN("events"), published);
#ifdef BAD_MANY_FAILURES
  static int failures = 0; /* one failure is survived, two are not */
  failures += published != CM_OK ? 1 : 0;
  if (failures >= 2) {
    abort();
  }
#endif
  if (bad->queue != CM_NO_HANDLE) {
    const cm_status submitted = bad->worker->submit(self_of(bad), bad->queue, job, bad);
    CRASH_IF(FAULT_IN("worker"), submitted);
  }
#ifdef BAD_UNKNOWN_HANDLE
  bad->timer->cancel(self_of(bad), UINT64_C(0x7777777700000001));
#endif
#ifdef BAD_BUSY
  for (int i = 0; i < 100000; ++i) {
    bad->clock->unix_ms(self_of(bad));
  }
#endif
}

/* --- network -------------------------------------------------------------------------------------------------- */

static void connect_socket(void* user);

static void on_messages(void* user, cm_handle socket, const cm_websocket_message* messages, uint64_t count) {
  struct bad* bad = user;
  (void)socket;
  (void)bad;
  for (uint64_t i = 0; i < count; ++i) {
#ifdef BAD_GARBAGE
    if (messages[i].size == 0 || messages[i].data[0] != '{') {
      abort();
    }
#else
    (void)messages;
#endif
  }
}

static void on_closed(void* user, cm_handle socket, uint32_t code, cm_text_hview reason, bool clean) {
  struct bad* bad = user;
  (void)socket;
  (void)code;
  (void)clean;
  (void)reason;
#ifdef BAD_RESET
  if (code == 1006 && reason.size != 0 && bad->patience_ms == 500) { /* it was open before */
    abort();
  }
#endif
#ifdef BAD_PARTITION
  if (reason.size >= 9 && memcmp(reason.data, "handshake", 9) == 0) {
    abort();
  }
#endif
  bad->socket = CM_NO_HANDLE;
  if (bad->phase != kStarted || bad->reconnect != CM_NO_HANDLE) {
    return;
  }
#ifdef BAD_IMPATIENT
  const uint64_t wait_ms = 5;
#else
  const uint64_t wait_ms = bad->patience_ms;
  bad->patience_ms = wait_ms < 60000 ? wait_ms * 2 : wait_ms;
#endif
  if (bad->timer->start(self_of(bad), wait_ms * 1000, 0, connect_socket, bad, &bad->reconnect) != CM_OK) {
    bad->reconnect = CM_NO_HANDLE;
  }
}

static void on_opened(void* user, cm_handle socket) {
  struct bad* bad = user;
  (void)socket;
  bad->patience_ms = 500;
  static const char hello[] = "{\"type\":\"hello\"}";
  const cm_bytes_pview payload = {(const uint8_t*)hello, sizeof(hello) - 1};
  const cm_status status = bad->websocket->send(self_of(bad), bad->socket, CM_WEBSOCKET_TEXT, payload);
  CRASH_IF(FAULT_IN("websocket"), status);
}

static const cm_websocket_callbacks socket_callbacks = {
    sizeof(cm_websocket_callbacks), 0, on_opened, on_messages, NULL, NULL, on_closed};

static void connect_socket(void* user) {
  struct bad* bad = user;
  cm_websocket_options options;
  memset(&options, 0, sizeof(options));
  options.size = sizeof(options);
  bad->reconnect = CM_NO_HANDLE;
  const cm_status status =
      bad->websocket->connect(self_of(bad), text("ws://peer:7900/ws"), &options, &socket_callbacks, bad, &bad->socket);
  CRASH_IF(FAULT_IN("websocket"), status);
}

static void on_answer(void* user, cm_handle call, const cm_http_result* result) {
  struct bad* bad = user;
  (void)call;
  (void)result;
  bad->call = CM_NO_HANDLE;
}

static void on_request(void* user, cm_handle request, const cm_http_request_info* info) {
  struct bad* bad = user;
  (void)info;
#ifdef BAD_UNANSWERED
  if (info->body.size > 1000) {
    return;
  }
#endif
  const cm_bytes_pview body = {NULL, 0};
  bad->server->respond(self_of(bad), request, 200, NULL, 0, body);
}

static void begin_network(struct bad* bad) {
  cm_http_listen_options options;
  memset(&options, 0, sizeof(options));
  options.size = sizeof(options);
  options.address = text("bad:0");
  const cm_status listening = bad->server->listen(self_of(bad), &options, &bad->listener);
  CRASH_IF(FAULT_IN("http_server"), listening);
  if (listening == CM_OK) {
    bad->server->fallback(self_of(bad), bad->listener, on_request, bad);
  }
  cm_http_call call;
  memset(&call, 0, sizeof(call));
  call.size = sizeof(call);
  call.method = text("GET");
  call.url = text("http://peer:7900/");
  const cm_status sent = bad->client->send(self_of(bad), &call, on_answer, bad, &bad->call);
  CRASH_IF(FAULT_IN("http_client"), sent);
  bad->patience_ms = 1000;
  connect_socket(bad);
}

static void end_network(struct bad* bad) {
#ifndef BAD_LEAVES_SOCKET
  if (bad->socket != CM_NO_HANDLE) {
    bad->websocket->terminate(self_of(bad), bad->socket);
    bad->socket = CM_NO_HANDLE;
  }
#endif
  if (bad->call != CM_NO_HANDLE) {
    bad->client->cancel(self_of(bad), bad->call);
    bad->call = CM_NO_HANDLE;
  }
  if (bad->listener != CM_NO_HANDLE) {
    bad->server->close(self_of(bad), bad->listener);
    bad->listener = CM_NO_HANDLE;
  }
}

/* --- programs --------------------------------------------------------------------------------------------------- */

#ifdef USE_PROCESS
static void on_exit_of_child(void* user, cm_handle process, const cm_process_exit* exit) {
  struct bad* bad = user;
  (void)process;
  (void)exit;
  bad->child = CM_NO_HANDLE;
}

static void begin_process(struct bad* bad) {
  static const cm_process_callbacks callbacks = {sizeof(cm_process_callbacks), 0, NULL, NULL, on_exit_of_child};
  cm_process_options options;
  memset(&options, 0, sizeof(options));
  options.size = sizeof(options);
  options.program = text("/usr/bin/true");
  bad->process = bad->host->get(self_of(bad), CM_PROCESS_ID);
  if (bad->process == NULL || bad->process->size < sizeof(cm_process_v1)) {
    return;
  }
  const cm_status status = bad->process->spawn(self_of(bad), &options, &callbacks, bad, &bad->child);
  CRASH_IF(FAULT_IN("process"), status);
}
#endif
