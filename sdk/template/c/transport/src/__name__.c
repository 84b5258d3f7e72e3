/* {{name}}: carries sealed messages between two daemons by HTTP.
 *
 * Each message is one POST whose body is lines "name value". The other side answers 200 only when its daemon has stored
 * the message (acknowledge), so an accepted message is durable there; anything else is repeated by the sender's
 * outbox. */
#include <claudemesh/ext/http.h>
#include <claudemesh/ext/transport.h>

#include "plugin_base.h"

#define WINDOW 64                   /* messages on their way; the rest waits in the daemon's outbox */
#define WAITING_MAX 256             /* messages that wait for the daemon to store them */
#define STORE_TIMEOUT_US 20000000ul /* then the sender is told to try again */
#define CALL_TIMEOUT_MS 25000
#define RETRY_MS 1000

/* What the daemon opened: one membership or session. */
struct link {
  struct link* next;
  cm_handle handle;
  char* mesh_id;
  char* key;    /* who we are on the wire: the session key, or the member's */
  char* member; /* the member's key */
  char* name;
  cm_link_callbacks callbacks;
  void* user;
  uint32_t in_flight;
};
/* A message on its way out. */
struct outgoing {
  struct outgoing* next;
  struct {{name}}* self;
  cm_handle link;
  cm_handle call;
  char* id;
};
/* A message that came and is not stored yet. */
struct waiting {
  struct waiting* next;
  struct {{name}}* self;
  cm_handle request;
  cm_handle timer;
  char* id;
};

struct {{name}} {
  struct base base;
  const cm_loop_v1* loop;
  const cm_timer_v1* timer;
  const cm_http_server_v1* server;
  const cm_http_client_v1* client;
  char* listen;
  char* url; /* of the other side, with its path */
  cm_handle listener;
  cm_handle last_link;
  struct link* links;
  struct outgoing* outgoing;
  struct waiting* waiting;
  uint32_t waiting_count;
};

static struct link* find_link(const struct {{name}}* self, cm_handle handle) {
  struct link* link = self->links;
  while (link != NULL && link->handle != handle) {
    link = link->next;
  }
  return link;
}
static void free_link(struct link* link) {
  free(link->mesh_id);
  free(link->key);
  free(link->member);
  free(link->name);
  free(link);
}

/* --- the body of a message; no value of the wire protocol contains a line end --- */

static void add_field(struct buffer* body, const char* name, const char* value, uint64_t size) {
  buffer_text(body, name);
  buffer_add(body, " ", 1);
  buffer_add(body, value, size);
  buffer_add(body, "\n", 1);
}
static cm_text_hview field(cm_bytes_hview body, const char* name) {
  const char* text = (const char*)body.data;
  const size_t name_size = strlen(name);
  cm_text_hview value = {"", 0};
  for (uint64_t at = 0; at < body.size;) {
    const char* end = memchr(text + at, '\n', body.size - at);
    const uint64_t size = end == NULL ? body.size - at : (uint64_t)(end - (text + at));
    if (size > name_size && text[at + name_size] == ' ' && memcmp(text + at, name, name_size) == 0) {
      value.data = text + at + name_size + 1;
      value.size = size - name_size - 1;
    }
    at += size + 1;
  }
  return value;
}

/* --- links --- */

