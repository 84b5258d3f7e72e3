// The host as C++: one object per instance that finds the tables once and calls them. All functions carry the thread
// tag of the C function below them (claudemesh/ext/host.h).
#pragma once

#include <claudemesh/ext/host.h>
#include <claudemesh/plugin.h>

#include <cstdint>
#include <functional>
#include <initializer_list>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include <claudemesh/cpp/boundary.hpp>
#include <claudemesh/cpp/result.hpp>
#include <claudemesh/cpp/task.hpp>
#include <claudemesh/cpp/text.hpp>

namespace cm {

// How important a line is; the numbers of CM_LOG_*.
enum class LogLevel : std::uint32_t {
  kTrace = CM_LOG_TRACE,
  kDebug = CM_LOG_DEBUG,
  kInfo = CM_LOG_INFO,
  kWarn = CM_LOG_WARN,
  kError = CM_LOG_ERROR,
  kCritical = CM_LOG_CRITICAL,
};

// One named value beside a message; numbers are written in decimal.
struct LogField {
  std::string_view key;
  std::string value;
  LogField(std::string_view k, std::string v) : key(k), value(std::move(v)) {}
  LogField(std::string_view k, std::string_view v) : key(k), value(v) {}
  LogField(std::string_view k, const char* v) : key(k), value(v) {}
  template <typename Number>
    requires std::is_arithmetic_v<Number>
  LogField(std::string_view k, Number number) : key(k), value(std::to_string(number)) {}
};

// A series that was defined while configuring. Does nothing when the metrics table was not granted.
class Metric {
 public:
  Metric() = default;
  Metric(const cm_metrics_v1* table, cm_handle self, std::uint32_t id) : table_(table), self_(self), id_(id) {}
  // Counters and gauges. [any]
  void add(std::int64_t amount = 1) const noexcept {
    if (table_ != nullptr) {
      table_->add(self_, id_, amount);
    }
  }
  // Gauges. [any]
  void set(std::int64_t value) const noexcept {
    if (table_ != nullptr) {
      table_->set(self_, id_, value);
    }
  }
  // Histograms, of microseconds or bytes. [any]
  void observe(std::uint64_t value) const noexcept {
    if (table_ != nullptr) {
      table_->observe(self_, id_, value);
    }
  }

 private:
  const cm_metrics_v1* table_ = nullptr;
  cm_handle self_ = CM_NO_HANDLE;
  std::uint32_t id_ = 0;
};

// A table that a plugin cannot do without, and how much of it: `need<cm_timer_v1>(CM_TIMER_ID)`.
struct TableNeed {
  const char* id;
  std::uint32_t size;
};
// The need for the whole of `Table` as these headers have it. [any]
template <typename Table>
constexpr TableNeed need(const char* table_id) noexcept {
  return {table_id, sizeof(Table)};
}

// The host as one instance sees it. log and metrics do nothing when their tables were not granted; of the other
// tables a function may only be called when the table was (find answers null otherwise).
class HostApi {
 public:
  explicit HostApi(const cm_host* host)
      : host_(host),
        log_(find<cm_log_v1>(CM_LOG_ID)),
        loop_(find<cm_loop_v1>(CM_LOOP_ID)),
        timer_(find<cm_timer_v1>(CM_TIMER_ID)),
        clock_(find<cm_clock_v1>(CM_CLOCK_ID)),
        random_(find<cm_random_v1>(CM_RANDOM_ID)),
        metrics_(find<cm_metrics_v1>(CM_METRICS_ID)),
        worker_(find<cm_worker_v1>(CM_WORKER_ID)),
        config_(find<cm_config_v1>(CM_CONFIG_ID)),
        registry_(find<cm_registry_v1>(CM_REGISTRY_ID)),
        events_(find<cm_events_v1>(CM_EVENTS_ID)),
        buffer_(find<cm_buffer_v1>(CM_BUFFER_ID)) {}

  // Names this instance in every function of the host. [any]
  cm_handle self() const noexcept { return host_->self; }

