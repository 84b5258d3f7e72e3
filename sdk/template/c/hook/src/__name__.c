/* {{name}}: refuses messages that contain a forbidden word. */
#include <claudemesh/ext/hook.h>

#include "plugin_base.h"

#define WORDS_MAX 64
#define WORD_BYTES_MAX 64

struct words {
  char text[WORDS_MAX][WORD_BYTES_MAX + 1]; /* lower case */
  uint32_t count;
};

struct {{name}} {
  struct base base;
  const cm_metrics_v1* metrics; /* may be null */
  uint32_t refused; /* the metric */
  struct words words;
  struct words next; /* while a reload is decided */
};

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
  struct {{name}}* self = instance;
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
    self->metrics->add(self->base.host->self, self->refused, 1);
  }
  return CM_HOOK_DENY;
}

static cm_status read_words(struct {{name}}* self, uint32_t which, struct words* out) {
  uint64_t count = 0;
  struct words words = {{{0}}, 0};
  const cm_status status = self->base.config->list_size(self->base.host->self, which, base_text("words"), &count);
  if (status != CM_OK) {
    return base_fail(&self->base, status, "found no list in `words`; expected words");
  }
  for (uint64_t i = 0; i < count && i < WORDS_MAX; ++i) {
    cm_text_hview word = {NULL, 0};
    self->base.config->list_text(self->base.host->self, which, base_text("words"), i, &word);
    if (word.size == 0 || word.size > WORD_BYTES_MAX) {
      return base_fail(&self->base, CM_INVALID,
                       "found an empty or very long word in `words`; expected 1 to 64 bytes");
    }
    for (uint64_t j = 0; j < word.size; ++j) {
      words.text[words.count][j] = lower(word.data[j]);
    }
    words.count++;
  }
  *out = words;
  return CM_OK;
}

static cm_status configure(void* instance) {
  struct {{name}}* self = instance;
  self->metrics = base_table(&self->base, CM_METRICS_ID, sizeof *self->metrics);
  if (self->metrics != NULL &&
      self->metrics->define(self->base.host->self, CM_METRIC_COUNTER, base_text("{{name}}_refused_total"),
                            base_text(""), base_text("Messages refused"), &self->refused) != CM_OK) {
    self->metrics = NULL;
  }
  return read_words(self, CM_CONFIG_ACTIVE, &self->words);
}
static cm_status reload_prepare(void* instance) {
  struct {{name}}* self = instance;
  return read_words(self, CM_CONFIG_CANDIDATE, &self->next);
}
static void reload_finish(void* instance, bool commit) {
  struct {{name}}* self = instance;
  if (commit) {
    self->words = self->next;
  }
}

/* A guard: an error of ours refuses the message. */
static const cm_hook_v1 hook = {sizeof(hook), CM_HOOK_GUARD, 100, 0, invoke};

static const void* extension(void* instance, const char* id) {
  (void)instance;
  return strcmp(id, CM_HOOK_ID) == 0 ? &hook : NULL;
}

const struct plugin_kind the_plugin = {
    sizeof(struct {{name}}), configure, NULL, NULL, NULL, extension, reload_prepare, reload_finish};