struct opened {
  struct {{name}}* self;
  cm_handle link;
};
static void tell_open(void* user) {
  struct opened* opened = user;
  const struct link* link = find_link(opened->self, opened->link);
  const cm_text_hview detail = {"{}", 2};
  if (link != NULL) {
    link->callbacks.state(link->user, link->handle, CM_LINK_OPEN, detail);
  }
  free(opened);
}
static cm_text_hview name(void* instance) {
  const cm_text_hview view = {"{{name}}", sizeof "{{name}}" - 1};
  (void)instance;
  return view;
}
static cm_status open_link(void* instance, const cm_link_identity* identity, const cm_link_callbacks* callbacks,
                           void* user, cm_handle* out_link) {
  struct {{name}}* self = instance;
  struct link* link = calloc(1, sizeof *link);
  struct opened* opened = calloc(1, sizeof *opened);
  const cm_text_pview key = identity->session_pubkey.size != 0 ? identity->session_pubkey : identity->member_pubkey;
  if (link == NULL || opened == NULL) {
    free(link);
    free(opened);
    return CM_BUSY;
  }
  link->handle = ++self->last_link;
  link->mesh_id = base_copy(identity->mesh_id.data, identity->mesh_id.size);
  link->key = base_copy(key.data, key.size);
  link->member = base_copy(identity->member_pubkey.data, identity->member_pubkey.size);
  link->name = base_copy(identity->display_name.data, identity->display_name.size);
  link->callbacks = *callbacks;
  link->user = user;
  opened->self = self;
  opened->link = link->handle;
  /* Callbacks come later, never from inside a function of the table. */
  const bool good = link->mesh_id != NULL && link->key != NULL && link->member != NULL && link->name != NULL;
  if (!good || self->loop->post(self->base.host->self, self->base.host->self, tell_open, free, opened) != CM_OK) {
    free(opened);
    free_link(link);
    return CM_BUSY;
  }
  link->next = self->links;
  self->links = link;
  *out_link = link->handle;
  return CM_OK;
}
static void close_link(void* instance, cm_handle handle) {
  struct {{name}}* self = instance;
  for (struct link** at = &self->links; *at != NULL; at = &(*at)->next) {
    if ((*at)->handle == handle) {
      struct link* link = *at;
      *at = link->next;
      free_link(link);
      return;
    }
  }
}

/* --- out --- */

static void free_outgoing(struct outgoing* outgoing) {
  struct outgoing** at = &outgoing->self->outgoing;
  while (*at != NULL && *at != outgoing) {
    at = &(*at)->next;
  }
  if (*at != NULL) {
    *at = outgoing->next;
  }
  free(outgoing->id);
  free(outgoing);
}
static void answered(void* user, cm_handle call, const cm_http_result* answer) {
  struct outgoing* outgoing = user;
  struct link* link = find_link(outgoing->self, outgoing->link);
  (void)call;
  if (link != NULL) {
    const bool taken = answer->status == CM_OK && answer->http_status == 200;
    const cm_text_hview id = {outgoing->id, strlen(outgoing->id)};
    const cm_text_hview code = {"closed", taken ? 0 : 6};
    const cm_text_hview body = {(const char*)answer->body.data, answer->body.size};
    const cm_send_result result = {sizeof result, taken ? CM_SEND_ACCEPTED : CM_SEND_RETRY,
                                   id,            id,
                                   code,          answer->status == CM_OK ? body : answer->error,
                                   RETRY_MS};
    link->in_flight--;
    link->callbacks.sent(link->user, link->handle, &result, 1);
  }
  free_outgoing(outgoing);
}
static cm_status send_one(struct {{name}}* self, const struct link* link, const cm_outbound* message) {
  char priority[2] = {(char)('0' + message->priority % 10), 0};
  struct buffer body = {NULL, 0, 0, false};
  struct outgoing* outgoing = calloc(1, sizeof *outgoing);
  cm_http_call call;
  cm_status status = CM_BUSY;
  add_field(&body, "mesh", link->mesh_id, strlen(link->mesh_id));
  add_field(&body, "from", link->key, strlen(link->key));
  add_field(&body, "member", link->member, strlen(link->member));
  add_field(&body, "name", link->name, strlen(link->name));
  add_field(&body, "to", message->target.data, message->target.size);
  add_field(&body, "id", message->client_message_id.data, message->client_message_id.size);
  add_field(&body, "priority", priority, 1);
  add_field(&body, "nonce", message->nonce.data, message->nonce.size);
  add_field(&body, "ciphertext", message->ciphertext.data, message->ciphertext.size);
  add_field(&body, "reply_to", message->reply_to_id.data, message->reply_to_id.size);
  memset(&call, 0, sizeof call);
  call.size = sizeof call;
  call.method = base_text("POST");
  call.url = base_text(self->url);
  call.body.data = (const uint8_t*)body.data;
  call.body.size = body.size;
  call.total_timeout_ms = CALL_TIMEOUT_MS;
  if (outgoing != NULL && !body.failed) {
    outgoing->self = self;
    outgoing->link = link->handle;
    outgoing->id = base_copy(message->client_message_id.data, message->client_message_id.size);
    outgoing->next = self->outgoing;
    self->outgoing = outgoing;
    if (outgoing->id != NULL) {
      status = self->client->send(self->base.host->self, &call, answered, outgoing, &outgoing->call);
    }
    if (status != CM_OK) {
      free_outgoing(outgoing);
    }
  } else {
    free(outgoing);
  }
  free(body.data);
  return status;
}
static cm_status send_messages(void* instance, cm_handle handle, const cm_outbound* messages, uint64_t count,
                               uint64_t* out_taken) {
  struct {{name}}* self = instance;
  struct link* link = find_link(self, handle);
  uint64_t taken = 0;
  if (link == NULL) {
    return CM_GONE;
  }
  while (taken < count && link->in_flight < WINDOW && send_one(self, link, &messages[taken]) == CM_OK) {
    link->in_flight++;
    taken++;
  }
  if (taken == 0 && count != 0) {
    return CM_BUSY;
  }
  *out_taken = taken;
  return CM_OK;
}