  // A table by id, or null: not in the manifest's `requires`, not granted, not offered, or of an older host and shorter
  // than `Table` of these headers. Who can work with a shorter one asks cm_host.get and CM_HAS_FUNCTION. [any]
  template <typename Table>
  const Table* find(const char* table_id) const noexcept {
    const auto* table = static_cast<const Table*>(host_->get(host_->self, table_id));
    return table != nullptr && table->size >= sizeof(Table) ? table : nullptr;
  }
  // As find, but the table of an older host is taken, too, when it has at least `size_min` bytes. Ask CM_HAS_FUNCTION
  // before calling what stands behind them. [any]
  template <typename Table>
  const Table* find_prefix(const char* table_id, std::uint32_t size_min) const noexcept {
    const auto* table = static_cast<const Table*>(host_->get(host_->self, table_id));
    return table != nullptr && table->size >= size_min ? table : nullptr;
  }
  // Does the host give the table, and is it long enough? [any]
  bool gives(const TableNeed& wanted) const noexcept {
    const void* table = host_->get(host_->self, wanted.id);
    return table != nullptr && *static_cast<const std::uint32_t*>(table) >= wanted.size;
  }

  // The text that explains the status which the running callback is about to return. [any]
  void set_error(std::string_view text) const noexcept { host_->set_error(host_->self, to_pview(text)); }
  // Finishes a deferred step. [any]
  void complete(cm_handle ticket, const Status& status) const noexcept {
    const std::string_view text = status.ok() ? std::string_view() : std::string_view(status.error().message);
    host_->complete(host_->self, ticket, status.ok() ? CM_OK : status_from_error(status.error()), to_pview(text));
  }

  // --- log -----------------------------------------------------------------------------------------------------
  // Would a line of this level be written now? [any]
  bool log_enabled(LogLevel level) const noexcept {
    return log_ != nullptr && log_->enabled(self(), static_cast<std::uint32_t>(level));
  }
  // Writes one line. Never put a secret into it. [any]
  void log(LogLevel level, std::string_view message, std::initializer_list<LogField> fields = {}) const {
    if (!log_enabled(level)) {
      return;
    }
    std::vector<cm_log_field> views;
    views.reserve(fields.size());
    for (const LogField& field : fields) {
      views.push_back(cm_log_field{to_pview(field.key), to_pview(field.value)});
    }
    log_->write(self(), static_cast<std::uint32_t>(level), to_pview(message), views.data(), views.size());
  }

  // Runs `call` and stops at the boundary what it throws: the exception is logged as plugin-misbehaving with the name
  // of the callback, the host counts it, and false is returned. So is what left a task that the call resumed. Without
  // cm.log/1 nobody would learn of it, so the process ends then, naming the plugin. Every function of these headers
  // that the host or another plugin calls, and that calls an author's one, goes through here. [any]
  template <typename Call>
  bool guarded(std::string_view callback, Call&& call) const noexcept {
    // The text is for a step that fails by it.
    return boundary().guarded(callback, std::forward<Call>(call), [this](const std::string& text) { set_error(text); });
  }
  // The same for what may outlive the instance. [any]
  detail::Boundary boundary() const noexcept { return {log_, self()}; }
  // What waits for a callback of the host that comes at most once, and not after the stop. [loop]
  detail::Kept& kept() const noexcept { return *kept_; }

  // --- loop ----------------------------------------------------------------------------------------------------
  // Runs `function` on this instance's loop. Dropped (and destroyed) without a call if the instance is gone. [any]
  void post(std::function<void()> function) const { post_to(self(), std::move(function)); }
  // The same on the loop of another instance. [any]
  void post_to(cm_handle instance, std::function<void()> function) const {
    auto owned =
        std::make_unique<std::function<void()>>([this, inner = std::move(function)] { guarded("post", inner); });
    const cm_status status = loop_->post(self(), instance, &HostApi::run_posted, &HostApi::drop_posted, owned.get());
    if (status == CM_OK) {
      static_cast<void>(owned.release());
    }
  }
  // Is this thread the loop of the instance now? [any]
  bool on_loop() const noexcept { return loop_ == nullptr || loop_->on_loop(self()); }

