/* What may cross: mapping, echo, once, loops. No input and no output, so it can be tested by itself. */
#ifndef RULES_H
#define RULES_H

#include <claudemesh/ext/bridge.h>

#include "plugin_base.h"

#define REMEMBERED (4 * CM_BRIDGE_REMEMBERED)

struct mapping {
  struct mapping* next; /* in the order of the ids */
  uint32_t directions;
  char* id;
  char* remote;
  char* mesh;
  char* target;
  char* options;
};
struct rules {
  const char* mark;
  struct mapping* mappings;
  uint64_t mapping_count;
  uint64_t keys[2][REMEMBERED][2]; /* of each direction, the oldest is overwritten */
  uint64_t key_count[2];
};

/* The texts of a crossing. */
enum { MAPPING_ID, MESSAGE_ID, REASON, CHANNEL, MESH, AUTHOR, TEXT, TRAIL, NEW_ID, TEXTS };
/* `outcome` 0: it goes over. Texts are owned, and never null after rules_judge but for a lack of memory. */
struct judgement {
  uint32_t outcome;
  char* texts[TEXTS];
};

cm_status rules_map(struct rules* rules, const cm_bridge_mapping* mapping);
bool rules_unmap(struct rules* rules, cm_text_pview id);
void rules_clear(struct rules* rules);
/* Does the mapping cover the message? With none that does, the message is unmapped. */
bool rules_cover(const struct mapping* mapping, uint32_t direction, const cm_bridge_message* message);
/* `mapping` null: unmapped. False: no memory. */
bool rules_judge(struct rules* rules, const struct mapping* mapping, uint32_t direction,
                 const cm_bridge_message* message, struct judgement* out);
void judgement_clear(struct judgement* judgement);

#endif
