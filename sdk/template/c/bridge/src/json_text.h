/* As much JSON as this bridge needs: one text member of a flat object, and a text with its quotes. */
#ifndef JSON_TEXT_H
#define JSON_TEXT_H

#include "plugin_base.h"

/* The text member `name` of the object's first level, to be freed; null: absent, no text, or no JSON. */
char* json_text(const char* json, uint64_t size, const char* name);
void json_quote(struct buffer* out, const char* text);

#endif
