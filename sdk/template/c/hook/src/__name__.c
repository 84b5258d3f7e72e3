/* {{name}}: refuses messages that contain a forbidden word. */
#include <claudemesh/ext/hook.h>
#include <claudemesh/ext/host.h>
#include <claudemesh/plugin.h>

#include <stdlib.h>
#include <string.h>

#define WORDS_MAX 64
#define WORD_BYTES_MAX 64

struct words {
  char text[WORDS_MAX][WORD_BYTES_MAX + 1]; /* lower case */
  uint32_t count;
};

/* The hook is the first member, so that the address of the instance is the address of the table. */
struct {{name}} {
  cm_hook_v1 hook;
  const cm_host* host;
  const cm_config_v1* config;
  const cm_metrics_v1* metrics;
  uint32_t refused; /* the metric */
  struct words words;
  struct words next; /* while a reload is decided */
};

static struct {{name}}* self_of(void* instance) {
  return (struct {{name}}*)instance;
}

static cm_text_pview text(const char* zero_terminated) {
  const cm_text_pview view = {zero_terminated, strlen(zero_terminated)};
  return view;
}

static char lower(char c) {
  return c >= 'A' && c <= 'Z' ? (char)(c + 32) : c;
}

static bool begins_with(const uint8_t* data, const char* word) {
  for (; *word != 0; ++word, ++data) {
    if (lower((char)*data) != *word) {
      return false;
    }
  }
  return true;
}

/* The first of the words that `data` contains, or null. */
static const char* find_word(const struct words* words, const uint8_t* data, uint64_t size) {
  for (uint32_t i = 0; i < words->count; ++i) {
    const uint64_t length = strlen(words->text[i]);
    for (uint64_t at = 0; length <= size && at + length <= size; ++at) {
      if (begins_with(data + at, words->text[i])) {
        return words->text[i];
      }
    }
  }
  return NULL;
}

static uint32_t invoke(void* instance, const cm_hook_event* event, const cm_hook_reply* reply) {
  struct {{name}}* self = self_of(instance);
  char message[128] = "this message contains the forbidden word ";
  if (event->point.size != 11 || memcmp(event->point.data, "daemon.send", 11) != 0) {
    return CM_HOOK_CONTINUE; /* a point that we do not know */
  }
  const char* word = find_word(&self->words, event->payload.data, event->payload.size);
  if (word == NULL) {
    return CM_HOOK_CONTINUE;
  }
  strcat(message, word);
  const cm_bytes_pview answer = {(const uint8_t*)message, strlen(message)};
  reply->set_payload(reply->context, event->ticket, answer);
  if (self->metrics != NULL) {
    self->metrics->add(self->host->self, self->refused, 1);
  }
  return CM_HOOK_DENY;
}

static cm_status read_words(struct {{name}}* self, uint32_t which, struct words* out) {
  uint64_t count = 0;
  struct words words = {{{0}}, 0};
  const cm_status status = self->config->list_size(self->host->self, which, text("words"), &count);
  if (status != CM_OK) {
    return status;
  }
  for (uint64_t i = 0; i < count && i < WORDS_MAX; ++i) {
    cm_text_hview word = {NULL, 0};
    self->config->list_text(self->host->self, which, text("words"), i, &word);
    if (word.size == 0 || word.size > WORD_BYTES_MAX) {
      self->host->set_error(self->host->self,
                            text("found an empty or very long word in `words`; expected 1 to 64 bytes"));
      return CM_INVALID;
    }
    for (uint64_t j = 0; j < word.size; ++j) {
      words.text[words.count][j] = lower(word.data[j]);
    }
    words.count++;
  }
  *out = words;
  return CM_OK;
}

static cm_status configure(cm_instance* instance) {
  struct {{name}}* self = self_of(instance);
  self->config = (const cm_config_v1*)self->host->get(self->host->self, CM_CONFIG_ID);
  self->metrics = (const cm_metrics_v1*)self->host->get(self->host->self, CM_METRICS_ID);
  if (self->config == NULL) {
    self->host->set_error(self->host->self, text("the table cm.config/1 was not granted; add it to `permissions`"));
    return CM_DENIED;
  }
  if (self->metrics != NULL &&
      self->metrics->define(self->host->self, CM_METRIC_COUNTER, text("{{name}}_refused_total"), text(""),
                            text("Messages refused"), &self->refused) != CM_OK) {
    self->metrics = NULL;
  }
  return read_words(self, CM_CONFIG_ACTIVE, &self->words);
}

static cm_status start(cm_instance* instance, cm_handle ticket) {
  (void)instance;
  (void)ticket;
  return CM_OK;
}
static cm_status drain(cm_instance* instance, cm_handle ticket, uint64_t deadline_ms) {
  (void)instance;
  (void)ticket;
  (void)deadline_ms;
  return CM_OK;
}
static void stop(cm_instance* instance) {
  (void)instance;
}
static void destroy(cm_instance* instance) {
  free(instance);
}
static const void* get_extension(cm_instance* instance, const char* id) {
  return strcmp(id, CM_HOOK_ID) == 0 ? &self_of(instance)->hook : NULL;
}
static cm_status reload_prepare(cm_instance* instance) {
  struct {{name}}* self = self_of(instance);
  return read_words(self, CM_CONFIG_CANDIDATE, &self->next);
}
static void reload_finish(cm_instance* instance, bool commit) {
  struct {{name}}* self = self_of(instance);
  if (commit) {
    self->words = self->next;
  }
}
static const cm_instance_table_v1 table = {sizeof(table), 0,       configure,     start,          drain,
                                           stop,          destroy, get_extension, reload_prepare, reload_finish};

static cm_status create(const cm_host* host, cm_instance** out_instance, const cm_instance_table_v1** out_table) {
  struct {{name}}* self = calloc(1, sizeof *self);
  if (self == NULL) {
    return CM_BUSY;
  }
  self->host = host;
  self->hook.size = sizeof self->hook;
  self->hook.kind = CM_HOOK_GUARD; /* an error of ours refuses the message */
  self->hook.order = 100;
  self->hook.invoke = invoke;
  *out_instance = (cm_instance*)self;
  *out_table = &table;
  return CM_OK;
}
static const cm_factory_v1 factory = {sizeof(factory), 0, create};

static cm_status init(const uint32_t* offered, uint32_t count, uint32_t* out_picked) {
  for (uint32_t i = 0; i < count; ++i) {
    if (offered[i] == CM_ABI_VERSION_1_0) {
      *out_picked = offered[i];
      return CM_OK;
    }
  }
  return CM_UNSUPPORTED;
}
static const void* get_factory(const char* id) {
  return strcmp(id, CM_FACTORY_ID) == 0 ? &factory : NULL;
}

const cm_plugin_entry_v1 cm_plugin_entry = {
    CM_PLUGIN_MAGIC, sizeof(cm_plugin_entry_v1), CM_ABI_VERSION_1_0, CM_ABI_VERSION_CURRENT, 0, init, NULL,
    get_factory};
