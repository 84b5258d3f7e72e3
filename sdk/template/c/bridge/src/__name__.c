/* {{name}}: joins channels of a remote service, spoken to over HTTP, with targets of a mesh.
 *
 * rules.c decides what crosses; here is how each of the two sides is spoken to. */
#include <claudemesh/ext/bridge.h>
#include <claudemesh/ext/http.h>
#include <claudemesh/ext/peer.h>

#include <stdio.h>

#include "json_text.h"
#include "rules.h"

#define OBSERVERS_MAX 16

/* One message on its way over, or its outcome on its way to whoever asked. */
struct crossing {
  struct crossing* next; /* of those that wait for a side */
  struct {{name}}* self; /* null: the bridge has stopped meanwhile */
  uint32_t direction;
  uint32_t flags;
  struct judgement judgement;
  cm_handle request; /* the remote service waits for the outcome */
  cm_handle call;    /* of the HTTP client */
  cm_bridge_crossed crossed;
  void* user;
};
struct observer {
  cm_handle handle;
  cm_bridge_crossed crossed;
  void* user;
};

struct {{name}} {
  struct base base;
  const cm_loop_v1* loop;
  const cm_registry_v1* registry;
  const cm_http_server_v1* server;
  const cm_http_client_v1* client;
  char* daemon;
  char* listen;
  char* remote_url;
  cm_extension peer; /* table null: not there, or going away */
  cm_handle reference;
  cm_handle subscription;
  cm_handle listener;
  struct rules rules;
  cm_bridge_status status;
  struct crossing* waiting;
  struct observer observers[OBSERVERS_MAX];
  cm_handle last_observer;
};

static cm_handle host_of(const struct {{name}}* self) {
  return self->base.host->self;
}
static void free_crossing(void* user) {
  struct crossing* crossing = user;
  judgement_clear(&crossing->judgement);
  free(crossing);
}

/* --- the outcome --- */

static void tell(void* user) {
  struct crossing* crossing = user;
  struct {{name}}* self = crossing->self;
  struct observer observers[OBSERVERS_MAX];
  cm_text_hview texts[TEXTS];
  for (int i = 0; i < TEXTS; ++i) {
    texts[i].data = crossing->judgement.texts[i];
    texts[i].size = strlen(texts[i].data);
  }
  const cm_bridge_crossing told = {
      sizeof told, crossing->judgement.outcome, crossing->direction, crossing->flags & CM_BRIDGE_REHEARSAL,
      texts[MAPPING_ID], texts[MESSAGE_ID], texts[REASON], texts[CHANNEL], texts[MESH], texts[AUTHOR], texts[TEXT],
      texts[TRAIL], texts[NEW_ID]};
  if (crossing->request != CM_NO_HANDLE) {
    const cm_http_header header = {base_text("content-type"), base_text("application/json")};
    char number[32];
    struct buffer json = {NULL, 0, 0, false};
    snprintf(number, sizeof number, "{\"outcome\":%u,\"reason\":", told.outcome);
    buffer_text(&json, number);
    json_quote(&json, crossing->judgement.texts[REASON]);
    buffer_text(&json, "}");
    const cm_bytes_pview body = {(const uint8_t*)json.data, json.size};
    self->server->respond(host_of(self), crossing->request, told.outcome == CM_BRIDGE_FAILED ? 503 : 200, &header, 1,
                          body);
    free(json.data);
  }
  if (crossing->crossed != NULL) {
    crossing->crossed(crossing->user, &told);
  }
  memcpy(observers, self->observers, sizeof observers); /* an observer may end its observation */
  for (int i = 0; i < OBSERVERS_MAX; ++i) {
    if (observers[i].handle != CM_NO_HANDLE) {
      observers[i].crossed(observers[i].user, &told);
    }
  }
  free_crossing(crossing);
}
/* Counted now, told later: whoever called us has not returned yet. */
static void tell_later(struct crossing* crossing) {
  struct {{name}}* self = crossing->self;
  cm_bridge_status* status = &self->status;
  uint64_t* const crossed = crossing->direction == CM_BRIDGE_TO_MESH ? &status->to_mesh : &status->to_remote;
  uint64_t* const counters[] = {NULL, crossed, NULL, &status->dropped_unmapped, &status->dropped_echo,
                                &status->dropped_duplicate, &status->dropped_loop, &status->dropped_filtered,
                                &status->failed};
  if (counters[crossing->judgement.outcome] != NULL) {
    ++*counters[crossing->judgement.outcome];
  }
  if (self->loop->post(host_of(self), host_of(self), tell, free_crossing, crossing) != CM_OK) {
    free_crossing(crossing);
  }
}
/* A side has answered: `text` is the id of the new message, or why it was not taken; it is taken over. */
static void handed_over(struct crossing* crossing, bool taken, char* text) {
  struct crossing** at = &crossing->self->waiting;
  while (*at != crossing) {
    at = &(*at)->next;
  }
  *at = crossing->next;
  crossing->self->status.waiting--;
  crossing->judgement.outcome = taken ? CM_BRIDGE_FORWARDED : CM_BRIDGE_FAILED;
  if (text != NULL && text[0] != 0) {
    char** const place = &crossing->judgement.texts[taken ? NEW_ID : REASON];
    free(*place);
    *place = text;
  } else {
    free(text);
  }
  tell_later(crossing);
}

