#include "rules.h"

#include <ctype.h>
#include <stdio.h>

static void free_mapping(struct mapping* mapping) {
  free(mapping->id);
  free(mapping->remote);
  free(mapping->mesh);
  free(mapping->target);
  free(mapping->options);
  free(mapping);
}
static bool same_view(const char* text, cm_text_pview view) {
  return base_same(view.data, view.size, text);
}
static bool good_id(cm_text_pview id) {
  for (uint64_t i = 0; i < id.size; ++i) {
    if (!isalnum((unsigned char)id.data[i]) && id.data[i] != '_' && id.data[i] != '-') {
      return false;
    }
  }
  return id.size != 0 && id.size <= 64;
}

cm_status rules_map(struct rules* rules, const cm_bridge_mapping* wanted) {
  bool known = false;
  if (!good_id(wanted->id) || wanted->remote.size == 0 || wanted->target.size == 0 || wanted->directions == 0 ||
      wanted->directions > (CM_BRIDGE_TO_MESH | CM_BRIDGE_TO_REMOTE)) {
    return CM_INVALID;
  }
  for (const struct mapping* other = rules->mappings; other != NULL; other = other->next) {
    if (same_view(other->id, wanted->id)) {
      known = true;
    } else if (same_view(other->remote, wanted->remote) && same_view(other->target, wanted->target) &&
               same_view(other->mesh, wanted->mesh)) {
      return CM_INVALID;
    }
  }
  struct mapping* mapping = calloc(1, sizeof *mapping);
  if (mapping == NULL || (!known && rules->mapping_count >= CM_BRIDGE_MAPPINGS_MAX)) {
    free(mapping);
    return CM_BUSY;
  }
  mapping->directions = wanted->directions;
  mapping->id = base_copy(wanted->id.data, wanted->id.size);
  mapping->remote = base_copy(wanted->remote.data, wanted->remote.size);
  mapping->mesh = base_copy(wanted->mesh.data, wanted->mesh.size);
  mapping->target = base_copy(wanted->target.data, wanted->target.size);
  mapping->options = base_copy(wanted->options_json.data, wanted->options_json.size);
  if (mapping->id == NULL || mapping->remote == NULL || mapping->mesh == NULL || mapping->target == NULL ||
      mapping->options == NULL) {
    free_mapping(mapping);
    return CM_BUSY;
  }
  rules_unmap(rules, wanted->id);
  struct mapping** at = &rules->mappings;
  while (*at != NULL && strcmp((*at)->id, mapping->id) < 0) {
    at = &(*at)->next;
  }
  mapping->next = *at;
  *at = mapping;
  rules->mapping_count++;
  return CM_OK;
}
bool rules_unmap(struct rules* rules, cm_text_pview id) {
  for (struct mapping** at = &rules->mappings; *at != NULL; at = &(*at)->next) {
    if (same_view((*at)->id, id)) {
      struct mapping* mapping = *at;
      *at = mapping->next;
      rules->mapping_count--;
      free_mapping(mapping);
      return true;
    }
  }
  return false;
}
void rules_clear(struct rules* rules) {
  while (rules->mappings != NULL) {
    rules_unmap(rules, base_text(rules->mappings->id));
  }
}
bool rules_cover(const struct mapping* mapping, uint32_t direction, const cm_bridge_message* message) {
  if (direction == CM_BRIDGE_TO_MESH) {
    return same_view(mapping->remote, message->channel);
  }
  /* On the mesh a target may be the name or the key of the sender; an empty slug fits every mesh. */
  return (mapping->mesh[0] == 0 || message->mesh.size == 0 || same_view(mapping->mesh, message->mesh)) &&
         (same_view(mapping->target, message->channel) || same_view(mapping->target, message->author_id) ||
          same_view(mapping->target, message->author_name));
}

