/* What is the same in every plugin in C: the order of the steps, the tables of the host, options, and growing text. */
#ifndef PLUGIN_BASE_H
#define PLUGIN_BASE_H

#include <claudemesh/ext/host.h>
#include <claudemesh/plugin.h>

#include <stdlib.h>
#include <string.h>

/* The first member of the instance, so that the address of the instance is the address of its base. */
struct base {
  const cm_host* host;
  const cm_config_v1* config;
  uint32_t steps; /* 1: configured, 2: started */
};

/* What the plugin is; `the_plugin` is defined by its source. Members that are null do nothing. */
struct plugin_kind {
  size_t size; /* of the instance, which begins zeroed */
  cm_status (*configure)(void* self);
  cm_status (*start)(void* self);
  void (*stop)(void* self);
  void (*release)(void* self); /* what configure took; the instance itself is freed afterwards */
  const void* (*extension)(void* self, const char* id);
  cm_status (*reload_prepare)(void* self);
  void (*reload_finish)(void* self, bool commit);
};
extern const struct plugin_kind the_plugin;

/* Tells the host why a step fails, and answers `status`. */
cm_status base_fail(const struct base* base, cm_status status, const char* text);
/* A table of at least `size` bytes, or null: not granted, or of an older host and shorter. */
const void* base_table(const struct base* base, const char* id, uint32_t size);
/* The same for a table without which the plugin cannot work: null, and the step fails in words. */
const void* base_need(const struct base* base, const char* id, uint32_t size);

/* Views of text. */
cm_text_pview base_text(const char* zero_terminated);
cm_text_pview base_view(cm_text_hview view);
bool base_same(const char* data, uint64_t size, const char* zero_terminated);
/* A copy that ends with a zero; free it. Null: no memory. */
char* base_copy(const char* data, uint64_t size);

/* Options; a failure is told to the host. `out` is a copy; what it held before is freed. */
cm_status base_option_text(const struct base* base, const char* name, char** out);
cm_status base_option_int(const struct base* base, const char* name, int64_t* out);

/* Text that grows. Begin with zeros; `failed`: there was no memory. Ends with a zero. */
struct buffer {
  char* data;
  size_t size;
  size_t capacity;
  bool failed;
};
void buffer_add(struct buffer* buffer, const char* data, uint64_t size);
void buffer_text(struct buffer* buffer, const char* zero_terminated);
cm_text_pview buffer_view(const struct buffer* buffer);

#endif
