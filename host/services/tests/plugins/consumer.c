/* Uses the extension test.number/1 of the instance that the option `provider` names, or of the only one. */
#include <stdlib.h>

#include "journal.h"
#include "number_table.h"

CM_PLUGIN_MANIFEST(
    "{\"id\":\"org.claudemesh.test.consumer\",\"name\":\"test_consumer\",\"version\":\"1.0.0\","
    "\"abi\":{\"min\":\"1.0\",\"built\":\"1.0\"},\"platform\":\"linux-x86_64\","
    "\"requires\":[\"cm.config/1\",\"cm.registry/1\"],"
    "\"options\":["
    "{\"name\":\"provider\",\"type\":\"plugin\",\"default\":\"\",\"doc\":\"Who gives the numbers.\"},"
    "{\"name\":\"journal\",\"type\":\"string\",\"default\":\"\",\"doc\":\"The journal of steps.\"}]}");

typedef struct consumer {
  const cm_host* host;
  const cm_registry_v1* registry;
  journal steps;
  cm_extension numbers;
  bool away;
} consumer;

static void going_away(void* user) {
  consumer* self = (consumer*)user;
  self->away = true;
  journal_write(&self->steps, "going_away");
}

static cm_status consumer_configure(cm_instance* instance) {
  consumer* self = (consumer*)instance;
  journal_open(&self->steps, self->host);
  journal_write(&self->steps, "configure");
  self->registry = (const cm_registry_v1*)self->host->get(self->host->self, CM_REGISTRY_ID);
  return CM_OK;
}

static cm_status consumer_start(cm_instance* instance, cm_handle ticket) {
  consumer* self = (consumer*)instance;
  char name[64];
  char step[64];
  (void)ticket;
  option_text(self->host, CM_CONFIG_ACTIVE, "provider", name, sizeof name);
  const cm_status status =
      self->registry->acquire(self->host->self, pview(name), pview(TEST_NUMBER_ID), going_away, self, &self->numbers);
  if (status != CM_OK) {
    return status;
  }
  snprintf(step, sizeof step, "start %llu",
           (unsigned long long)((const test_number_v1*)self->numbers.table)->next(self->numbers.instance));
  journal_write(&self->steps, step);
  return CM_OK;
}

static cm_status consumer_drain(cm_instance* instance, cm_handle ticket, uint64_t deadline_ms) {
  (void)ticket;
  (void)deadline_ms;
  journal_write(&((consumer*)instance)->steps, "drain");
  return CM_OK;
}

static void consumer_stop(cm_instance* instance) {
  consumer* self = (consumer*)instance;
  journal_write(&self->steps, "stop");
  if (!self->away) {
    self->registry->release(self->host->self, self->numbers.reference);
  }
}

static void consumer_destroy(cm_instance* instance) {
  journal_write(&((consumer*)instance)->steps, "destroy");
  free(instance);
}

static const cm_instance_table_v1 consumer_table = {sizeof(cm_instance_table_v1),
                                                    0,
                                                    consumer_configure,
                                                    consumer_start,
                                                    consumer_drain,
                                                    consumer_stop,
                                                    consumer_destroy,
                                                    NULL,
                                                    NULL,
                                                    NULL};

static cm_status consumer_create(const cm_host* host, cm_instance** out_instance,
                                 const cm_instance_table_v1** out_table) {
  consumer* self = (consumer*)calloc(1, sizeof(consumer));
  self->host = host;
  *out_instance = (cm_instance*)self;
  *out_table = &consumer_table;
  return CM_OK;
}

TEST_PLUGIN_ENTRY(consumer_create);
