/* Written by cm-manifest; changes go to plugin.toml. */
#include <claudemesh/plugin.h>

#if defined(__x86_64__)
#define MANIFEST_PLATFORM "linux-x86_64"
#elif defined(__aarch64__)
#define MANIFEST_PLATFORM "linux-aarch64"
#elif defined(__riscv)
#define MANIFEST_PLATFORM "linux-riscv64"
#else
#error "this platform has no name in manifests yet; add it to cm-manifest"
#endif

/* A manifest is one literal, longer than C11 promises and than any compiler minds. */
#pragma GCC diagnostic ignored "-Woverlength-strings"

#define MANIFEST_JSON \
  "{\"id\":\"org.claudemesh.example.pace\",\"name\":\"pace\",\"version\":\"1.0.0\",\"abi\":{\"min\"" \
  ":\"1.0\",\"built\":\"1.0\"},\"description\":\"Spaces the messages of a daemon out: one at a time" \
  ", never closer together than a gap.\",\"license\":\"MIT\",\"kinds\":[\"hook\"],\"requires\":[\"c" \
  "m.config/1\",\"cm.log/1\",\"cm.timer/1\",\"cm.clock/1\",\"cm.metrics/1\"],\"provides\":[\"cm.hoo" \
  "k/1\"],\"platform\":\"" \
  MANIFEST_PLATFORM \
  "\",\"config_schema_hash\":\"da5b48d2dd43b1ba7d2620229f6d6b936238c0576b1ffc5fe403be20ce45c516\",\"" \
  "options\":[{\"default\":\"1s\",\"doc\":\"Time between two messages.\",\"max\":\"1h\",\"min\":\"1" \
  "ms\",\"name\":\"gap\",\"reloadable\":true,\"type\":\"duration\"},{\"default\":\"10s\",\"doc\":\"" \
  "A message that would have to wait longer than this is refused.\",\"max\":\"1h\",\"min\":\"0\",\"" \
  "name\":\"wait_max\",\"type\":\"duration\"}]}" \

CM_PLUGIN_MANIFEST(MANIFEST_JSON);