/* --- the two sides --- */

static void sent_to_mesh(void* user, uint32_t http_status, cm_text_hview json) {
  struct crossing* crossing = user;
  if (crossing->self == NULL) {
    free_crossing(crossing);
    return;
  }
  handed_over(crossing, http_status == 202, http_status == 202 ? NULL : base_copy(json.data, json.size));
}
static void to_mesh(struct {{name}}* self, struct crossing* crossing) {
  char** const texts = crossing->judgement.texts;
  const cm_peer_v1* peer = self->peer.table;
  const cm_peer_message message = {sizeof message,          2,
                                   base_text(texts[MESH]),  base_text(texts[CHANNEL]),
                                   base_text(texts[TEXT]),  base_text(texts[NEW_ID])};
  if (peer == NULL || peer->send(self->peer.instance, &message, sent_to_mesh, crossing) != CM_OK) {
    handed_over(crossing, false, base_copy("the daemon takes nothing now", 28));
  }
}
static void sent_to_remote(void* user, cm_handle call, const cm_http_result* result) {
  struct crossing* crossing = user;
  const bool answered = result->status == CM_OK;
  const char* body = (const char*)result->body.data;
  char refused[64];
  (void)call;
  if (answered && result->http_status / 100 == 2) {
    handed_over(crossing, true, json_text(body, result->body.size, "id"));
    return;
  }
  snprintf(refused, sizeof refused, "the remote service answered %u", result->http_status);
  handed_over(crossing, false,
              answered ? base_copy(refused, strlen(refused)) : base_copy(result->error.data, result->error.size));
}
static void to_remote(struct {{name}}* self, struct crossing* crossing) {
  static const char* const names[] = {"{\"channel\":", ",\"author\":", ",\"text\":", ",\"trail\":"};
  static const int fields[] = {CHANNEL, AUTHOR, TEXT, TRAIL};
  const cm_http_header header = {base_text("content-type"), base_text("application/json")};
  struct buffer json = {NULL, 0, 0, false};
  cm_http_call call;
  for (int i = 0; i < 4; ++i) {
    buffer_text(&json, names[i]);
    json_quote(&json, crossing->judgement.texts[fields[i]]);
  }
  buffer_text(&json, "}");
  memset(&call, 0, sizeof call);
  call.size = sizeof call;
  call.method = base_text("POST");
  call.url = base_text(self->remote_url);
  call.headers = &header;
  call.header_count = 1;
  call.body.data = (const uint8_t*)json.data;
  call.body.size = json.size;
  if (json.failed ||
      self->client->send(host_of(self), &call, sent_to_remote, crossing, &crossing->call) != CM_OK) {
    handed_over(crossing, false, base_copy("the host takes no request now", 29));
  }
  free(json.data);
}