  // --- clock and randomness --------------------------------------------------------------------------------------
  // Microseconds that never go back; for durations. [any]
  std::uint64_t monotonic_us() const noexcept { return clock_->monotonic_us(self()); }
  // Milliseconds of the wall clock, which may jump; for time stamps. [any]
  std::int64_t unix_ms() const noexcept { return clock_->unix_ms(self()); }
  // Cryptographic random bytes. [any]
  void fill_random(std::uint8_t* bytes, std::size_t count) const noexcept { random_->fill(self(), bytes, count); }

  // --- metrics ---------------------------------------------------------------------------------------------------
  // Defines a series that only grows; only while configuring. `labels` as in cm_metrics_v1. [loop]
  Metric counter(std::string_view name, std::string_view labels, std::string_view help) const {
    return define(CM_METRIC_COUNTER, name, labels, help);
  }
  // Defines a series that goes up and down; only while configuring. [loop]
  Metric gauge(std::string_view name, std::string_view labels, std::string_view help) const {
    return define(CM_METRIC_GAUGE, name, labels, help);
  }
  // Defines a distribution; only while configuring. [loop]
  Metric histogram(std::string_view name, std::string_view labels, std::string_view help) const {
    return define(CM_METRIC_HISTOGRAM, name, labels, help);
  }

  // --- configuration: options are declared in the manifest, so a failure here is a defect of the plugin ------------
  // NAME of [plugins.NAME]; valid until destroy. [loop]
  std::string_view instance_name() const noexcept { return to_view(config_->instance_name(self())); }
  // An option of type bool; false when it has no value. [loop]
  bool option_bool(std::string_view name, std::uint32_t which = CM_CONFIG_ACTIVE) const {
    bool value = false;
    note_option(name, config_->get_bool(self(), which, to_pview(name), &value));
    return value;
  }
  // int, duration in milliseconds, size in bytes; 0 when it has no value. [loop]
  std::int64_t option_int(std::string_view name, std::uint32_t which = CM_CONFIG_ACTIVE) const {
    std::int64_t value = 0;
    note_option(name, config_->get_int(self(), which, to_pview(name), &value));
    return value;
  }
  // string, path, address, secret, choice, plugin; empty when it has no value. [loop]
  std::string option_text(std::string_view name, std::uint32_t which = CM_CONFIG_ACTIVE) const {
    cm_text_hview value = to_hview(std::string_view());
    note_option(name, config_->get_text(self(), which, to_pview(name), &value));
    return std::string(to_view(value));
  }
  // The elements of an option of type list. [loop]
  std::vector<std::string> option_list(std::string_view name, std::uint32_t which = CM_CONFIG_ACTIVE) const {
    std::vector<std::string> result;
    std::uint64_t size = 0;
    note_option(name, config_->list_size(self(), which, to_pview(name), &size));
    for (std::uint64_t i = 0; i < size; ++i) {
      cm_text_hview value = to_hview(std::string_view());
      if (config_->list_text(self(), which, to_pview(name), i, &value) == CM_OK) {
        result.emplace_back(to_view(value));
      }
    }
    return result;
  }

  // Why an option could not be read since the last call, or empty: then configure and reload_prepare are refused,
  // instead of going on with 0 or an empty text. An option without a value is no problem. [loop]
  std::string take_option_problem() const { return std::exchange(option_problem_, {}); }

  // What `create` was given.
  const cm_host* raw() const noexcept { return host_; }
  // The C table, null when not granted; so are the next ones. [any]
  const cm_loop_v1* loop_table() const noexcept { return loop_; }
  // cm.timer/1. [any]
  const cm_timer_v1* timer_table() const noexcept { return timer_; }
  // cm.worker/1. [any]
  const cm_worker_v1* worker_table() const noexcept { return worker_; }
  // cm.registry/1. [any]
  const cm_registry_v1* registry_table() const noexcept { return registry_; }
  // cm.events/1. [any]
  const cm_events_v1* events_table() const noexcept { return events_; }
  // cm.buffer/1. [any]
  const cm_buffer_v1* buffer_table() const noexcept { return buffer_; }

