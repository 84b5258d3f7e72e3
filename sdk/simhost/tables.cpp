// The small host tables of the simulation: buffer, log, loop, timer, clock, random, metrics, events, worker, config,
// registry. Each call counts as one step of the node, so that a crash can be placed between any two of them.
#include <span>
#include <string>

#include <claudemesh/cpp/text.hpp>
#include "host/config/values.hpp"

#include "sdk/simhost/instance.hpp"
#include "sdk/simhost/world.hpp"

namespace cm::sim {
namespace {

std::string_view text_of(cm_text_pview text) {
  return {text.data, text.size};
}

// The calling instance, if its node is up after this step; else null.
Instance* enter(cm_handle self) {
  Instance* instance = World::instance_of(self);
  if (instance == nullptr || !instance->alive()) {
    return nullptr;
  }
  instance->node().count_step();
  return instance->alive() ? instance : nullptr;
}

// --- buffer ----------------------------------------------------------------------------------------------------------

cm_status buffer_create(cm_handle self, cm_bytes_pview bytes, cm_hbuf* out) noexcept {
  Instance* instance = enter(self);
  return instance == nullptr ? CM_GONE : instance->node().world().create_buffer(self, bytes, out);
}
void buffer_retain(cm_handle, cm_handle buffer) noexcept {
  if (World* world = World::current()) {
    world->retain_buffer(buffer);
  }
}
void buffer_release(cm_handle self, cm_handle buffer) noexcept {
  World* world = World::current();
  if (world == nullptr || buffer == CM_NO_HANDLE || world->release_buffer(buffer)) {
    return;
  }
  if (Instance* instance = World::instance_of(self)) {
    instance->probe().note(Breach::kReleasedTwice, "it released a buffer that does not exist (any more)");
  }
}
constexpr cm_buffer_v1 kBuffer = {sizeof(cm_buffer_v1), 0, buffer_create, buffer_retain, buffer_release};

// --- log -------------------------------------------------------------------------------------------------------------

void log_write(cm_handle self, uint32_t level, cm_text_pview message, const cm_log_field* fields,
               uint64_t count) noexcept {
  Instance* instance = World::instance_of(self);
  if (instance == nullptr) {
    return;
  }
  std::string line = instance->name() + ": " + std::string(text_of(message));
  for (uint64_t i = 0; i < count; ++i) {
    line += " " + std::string(text_of(fields[i].key)) + "=" + std::string(text_of(fields[i].value));
  }
  instance->node().log(level, line);
}
bool log_enabled(cm_handle self, uint32_t level) noexcept {
  Instance* instance = World::instance_of(self);
  return instance != nullptr && level >= instance->node().world().options().log_level;
}
constexpr cm_log_v1 kLog = {sizeof(cm_log_v1), 0, log_write, log_enabled};

// --- loop ------------------------------------------------------------------------------------------------------------

cm_status loop_post(cm_handle self, cm_handle target, cm_callback function, cm_callback dropped, void* user) noexcept {
  if (enter(self) == nullptr) {
    return CM_GONE;
  }
  Instance* instance = World::instance_of(target);
  return instance == nullptr ? CM_GONE : instance->post(function, dropped, user);
}
bool loop_on_loop(cm_handle) noexcept {
  return World::current() != nullptr && !World::current()->in_job();
}
constexpr cm_loop_v1 kLoop = {sizeof(cm_loop_v1), 0, loop_post, loop_on_loop};

// --- timer, clock, random
// ----------------------------------------------------------------------------------------------

cm_status timer_start(cm_handle self, uint64_t delay_us, uint64_t period_us, cm_callback function, void* user,
                      cm_handle* out) noexcept {
  Instance* instance = enter(self);
  return instance == nullptr ? CM_GONE : instance->start_timer(delay_us, period_us, function, user, out);
}
cm_status timer_cancel(cm_handle self, cm_handle timer) noexcept {
  Instance* instance = World::instance_of(self);
  return instance == nullptr ? CM_GONE : instance->cancel_timer(timer);
}
constexpr cm_timer_v1 kTimer = {sizeof(cm_timer_v1), 0, timer_start, timer_cancel};

uint64_t clock_monotonic_us(cm_handle) noexcept {
  World* world = World::current();
  return world == nullptr ? 0 : world->scheduler().now_us();
}
int64_t clock_unix_ms(cm_handle self) noexcept {
  Instance* instance = World::instance_of(self);
  return instance == nullptr ? 0 : instance->node().unix_ms();
}
constexpr cm_clock_v1 kClock = {sizeof(cm_clock_v1), 0, clock_monotonic_us, clock_unix_ms};

void random_fill(cm_handle, uint8_t* bytes, uint64_t count) noexcept {
  World* world = World::current();
  for (uint64_t i = 0; i < count; ++i) {
    bytes[i] = world == nullptr ? 0 : static_cast<uint8_t>(world->random().next());
  }
}
constexpr cm_random_v1 kRandom = {sizeof(cm_random_v1), 0, random_fill};

// --- metrics ---------------------------------------------------------------------------------------------------------

cm_status metrics_define(cm_handle self, uint32_t, cm_text_pview name, cm_text_pview labels, cm_text_pview,
                         uint32_t* out) noexcept {
  Instance* instance = World::instance_of(self);
  if (instance == nullptr) {
    return CM_GONE;
  }
  if (instance->phase() > Phase::kCreated) {
    instance->set_error("metrics are defined in configure only");
    return CM_DENIED;
  }
  std::string key(text_of(name));
  if (labels.size > 0) {
    key += "{" + std::string(text_of(labels)) + "}";
  }
  instance->metric_values.emplace(key, 0);
  instance->metric_names.push_back(std::move(key));
  *out = static_cast<uint32_t>(instance->metric_names.size() - 1);
  return CM_OK;
}
std::int64_t* metric_value(cm_handle self, uint32_t metric) {
  Instance* instance = World::instance_of(self);
  if (instance == nullptr || metric >= instance->metric_names.size()) {
    return nullptr;
  }
  return &instance->metric_values[instance->metric_names[metric]];
}
void metrics_add(cm_handle self, uint32_t metric, int64_t amount) noexcept {
  if (std::int64_t* value = metric_value(self, metric)) {
    *value += amount;
  }
}
void metrics_set(cm_handle self, uint32_t metric, int64_t amount) noexcept {
  if (std::int64_t* value = metric_value(self, metric)) {
    *value = amount;
  }
}
void metrics_observe(cm_handle self, uint32_t metric, uint64_t) noexcept {
  metrics_add(self, metric, 1);
}
constexpr cm_metrics_v1 kMetrics = {sizeof(cm_metrics_v1), 0,           metrics_define,
                                    metrics_add,           metrics_set, metrics_observe};

// --- events ----------------------------------------------------------------------------------------------------------

bool topic_matches(std::string_view pattern, std::string_view topic) {
  return pattern.ends_with('*') ? topic.starts_with(pattern.substr(0, pattern.size() - 1)) : pattern == topic;
}

cm_status events_publish(cm_handle self, cm_text_pview topic, cm_text_pview json) noexcept {
  Instance* publisher = enter(self);
  if (publisher == nullptr) {
    return CM_GONE;
  }
  Node& node = publisher->node();
  const std::string name(text_of(topic));
  const std::string payload(text_of(json));
  for (Instance* instance : node.instances()) {
    for (const auto& [handle, subscription] : instance->subscriptions) {
      if (!topic_matches(subscription.topic, name)) {
        continue;
      }
      node.schedule_after(1, [instance, id = handle, name, payload] {
        const auto found = instance->subscriptions.find(id);
        if (found != instance->subscriptions.end() && instance->alive()) {
          found->second.callback(found->second.user, cm_text_hview{name.data(), name.size()},
                                 cm_text_hview{payload.data(), payload.size()});
        }
      });
    }
  }
  return CM_OK;
}
cm_status events_subscribe(cm_handle self, cm_text_pview topic, cm_event_callback callback, void* user,
                           cm_handle* out) noexcept {
  Instance* instance = enter(self);
  if (instance == nullptr) {
    return CM_GONE;
  }
  *out = instance->next_handle();
  instance->subscriptions.emplace(*out, Instance::Subscription{std::string(text_of(topic)), callback, user});
  return CM_OK;
}
cm_status events_unsubscribe(cm_handle self, cm_handle subscription) noexcept {
  Instance* instance = World::instance_of(self);
  return instance != nullptr && instance->subscriptions.erase(subscription) != 0 ? CM_OK : CM_GONE;
}
constexpr cm_events_v1 kEvents = {sizeof(cm_events_v1), 0, events_publish, events_subscribe, events_unsubscribe};

// --- worker ----------------------------------------------------------------------------------------------------------

// What Linux shows of a thread's name; the real host refuses longer ones, too.
constexpr std::uint64_t kQueueNameBytesMax = 15;

cm_status worker_create_queue(cm_handle self, cm_text_pview name, cm_handle* out) noexcept {
  Instance* instance = enter(self);
  if (instance == nullptr) {
    return CM_GONE;
  }
  if (name.size == 0 || name.size > kQueueNameBytesMax) {
    return CM_INVALID;
  }
  *out = instance->next_handle();
  instance->queues.insert(*out);
  return CM_OK;
}
cm_status worker_close_queue(cm_handle self, cm_handle queue) noexcept {
  Instance* instance = World::instance_of(self);
  return instance != nullptr && instance->queues.erase(queue) != 0 ? CM_OK : CM_GONE;
}
cm_status worker_submit(cm_handle self, cm_handle queue, cm_callback job, void* user) noexcept {
  Instance* instance = enter(self);
  if (instance == nullptr || (queue != CM_WORKER_POOL && !instance->queues.contains(queue))) {
    return CM_GONE;
  }
  return instance->submit_job(queue, job, user);
}
constexpr cm_worker_v1 kWorker = {sizeof(cm_worker_v1), 0, worker_create_queue, worker_close_queue, worker_submit};

// --- config ----------------------------------------------------------------------------------------------------------

cm_text_hview config_instance_name(cm_handle self) noexcept {
  Instance* instance = World::instance_of(self);
  return instance == nullptr ? cm_text_hview{nullptr, 0}
                             : cm_text_hview{instance->name().data(), instance->name().size()};
}
// Looks an option up with `get` and stores it with `store`.
template <typename Get, typename Store>
cm_status config_lookup(cm_handle self, std::uint32_t which, cm_text_pview option, Get&& get, Store&& store) {
  Instance* instance = World::instance_of(self);
  const config::ValidatedOptions* options = instance == nullptr ? nullptr : instance->options(which);
  if (options == nullptr) {
    return CM_GONE;
  }
  const auto value = get(*options);
  if (!value) {
    if (value.error().code == ErrorCode::kInvalid) {
      instance->probe().note(Breach::kUndeclaredOption,
                             value.error().message + " (" + std::string(text_of(option)) + ")");
    }
    return status_from_error(value.error());
  }
  return store(*value);
}

cm_status config_bool(cm_handle self, uint32_t which, cm_text_pview option, bool* out) noexcept {
  return config_lookup(
      self, which, option, [&](const auto& options) { return options.get_bool(text_of(option)); },
      [out](bool value) {
        *out = value;
        return CM_OK;
      });
}
cm_status config_int(cm_handle self, uint32_t which, cm_text_pview option, int64_t* out) noexcept {
  return config_lookup(
      self, which, option, [&](const auto& options) { return options.get_int(text_of(option)); },
      [out](std::int64_t value) {
        *out = value;
        return CM_OK;
      });
}
cm_status config_float(cm_handle self, uint32_t which, cm_text_pview option, double* out) noexcept {
  return config_lookup(
      self, which, option, [&](const auto& options) { return options.get_float(text_of(option)); },
      [out](double value) {
        *out = value;
        return CM_OK;
      });
}
cm_status config_text(cm_handle self, uint32_t which, cm_text_pview option, cm_text_hview* out) noexcept {
  return config_lookup(
      self, which, option, [&](const auto& options) { return options.get_text(text_of(option)); },
      [out](std::string_view value) {
        *out = cm_text_hview{value.data(), value.size()};
        return CM_OK;
      });
}
cm_status config_list_size(cm_handle self, uint32_t which, cm_text_pview option, uint64_t* out) noexcept {
  return config_lookup(
      self, which, option, [&](const auto& options) { return options.get_list(text_of(option)); },
      [out](std::span<const std::string> value) {
        *out = value.size();
        return CM_OK;
      });
}
cm_status config_list_text(cm_handle self, uint32_t which, cm_text_pview option, uint64_t index,
                           cm_text_hview* out) noexcept {
  return config_lookup(
      self, which, option, [&](const auto& options) { return options.get_list(text_of(option)); },
      [out, index](std::span<const std::string> value) {
        if (index >= value.size()) {
          return CM_INVALID;
        }
        *out = cm_text_hview{value[index].data(), value[index].size()};
        return CM_OK;
      });
}
constexpr cm_config_v1 kConfig = {sizeof(cm_config_v1), 0,           config_instance_name, config_bool,     config_int,
                                  config_float,         config_text, config_list_size,     config_list_text};

// --- registry --------------------------------------------------------------------------------------------------------

cm_status registry_acquire(cm_handle self, cm_text_pview name, cm_text_pview id, cm_callback, void*,
                           cm_extension* out) noexcept {
  Instance* instance = enter(self);
  if (instance == nullptr) {
    return CM_GONE;
  }
  const std::string extension_id(text_of(id));
  Instance* provider = nullptr;
  for (Instance* candidate : instance->node().instances()) {
    const bool named = name.size == 0 || candidate->name() == text_of(name);
    if (!named || candidate->extension(extension_id.c_str()) == nullptr) {
      continue;
    }
    if (provider != nullptr) {
      return CM_INVALID;
    }
    provider = candidate;
  }
  if (provider == nullptr) {
    return CM_GONE;
  }
  const cm_handle reference = instance->next_handle();
  instance->references.insert(reference);
  *out = cm_extension{provider->raw(), provider->extension(extension_id.c_str()), provider->self(), reference};
  return CM_OK;
}
void registry_release(cm_handle self, cm_handle reference) noexcept {
  Instance* instance = World::instance_of(self);
  if (instance != nullptr && instance->references.erase(reference) == 0) {
    instance->probe().note(Breach::kReleasedTwice, "it released a reference to an extension that it does not hold");
  }
}
constexpr cm_registry_v1 kRegistry = {sizeof(cm_registry_v1), 0, registry_acquire, registry_release};

}  // namespace

const void* find_table(std::string_view id) {
  struct Entry {
    std::string_view id;
    const void* table;
  };
  const Entry entries[] = {{CM_BUFFER_ID, &kBuffer},
                           {CM_LOG_ID, &kLog},
                           {CM_LOOP_ID, &kLoop},
                           {CM_TIMER_ID, &kTimer},
                           {CM_CLOCK_ID, &kClock},
                           {CM_RANDOM_ID, &kRandom},
                           {CM_METRICS_ID, &kMetrics},
                           {CM_EVENTS_ID, &kEvents},
                           {CM_WORKER_ID, &kWorker},
                           {CM_CONFIG_ID, &kConfig},
                           {CM_REGISTRY_ID, &kRegistry},
                           {CM_HTTP_SERVER_ID, find_http_server_table()},
                           {CM_HTTP_CLIENT_ID, find_http_client_table()},
                           {CM_WEBSOCKET_ID, find_websocket_table()},
                           {CM_PROCESS_ID, find_process_table()}};
  for (const Entry& entry : entries) {
    if (entry.id == id) {
      return entry.table;
    }
  }
  return nullptr;
}

}  // namespace cm::sim
