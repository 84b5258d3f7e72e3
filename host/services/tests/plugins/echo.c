/* Answers what it is sent, over HTTP and WebSocket. Written in C: the ABI needs nothing else. */
#include <claudemesh/ext/http.h>
#include <claudemesh/ext/websocket.h>
#include <stdlib.h>

#include "journal.h"

CM_PLUGIN_MANIFEST(
    "{\"id\":\"org.claudemesh.test.echo\",\"name\":\"test_echo\",\"version\":\"1.0.0\","
    "\"abi\":{\"min\":\"1.0\",\"built\":\"1.0\"},\"platform\":\"linux-x86_64\","
    "\"requires\":[\"cm.config/1\",\"cm.http.server/1\",\"cm.websocket/1\",\"cm.metrics/1\",\"cm.buffer/1\","
    "\"cm.log/1\"],\"options\":["
    "{\"name\":\"listen\",\"type\":\"address\",\"default\":\"127.0.0.1:0\",\"doc\":\"Where it listens.\"},"
    "{\"name\":\"greeting\",\"type\":\"string\",\"default\":\"hello\",\"reloadable\":true,\"doc\":\"What it says.\"},"
    "{\"name\":\"journal\",\"type\":\"string\",\"default\":\"\",\"doc\":\"The journal of steps.\"}]}");

typedef struct echo {
  const cm_host* host;
  const cm_http_server_v1* http;
  const cm_websocket_v1* websocket;
  const cm_metrics_v1* metrics;
  const cm_buffer_v1* buffers;
  journal steps;
  cm_handle listener;
  uint32_t requests;
  uint32_t message_bytes;
  char greeting[128];
  char candidate[128];
} echo;

static echo* as_echo(cm_instance* self) {
  return (echo*)self;
}

static void respond(echo* self, cm_handle request, uint32_t status, cm_bytes_pview body) {
  const cm_http_header header = {pview("Content-Type"), pview("text/plain")};
  self->http->respond(self->host->self, request, status, &header, 1, body);
}

static void on_hello(void* user, cm_handle request, const cm_http_request_info* info) {
  echo* self = (echo*)user;
  bool present = false;
  const cm_text_hview name = self->http->query_parameter(self->host->self, request, pview("name"), &present);
  char text[512];
  const int size = snprintf(text, sizeof text, "%s %.*s", self->greeting, present ? (int)name.size : 5,
                            present ? name.data : "world");
  const cm_bytes_pview body = {(const uint8_t*)text, (uint64_t)size};
  (void)info;
  self->metrics->add(self->host->self, self->requests, 1);
  respond(self, request, 200, body);
}

static void on_echo(void* user, cm_handle request, const cm_http_request_info* info) {
  echo* self = (echo*)user;
  const cm_bytes_pview body = {info->body.data, info->body.size};
  respond(self, request, 200, body);
}

static void on_item(void* user, cm_handle request, const cm_http_request_info* info) {
  echo* self = (echo*)user;
  const cm_text_hview id = self->http->path_parameter(self->host->self, request, pview("id"));
  const cm_bytes_pview body = {(const uint8_t*)id.data, id.size};
  (void)info;
  respond(self, request, 200, body);
}

static void on_stream(void* user, cm_handle request, const cm_http_request_info* info) {
  echo* self = (echo*)user;
  const cm_http_header header = {pview("Content-Type"), pview("text/event-stream")};
  const cm_bytes_pview one = {(const uint8_t*)"data: 1\n\n", 9};
  const cm_bytes_pview two = {(const uint8_t*)"data: 2\n\n", 9};
  (void)info;
  self->http->stream_begin(self->host->self, request, 200, &header, 1, NULL, NULL);
  self->http->stream_write(self->host->self, request, one);
  self->http->stream_write(self->host->self, request, two);
  self->http->stream_end(self->host->self, request);
}

/* Never answers: the host must. */
static void on_silent(void* user, cm_handle request, const cm_http_request_info* info) {
  (void)user;
  (void)request;
  (void)info;
}

static void on_messages(void* user, cm_handle socket, const cm_websocket_message* messages, uint64_t count) {
  echo* self = (echo*)user;
  for (uint64_t i = 0; i < count; ++i) {
    const cm_bytes_pview payload = {messages[i].data, messages[i].size};
    self->metrics->observe(self->host->self, self->message_bytes, messages[i].size);
    if (messages[i].kind == CM_WEBSOCKET_TEXT) {
      self->websocket->send(self->host->self, socket, messages[i].kind, payload);
      continue;
    }
    cm_hbuf buffer;
    if (self->buffers->create(self->host->self, payload, &buffer) == CM_OK) {
      self->websocket->send_buffer(self->host->self, socket, messages[i].kind, buffer.handle);
      self->buffers->release(self->host->self, buffer.handle);
    }
  }
}