static void pass(struct {{name}}* self, struct crossing* crossing) {
  if (crossing->judgement.outcome == 0 && (crossing->flags & CM_BRIDGE_REHEARSAL) != 0) {
    crossing->judgement.outcome = CM_BRIDGE_REHEARSED;
  }
  if (crossing->judgement.outcome != 0) {
    tell_later(crossing);
    return;
  }
  crossing->next = self->waiting;
  self->waiting = crossing;
  self->status.waiting++;
  if (crossing->direction == CM_BRIDGE_TO_MESH) {
    to_mesh(self, crossing);
  } else {
    to_remote(self, crossing);
  }
}
static bool cross_one(struct {{name}}* self, const struct mapping* mapping, uint32_t direction,
                      const cm_bridge_message* message, const struct crossing* asked) {
  struct crossing* crossing = calloc(1, sizeof *crossing);
  if (crossing == NULL || !rules_judge(&self->rules, mapping, direction, message, &crossing->judgement)) {
    free(crossing);
    return false;
  }
  crossing->self = self;
  crossing->direction = direction;
  crossing->flags = message->flags;
  crossing->request = asked->request;
  crossing->crossed = asked->crossed;
  crossing->user = asked->user;
  pass(self, crossing);
  return true;
}
/* `asked`: who is told. The remote service gets the outcome of the first mapping. */
static cm_status cross(struct {{name}}* self, uint32_t direction, const cm_bridge_message* message,
                       struct crossing asked) {
  bool covered = false;
  if (message->message_id.size == 0) {
    return CM_INVALID;
  }
  if (self->status.waiting >= CM_BRIDGE_REMEMBERED) {
    return CM_BUSY;
  }
  for (const struct mapping* mapping = self->rules.mappings; mapping != NULL; mapping = mapping->next) {
    if (rules_cover(mapping, direction, message)) {
      if (!cross_one(self, mapping, direction, message, &asked) && !covered) {
        return CM_BUSY;
      }
      covered = true;
      asked.request = CM_NO_HANDLE;
    }
  }
  return covered || cross_one(self, NULL, direction, message, &asked) ? CM_OK : CM_BUSY;
}
static cm_text_pview view_of(const char* text) {
  return base_text(text == NULL ? "" : text);
}

static void came(void* user, cm_handle request, const cm_http_request_info* info) {
  static const char* const names[] = {"id", "channel", "author", "text", "trail"};
  struct {{name}}* self = user;
  const struct crossing asked = {.request = request};
  cm_bridge_message message;
  char* values[5];
  for (int i = 0; i < 5; ++i) {
    values[i] = json_text((const char*)info->body.data, info->body.size, names[i]);
  }
  memset(&message, 0, sizeof message);
  message.size = sizeof message;
  message.message_id = view_of(values[0]);
  message.channel = view_of(values[1]);
  message.author_id = message.author_name = view_of(values[2]);
  message.text = view_of(values[3]);
  message.trail = view_of(values[4]);
  const bool good = values[1] != NULL && values[2] != NULL && values[3] != NULL;
  const cm_status status = good ? cross(self, CM_BRIDGE_TO_MESH, &message, asked) : CM_INVALID;
  if (status != CM_OK) {
    const char* text = status == CM_BUSY ? "{\"error\":\"too much waits\"}"
                                         : "{\"error\":\"expected id, channel, author and text\"}";
    const cm_bytes_pview body = {(const uint8_t*)text, strlen(text)};
    self->server->respond(host_of(self), request, status == CM_BUSY ? 503 : 400, NULL, 0, body);
  }
  for (int i = 0; i < 5; ++i) {
    free(values[i]);
  }
}
static void on_event(void* user, cm_text_hview kind, cm_text_hview json) {
  enum { ID, CLIENT_ID, SENDER, RECIPIENT, NAME, TOPIC, SLUG, BODY, COUNT };
  static const char* const names[COUNT] = {"id",          "client_message_id", "sender_pubkey", "recipient_pubkey",
                                           "sender_name", "topic",             "mesh",          "body"};
  const struct crossing asked = {.request = CM_NO_HANDLE};
  struct buffer topic = {NULL, 0, 0, false};
  cm_bridge_message message;
  char* values[COUNT];
  if (!base_same(kind.data, kind.size, "message")) {
    return;
  }
  for (int i = 0; i < COUNT; ++i) {
    values[i] = json_text(json.data, json.size, names[i]);
  }
  memset(&message, 0, sizeof message);
  message.size = sizeof message;
  if (values[SENDER] != NULL && values[RECIPIENT] != NULL && strcmp(values[SENDER], values[RECIPIENT]) == 0) {
    message.flags = CM_BRIDGE_FROM_SELF;
  }
  buffer_text(&topic, "#");
  buffer_text(&topic, values[TOPIC] == NULL ? "" : values[TOPIC]);
  message.channel = values[TOPIC] == NULL ? view_of(values[NAME]) : buffer_view(&topic);
  message.mesh = view_of(values[SLUG]);
  message.message_id = view_of(values[CLIENT_ID] != NULL && values[CLIENT_ID][0] != 0 ? values[CLIENT_ID] : values[ID]);
  message.author_id = view_of(values[SENDER]);
  message.author_name = view_of(values[NAME]);
  message.text = view_of(values[BODY]);
  cross(user, CM_BRIDGE_TO_REMOTE, &message, asked);
  for (int i = 0; i < COUNT; ++i) {
    free(values[i]);
  }
  free(topic.data);
}

