/* Starts and drains late: both steps answer CM_DEFER and are completed from elsewhere. */
#include <stdlib.h>

#include "journal.h"

CM_PLUGIN_MANIFEST(
    "{\"id\":\"org.claudemesh.test.slow\",\"name\":\"test_slow\",\"version\":\"1.0.0\","
    "\"abi\":{\"min\":\"1.0\",\"built\":\"1.0\"},\"platform\":\"linux-x86_64\","
    "\"requires\":[\"cm.config/1\",\"cm.timer/1\",\"cm.worker/1\"],"
    "\"options\":["
    "{\"name\":\"fail\",\"type\":\"bool\",\"default\":false,\"doc\":\"Completes the start with a failure.\"},"
    "{\"name\":\"journal\",\"type\":\"string\",\"default\":\"\",\"doc\":\"The journal of steps.\"}]}");

typedef struct slow {
  const cm_host* host;
  const cm_timer_v1* timers;
  const cm_worker_v1* workers;
  journal steps;
  cm_handle ticket;
  bool fail;
} slow;

static void start_done(void* user) {
  slow* self = (slow*)user;
  journal_write(&self->steps, "started");
  if (self->fail) {
    self->host->complete(self->host->self, self->ticket, CM_IO, pview("the far end is away"));
  } else {
    self->host->complete(self->host->self, self->ticket, CM_OK, pview(""));
  }
}

/* On a worker: `complete` may come from any thread. */
static void drain_done(void* user) {
  slow* self = (slow*)user;
  journal_write(&self->steps, "drained");
  self->host->complete(self->host->self, self->ticket, CM_OK, pview(""));
}

static cm_status slow_configure(cm_instance* instance) {
  slow* self = (slow*)instance;
  const cm_config_v1* config = (const cm_config_v1*)self->host->get(self->host->self, CM_CONFIG_ID);
  journal_open(&self->steps, self->host);
  self->timers = (const cm_timer_v1*)self->host->get(self->host->self, CM_TIMER_ID);
  self->workers = (const cm_worker_v1*)self->host->get(self->host->self, CM_WORKER_ID);
  return config->get_bool(self->host->self, CM_CONFIG_ACTIVE, pview("fail"), &self->fail);
}

static cm_status slow_start(cm_instance* instance, cm_handle ticket) {
  slow* self = (slow*)instance;
  cm_handle timer = CM_NO_HANDLE;
  self->ticket = ticket;
  journal_write(&self->steps, "start");
  self->timers->start(self->host->self, 20000, 0, start_done, self, &timer);
  return CM_DEFER;
}

static cm_status slow_drain(cm_instance* instance, cm_handle ticket, uint64_t deadline_ms) {
  slow* self = (slow*)instance;
  (void)deadline_ms;
  self->ticket = ticket;
  journal_write(&self->steps, "drain");
  self->workers->submit(self->host->self, CM_WORKER_POOL, drain_done, self);
  return CM_DEFER;
}

static void slow_stop(cm_instance* instance) {
  journal_write(&((slow*)instance)->steps, "stop");
}

static void slow_destroy(cm_instance* instance) {
  journal_write(&((slow*)instance)->steps, "destroy");
  free(instance);
}

static const cm_instance_table_v1 slow_table = {
    sizeof(cm_instance_table_v1), 0, slow_configure, slow_start, slow_drain, slow_stop, slow_destroy, NULL, NULL, NULL};

static cm_status slow_create(const cm_host* host, cm_instance** out_instance, const cm_instance_table_v1** out_table) {
  slow* self = (slow*)calloc(1, sizeof(slow));
  self->host = host;
  *out_instance = (cm_instance*)self;
  *out_table = &slow_table;
  return CM_OK;
}

TEST_PLUGIN_ENTRY(slow_create);
