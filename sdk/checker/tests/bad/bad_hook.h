/* Part of bad_plugin.c: the hook. "slow" in a payload is answered late, "deny" refused, "swap" replaced. */

static bool has_word(const cm_hook_event* event, const char* word) {
  return event->payload.size >= strlen(word) &&
         memmem(event->payload.data, event->payload.size, word, strlen(word)) != NULL;
}

static void forget_late(struct late* late) {
  struct late** place = &late->self->waiting;
  while (*place != late) {
    place = &(*place)->next;
  }
  *place = late->next;
  free(late);
}

static void answer_late(void* user) {
  struct late* late = user;
  const cm_bytes_pview nothing = {NULL, 0};
#ifdef BAD_LATE_RESULT
  late->finish(late->context, late->ticket, 9, nothing);
#else
  late->finish(late->context, late->ticket, CM_HOOK_CONTINUE, nothing);
#endif
#ifdef BAD_FINISHES_TWICE
  late->finish(late->context, late->ticket, CM_HOOK_CONTINUE, nothing);
#endif
  forget_late(late);
}

static uint32_t defer(struct bad* bad, const cm_hook_event* event, const cm_hook_reply* reply) {
  struct late* late = calloc(1, sizeof(*late));
  late->self = bad;
  late->ticket = event->ticket;
  late->context = reply->context;
  late->finish = reply->finish;
  late->next = bad->waiting;
  bad->waiting = late;
#ifdef BAD_NEVER_FINISHES
  const uint64_t delay_us = UINT64_C(3600000000);
#else
  const uint64_t delay_us = 100000;
#endif
  const cm_status status = bad->timer->start(self_of(bad), delay_us, 0, answer_late, late, &late->timer);
  CRASH_IF(FAULT_IN("timer"), status);
  if (status != CM_OK) {
    forget_late(late);
    return CM_HOOK_CONTINUE;
  }
  return CM_HOOK_DEFER;
}

static uint32_t invoke(void* instance, const cm_hook_event* event, const cm_hook_reply* reply) {
  struct bad* bad = instance;
#ifdef BAD_READS_BEYOND
  if (event->payload.data[event->payload.size / 2] == 1) { /* an empty payload has no first byte */
    return CM_HOOK_CONTINUE;
  }
#endif
#ifdef BAD_WRITES_EVENT
  if (event->payload.size > 0) {
    ((uint8_t*)event->payload.data)[0] ^= 1;
  }
#endif
#ifdef BAD_BLOCKS
  static int paused = 0; /* once is enough */
  const struct timespec pause = {paused++ == 0 ? 1 : 0, 200000000};
  nanosleep(&pause, NULL);
#endif
#ifdef BAD_PREFIX_OF_POINT
  static const char point[] = "daemon.send";
  if (event->point.size < 10 || memcmp(event->point.data, point, 10) != 0) {
    return CM_HOOK_CONTINUE;
  }
#else
  static const char point[] = "daemon.send";
  if (event->point.size != sizeof(point) - 1 || memcmp(event->point.data, point, sizeof(point) - 1) != 0) {
    return CM_HOOK_CONTINUE;
  }
#endif
  static const char reason[] = "this word is refused; take it out";
  const cm_bytes_pview payload = {(const uint8_t*)reason, sizeof(reason) - 1};
  if (has_word(event, "password")) {
#ifndef BAD_DENIES_SILENTLY
    reply->set_payload(reply->context, event->ticket, payload);
#endif
    return CM_HOOK_DENY;
  }
  if (has_word(event, "line")) {
    reply->set_payload(reply->context, event->ticket, payload);
    return CM_HOOK_REPLACE;
  }
  if (has_word(event, "hello") || has_word(event, "fox") || has_word(event, "late")) {
    return defer(bad, event, reply);
  }
#ifdef BAD_RESULT
  return 77;
#else
  return CM_HOOK_CONTINUE;
#endif
}

static void end_hook(struct bad* bad) {
  while (bad->waiting != NULL) {
    struct late* late = bad->waiting;
#ifdef BAD_LATE_EVENTS
    bad->waiting = late->next; /* the timer still points to it */
    continue;
#endif
    bad->timer->cancel(self_of(bad), late->timer);
    forget_late(late);
  }
}