/* --- in --- */

static void respond(const struct {{name}}* self, cm_handle request, uint32_t status, const char* text) {
  const cm_bytes_pview body = {(const uint8_t*)text, strlen(text)};
  self->server->respond(self->base.host->self, request, status, NULL, 0, body);
}
static struct waiting* find_waiting(const struct {{name}}* self, const char* id, uint64_t size) {
  struct waiting* waiting = self->waiting;
  while (waiting != NULL && !base_same(id, size, waiting->id)) {
    waiting = waiting->next;
  }
  return waiting;
}
static void free_waiting(struct waiting* waiting) {
  struct {{name}}* self = waiting->self;
  struct waiting** at = &self->waiting;
  while (*at != waiting) {
    at = &(*at)->next;
  }
  *at = waiting->next;
  self->waiting_count--;
  self->timer->cancel(self->base.host->self, waiting->timer); /* it may have fired */
  free(waiting->id);
  free(waiting);
}
static void not_stored(void* user) {
  struct waiting* waiting = user;
  respond(waiting->self, waiting->request, 503, "not stored in time\n");
  free_waiting(waiting);
}
static bool wait_for_store(struct {{name}}* self, cm_handle request, cm_text_hview id) {
  struct waiting* waiting = calloc(1, sizeof *waiting);
  if (waiting == NULL) {
    return false;
  }
  waiting->self = self;
  waiting->request = request;
  waiting->id = base_copy(id.data, id.size);
  if (waiting->id == NULL || self->timer->start(self->base.host->self, STORE_TIMEOUT_US, 0, not_stored, waiting,
                                                &waiting->timer) != CM_OK) {
    free(waiting->id);
    free(waiting);
    return false;
  }
  waiting->next = self->waiting;
  self->waiting = waiting;
  self->waiting_count++;
  return true;
}
static void came(void* user, cm_handle request, const cm_http_request_info* info) {
  struct {{name}}* self = user;
  const cm_text_hview mesh = field(info->body, "mesh");
  const cm_text_hview to = field(info->body, "to");
  const cm_text_hview priority = field(info->body, "priority");
  const cm_text_hview nothing = {"", 0};
  const struct link* link = self->links;
  cm_inbound message;
  memset(&message, 0, sizeof message);
  message.size = sizeof message;
  message.priority = base_same(priority.data, priority.size, "1")   ? CM_PRIORITY_NOW
                     : base_same(priority.data, priority.size, "3") ? CM_PRIORITY_LOW
                                                                    : CM_PRIORITY_NEXT;
  message.message_id = message.client_message_id = field(info->body, "id");
  message.sender_pubkey = field(info->body, "from");
  message.sender_member_pubkey = field(info->body, "member");
  message.sender_name = field(info->body, "name");
  message.nonce = field(info->body, "nonce");
  message.ciphertext = field(info->body, "ciphertext");
  message.reply_to_id = field(info->body, "reply_to");
  message.created_at = nothing;
  while (link != NULL && !(base_same(mesh.data, mesh.size, link->mesh_id) &&
                           (base_same(to.data, to.size, link->key) || base_same(to.data, to.size, link->member)))) {
    link = link->next;
  }
  if (link == NULL || message.message_id.size == 0 || message.ciphertext.size == 0) {
    respond(self, request, 404, "no such recipient here\n");
  } else if (self->waiting_count >= WAITING_MAX ||
             find_waiting(self, message.message_id.data, message.message_id.size) != NULL ||
             !wait_for_store(self, request, message.message_id)) {
    respond(self, request, 503, "too much waits to be stored, or this message does already\n");
  } else {
    link->callbacks.inbound(link->user, link->handle, &message, 1);
  }
}
static cm_status acknowledge(void* instance, cm_handle link, cm_text_pview message_id, cm_text_pview client_id) {
  struct {{name}}* self = instance;
  struct waiting* waiting = find_waiting(self, message_id.data, message_id.size);
  (void)client_id;
  if (find_link(self, link) == NULL) {
    return CM_GONE;
  }
  if (waiting != NULL) {
    respond(self, waiting->request, 200, "");
    free_waiting(waiting);
  }
  return CM_OK;
}
/* There is no broker on this way, so nobody to ask. */
static cm_status request(void* instance, cm_handle link, cm_text_pview json, uint64_t timeout_ms,
                         cm_reply_callback callback, void* user) {
  (void)instance;
  (void)link;
  (void)json;
  (void)timeout_ms;
  (void)callback;
  (void)user;
  return CM_UNSUPPORTED;
}