 private:
  void note_option(std::string_view name, cm_status status) const {
    if (status != CM_OK && status != CM_GONE && option_problem_.empty()) {
      option_problem_ = "the option " + std::string(name) + " cannot be read (status " + std::to_string(status) +
                        "); declare it in the manifest with the type that is read";
    }
  }
  static void run_posted(void* user) noexcept {
    const std::unique_ptr<std::function<void()>> function(static_cast<std::function<void()>*>(user));
    (*function)();
  }
  static void drop_posted(void* user) noexcept {
    const std::unique_ptr<std::function<void()>> function(static_cast<std::function<void()>*>(user));
  }
  Metric define(std::uint32_t kind, std::string_view name, std::string_view labels, std::string_view help) const {
    std::uint32_t id = 0;
    if (metrics_ == nullptr ||
        metrics_->define(self(), kind, to_pview(name), to_pview(labels), to_pview(help), &id) != CM_OK) {
      return Metric();
    }
    return Metric(metrics_, self(), id);
  }

  const cm_host* host_;
  mutable std::string option_problem_;
  std::shared_ptr<detail::Kept> kept_ = std::make_shared<detail::Kept>();
  const cm_log_v1* log_;
  const cm_loop_v1* loop_;
  const cm_timer_v1* timer_;
  const cm_clock_v1* clock_;
  const cm_random_v1* random_;
  const cm_metrics_v1* metrics_;
  const cm_worker_v1* worker_;
  const cm_config_v1* config_;
  const cm_registry_v1* registry_;
  const cm_events_v1* events_;
  const cm_buffer_v1* buffer_;
};

// A timer that stops when it is destroyed. One loop only; the function may restart or destroy the timer.
class Timer {
 public:
  Timer() = default;
  explicit Timer(const HostApi& host) : host_(&host) {}
  Timer(const Timer&) = delete;
  Timer& operator=(const Timer&) = delete;
  ~Timer() { cancel(); }

  // For a timer that was made without a host; `host` must outlive it. [loop]
  void bind(const HostApi& host) noexcept { host_ = &host; }

  // Replaces whatever was running. `period_us` 0 is one shot.
  void start(std::uint64_t delay_us, std::uint64_t period_us, std::function<void()> function) {
    cancel();
    function_ = std::make_shared<std::function<void()>>(std::move(function));
    periodic_ = period_us != 0;
    if (host_->timer_table()->start(host_->self(), delay_us, period_us, &Timer::fired, this, &handle_) != CM_OK) {
      handle_ = CM_NO_HANDLE;
    }
  }
  // Once, after `delay_ms`; replaces whatever was running. [loop]
  void start_ms(std::uint64_t delay_ms, std::function<void()> function) {
    start(delay_ms * 1000, 0, std::move(function));
  }
  // Every `period_ms` until cancel; replaces whatever was running. [loop]
  void every_ms(std::uint64_t period_ms, std::function<void()> function) {
    start(period_ms * 1000, period_ms * 1000, std::move(function));
  }
  // After the return the function will not be called. [loop]
  void cancel() noexcept {
    if (handle_ != CM_NO_HANDLE) {
      host_->timer_table()->cancel(host_->self(), std::exchange(handle_, CM_NO_HANDLE));
    }
    function_.reset();
  }
  // Will it fire? [loop]
  bool active() const noexcept { return handle_ != CM_NO_HANDLE; }

 private:
  static void fired(void* user) noexcept {
    auto* timer = static_cast<Timer*>(user);
    const auto function = timer->function_;  // keeps it alive when the call destroys or restarts the timer
    if (!timer->periodic_) {
      timer->handle_ = CM_NO_HANDLE;
    }
    if (function) {
      timer->host_->guarded("timer", *function);
    }
  }

