#include "json_text.h"

#include <stdio.h>

static void add_utf8(struct buffer* out, unsigned code) {
  const char two[] = {(char)(0xc0 | code >> 6), (char)(0x80 | (code & 63))};
  const char three[] = {(char)(0xe0 | code >> 12), (char)(0x80 | (code >> 6 & 63)), (char)(0x80 | (code & 63))};
  const char four[] = {(char)(0xf0 | code >> 18), (char)(0x80 | (code >> 12 & 63)), (char)(0x80 | (code >> 6 & 63)),
                       (char)(0x80 | (code & 63))};
  const char one = (char)code;
  if (code < 0x80) {
    buffer_add(out, &one, 1);
  } else if (code < 0x800) {
    buffer_add(out, two, sizeof two);
  } else if (code < 0x10000) {
    buffer_add(out, three, sizeof three);
  } else {
    buffer_add(out, four, sizeof four);
  }
}
static unsigned hex4(const char* json, uint64_t size, uint64_t at) {
  char digits[5] = "";
  if (at + 4 <= size) {
    memcpy(digits, json + at, 4);
  }
  return (unsigned)strtoul(digits, NULL, 16);
}
/* Decodes the text whose quote is at `at`; answers the place behind its end. */
static uint64_t decode(const char* json, uint64_t size, uint64_t at, struct buffer* out) {
  static const char escapes[] = "n\nt\tr\rb\bf\f";
  out->size = 0;
  buffer_add(out, "", 0);
  for (++at; at < size && json[at] != '"'; ++at) {
    if (json[at] != '\\' || at + 1 == size) {
      buffer_add(out, json + at, 1);
      continue;
    }
    const char* escape = strchr(escapes, json[++at]);
    if (json[at] == 'u') {
      unsigned code = hex4(json, size, at + 1);
      at += 4;
      if (code >= 0xd800 && code < 0xdc00) {
        code = 0x10000 + ((code - 0xd800) << 10) + (hex4(json, size, at + 3) & 0x3ff);
        at += 6;
      }
      add_utf8(out, code);
    } else {
      buffer_add(out, escape != NULL && *escape != 0 ? escape + 1 : json + at, 1);
    }
  }
  return at + 1;
}

static uint64_t skip_blanks(const char* json, uint64_t size, uint64_t at) {
  while (at < size && (json[at] == ' ' || json[at] == '\t' || json[at] == '\n' || json[at] == '\r')) {
    ++at;
  }
  return at;
}

char* json_text(const char* json, uint64_t size, const char* name) {
  struct buffer found = {NULL, 0, 0, false};
  int depth = 0;
  for (uint64_t at = 0; at < size;) {
    if (json[at] != '"') {
      depth += json[at] == '{' || json[at] == '[' ? 1 : json[at] == '}' || json[at] == ']' ? -1 : 0;
      ++at;
      continue;
    }
    at = decode(json, size, at, &found);
    const uint64_t colon = skip_blanks(json, size, at);
    const uint64_t value = skip_blanks(json, size, colon + 1);
    if (depth == 1 && !found.failed && base_same(found.data, found.size, name) && value < size && json[colon] == ':' &&
        json[value] == '"') {
      decode(json, size, value, &found);
      return found.data;
    }
  }
  free(found.data);
  return NULL;
}
void json_quote(struct buffer* out, const char* text) {
  buffer_add(out, "\"", 1);
  for (; *text != 0; ++text) {
    char escaped[8] = {'\\', *text, 0};
    if ((unsigned char)*text < 0x20) {
      snprintf(escaped, sizeof escaped, "\\u%04x", (unsigned)*text);
      buffer_text(out, escaped);
    } else if (*text == '"' || *text == '\\') {
      buffer_text(out, escaped);
    } else {
      buffer_add(out, text, 1);
    }
  }
  buffer_add(out, "\"", 1);
}
