#include "plugin_base.h"

static struct base* base_of(cm_instance* instance) {
  return (struct base*)instance;
}

cm_text_pview base_text(const char* zero_terminated) {
  const cm_text_pview view = {zero_terminated, strlen(zero_terminated)};
  return view;
}
cm_text_pview base_view(cm_text_hview view) {
  const cm_text_pview same = {view.data, view.size};
  return same;
}
bool base_same(const char* data, uint64_t size, const char* zero_terminated) {
  return size == strlen(zero_terminated) && (size == 0 || memcmp(data, zero_terminated, size) == 0);
}
char* base_copy(const char* data, uint64_t size) {
  char* copy = malloc(size + 1);
  if (copy != NULL) {
    if (size != 0) {
      memcpy(copy, data, size);
    }
    copy[size] = 0;
  }
  return copy;
}

cm_status base_fail(const struct base* base, cm_status status, const char* text) {
  base->host->set_error(base->host->self, base_text(text));
  return status;
}
const void* base_table(const struct base* base, const char* id, uint32_t size) {
  const uint32_t* table = base->host->get(base->host->self, id); /* every table begins with its size */
  return table != NULL && *table >= size ? table : NULL;
}
const void* base_need(const struct base* base, const char* id, uint32_t size) {
  const void* table = base_table(base, id, size);
  if (table == NULL) {
    struct buffer text = {NULL, 0, 0, false};
    buffer_text(&text, "the host does not give ");
    buffer_text(&text, id);
    buffer_text(&text, ", without which this plugin cannot work; add it to `permissions`, or use a newer host");
    base->host->set_error(base->host->self, buffer_view(&text));
    free(text.data);
  }
  return table;
}

static cm_status option_failed(const struct base* base, const char* name, cm_status status) {
  struct buffer text = {NULL, 0, 0, false};
  buffer_text(&text, "found no value for the option ");
  buffer_text(&text, name);
  buffer_text(&text, "; expected one of the type that plugin.toml declares");
  base->host->set_error(base->host->self, buffer_view(&text));
  free(text.data);
  return status;
}
cm_status base_option_text(const struct base* base, const char* name, char** out) {
  cm_text_hview value = {NULL, 0};
  const cm_status status = base->config->get_text(base->host->self, CM_CONFIG_ACTIVE, base_text(name), &value);
  if (status != CM_OK) {
    return option_failed(base, name, status);
  }
  free(*out);
  *out = base_copy(value.data, value.size);
  return *out != NULL ? CM_OK : base_fail(base, CM_BUSY, "there is no memory");
}
cm_status base_option_int(const struct base* base, const char* name, int64_t* out) {
  const cm_status status = base->config->get_int(base->host->self, CM_CONFIG_ACTIVE, base_text(name), out);
  return status == CM_OK ? CM_OK : option_failed(base, name, status);
}

void buffer_add(struct buffer* buffer, const char* data, uint64_t size) {
  if (buffer->capacity - buffer->size <= size) {
    const size_t capacity = 2 * (buffer->size + size) + 64;
    char* grown = realloc(buffer->data, capacity);
    if (grown == NULL) {
      buffer->failed = true;
      return;
    }
    buffer->data = grown;
    buffer->capacity = capacity;
  }
  if (size != 0) {
    memcpy(buffer->data + buffer->size, data, size);
  }
  buffer->size += size;
  buffer->data[buffer->size] = 0;
}
void buffer_text(struct buffer* buffer, const char* zero_terminated) {
  buffer_add(buffer, zero_terminated, strlen(zero_terminated));
}
cm_text_pview buffer_view(const struct buffer* buffer) {
  const cm_text_pview view = {buffer->data, buffer->size};
  return view;
}

/* --- the life of an instance: each step once, in this order --- */

static cm_status configure(cm_instance* instance) {
  struct base* base = base_of(instance);
  if (base->steps != 0) {
    return base_fail(base, CM_INVALID, "found an instance that is configured; expected configure once, after create");
  }
  base->config = base_need(base, CM_CONFIG_ID, sizeof *base->config);
  const cm_status status = base->config == NULL ? CM_DENIED : the_plugin.configure(instance);
  if (status == CM_OK) {
    base->steps = 1;
  }
  return status;
}
static cm_status start(cm_instance* instance, cm_handle ticket) {
  struct base* base = base_of(instance);
  (void)ticket;
  if (base->steps != 1) {
    return base_fail(base, CM_INVALID, "found a start too early or twice; expected it once, after configure");
  }
  base->steps = 2;
  return the_plugin.start == NULL ? CM_OK : the_plugin.start(instance);
}
static cm_status drain(cm_instance* instance, cm_handle ticket, uint64_t deadline_ms) {
  struct base* base = base_of(instance);
  (void)ticket;
  (void)deadline_ms;
  return base->steps == 2 ? CM_OK : base_fail(base, CM_INVALID, "found a drain too early; expected it after start");
}
static void stop(cm_instance* instance) {
  if (the_plugin.stop != NULL) {
    the_plugin.stop(instance);
  }
}
static void destroy(cm_instance* instance) {
  if (the_plugin.release != NULL) {
    the_plugin.release(instance);
  }
  free(instance);
}
static const void* get_extension(cm_instance* instance, const char* id) {
  return the_plugin.extension(instance, id);
}
static cm_status reload_prepare(cm_instance* instance) {
  return the_plugin.reload_prepare == NULL ? CM_OK : the_plugin.reload_prepare(instance);
}
static void reload_finish(cm_instance* instance, bool commit) {
  if (the_plugin.reload_finish != NULL) {
    the_plugin.reload_finish(instance, commit);
  }
}
static const cm_instance_table_v1 table = {sizeof(table), 0,       configure,     start,          drain,
                                           stop,          destroy, get_extension, reload_prepare, reload_finish};

static cm_status create(const cm_host* host, cm_instance** out_instance, const cm_instance_table_v1** out_table) {
  struct base* base = calloc(1, the_plugin.size);
  if (base == NULL) {
    return CM_BUSY;
  }
  base->host = host;
  *out_instance = (cm_instance*)base;
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