static void on_socket_request(void* user, cm_handle request, const cm_http_request_info* info) {
  echo* self = (echo*)user;
  cm_websocket_callbacks callbacks = {sizeof callbacks, 0, NULL, on_messages, NULL, NULL, NULL};
  cm_handle socket = CM_NO_HANDLE;
  const cm_status status = self->websocket->accept(self->host->self, request, NULL, &callbacks, self, &socket);
  (void)info;
  if (status == CM_INVALID) {
    const cm_bytes_pview body = {(const uint8_t*)"upgrade needed", 14};
    respond(self, request, 426, body);
  }
}

static cm_status echo_configure(cm_instance* instance) {
  echo* self = as_echo(instance);
  journal_open(&self->steps, self->host);
  journal_write(&self->steps, "configure");
  option_text(self->host, CM_CONFIG_ACTIVE, "greeting", self->greeting, sizeof self->greeting);
  self->http = (const cm_http_server_v1*)self->host->get(self->host->self, CM_HTTP_SERVER_ID);
  self->websocket = (const cm_websocket_v1*)self->host->get(self->host->self, CM_WEBSOCKET_ID);
  self->metrics = (const cm_metrics_v1*)self->host->get(self->host->self, CM_METRICS_ID);
  self->buffers = (const cm_buffer_v1*)self->host->get(self->host->self, CM_BUFFER_ID);
  if (self->http == NULL || self->websocket == NULL || self->metrics == NULL || self->buffers == NULL) {
    self->host->set_error(self->host->self, pview("a host table is missing"));
    return CM_DENIED;
  }
  self->metrics->define(self->host->self, CM_METRIC_COUNTER, pview("test_echo_requests_total"), pview("kind=\"hello\""),
                        pview("Greetings"), &self->requests);
  return self->metrics->define(self->host->self, CM_METRIC_HISTOGRAM, pview("test_echo_message_bytes"), pview(""),
                               pview("Sizes"), &self->message_bytes);
}

static cm_status echo_start(cm_instance* instance, cm_handle ticket) {
  echo* self = as_echo(instance);
  const cm_handle host = self->host->self;
  char address[512];
  cm_http_listen_options options;
  (void)ticket;
  journal_write(&self->steps, "start");
  option_text(self->host, CM_CONFIG_ACTIVE, "listen", address, sizeof address);
  memset(&options, 0, sizeof options);
  options.size = sizeof options;
  options.address = pview(address);
  const cm_status status = self->http->listen(host, &options, &self->listener);
  if (status != CM_OK) {
    return status;
  }
  self->http->route(host, self->listener, pview("GET"), pview("/hello"), on_hello, self);
  self->http->route(host, self->listener, pview("POST"), pview("/echo"), on_echo, self);
  self->http->route(host, self->listener, pview("GET"), pview("/items/:id"), on_item, self);
  self->http->route(host, self->listener, pview("GET"), pview("/stream"), on_stream, self);
  self->http->route(host, self->listener, pview("GET"), pview("/silent"), on_silent, self);
  self->http->route(host, self->listener, pview("GET"), pview("/ws"), on_socket_request, self);
  return CM_OK;
}

static cm_status echo_drain(cm_instance* instance, cm_handle ticket, uint64_t deadline_ms) {
  (void)ticket;
  (void)deadline_ms;
  journal_write(&as_echo(instance)->steps, "drain");
  return CM_OK;
}

static void echo_stop(cm_instance* instance) {
  echo* self = as_echo(instance);
  journal_write(&self->steps, "stop");
  self->http->close(self->host->self, self->listener);
}

static void echo_destroy(cm_instance* instance) {
  journal_write(&as_echo(instance)->steps, "destroy");
  free(instance);
}

static cm_status echo_reload_prepare(cm_instance* instance) {
  echo* self = as_echo(instance);
  option_text(self->host, CM_CONFIG_CANDIDATE, "greeting", self->candidate, sizeof self->candidate);
  if (strcmp(self->candidate, "refuse") == 0) {
    self->host->set_error(self->host->self, pview("this greeting is not polite"));
    return CM_INVALID;
  }
  journal_write(&self->steps, "reload_prepare");
  return CM_OK;
}

static void echo_reload_finish(cm_instance* instance, bool commit) {
  echo* self = as_echo(instance);
  journal_write(&self->steps, commit ? "reload_commit" : "reload_abort");
  if (commit) {
    memcpy(self->greeting, self->candidate, sizeof self->greeting);
  }
}

static const cm_instance_table_v1 echo_table = {sizeof(cm_instance_table_v1),
                                                0,
                                                echo_configure,
                                                echo_start,
                                                echo_drain,
                                                echo_stop,
                                                echo_destroy,
                                                NULL,
                                                echo_reload_prepare,
                                                echo_reload_finish};

static cm_status echo_create(const cm_host* host, cm_instance** out_instance, const cm_instance_table_v1** out_table) {
  echo* self = (echo*)calloc(1, sizeof(echo));
  if (self == NULL) {
    return CM_INTERNAL;
  }
  self->host = host;
  *out_instance = (cm_instance*)self;
  *out_table = &echo_table;
  return CM_OK;
}

TEST_PLUGIN_ENTRY(echo_create);
