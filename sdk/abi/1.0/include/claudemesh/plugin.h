/* What a plugin library is: its manifest, its one exported symbol, its factory and its instances. */
#ifndef CLAUDEMESH_PLUGIN_H
#define CLAUDEMESH_PLUGIN_H

#include <claudemesh/abi.h>

#ifdef __cplusplus
extern "C" {
#endif

/* --- the host as an instance sees it ------------------------------------------------------------------------ */

/* Given to `create` and valid until `destroy` returns. `self` names the instance in every host function.
 * Since ABI 1.0. */
typedef struct cm_host {
  uint32_t size;
  uint32_t abi_version; /* the version that `init` picked */
  cm_handle self;
  /* A table of the host by id ("cm.timer/1"), or null: not offered, not asked for in the manifest, or not granted in
   * the configuration. The pointer stays valid until destroy. [any] */
  const void* (*get)(cm_handle self, const char* table_id)CM_NOEXCEPT;
  /* Sets the text that explains the status which the running callback is about to return. [any] */
  void (*set_error)(cm_handle self, cm_text_pview text) CM_NOEXCEPT;
  /* Finishes a step (configure is never deferred; start and drain may be) that answered CM_DEFER. `ticket` is what the
   * step was given. `status` is CM_OK or a failure, with an optional text. [any] */
  cm_status (*complete)(cm_handle self, cm_handle ticket, cm_status status, cm_text_pview text) CM_NOEXCEPT;
} cm_host;

/* --- an instance -------------------------------------------------------------------------------------------- */

typedef struct cm_instance cm_instance; /* the plugin's own object; the host never looks into it */

/* Life cycle: created, configured, started, draining, stopped, destroyed; no step is skipped, except that a failed or
 * never started instance goes straight to destroy. Configuration is read through cm.config/1. Since ABI 1.0. */
typedef struct cm_instance_table_v1 {
  uint32_t size;
  uint32_t reserved;
  /* Reads the options; registers metrics; publishes extensions. Nothing may run yet. [loop] */
  cm_status (*configure)(cm_instance* self) CM_NOEXCEPT;
  /* Begins to work. CM_DEFER: the ticket is completed later, at the latest by the host's start deadline. [loop] */
  cm_status (*start)(cm_instance* self, cm_handle ticket) CM_NOEXCEPT;
  /* Takes no new work and finishes what is in flight, until `deadline_ms` ms from now. May CM_DEFER. [loop] */
  cm_status (*drain)(cm_instance* self, cm_handle ticket, uint64_t deadline_ms) CM_NOEXCEPT;
  /* Releases timers, listeners, connections. After the return nothing of the plugin may run but destroy. [loop] */
  void (*stop)(cm_instance* self) CM_NOEXCEPT;
  /* Frees the instance. Host functions may still be called and answer CM_GONE. [loop] */
  void (*destroy)(cm_instance* self) CM_NOEXCEPT;
  /* An extension that this plugin provides, by id ("cm.storage/1"), or null. The table's first argument is the
   * instance. Called after configure. [loop] */
  const void* (*get_extension)(cm_instance* self, const char* extension_id)CM_NOEXCEPT;
  /* Reload, phase 1: the new options are visible through cm.config/1 `candidate`; say whether they could be used. Null
   * function: the host restarts the instance instead. [loop] */
  cm_status (*reload_prepare)(cm_instance* self) CM_NOEXCEPT;
  /* Reload, phase 2: use the new options (commit true) or forget them. [loop] */
  void (*reload_finish)(cm_instance* self, bool commit) CM_NOEXCEPT;
} cm_instance_table_v1;

/* --- the factory -------------------------------------------------------------------------------------------- */

#define CM_FACTORY_ID "cm.factory/1"

/* Makes instances; what get_factory(CM_FACTORY_ID) answers. Static memory of the plugin. Since ABI 1.0. */
typedef struct cm_factory_v1 {
  uint32_t size;
  uint32_t reserved;
  /* Makes an instance. `host` stays valid until destroy. Stores the object and its table. [loop] */
  cm_status (*create)(const cm_host* host, cm_instance** out_self, const cm_instance_table_v1** out_table) CM_NOEXCEPT;
} cm_factory_v1;

/* --- the one exported symbol -------------------------------------------------------------------------------- */

#define CM_PLUGIN_MAGIC UINT64_C(0x31304d4353554c43) /* "CLUSCM01", little endian */

/* The type of the exported symbol: constant, static memory of the plugin. Since ABI 1.0. */
typedef struct cm_plugin_entry_v1 {
  uint64_t magic;
  uint32_t size;
  uint32_t abi_min;        /* the oldest ABI version the plugin can work with */
  uint32_t abi_built_with; /* the version of the headers it was compiled against */
  uint32_t reserved;
  /* Picks one of the versions that the host serves, or answers CM_UNSUPPORTED. Called once per process. [control] */
  cm_status (*init)(const uint32_t* offered_versions, uint32_t offered_count, uint32_t* out_picked) CM_NOEXCEPT;
  /* Called once before the process ends, after the last destroy. May be null. [control] */
  void (*deinit)(void) CM_NOEXCEPT;
  /* The table of a factory by id (zero-terminated), or null when it is not known. Static memory. [control] */
  const void* (*get_factory)(const char* factory_id)CM_NOEXCEPT;
} cm_plugin_entry_v1;

#if defined(__GNUC__)
#define CM_EXPORT __attribute__((visibility("default")))
#else
#define CM_EXPORT
#endif

/* Every plugin defines this symbol and exports no other. */
extern CM_EXPORT const cm_plugin_entry_v1 cm_plugin_entry;

/* --- the manifest ------------------------------------------------------------------------------------------- */

/* The manifest is UTF-8 JSON in an ELF note (section .note.claudemesh, owner "claudemesh", type 1), so that the host
 * can read it without loading the library. The build helper `cm_add_plugin` writes it from a plugin.toml; a plugin
 * built by hand uses the macro. Members (all but the first four optional):
 *   id           reverse domain, "org.example.hello"
 *   name         what a TOML file says in `use`: [a-z][a-z0-9_]*
 *   version      "1.4.0"
 *   abi          {"min": "1.0", "built": "1.0"}
 *   description  one line
 *   license      SPDX expression
 *   kinds        ["hook"]
 *   requires     host tables it asks for: ["cm.log/1", "cm.timer/1"]
 *   provides     extensions it offers: ["cm.hook/1"]
 *   platform     "linux-x86_64"
 *   build_id     text
 *   options      the configuration schema: [{"name","type","default","min","max","choices","unit","secret",
 *                "reloadable","required","alias","deprecated","extension","doc"}]; types: bool int float string
 *                duration size path address secret list plugin choice
 *   config_schema_hash  sha256 of the canonical JSON of `options`, lower-case hex
 */
#define CM_MANIFEST_NOTE_TYPE 1u

/* gcc would mark the section as program data; the suffix makes the assembler write a note. clang does so by name. */
#if defined(__clang__)
#define CM_NOTE_SECTION ".note.claudemesh"
#else
#define CM_NOTE_SECTION ".note.claudemesh,\"a\",@note#"
#endif

#define CM_PLUGIN_MANIFEST(json_literal)                                                       \
  __attribute__((section(CM_NOTE_SECTION), used, aligned(4))) static const struct {            \
    uint32_t name_size;                                                                        \
    uint32_t description_size; /* with the terminating zero */                                 \
    uint32_t type;                                                                             \
    char name[12];                                                                             \
    char description[(sizeof(json_literal) + 3u) / 4u * 4u];                                   \
  } cm_plugin_manifest_note = {11u, sizeof(json_literal), CM_MANIFEST_NOTE_TYPE, "claudemesh", json_literal}

#ifdef __cplusplus
}
#endif

CM_STATIC_ASSERT(sizeof(cm_host) == 40, "layout of cm_host");
CM_STATIC_ASSERT(offsetof(cm_host, get) == 16, "layout of cm_host");
CM_STATIC_ASSERT(sizeof(cm_instance_table_v1) == 72, "layout of cm_instance_table_v1");
CM_STATIC_ASSERT(offsetof(cm_instance_table_v1, get_extension) == 48, "layout of cm_instance_table_v1");
CM_STATIC_ASSERT(sizeof(cm_factory_v1) == 16, "layout of cm_factory_v1");
CM_STATIC_ASSERT(sizeof(cm_plugin_entry_v1) == 48, "layout of cm_plugin_entry_v1");
CM_STATIC_ASSERT(offsetof(cm_plugin_entry_v1, init) == 24, "layout of cm_plugin_entry_v1");

#endif
