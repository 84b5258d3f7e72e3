/* A journal of life-cycle steps: one line per step, appended to the file that the option `journal` names. */
#ifndef CM_TEST_JOURNAL_H
#define CM_TEST_JOURNAL_H

#include <claudemesh/ext/host.h>
#include <claudemesh/plugin.h>
#include <stdio.h>
#include <string.h>

typedef struct journal {
  const cm_host* host;
  char path[512];
  char name[64];
} journal;

static inline cm_text_pview pview(const char* text) {
  cm_text_pview view = {text, strlen(text)};
  return view;
}

static inline void journal_write(const journal* self, const char* step) {
  FILE* file = self->path[0] == '\0' ? NULL : fopen(self->path, "a");
  if (file != NULL) {
    fprintf(file, "%s %s\n", self->name, step);
    fclose(file);
  }
}

static inline void copy_text(char* out, size_t out_size, cm_text_hview text) {
  const size_t size = text.size < out_size - 1 ? (size_t)text.size : out_size - 1;
  memcpy(out, text.data, size);
  out[size] = '\0';
}

/* Reads a text option; the empty text when it has no value. */
static inline void option_text(const cm_host* host, uint32_t which, const char* option, char* out, size_t out_size) {
  const cm_config_v1* config = (const cm_config_v1*)host->get(host->self, CM_CONFIG_ID);
  cm_text_hview value = {NULL, 0};
  out[0] = '\0';
  if (config != NULL && config->get_text(host->self, which, pview(option), &value) == CM_OK) {
    copy_text(out, out_size, value);
  }
}

static inline void journal_open(journal* self, const cm_host* host) {
  const cm_config_v1* config = (const cm_config_v1*)host->get(host->self, CM_CONFIG_ID);
  memset(self, 0, sizeof *self);
  self->host = host;
  option_text(host, CM_CONFIG_ACTIVE, "journal", self->path, sizeof self->path);
  if (config != NULL) {
    copy_text(self->name, sizeof self->name, config->instance_name(host->self));
  }
}

/* What every test plugin exports. */
#define TEST_PLUGIN_ENTRY(create_function)                                                                         \
  static const cm_factory_v1 test_factory = {sizeof(cm_factory_v1), 0, create_function};                           \
  static cm_status test_init(const uint32_t* offered, uint32_t count, uint32_t* picked) CM_NOEXCEPT {              \
    for (uint32_t i = 0; i < count; ++i) {                                                                         \
      if (offered[i] == CM_ABI_VERSION_1_0) {                                                                      \
        *picked = offered[i];                                                                                      \
        return CM_OK;                                                                                              \
      }                                                                                                            \
    }                                                                                                              \
    return CM_UNSUPPORTED;                                                                                         \
  }                                                                                                                \
  static const void* test_get_factory(const char* id) CM_NOEXCEPT {                                                \
    return strcmp(id, CM_FACTORY_ID) == 0 ? &test_factory : NULL;                                                  \
  }                                                                                                                \
  const cm_plugin_entry_v1 cm_plugin_entry = {                                                                     \
      CM_PLUGIN_MAGIC, sizeof(cm_plugin_entry_v1), CM_ABI_VERSION_1_0, CM_ABI_VERSION_CURRENT, 0, test_init, NULL, \
      test_get_factory}

#endif