/* FNV-1a over several texts, so that the same message gives the same number, also after a restart. */
static uint64_t fingerprint(uint64_t seed, const char* mark, const char* mapping, cm_text_pview message) {
  const cm_text_pview parts[] = {base_text(mark), base_text(mapping), message};
  for (size_t part = 0; part < 3; ++part) {
    for (uint64_t i = 0; i < parts[part].size; ++i) {
      seed = (seed ^ (unsigned char)parts[part].data[i]) * UINT64_C(0x100000001b3);
    }
    seed = (seed ^ 0xff) * UINT64_C(0x100000001b3); /* between the parts */
  }
  return seed;
}
/* False when it is remembered already. */
static bool remember(struct rules* rules, uint32_t direction, const uint64_t key[2]) {
  const uint32_t way = direction == CM_BRIDGE_TO_MESH ? 0 : 1;
  const uint64_t count = rules->key_count[way] < REMEMBERED ? rules->key_count[way] : REMEMBERED;
  for (uint64_t i = 0; i < count; ++i) {
    if (memcmp(rules->keys[way][i], key, sizeof rules->keys[way][i]) == 0) {
      return false;
    }
  }
  memcpy(rules->keys[way][rules->key_count[way]++ % REMEMBERED], key, sizeof rules->keys[way][0]);
  return true;
}
/* Takes the trail line off `text`; its marks go to `trail` when none came beside the text. */
static void take_trail_line(char* text, struct buffer* trail) {
  char* line = NULL;
  for (char* at = strstr(text, CM_BRIDGE_TRAIL_LINE); at != NULL; at = strstr(at + 1, CM_BRIDGE_TRAIL_LINE)) {
    line = at;
  }
  if (line == NULL || strchr(line + 1, '\n') != NULL) {
    return;
  }
  if (trail->size == 0) {
    buffer_text(trail, line + strlen(CM_BRIDGE_TRAIL_LINE));
  }
  *line = 0;
}
static bool goes_round(const char* mark, const char* trail) {
  const size_t mark_size = strlen(mark);
  uint32_t marks = 0;
  while (*trail != 0) {
    const size_t size = strcspn(trail, " ");
    if (size == mark_size && memcmp(trail, mark, size) == 0) {
      return true;
    }
    marks += size != 0 ? 1 : 0;
    trail += size + (trail[size] == ' ' ? 1 : 0);
  }
  return marks >= CM_BRIDGE_HOPS_MAX;
}
/* The outcome of a drop and why; 0: it may cross. */
static uint32_t decide(struct rules* rules, const struct mapping* mapping, uint32_t direction,
                       const cm_bridge_message* message, const char* text, const char* trail, const char** reason) {
  const uint64_t key[2] = {
      mapping == NULL ? 0 : fingerprint(UINT64_C(0xcbf29ce484222325), rules->mark, mapping->id, message->message_id),
      mapping == NULL ? 0 : fingerprint(UINT64_C(0x84222325cbf29ce4), rules->mark, mapping->id, message->message_id)};
  *reason = "";
  if (mapping == NULL) {
    *reason = "no mapping covers it";
    return CM_BRIDGE_UNMAPPED;
  }
  if ((message->flags & CM_BRIDGE_FROM_SELF) != 0) {
    *reason = "the bridge itself wrote it";
    return CM_BRIDGE_ECHO;
  }
  if ((mapping->directions & direction) == 0) {
    *reason = "this direction is off";
    return CM_BRIDGE_FILTERED;
  }
  if (text[0] == 0 || strlen(text) + strlen(trail) + message->author_name.size + CM_BRIDGE_MARK_BYTES_MAX + 16 >
                          CM_BRIDGE_TEXT_BYTES_MAX) {
    *reason = "the text is empty or too long";
    return CM_BRIDGE_FILTERED;
  }
  if (goes_round(rules->mark, trail)) {
    *reason = "it has come through this bridge, or through too many";
    return CM_BRIDGE_LOOP;
  }
  if (!remember(rules, direction, key)) {
    *reason = "it has crossed before";
    return CM_BRIDGE_DUPLICATE;
  }
  return 0;
}

bool rules_judge(struct rules* rules, const struct mapping* mapping, uint32_t direction,
                 const cm_bridge_message* message, struct judgement* out) {
  struct buffer trail = {NULL, 0, 0, false};
  struct buffer shown = {NULL, 0, 0, false};
  char new_id[40] = "";
  const char* reason = "";
  const bool to_mesh = direction == CM_BRIDGE_TO_MESH;
  char* text = base_copy(message->text.data, message->text.size);
  memset(out, 0, sizeof *out);
  buffer_add(&trail, message->trail.data, message->trail.size);
  buffer_text(&shown, "");
  if (text == NULL || trail.failed) {
    free(text);
    free(trail.data);
    free(shown.data);
    return false;
  }
  take_trail_line(text, &trail);
  out->outcome = decide(rules, mapping, direction, message, text, trail.data, &reason);
  if (out->outcome == 0) {
    buffer_text(&trail, trail.size == 0 ? "" : " ");
    buffer_text(&trail, rules->mark);
    /* People on the other side see who wrote it. The mesh carries the trail in the text, the remote beside it. */
    buffer_add(&shown, message->author_name.data, message->author_name.size);
    buffer_text(&shown, ": ");
    buffer_text(&shown, text);
    if (to_mesh) {
      buffer_text(&shown, CM_BRIDGE_TRAIL_LINE);
      buffer_add(&shown, trail.data, trail.size);
      snprintf(new_id, sizeof new_id, CM_BRIDGE_CLIENT_ID_PREFIX "%016llx%016llx",
               (unsigned long long)fingerprint(UINT64_C(0xcbf29ce484222325), rules->mark, mapping->id,
                                               message->message_id),
               (unsigned long long)fingerprint(UINT64_C(0x84222325cbf29ce4), rules->mark, mapping->id,
                                               message->message_id));
    }
  }
  const bool crosses = out->outcome == 0;
  const cm_text_pview nothing = base_text("");
  const cm_text_pview channel = crosses ? base_text(to_mesh ? mapping->target : mapping->remote) : nothing;
  const cm_text_pview views[TEXTS] = {base_text(mapping == NULL ? "" : mapping->id),
                                      message->message_id,
                                      base_text(reason),
                                      channel,
                                      crosses && to_mesh ? base_text(mapping->mesh) : nothing,
                                      crosses ? message->author_name : nothing,
                                      crosses ? buffer_view(&shown) : nothing,
                                      crosses ? buffer_view(&trail) : nothing,
                                      base_text(new_id)};
  bool good = !trail.failed && !shown.failed;
  for (int i = 0; i < TEXTS; ++i) {
    out->texts[i] = base_copy(views[i].data, views[i].size);
    good = good && out->texts[i] != NULL;
  }
  free(text);
  free(trail.data);
  free(shown.data);
  if (!good) {
    judgement_clear(out);
  }
  return good;
}
void judgement_clear(struct judgement* judgement) {
  for (int i = 0; i < TEXTS; ++i) {
    free(judgement->texts[i]);
    judgement->texts[i] = NULL;
  }
}