  const HostApi* host_ = nullptr;
  cm_handle handle_ = CM_NO_HANDLE;
  bool periodic_ = false;
  std::shared_ptr<std::function<void()>> function_;
};

// `co_await sleep_ms(host, 250)`: true after the time, on the loop.
inline Task<void> sleep_ms(const HostApi& host, std::uint64_t delay_ms) {
  OneShot<bool> fired;
  Timer timer(host);
  timer.start_ms(delay_ms, [&fired] { fired.set(true); });
  co_await fired;
}

// Runs blocking work on a worker and comes back: `queue` CM_WORKER_POOL or one of create_queue. The work must not touch
// what the loop touches. `done` is dropped if the instance has been stopped meanwhile, or if the work threw.
inline Status run_on_worker(const HostApi& host, cm_handle queue, std::function<void()> work,
                            std::function<void()> done) {
  struct Job {
    const HostApi* host;
    std::function<void()> work;
    std::function<void()> done;
  };
  auto job = std::make_unique<Job>(Job{&host, std::move(work), std::move(done)});
  const cm_status status = host.worker_table()->submit(
      host.self(), queue,
      [](void* user) noexcept {
        std::unique_ptr<Job> owned(static_cast<Job*>(user));
        const bool worked = owned->host->guarded("job", owned->work);
        if (worked && owned->done) {
          const HostApi* api = owned->host;
          api->post(std::move(owned->done));
        }
      },
      job.get());
  if (status != CM_OK) {
    return error_from_status(status, "the worker queue is full; raise [host] workers or lower the load");
  }
  static_cast<void>(job.release());
  return {};
}

// A reference to an extension of another plugin; released when destroyed.
template <typename Table>
class Extension {
 public:
  Extension() = default;
  Extension(const Extension&) = delete;
  Extension& operator=(const Extension&) = delete;
  Extension(Extension&& other) noexcept { swap(other); }
  Extension& operator=(Extension&& other) noexcept {
    Extension moved(std::move(other));
    swap(moved);
    return *this;
  }
  ~Extension() { release(); }

  // `instance_name` empty: the only provider.
  static Result<Extension> acquire(const HostApi& host, std::string_view instance_name, const char* extension_id) {
    Extension result;
    result.going_away_ = std::make_unique<bool>(false);
    const cm_status status = host.registry_table()->acquire(
        host.self(), to_pview(instance_name), to_pview(extension_id),
        [](void* user) noexcept { *static_cast<bool*>(user) = true; }, result.going_away_.get(), &result.extension_);
    if (status != CM_OK) {
      return error_from_status(
          status, "no plugin instance offers " + std::string(extension_id) +
                      (instance_name.empty() ? std::string() : " under the name " + std::string(instance_name)) +
                      "; add one to the [plugins] of the configuration");
    }
    result.host_ = &host;
    return result;
  }

  explicit operator bool() const noexcept { return host_ != nullptr && !*going_away_; }
  // The functions. [loop]
  const Table* table() const noexcept { return static_cast<const Table*>(extension_.table); }
  const Table* operator->() const noexcept { return table(); }
  // The first argument of the functions. [loop]
  void* instance() const noexcept { return extension_.instance; }
  // cm_host.self of the providing instance. [loop]
  cm_handle provider() const noexcept { return extension_.provider; }
  // Gives the extension back; the destructor does it too. [loop]
  void release() noexcept {
    if (const HostApi* host = std::exchange(host_, nullptr)) {
      host->registry_table()->release(host->self(), extension_.reference);
    }
  }

 private:
  void swap(Extension& other) noexcept {
    std::swap(host_, other.host_);
    std::swap(extension_, other.extension_);
    std::swap(going_away_, other.going_away_);
  }

  const HostApi* host_ = nullptr;
  cm_extension extension_ = {};
  std::unique_ptr<bool> going_away_;
};

}  // namespace cm
