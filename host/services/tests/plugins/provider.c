/* Offers the extension test.number/1. */
#include <stdlib.h>

#include "journal.h"
#include "number_table.h"

CM_PLUGIN_MANIFEST(
    "{\"id\":\"org.claudemesh.test.provider\",\"name\":\"test_provider\",\"version\":\"1.0.0\","
    "\"abi\":{\"min\":\"1.0\",\"built\":\"1.0\"},\"platform\":\"linux-x86_64\","
    "\"requires\":[\"cm.config/1\"],\"provides\":[\"test.number/1\"],"
    "\"options\":["
    "{\"name\":\"first\",\"type\":\"int\",\"default\":41,\"doc\":\"The number before the first.\"},"
    "{\"name\":\"journal\",\"type\":\"string\",\"default\":\"\",\"doc\":\"The journal of steps.\"}]}");

typedef struct provider {
  const cm_host* host;
  journal steps;
  int64_t number;
} provider;

static uint64_t next_number(void* instance) {
  return (uint64_t)++((provider*)instance)->number;
}

static const test_number_v1 number_table = {sizeof(test_number_v1), 0, next_number};

static cm_status provider_configure(cm_instance* instance) {
  provider* self = (provider*)instance;
  const cm_config_v1* config = (const cm_config_v1*)self->host->get(self->host->self, CM_CONFIG_ID);
  journal_open(&self->steps, self->host);
  journal_write(&self->steps, "configure");
  return config->get_int(self->host->self, CM_CONFIG_ACTIVE, pview("first"), &self->number);
}

static cm_status provider_start(cm_instance* instance, cm_handle ticket) {
  (void)ticket;
  journal_write(&((provider*)instance)->steps, "start");
  return CM_OK;
}

static cm_status provider_drain(cm_instance* instance, cm_handle ticket, uint64_t deadline_ms) {
  (void)ticket;
  (void)deadline_ms;
  journal_write(&((provider*)instance)->steps, "drain");
  return CM_OK;
}

static void provider_stop(cm_instance* instance) {
  journal_write(&((provider*)instance)->steps, "stop");
}

static void provider_destroy(cm_instance* instance) {
  journal_write(&((provider*)instance)->steps, "destroy");
  free(instance);
}

static const void* provider_extension(cm_instance* instance, const char* id) {
  (void)instance;
  return strcmp(id, TEST_NUMBER_ID) == 0 ? &number_table : NULL;
}

static const cm_instance_table_v1 provider_table = {sizeof(cm_instance_table_v1),
                                                    0,
                                                    provider_configure,
                                                    provider_start,
                                                    provider_drain,
                                                    provider_stop,
                                                    provider_destroy,
                                                    provider_extension,
                                                    NULL,
                                                    NULL};

static cm_status provider_create(const cm_host* host, cm_instance** out_instance,
                                 const cm_instance_table_v1** out_table) {
  provider* self = (provider*)calloc(1, sizeof(provider));
  self->host = host;
  *out_instance = (cm_instance*)self;
  *out_table = &provider_table;
  return CM_OK;
}

TEST_PLUGIN_ENTRY(provider_create);