/* --- life --- */

static cm_status configure(void* instance) {
  struct {{name}}* self = instance;
  const struct base* base = &self->base;
  char* peer_url = NULL;
  struct buffer url = {NULL, 0, 0, false};
  if ((self->loop = base_need(base, CM_LOOP_ID, sizeof *self->loop)) == NULL ||
      (self->timer = base_need(base, CM_TIMER_ID, sizeof *self->timer)) == NULL ||
      (self->server = base_need(base, CM_HTTP_SERVER_ID, sizeof *self->server)) == NULL ||
      (self->client = base_need(base, CM_HTTP_CLIENT_ID, sizeof *self->client)) == NULL) {
    return CM_DENIED;
  }
  cm_status status = base_option_text(base, "listen", &self->listen);
  if (status == CM_OK) {
    status = base_option_text(base, "peer_url", &peer_url);
  }
  if (status == CM_OK) {
    buffer_text(&url, peer_url);
    buffer_text(&url, "/message");
    self->url = url.data;
    status = url.failed ? base_fail(base, CM_BUSY, "there is no memory") : CM_OK;
  }
  free(peer_url);
  return status;
}
static cm_status start(void* instance) {
  struct {{name}}* self = instance;
  const cm_handle host = self->base.host->self;
  cm_http_listen_options options;
  memset(&options, 0, sizeof options);
  options.size = sizeof options;
  options.address = base_text(self->listen);
  const cm_status status = self->server->listen(host, &options, &self->listener);
  if (status != CM_OK) {
    return base_fail(&self->base, status, "cannot listen; the host's log line above this one says what is in the way");
  }
  if (self->server->route(host, self->listener, base_text("POST"), base_text("/message"), came, self) != CM_OK) {
    return base_fail(&self->base, CM_INTERNAL, "the host took no route");
  }
  return CM_OK;
}
static void stop(void* instance) {
  struct {{name}}* self = instance;
  if (self->listener != CM_NO_HANDLE) {
    self->server->close(self->base.host->self, self->listener);
  }
  while (self->waiting != NULL) {
    free_waiting(self->waiting);
  }
  while (self->outgoing != NULL) {
    self->client->cancel(self->base.host->self, self->outgoing->call);
    free_outgoing(self->outgoing);
  }
  while (self->links != NULL) {
    close_link(self, self->links->handle);
  }
}
static void release(void* instance) {
  struct {{name}}* self = instance;
  free(self->listen);
  free(self->url);
}

static const cm_transport_v1 transport = {sizeof transport, 0,           name,   open_link, close_link,
                                          send_messages,    acknowledge, request};

static const void* extension(void* instance, const char* id) {
  (void)instance;
  return strcmp(id, CM_TRANSPORT_ID) == 0 ? &transport : NULL;
}

const struct plugin_kind the_plugin = {
    sizeof(struct {{name}}), configure, start, stop, release, extension, NULL, NULL};
