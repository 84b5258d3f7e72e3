/* A plugin for the loader's tests. PLUGIN_* macros make it wrong in one way each. */
#include <claudemesh/plugin.h>

#ifndef PLUGIN_ABI_MIN
#define PLUGIN_ABI_MIN CM_ABI_VERSION_1_0
#endif
#ifndef PLUGIN_MAGIC
#define PLUGIN_MAGIC CM_PLUGIN_MAGIC
#endif
#ifndef PLUGIN_INIT_STATUS
#define PLUGIN_INIT_STATUS CM_OK
#endif
#ifndef PLUGIN_PICK
#define PLUGIN_PICK offered_versions[0]
#endif
#ifndef PLUGIN_FACTORY
#define PLUGIN_FACTORY &factory
#endif

static cm_status create(const cm_host* host, cm_instance** out_instance, const cm_instance_table_v1** out_table) {
  (void)host;
  (void)out_instance;
  (void)out_table;
  return CM_UNSUPPORTED;
}

static const cm_factory_v1 factory = {sizeof(cm_factory_v1), 0, create};
static int initialised = 0;

static cm_status init(const uint32_t* offered_versions, uint32_t offered_count, uint32_t* out_picked) {
  (void)offered_count;
  ++initialised;
  *out_picked = PLUGIN_PICK;
  return PLUGIN_INIT_STATUS;
}

static void deinit(void) { --initialised; }

/* "test.initialised": how often init ran without deinit, so that a test can see both. */
static const void* get_factory(const char* factory_id) {
  const void* none = &factory;
  const char* id = CM_FACTORY_ID;
  (void)none;
  if (factory_id[0] == 't') {
    return &initialised;
  }
  while (*id != '\0' && *id == *factory_id) {
    ++id;
    ++factory_id;
  }
  return *id == *factory_id ? PLUGIN_FACTORY : NULL;
}

#ifndef PLUGIN_NO_ENTRY
CM_EXPORT const cm_plugin_entry_v1 cm_plugin_entry = {
    PLUGIN_MAGIC, sizeof(cm_plugin_entry_v1), PLUGIN_ABI_MIN, CM_ABI_VERSION_CURRENT, 0, init, deinit, get_factory};
#else
CM_EXPORT int some_other_symbol = 1;
const void* unused_entry(void);
const void* unused_entry(void) { return init == NULL ? (const void*)&deinit : get_factory("t"); }
#endif

#ifdef PLUGIN_MANIFEST
CM_PLUGIN_MANIFEST(PLUGIN_MANIFEST);
#endif
