// cm.metrics/1, cm.events/1, cm.worker/1 and cm.registry/1: the tables over what all instances share.
#include <claudemesh/ext/host.h>

#include "host/services/events.hpp"
#include "host/services/host_view.hpp"
#include "host/services/registry.hpp"
#include "host/services/services.hpp"
#include "host/services/workers.hpp"

namespace cm::host {

namespace {

// --- cm.metrics/1
// -----------------------------------------------------------------------------------------------------

cm_status metrics_define(cm_handle self, uint32_t kind, cm_text_pview name, cm_text_pview labels, cm_text_pview help,
                         uint32_t* out_metric) noexcept {
  const Admission admission = admit_loop(self, HostTable::kMetrics, "cm.metrics/1 define");
  if (!admission) {
    return admission.status;
  }
  Instance& instance = *admission.instance;
  if (!instance.configuring()) {
    return refuse(instance, make_error(ErrorCode::kDenied, "metrics are defined in configure only; define " +
                                                               std::string(text_of(name)) + " there"));
  }
  if (out_metric == nullptr) {
    return CM_INVALID;
  }
  const auto metric = instance.metrics().define(instance.services().metric_families, kind, text_of(name),
                                                text_of(labels), text_of(help));
  if (!metric) {
    return refuse(instance, metric.error());
  }
  *out_metric = *metric;
  return CM_OK;
}

void metrics_add(cm_handle self, uint32_t metric, int64_t amount) noexcept {
  if (const Admission admission = admit_any(self, HostTable::kMetrics); admission.instance != nullptr) {
    admission.instance->metrics().add(metric, amount);
  }
}

void metrics_set(cm_handle self, uint32_t metric, int64_t value) noexcept {
  if (const Admission admission = admit_any(self, HostTable::kMetrics); admission.instance != nullptr) {
    admission.instance->metrics().set(metric, value);
  }
}

void metrics_observe(cm_handle self, uint32_t metric, uint64_t value) noexcept {
  if (const Admission admission = admit_any(self, HostTable::kMetrics); admission.instance != nullptr) {
    admission.instance->metrics().observe(metric, value);
  }
}

constexpr cm_metrics_v1 kMetricsTable = {sizeof(cm_metrics_v1), 0,           metrics_define,
                                         metrics_add,           metrics_set, metrics_observe};

// --- cm.events/1
// ------------------------------------------------------------------------------------------------------

cm_status events_publish(cm_handle self, cm_text_pview topic, cm_text_pview json) noexcept {
  const Admission admission = admit_any(self, HostTable::kEvents);
  if (!admission) {
    return admission.status;
  }
  const Status published = admission.instance->services().events.publish(text_of(topic), text_of(json));
  return published ? CM_OK : refuse(*admission.instance, published.error());
}

cm_status events_subscribe(cm_handle self, cm_text_pview topic, cm_event_callback callback, void* user,
                           cm_handle* out_subscription) noexcept {
  const Admission admission = admit_loop(self, HostTable::kEvents, "cm.events/1 subscribe");
  if (!admission) {
    return admission.status;
  }
  const auto subscription = admission.instance->holdings->subscriptions->subscribe(text_of(topic), callback, user);
  if (!subscription) {
    return refuse(*admission.instance, subscription.error());
  }
  if (out_subscription != nullptr) {
    *out_subscription = *subscription;
  }
  return CM_OK;
}

cm_status events_unsubscribe(cm_handle self, cm_handle subscription) noexcept {
  const Admission admission = admit_loop(self, HostTable::kEvents, "cm.events/1 unsubscribe");
  if (admission.instance == nullptr) {
    return admission.status;
  }
  const bool known = admission.instance->holdings->subscriptions->unsubscribe(subscription);
  return known ? admission.status : CM_GONE;
}

constexpr cm_events_v1 kEventsTable = {sizeof(cm_events_v1), 0, events_publish, events_subscribe, events_unsubscribe};

// --- cm.worker/1
// ------------------------------------------------------------------------------------------------------

cm_status worker_create_queue(cm_handle self, cm_text_pview name, cm_handle* out_queue) noexcept {
  const Admission admission = admit_loop(self, HostTable::kWorker, "cm.worker/1 create_queue");
  if (!admission) {
    return admission.status;
  }
  if (out_queue == nullptr) {
    return CM_INVALID;
  }
  const auto queue = admission.instance->holdings->queues->create(text_of(name));
  if (!queue) {
    return refuse(*admission.instance, queue.error());
  }
  *out_queue = *queue;
  return CM_OK;
}

cm_status worker_close_queue(cm_handle self, cm_handle queue) noexcept {
  const Admission admission = admit_loop(self, HostTable::kWorker, "cm.worker/1 close_queue");
  if (admission.instance == nullptr) {
    return admission.status;
  }
  const bool known = admission.instance->holdings->queues->close(queue);
  return known ? admission.status : CM_GONE;
}

cm_status worker_submit(cm_handle self, cm_handle queue, cm_callback job, void* user) noexcept {
  const Admission admission = admit_any(self, HostTable::kWorker);
  if (!admission) {
    return admission.status;
  }
  if (job == nullptr) {
    return CM_INVALID;
  }
  Instance& instance = *admission.instance;
  // Inside the gate the host has not begun to wait for this instance's jobs, so none can slip in behind its back.
  if (!instance.enter_gate()) {
    return CM_GONE;
  }
  const Job entry{&instance, job, user};
  const Status accepted = queue == CM_WORKER_POOL ? instance.services().workers.submit(entry)
                                                  : instance.holdings->queues->submit(queue, entry);
  instance.leave_gate();
  return accepted ? CM_OK : refuse(instance, accepted.error());
}

constexpr cm_worker_v1 kWorkerTable = {sizeof(cm_worker_v1), 0, worker_create_queue, worker_close_queue, worker_submit};

// --- cm.registry/1
// ----------------------------------------------------------------------------------------------------

cm_status registry_acquire(cm_handle self, cm_text_pview instance_name, cm_text_pview extension_id,
                           cm_callback going_away, void* user, cm_extension* out) noexcept {
  const Admission admission = admit_loop(self, HostTable::kRegistry, "cm.registry/1 acquire");
  if (!admission) {
    return admission.status;
  }
  if (out == nullptr) {
    return CM_INVALID;
  }
  const auto extension = admission.instance->holdings->references->acquire(text_of(instance_name),
                                                                           text_of(extension_id), going_away, user);
  if (!extension) {
    return refuse(*admission.instance, extension.error());
  }
  *out = *extension;
  return CM_OK;
}

void registry_release(cm_handle self, cm_handle reference) noexcept {
  const Admission admission = admit_loop(self, HostTable::kRegistry, "cm.registry/1 release");
  if (admission.instance != nullptr) {
    admission.instance->holdings->references->release(reference);
  }
}

constexpr cm_registry_v1 kRegistryTable = {sizeof(cm_registry_v1), 0, registry_acquire, registry_release};

}  // namespace

const void* metrics_table() noexcept {
  return &kMetricsTable;
}
const void* events_table() noexcept {
  return &kEventsTable;
}
const void* worker_table() noexcept {
  return &kWorkerTable;
}
const void* registry_table() noexcept {
  return &kRegistryTable;
}

}  // namespace cm::host
