// Breaks the contract in the way that the option `mode` names.
#include <unistd.h>

#include <chrono>
#include <cstdlib>
#include <stdexcept>
#include <string>
#include <string_view>

#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wold-style-cast"  // C
#include "journal.h"
#pragma GCC diagnostic pop

CM_PLUGIN_MANIFEST(
    "{\"id\":\"org.claudemesh.test.misbehaving\",\"name\":\"test_misbehaving\",\"version\":\"1.0.0\","
    "\"abi\":{\"min\":\"1.0\",\"built\":\"1.0\"},\"platform\":\"linux-x86_64\","
    "\"requires\":[\"cm.config/1\",\"cm.timer/1\",\"cm.worker/1\",\"cm.events/1\",\"cm.buffer/1\",\"cm.loop/1\","
    "\"cm.random/1\",\"cm.log/1\"],"
    "\"options\":["
    "{\"name\":\"mode\",\"type\":\"choice\",\"default\":\"none\",\"choices\":[\"none\",\"leak\",\"throw\","
    "\"segfault\",\"spin\",\"flood\",\"garbage_status\",\"accuse\","
    "\"wrong_thread\",\"crash\",\"fail_configure\",\"fail_start\",\"never_start\",\"never_drain\"],"
    "\"doc\":\"What it does wrong.\"},"
    "{\"name\":\"after\",\"type\":\"plugin\",\"default\":\"\",\"doc\":\"Starts after that instance.\"},"
    "{\"name\":\"journal\",\"type\":\"string\",\"default\":\"\",\"doc\":\"The journal of steps.\"}]}");

namespace {

struct Misbehaving {
  explicit Misbehaving(const cm_host* given) : host(given) {}

  template <typename Table>
  const Table* table(const char* id) const {
    return static_cast<const Table*>(host->get(host->self, id));
  }