static cm_text_hview network(void* instance) {
  const cm_text_hview view = {"http", 4};
  (void)instance;
  return view;
}
static cm_status status(void* instance, cm_bridge_status* out) {
  struct {{name}}* self = instance;
  cm_bridge_status now = self->status;
  const cm_text_hview mark = {self->rules.mark, strlen(self->rules.mark)};
  now.size = out->size;
  now.mark = mark;
  now.mappings = self->rules.mapping_count;
  memcpy(out, &now, now.size < sizeof now ? now.size : sizeof now);
  return CM_OK;
}
static cm_status mappings(void* instance, cm_bridge_mapping_row row, void* user) {
  const struct {{name}}* self = instance;
  for (const struct mapping* mapping = self->rules.mappings; mapping != NULL; mapping = mapping->next) {
    const cm_bridge_mapping view = {sizeof view, mapping->directions, base_text(mapping->id),
                                    base_text(mapping->remote), base_text(mapping->mesh), base_text(mapping->target),
                                    base_text(mapping->options)};
    row(user, &view);
  }
  return CM_OK;
}
static cm_status map(void* instance, const cm_bridge_mapping* mapping) {
  struct {{name}}* self = instance;
  return rules_map(&self->rules, mapping);
}
static cm_status unmap(void* instance, cm_text_pview id) {
  struct {{name}}* self = instance;
  return rules_unmap(&self->rules, id) ? CM_OK : CM_GONE;
}
static cm_status deliver_remote(void* instance, const cm_bridge_message* message, cm_bridge_crossed crossed,
                                void* user) {
  const struct crossing asked = {.crossed = crossed, .user = user};
  return cross(instance, CM_BRIDGE_TO_MESH, message, asked);
}
static cm_status deliver_mesh(void* instance, const cm_bridge_message* message, cm_bridge_crossed crossed, void* user) {
  const struct crossing asked = {.crossed = crossed, .user = user};
  return cross(instance, CM_BRIDGE_TO_REMOTE, message, asked);
}
static cm_status observe(void* instance, cm_bridge_crossed crossed, void* user, cm_handle* out_observer) {
  struct {{name}}* self = instance;
  if (crossed == NULL) {
    return CM_INVALID;
  }
  for (int i = 0; i < OBSERVERS_MAX; ++i) {
    if (self->observers[i].handle == CM_NO_HANDLE) {
      const struct observer observer = {++self->last_observer, crossed, user};
      self->observers[i] = observer;
      *out_observer = observer.handle;
      return CM_OK;
    }
  }
  return CM_BUSY;
}
static void unobserve(void* instance, cm_handle observer) {
  struct {{name}}* self = instance;
  for (int i = 0; i < OBSERVERS_MAX; ++i) {
    if (self->observers[i].handle == observer) {
      self->observers[i].handle = CM_NO_HANDLE;
    }
  }
}
static const cm_bridge_v1 bridge = {sizeof bridge, 0,     network,        status,       mappings, map,
                                    unmap,         deliver_remote, deliver_mesh, observe,  unobserve};

/* --- life --- */

