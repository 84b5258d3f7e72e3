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
  "{\"id\":\"org.claudemesh.recorded.probe\",\"name\":\"probe\",\"version\":\"1.0.0\",\"abi\":{\"mi" \
  "n\":\"1.0\",\"built\":\"1.0\"},\"description\":\"Uses every table of the host once and logs what" \
  " it found.\",\"license\":\"MIT\",\"kinds\":[\"feature\"],\"requires\":[\"cm.buffer/1\",\"cm.log/" \
  "1\",\"cm.loop/1\",\"cm.timer/1\",\"cm.clock/1\",\"cm.random/1\",\"cm.metrics/1\",\"cm.events/1\"" \
  ",\"cm.worker/1\",\"cm.config/1\",\"cm.registry/1\",\"cm.http.server/1\",\"cm.http.client/1\",\"c" \
  "m.websocket/1\"],\"provides\":[],\"platform\":\"" \
  MANIFEST_PLATFORM \
  "\",\"config_schema_hash\":\"66e4969f8c3aa061e72438721688c0dd16d4f18a03ba6e09703be754df4dc7ae\",\"" \
  "options\":[{\"doc\":\"A hook that refuses the word 'forbidden'.\",\"extension\":\"cm.hook/1\",\"" \
  "name\":\"guard\",\"required\":true,\"same_loop\":true,\"type\":\"plugin\"},{\"doc\":\"A hook tha" \
  "t lets the second message wait.\",\"extension\":\"cm.hook/1\",\"name\":\"pacer\",\"required\":tr" \
  "ue,\"same_loop\":true,\"type\":\"plugin\"},{\"doc\":\"A database.\",\"extension\":\"cm.storage/1" \
  "\",\"name\":\"store\",\"required\":true,\"type\":\"plugin\"},{\"default\":\"2ms\",\"doc\":\"What" \
  " a timer waits for; shows that a duration is milliseconds.\",\"name\":\"pause\",\"type\":\"durat" \
  "ion\"},{\"default\":[\"one\",\"two\"],\"doc\":\"Shows that a list can be read.\",\"list_of\":\"s" \
  "tring\",\"name\":\"words\",\"type\":\"list\"}]}" \

CM_PLUGIN_MANIFEST(MANIFEST_JSON);