  const cm_host* host;
  journal steps{};
  std::string mode;
};

Misbehaving* as_plugin(cm_instance* instance) {
  return reinterpret_cast<Misbehaving*>(instance);
}

void fail_on_purpose() {
  throw std::runtime_error("thrown on purpose");
}

// What a C++ plugin without the SDK may do: the exception meets a noexcept function and ends the process.
void escape(void*) noexcept {
  fail_on_purpose();
}

// Until the test makes a file beside the journal; for a minute at most, so that a test that has failed ends.
void spin(void* user) noexcept {
  const std::string enough = std::string(static_cast<Misbehaving*>(user)->steps.path) + ".enough";
  const auto until = std::chrono::steady_clock::now() + std::chrono::minutes(1);
  while (std::chrono::steady_clock::now() < until && ::access(enough.c_str(), F_OK) != 0) {
  }
}

void segfault(void*) noexcept {
  volatile int* nowhere = nullptr;
  *nowhere = 1;
}

constexpr int kFloodLines = 100'000;

void flood(void* user) noexcept {
  auto* self = static_cast<Misbehaving*>(user);
  const auto* log = self->table<cm_log_v1>(CM_LOG_ID);
  for (int i = 0; i < kFloodLines; ++i) {
    log->write(self->host->self, CM_LOG_ERROR, pview("the same line again"), nullptr, 0);
  }
  journal_write(&self->steps, "flooded");
}

void crash(void*) noexcept {
  std::abort();
}

void ignore(void*) noexcept {}

void from_worker(void* user) noexcept {
  auto* self = static_cast<Misbehaving*>(user);
  cm_handle timer = CM_NO_HANDLE;
  const cm_status status =
      self->table<cm_timer_v1>(CM_TIMER_ID)->start(self->host->self, 1000, 0, ignore, nullptr, &timer);
  journal_write(&self->steps, status == CM_INVALID ? "refused" : "accepted");
}

void ignore_event(void*, cm_text_hview, cm_text_hview) noexcept {}

void leak(const Misbehaving& self) {
  cm_handle handle = CM_NO_HANDLE;
  const cm_handle host = self.host->self;
  self.table<cm_timer_v1>(CM_TIMER_ID)->start(host, 3'600'000'000, 0, ignore, nullptr, &handle);
  self.table<cm_timer_v1>(CM_TIMER_ID)->start(host, 3'600'000'000, 0, ignore, nullptr, &handle);
  self.table<cm_events_v1>(CM_EVENTS_ID)->subscribe(host, pview("a.*"), ignore_event, nullptr, &handle);
  self.table<cm_worker_v1>(CM_WORKER_ID)->create_queue(host, pview("left"), &handle);
  const cm_bytes_pview bytes = {reinterpret_cast<const uint8_t*>("bytes"), 5};
  cm_hbuf buffer;
  self.table<cm_buffer_v1>(CM_BUFFER_ID)->create(host, bytes, &buffer);
}

cm_status configure(cm_instance* instance) noexcept {
  Misbehaving* self = as_plugin(instance);
  journal_open(&self->steps, self->host);
  char mode[64];
  option_text(self->host, CM_CONFIG_ACTIVE, "mode", mode, sizeof mode);
  self->mode = mode;
  journal_write(&self->steps, "configure");
  if (self->mode == "fail_configure") {
    self->host->set_error(self->host->self, pview("configured to fail"));
    return CM_INVALID;
  }
  return CM_OK;
}

cm_status start(cm_instance* instance, cm_handle) noexcept {
  Misbehaving* self = as_plugin(instance);
  journal_write(&self->steps, "start");
  cm_handle timer = CM_NO_HANDLE;
  const auto* timers = self->table<cm_timer_v1>(CM_TIMER_ID);
  if (self->mode == "throw") {
    timers->start(self->host->self, 0, 0, escape, self, &timer);
  } else if (self->mode == "crash") {
    timers->start(self->host->self, 0, 0, crash, self, &timer);
  } else if (self->mode == "spin") {
    timers->start(self->host->self, 0, 0, spin, self, &timer);
  } else if (self->mode == "segfault") {
    timers->start(self->host->self, 0, 0, segfault, self, &timer);
  } else if (self->mode == "flood") {
    timers->start(self->host->self, 0, 0, flood, self, &timer);
  } else if (self->mode == "accuse") {
    self->table<cm_log_v1>(CM_LOG_ID)->write(self->host->self, CM_LOG_HOST_MISBEHAVING,
                                             pview("the host called me on a wrong thread"), nullptr, 0);
  } else if (self->mode == "garbage_status") {
    return 4711;
  } else if (self->mode == "leak") {
    leak(*self);
  } else if (self->mode == "wrong_thread") {
    self->table<cm_worker_v1>(CM_WORKER_ID)->submit(self->host->self, CM_WORKER_POOL, from_worker, self);
  } else if (self->mode == "fail_start") {
    self->host->set_error(self->host->self, pview("started to fail"));
    return CM_IO;
  } else if (self->mode == "never_start") {
    return CM_DEFER;
  }
  return CM_OK;
}

cm_status drain(cm_instance* instance, cm_handle, uint64_t) noexcept {
  journal_write(&as_plugin(instance)->steps, "drain");
  return as_plugin(instance)->mode == "never_drain" ? CM_DEFER : CM_OK;
}

void stop(cm_instance* instance) noexcept {
  journal_write(&as_plugin(instance)->steps, "stop");
}

void destroy(cm_instance* instance) noexcept {
  Misbehaving* self = as_plugin(instance);
  journal_write(&self->steps, "destroy");
  delete self;
}

constexpr cm_instance_table_v1 kTable = {
    sizeof(cm_instance_table_v1), 0, configure, start, drain, stop, destroy, nullptr, nullptr, nullptr};

cm_status create(const cm_host* host, cm_instance** out_instance, const cm_instance_table_v1** out_table) noexcept {
  const auto* config = static_cast<const cm_config_v1*>(host->get(host->self, CM_CONFIG_ID));
  const cm_text_hview name = config->instance_name(host->self);
  if (std::string_view(name.data, name.size) == "garbage_create") {
    return CM_OK;  // and gives nothing
  }
  *out_instance = reinterpret_cast<cm_instance*>(new Misbehaving(host));
  *out_table = &kTable;
  return CM_OK;
}

}  // namespace

extern "C" {
TEST_PLUGIN_ENTRY(create);
}