static cm_status read_mappings(struct {{name}}* self) {
  uint64_t count = 0;
  if (self->base.config->list_size(host_of(self), CM_CONFIG_ACTIVE, base_text("mappings"), &count) != CM_OK) {
    return base_fail(&self->base, CM_INTERNAL, "the option mappings cannot be read; expected a list");
  }
  for (uint64_t i = 0; i < count; ++i) {
    cm_text_hview entry = {"", 0};
    char id[32];
    cm_bridge_mapping mapping;
    self->base.config->list_text(host_of(self), CM_CONFIG_ACTIVE, base_text("mappings"), i, &entry);
    const char* equals = entry.size == 0 ? NULL : memchr(entry.data, '=', entry.size);
    snprintf(id, sizeof id, "m%u", (unsigned)i);
    memset(&mapping, 0, sizeof mapping);
    mapping.size = sizeof mapping;
    mapping.directions = CM_BRIDGE_TO_MESH | CM_BRIDGE_TO_REMOTE;
    mapping.id = base_text(id);
    if (equals != NULL) {
      mapping.remote.data = entry.data;
      mapping.remote.size = (uint64_t)(equals - entry.data);
      mapping.target.data = equals + 1;
      mapping.target.size = entry.size - mapping.remote.size - 1;
    }
    if (rules_map(&self->rules, &mapping) != CM_OK) {
      return base_fail(&self->base, CM_INVALID, "found a wrong mapping; expected CHANNEL=TARGET, each once");
    }
  }
  return CM_OK;
}
static cm_status configure(void* instance) {
  struct {{name}}* self = instance;
  const struct base* base = &self->base;
  self->status.state = CM_BRIDGE_CONNECTING;
  self->rules.mark = "http:{{name}}"; /* network and name; tells this bridge from others */
  if ((self->loop = base_need(base, CM_LOOP_ID, sizeof *self->loop)) == NULL ||
      (self->registry = base_need(base, CM_REGISTRY_ID, sizeof *self->registry)) == NULL ||
      (self->server = base_need(base, CM_HTTP_SERVER_ID, sizeof *self->server)) == NULL ||
      (self->client = base_need(base, CM_HTTP_CLIENT_ID, sizeof *self->client)) == NULL) {
    return CM_DENIED;
  }
  cm_status read = base_option_text(base, "daemon", &self->daemon);
  read = read == CM_OK ? base_option_text(base, "listen", &self->listen) : read;
  read = read == CM_OK ? base_option_text(base, "remote_url", &self->remote_url) : read;
  return read == CM_OK ? read_mappings(self) : read;
}
static void going_away(void* user) {
  struct {{name}}* self = user;
  self->peer.table = NULL;
}
static cm_status start(void* instance) {
  struct {{name}}* self = instance;
  cm_http_listen_options options;
  cm_status step =
      self->registry->acquire(host_of(self), base_text(self->daemon), base_text(CM_PEER_ID), going_away, self,
                              &self->peer);
  if (step != CM_OK) {
    self->peer.table = NULL;
    return base_fail(&self->base, step, "the plugin that `daemon` names offers no cm.peer/1; expected a peer_daemon");
  }
  self->reference = self->peer.reference;
  const cm_peer_v1* peer = self->peer.table;
  if ((step = peer->subscribe(self->peer.instance, on_event, self, &self->subscription)) != CM_OK) {
    return base_fail(&self->base, step, "the daemon gave no subscription; its log says why");
  }
  memset(&options, 0, sizeof options);
  options.size = sizeof options;
  options.address = base_text(self->listen);
  step = self->server->listen(host_of(self), &options, &self->listener);
  if (step == CM_OK) {
    step = self->server->route(host_of(self), self->listener, base_text("POST"), base_text("/messages"), came, self);
  }
  if (step != CM_OK) {
    return base_fail(&self->base, step, "cannot listen; the host's log line above this one says what is in the way");
  }
  self->status.state = CM_BRIDGE_UP;
  return CM_OK;
}
static void stop(void* instance) {
  struct {{name}}* self = instance;
  const cm_peer_v1* peer = self->peer.table;
  self->status.state = CM_BRIDGE_STOPPED;
  if (self->listener != CM_NO_HANDLE) {
    self->server->close(host_of(self), self->listener);
  }
  if (peer != NULL && self->subscription != CM_NO_HANDLE) {
    peer->unsubscribe(self->peer.instance, self->subscription);
  }
  if (self->reference != CM_NO_HANDLE) {
    self->registry->release(host_of(self), self->reference);
  }
  self->peer.table = NULL;
  while (self->waiting != NULL) {
    struct crossing* crossing = self->waiting;
    self->waiting = crossing->next;
    crossing->self = NULL; /* the daemon's answer frees it */
    if (crossing->direction == CM_BRIDGE_TO_REMOTE) {
      self->client->cancel(host_of(self), crossing->call);
      free_crossing(crossing);
    }
  }
  memset(self->observers, 0, sizeof self->observers);
}
static void release(void* instance) {
  struct {{name}}* self = instance;
  rules_clear(&self->rules);
  free(self->daemon);
  free(self->listen);
  free(self->remote_url);
}
static const void* extension(void* instance, const char* id) {
  (void)instance;
  return strcmp(id, CM_BRIDGE_ID) == 0 ? &bridge : NULL;
}

const struct plugin_kind the_plugin = {
    sizeof(struct {{name}}), configure, start, stop, release, extension, NULL, NULL};
