/* A hook in plain C: refuses to send a message that contains a given word.
 *
 * It needs nothing but the SDK's headers:
 *   cc -std=c11 -fPIC -shared -fvisibility=hidden -o word_guard.so word_guard.c $(pkg-config --cflags claudemesh-sdk)
 *
 * Use it in a daemon's configuration:
 *   [plugins.guard]
 *   use = "word_guard"
 *   word = "password"
 *   [plugins.daemon]
 *   hooks = ["guard"]
 */
#include <claudemesh/ext/hook.h>
#include <claudemesh/ext/host.h>
#include <claudemesh/plugin.h>
#include <stdlib.h>
#include <string.h>

CM_PLUGIN_MANIFEST(
    "{\"id\":\"org.claudemesh.example.word_guard\",\"name\":\"word_guard\",\"version\":\"1.0.0\","
    "\"abi\":{\"min\":\"1.0\",\"built\":\"1.0\"},\"description\":\"Refuses messages that contain a word.\","
    "\"license\":\"MIT\",\"kinds\":[\"hook\"],\"requires\":[\"cm.config/1\",\"cm.log/1\",\"cm.metrics/1\"],"
    "\"provides\":[\"cm.hook/1\"],\"platform\":\"linux-x86_64\","
    "\"options\":[{\"name\":\"word\",\"type\":\"string\",\"required\":true,"
    "\"doc\":\"A message with this word is not sent.\"}]}");

struct guard {
  cm_hook_v1 hook; /* first: get_extension hands out its address */
  const cm_host* host;
  const cm_log_v1* log; /* null if not granted: both are optional */
  const cm_metrics_v1* metrics;
  uint32_t refused;
  bool configured;
  bool started;
  cm_text_hview word; /* valid until destroy */
};

/* A table that is as long as ours, or null: an older host may have a shorter one. */
static const void* find_table(const struct guard* self, const char* id, uint32_t size) {
  const uint32_t* table = self->host->get(self->host->self, id); /* each table begins with its size */
  return table != NULL && *table >= size ? table : NULL;
}

/* Says why the running step fails. */
static cm_status refuse(const struct guard* self, cm_status status, const char* why) {
  const cm_text_pview view = {why, strlen(why)};
  self->host->set_error(self->host->self, view);
  return status;
}

static cm_text_pview text(const char* literal) {
  const cm_text_pview view = {literal, strlen(literal)};
  return view;
}

static bool contains(cm_bytes_hview haystack, cm_text_hview needle) {
  if (needle.size == 0 || haystack.size < needle.size) {
    return false;
  }
  for (uint64_t i = 0; i + needle.size <= haystack.size; ++i) {
    if (memcmp(haystack.data + i, needle.data, needle.size) == 0) {
      return true;
    }
  }
  return false;
}

static uint32_t invoke(void* instance, const cm_hook_event* event, const cm_hook_reply* reply) {
  struct guard* self = instance;
  static const char point[] = "daemon.send";
  if (event->point.size != sizeof(point) - 1 || memcmp(event->point.data, point, event->point.size) != 0) {
    return CM_HOOK_CONTINUE; /* a point that we do not know, or do not guard */
  }
  if (!contains(event->payload, self->word)) {
    return CM_HOOK_CONTINUE;
  }
  static const char reason[] = "the message contains a word that the guard refuses; take it out and send again";
  const cm_bytes_pview payload = {(const uint8_t*)reason, sizeof(reason) - 1};
  reply->set_payload(reply->context, event->ticket, payload);
  if (self->metrics != NULL) {
    self->metrics->add(self->host->self, self->refused, 1);
  }
  if (self->log != NULL) {
    self->log->write(self->host->self, CM_LOG_INFO, text("refused a message"), NULL, 0);
  }
  return CM_HOOK_DENY;
}

static cm_status configure(cm_instance* instance) {
  struct guard* self = (struct guard*)instance;
  if (self->configured) {
    return refuse(self, CM_INVALID, "configured twice; a host configures an instance once");
  }
  const cm_config_v1* config = find_table(self, CM_CONFIG_ID, sizeof(*config));
  if (config == NULL) {
    return refuse(self, CM_DENIED, "word_guard needs cm.config/1; add it to `permissions` of this instance");
  }
  self->log = find_table(self, CM_LOG_ID, sizeof(*self->log));
  self->metrics = find_table(self, CM_METRICS_ID, sizeof(*self->metrics));
  if (self->metrics != NULL &&
      self->metrics->define(self->host->self, CM_METRIC_COUNTER, text("word_guard_refused_total"), text(""),
                            text("Messages that were refused"), &self->refused) != CM_OK) {
    self->metrics = NULL; /* it works without being counted */
  }
  const cm_status status = config->get_text(self->host->self, CM_CONFIG_ACTIVE, text("word"), &self->word);
  if (status != CM_OK) {
    return refuse(self, status, "the option `word` cannot be read; set it to the word that is refused");
  }
  self->configured = true;
  return CM_OK;
}

static cm_status start(cm_instance* instance, cm_handle ticket) {
  struct guard* self = (struct guard*)instance;
  (void)ticket;
  if (!self->configured || self->started) {
    return refuse(self, CM_INVALID, "started out of turn; a host configures once, then starts once");
  }
  self->started = true;
  return CM_OK;
}

static cm_status drain(cm_instance* instance, cm_handle ticket, uint64_t deadline_ms) {
  struct guard* self = (struct guard*)instance;
  (void)ticket;
  (void)deadline_ms;
  return self->started ? CM_OK : refuse(self, CM_INVALID, "drained before it was started");
}

static void stop(cm_instance* instance) {
  (void)instance;
}

static void destroy(cm_instance* instance) {
  free(instance);
}

static const void* get_extension(cm_instance* instance, const char* id) {
  return strcmp(id, CM_HOOK_ID) == 0 ? &((struct guard*)instance)->hook : NULL;
}

/* No reload functions: the host restarts the instance when an option changes. */
static const cm_instance_table_v1 instance_table = {
    sizeof(cm_instance_table_v1), 0, configure, start, drain, stop, destroy, get_extension, NULL, NULL};

static cm_status create(const cm_host* host, cm_instance** out_instance, const cm_instance_table_v1** out_table) {
  struct guard* self = calloc(1, sizeof(*self));
  if (self == NULL) {
    return CM_BUSY;
  }
  self->host = host;
  self->hook.size = sizeof(self->hook);
  self->hook.kind = CM_HOOK_GUARD;
  self->hook.order = 100;
  self->hook.invoke = invoke;
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

static const void* get_factory(const char* factory_id) {
  return strcmp(factory_id, CM_FACTORY_ID) == 0 ? &factory : NULL;
}

const cm_plugin_entry_v1 cm_plugin_entry = {
    CM_PLUGIN_MAGIC, sizeof(cm_plugin_entry_v1), CM_ABI_VERSION_1_0, CM_ABI_VERSION_1_0, 0, init, NULL, get_factory};
