// A plugin in C++: derive from PluginInstance and end the file with CM_DEFINE_PLUGIN(MyInstance).
#pragma once

#include <claudemesh/plugin.h>

#include <cstring>
#include <exception>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <claudemesh/cpp/host.hpp>

namespace cm {

namespace detail {
struct Life;
}

// One configured use of the plugin. All functions are called on the instance's loop (claudemesh/plugin.h gives the life
// cycle). configure may throw; its text becomes the error. Elsewhere an exception fails the step, is named and counted
// (HostApi::guarded).
class PluginInstance {
 public:
  explicit PluginInstance(const cm_host* host) : host_(host) {}
  virtual ~PluginInstance() = default;
  PluginInstance(const PluginInstance&) = delete;
  PluginInstance& operator=(const PluginInstance&) = delete;

  // The tables without which it cannot work. When the host does not give one of them, or an older host's is shorter,
  // configure is refused in words instead of being called. So these can be used without a look; others may be null.
  virtual std::vector<TableNeed> required_tables() const { return {}; }
  // Reads options, registers metrics. Nothing runs yet.
  virtual Status configure() = 0;
  // Begins to work. Either calls `started` before it returns, or later.
  using Done = std::function<void(Status)>;
  // `started` is called once, with the reason if it went wrong.
  virtual void start(Done started) = 0;
  // Takes no new work, finishes what is in flight, calls `drained` at the latest after `deadline_ms`.
  virtual void drain(std::uint64_t deadline_ms, Done drained) {
    static_cast<void>(deadline_ms);
    drained(Status());
  }
  // Releases timers, listeners, connections, extensions.
  virtual void stop() {}
  // The table that this instance offers under an id, or null. Valid until the destructor.
  virtual const void* extension(std::string_view extension_id) {
    static_cast<void>(extension_id);
    return nullptr;
  }
  // Reload in two phases; the candidate options are read with CM_CONFIG_CANDIDATE.
  virtual Status reload_prepare() { return {}; }
  // Phase two: use the new options, or forget them.
  virtual void reload_finish(bool commit) { static_cast<void>(commit); }

  // The host; valid as long as the instance.
  const HostApi& host() const noexcept { return host_; }

 private:
  friend struct detail::Life;
  HostApi host_;
  std::uint8_t steps_taken_ = 0;  // 1: configured, 2: started
};

namespace detail {

inline PluginInstance* as_instance(cm_instance* instance) noexcept {
  return reinterpret_cast<PluginInstance*>(instance);
}

inline cm_status report(PluginInstance* instance, const Status& status) noexcept {
  if (status.ok()) {
    return CM_OK;
  }
  instance->host().set_error(status.error().message);
  return status_from_error(status.error());
}

// Refuses steps that come too early or twice (no step of the life cycle is skipped).
struct Life {
  static constexpr std::uint8_t kConfigured = 1;
  static constexpr std::uint8_t kStarted = 2;

  // Has the instance taken exactly this many steps? Otherwise the error is set.
  static bool is_at(PluginInstance* instance, std::uint8_t steps, std::string_view step) noexcept {
    constexpr const char* kNames[] = {"created", "configured", "started"};
    if (instance->steps_taken_ == steps) {
      return true;
    }
    instance->host().set_error(std::string(step) + " of an instance that is " + kNames[instance->steps_taken_] +
                               "; a host creates, configures and starts an instance once, in this order");
    return false;
  }
  static void reach(PluginInstance* instance, std::uint8_t steps) noexcept { instance->steps_taken_ = steps; }
};

// What a step that reads options answers: its own failure, or that an option could not be read.
inline Status judged(PluginInstance* instance, Status status) {
  const std::string problem = instance->host().take_option_problem();
  return status.ok() && !problem.empty() ? Status(make_error(ErrorCode::kInternal, problem)) : status;
}

inline cm_status instance_configure(cm_instance* raw) noexcept {
  PluginInstance* instance = as_instance(raw);
  if (!Life::is_at(instance, 0, "configure")) {
    return CM_INVALID;
  }
  try {
    Escaped escaped;
    for (const TableNeed& table : instance->required_tables()) {
      if (!instance->host().gives(table)) {
        instance->host().set_error("the host does not give " + std::string(table.id) +
                                   ", without which this plugin cannot work; add it to `permissions` of the instance, "
                                   "or use a newer host");
        return CM_DENIED;
      }
    }
    const Status configured = judged(instance, instance->configure());
    escaped.rethrow();
    if (configured.ok()) {
      Life::reach(instance, Life::kConfigured);
    }
    return report(instance, configured);
  } catch (const std::exception& exception) {
    instance->host().set_error(exception.what());
  } catch (...) {
    instance->host().set_error("configure threw something that is not a std::exception");
  }
  return CM_INTERNAL;
}

// Runs a step that may answer at once or later. The step's first answer counts, later ones are ignored.
template <typename Step>
cm_status run_step(PluginInstance* instance, cm_handle ticket, Step&& step) {
  struct State {
    bool returned = false;
    bool answered = false;
    Status status;
  };
  auto state = std::make_shared<State>();
  step([instance, ticket, state](Status status) {
    if (std::exchange(state->answered, true)) {
      return;
    }
    if (state->returned) {
      instance->host().complete(ticket, status);
    } else {
      state->status = std::move(status);
    }
  });
  state->returned = true;
  return state->answered ? report(instance, state->status) : CM_DEFER;
}

// The answer of a step, or CM_INTERNAL when it threw. The text is set either way.
template <typename Step>
cm_status guarded_step(PluginInstance* instance, std::string_view name, Step&& step) noexcept {
  cm_status status = CM_INTERNAL;
  return instance->host().guarded(name, [&] { status = step(); }) ? status : CM_INTERNAL;
}

inline cm_status instance_start(cm_instance* raw, cm_handle ticket) noexcept {
  PluginInstance* instance = as_instance(raw);
  if (!Life::is_at(instance, Life::kConfigured, "start")) {
    return CM_INVALID;
  }
  Life::reach(instance, Life::kStarted);
  return guarded_step(instance, "start", [&] {
    return run_step(instance, ticket, [instance](PluginInstance::Done done) { instance->start(std::move(done)); });
  });
}
inline cm_status instance_drain(cm_instance* raw, cm_handle ticket, std::uint64_t deadline_ms) noexcept {
  PluginInstance* instance = as_instance(raw);
  if (!Life::is_at(instance, Life::kStarted, "drain")) {
    return CM_INVALID;
  }
  return guarded_step(instance, "drain", [&] {
    return run_step(instance, ticket, [instance, deadline_ms](PluginInstance::Done done) {
      instance->drain(deadline_ms, std::move(done));
    });
  });
}
inline void instance_stop(cm_instance* raw) noexcept {
  PluginInstance* instance = as_instance(raw);
  instance->host().guarded("stop", [instance] { instance->stop(); });
}
inline void instance_destroy(cm_instance* raw) noexcept {
  delete as_instance(raw);
}
inline const void* instance_extension(cm_instance* raw, const char* id) noexcept {
  PluginInstance* instance = as_instance(raw);
  const void* table = nullptr;
  instance->host().guarded("get_extension", [&] { table = instance->extension(id); });
  return table;
}
inline cm_status instance_reload_prepare(cm_instance* raw) noexcept {
  PluginInstance* instance = as_instance(raw);
  return guarded_step(instance, "reload_prepare",
                      [&] { return report(instance, judged(instance, instance->reload_prepare())); });
}
inline void instance_reload_finish(cm_instance* raw, bool commit) noexcept {
  PluginInstance* instance = as_instance(raw);
  instance->host().guarded("reload_finish", [&] { instance->reload_finish(commit); });
}

inline constexpr cm_instance_table_v1 kInstanceTable = {sizeof(cm_instance_table_v1),
                                                        0,
                                                        &instance_configure,
                                                        &instance_start,
                                                        &instance_drain,
                                                        &instance_stop,
                                                        &instance_destroy,
                                                        &instance_extension,
                                                        &instance_reload_prepare,
                                                        &instance_reload_finish};

template <typename Instance>
cm_status create_instance(const cm_host* host, cm_instance** out_instance,
                          const cm_instance_table_v1** out_table) noexcept {
  std::string_view text = "the constructor threw something that is not a std::exception";
  try {
    PluginInstance* instance = std::make_unique<Instance>(host).release();
    *out_instance = reinterpret_cast<cm_instance*>(instance);
    *out_table = &kInstanceTable;
    return CM_OK;
  } catch (const std::exception& exception) {
    text = exception.what();
    host->set_error(host->self, to_pview(text));
  } catch (...) {
    host->set_error(host->self, to_pview(text));
  }
  return CM_INTERNAL;
}

template <typename Instance>
inline constexpr cm_factory_v1 kFactory = {sizeof(cm_factory_v1), 0, &create_instance<Instance>};

template <typename Instance>
const void* get_factory(const char* factory_id) noexcept {
  return std::string_view(factory_id) == CM_FACTORY_ID ? &kFactory<Instance> : nullptr;
}

// Picks the newest offered version of our major number that is not older than what we need.
inline cm_status pick_version(const std::uint32_t* offered, std::uint32_t count, std::uint32_t* out_picked) noexcept {
  std::uint32_t best = 0;
  for (std::uint32_t i = 0; i < count; ++i) {
    const bool same_major = (offered[i] >> 16) == (CM_ABI_VERSION_CURRENT >> 16);
    if (same_major && offered[i] >= CM_ABI_VERSION_1_0 && offered[i] > best) {
      best = offered[i];
    }
  }
  if (best == 0) {
    return CM_UNSUPPORTED;
  }
  *out_picked = best;
  return CM_OK;
}

template <typename Instance>
inline constexpr cm_plugin_entry_v1 kPluginEntry = {
    CM_PLUGIN_MAGIC, sizeof(cm_plugin_entry_v1), CM_ABI_VERSION_1_0, CM_ABI_VERSION_CURRENT, 0, &pick_version,
    nullptr,         &get_factory<Instance>};

}  // namespace detail
}  // namespace cm

// Built into a program instead of a library (rule: built-in = loadable), the entry gets a name of its own.
#ifndef CM_PLUGIN_ENTRY_NAME
#define CM_PLUGIN_ENTRY_NAME cm_plugin_entry
#endif
#define CM_DEFINE_PLUGIN(Instance)                                                        \
  extern "C" {                                                                            \
  extern CM_EXPORT const cm_plugin_entry_v1 CM_PLUGIN_ENTRY_NAME;                         \
  const cm_plugin_entry_v1 CM_PLUGIN_ENTRY_NAME = {CM_PLUGIN_MAGIC,                       \
                                                   sizeof(cm_plugin_entry_v1),            \
                                                   CM_ABI_VERSION_1_0,                    \
                                                   CM_ABI_VERSION_CURRENT,                \
                                                   0,                                     \
                                                   &::cm::detail::pick_version,           \
                                                   nullptr,                               \
                                                   &::cm::detail::get_factory<Instance>}; \
  }                                                                                       \
  static_assert(true, "a semicolon follows")
