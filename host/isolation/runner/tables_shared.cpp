// cm.log/1, cm.metrics/1 and cm.events/1 in a runner child: told to the host, metrics in batches.
#include <algorithm>
#include <optional>

#include "host/isolation/runner/registry.hpp"
#include "host/isolation/runner/runtime.hpp"

namespace cm::isolation {

namespace {

constexpr std::size_t kLogFieldsMax = 32;
constexpr std::size_t kLogTextBytesMax = 64 * 1024;
constexpr std::size_t kEventJsonBytesMax = 64 * 1024;
constexpr std::size_t kObservationsMax = 4096;  // of all histograms, between two batches
constexpr std::uint32_t kMetricsMax = 4096;

// --- cm.log/1 --------------------------------------------------------------------------------------------------------

bool log_enabled(cm_handle, std::uint32_t level) noexcept {
  return level >= Runtime::get().log_level();
}

void log_write(cm_handle self, std::uint32_t level, cm_text_pview message, const cm_log_field* fields,
               std::uint64_t field_count) noexcept {
  if (!log_enabled(self, level)) {
    return;
  }
  Runtime& runtime = Runtime::get();
  const std::uint64_t count = fields == nullptr ? 0 : std::min<std::uint64_t>(field_count, kLogFieldsMax);
  runtime.send(Method::kLog, 0, [&](FrameWriter& writer) {
    writer.u32(level);
    writer.text(to_view(message).substr(0, kLogTextBytesMax));
    writer.u32(static_cast<std::uint32_t>(count));
    for (std::uint64_t i = 0; i < count; ++i) {
      writer.text(to_view(fields[i].key).substr(0, kLogTextBytesMax));
      writer.text(to_view(fields[i].value).substr(0, kLogTextBytesMax));
    }
  });
  runtime.flush();  // a line that was written before a crash is to be seen
}
constexpr cm_log_v1 kLog = {sizeof(cm_log_v1), 0, log_write, log_enabled};

// --- cm.metrics/1 ----------------------------------------------------------------------------------------------------

// What has changed since the last batch.
class MetricCells {
 public:
  static MetricCells& get() {
    static MetricCells cells;
    return cells;
  }
  void add(std::uint32_t metric, std::int64_t amount) {
    const std::lock_guard lock(mutex_);
    if (Cell* cell = find(metric); cell != nullptr) {
      cell->added += amount;
    }
  }
  void set(std::uint32_t metric, std::int64_t value) {
    const std::lock_guard lock(mutex_);
    if (Cell* cell = find(metric); cell != nullptr) {
      cell->set = value;
      cell->added = 0;
    }
  }
  // True when the batch is full.
  bool observe(std::uint32_t metric, std::uint64_t value) {
    const std::lock_guard lock(mutex_);
    mark();
    observations_.emplace_back(metric, static_cast<std::int64_t>(value));
    return observations_.size() >= kObservationsMax;
  }
  std::int64_t due_ns() {
    const std::lock_guard lock(mutex_);
    return due_ns_;
  }
  void flush() {
    std::map<std::uint32_t, Cell> cells;
    std::vector<std::pair<std::uint32_t, std::int64_t>> observations;
    {
      const std::lock_guard lock(mutex_);
      cells.swap(cells_);
      observations.swap(observations_);
      due_ns_ = 0;
    }
    if (cells.empty() && observations.empty()) {
      return;
    }
    Runtime::get().send(Method::kMetrics, 0, [&](FrameWriter& writer) { write(writer, cells, observations); });
  }

 private:
  struct Cell {
    std::optional<std::int64_t> set;
    std::int64_t added = 0;
  };

  static void write(FrameWriter& writer, const std::map<std::uint32_t, Cell>& cells,
                    const std::vector<std::pair<std::uint32_t, std::int64_t>>& observations) {
    const auto entry = [&writer](std::uint8_t change, std::uint32_t metric, std::int64_t value) {
      writer.u8(change);
      writer.u32(metric);
      writer.i64(value);
    };
    std::size_t count = observations.size();
    for (const auto& [metric, cell] : cells) {
      count += (cell.set.has_value() ? 1 : 0) + (cell.added != 0 ? 1 : 0);
    }
    writer.u32(static_cast<std::uint32_t>(count));
    for (const auto& [metric, cell] : cells) {
      if (cell.set.has_value()) {
        entry(1, metric, *cell.set);
      }
      if (cell.added != 0) {
        entry(0, metric, cell.added);
      }
    }
    for (const auto& [metric, value] : observations) {
      entry(2, metric, value);
    }
  }

  void mark() {
    if (due_ns_ == 0) {
      due_ns_ = steady_ns() + kMetricsPeriodNs;
    }
  }
  Cell* find(std::uint32_t metric) {
    mark();
    return metric < kMetricsMax ? &cells_[metric] : nullptr;
  }

  std::mutex mutex_;
  std::map<std::uint32_t, Cell> cells_;                               // guarded by mutex_
  std::vector<std::pair<std::uint32_t, std::int64_t>> observations_;  // guarded by mutex_
  std::int64_t due_ns_ = 0;                                           // guarded by mutex_
};

cm_status metrics_define(cm_handle, std::uint32_t kind, cm_text_pview name, cm_text_pview labels, cm_text_pview help,
                         std::uint32_t* out) noexcept {
  if (out == nullptr) {
    return CM_INVALID;
  }
  return Runtime::get().call(
      Method::kMetricDefine,
      [&](FrameWriter& writer) {
        writer.u32(kind);
        writer.text(to_view(name));
        writer.text(to_view(labels));
        writer.text(to_view(help));
      },
      [out](FrameReader& reader) { *out = reader.u32(); });
}
void metrics_add(cm_handle, std::uint32_t metric, std::int64_t amount) noexcept {
  MetricCells::get().add(metric, amount);
}
void metrics_set(cm_handle, std::uint32_t metric, std::int64_t value) noexcept {
  MetricCells::get().set(metric, value);
}
void metrics_observe(cm_handle, std::uint32_t metric, std::uint64_t value) noexcept {
  if (MetricCells::get().observe(metric, value)) {
    MetricCells::get().flush();
  }
}
constexpr cm_metrics_v1 kMetrics = {sizeof(cm_metrics_v1), 0,           metrics_define,
                                    metrics_add,           metrics_set, metrics_observe};

// --- cm.events/1 -----------------------------------------------------------------------------------------------------

struct Subscription {
  cm_event_callback callback;
  void* user;
};
std::map<cm_handle, Subscription>& subscriptions() {
  static std::map<cm_handle, Subscription> all;
  return all;
}
cm_handle next_subscription = 1;

cm_status events_publish(cm_handle, cm_text_pview topic, cm_text_pview json) noexcept {
  if (json.size > kEventJsonBytesMax || topic.size == 0) {
    return CM_INVALID;
  }
  const bool sent = Runtime::get().send(Method::kPublish, 0, [&](FrameWriter& writer) {
    writer.text(to_view(topic));
    writer.text(to_view(json));
  });
  return sent ? CM_OK : CM_BUSY;
}

cm_status events_subscribe(cm_handle, cm_text_pview topic, cm_event_callback callback, void* user,
                           cm_handle* out) noexcept {
  if (callback == nullptr) {
    return CM_INVALID;
  }
  const cm_handle id = next_subscription++;
  const cm_status status = Runtime::get().call(Method::kSubscribe, [&](FrameWriter& writer) {
    writer.u64(id);
    writer.text(to_view(topic));
  });
  if (status == CM_OK) {
    subscriptions()[id] = Subscription{callback, user};
    if (out != nullptr) {
      *out = id;
    }
  }
  return status;
}

cm_status events_unsubscribe(cm_handle, cm_handle subscription) noexcept {
  if (!Runtime::get().on_loop() || subscriptions().erase(subscription) == 0) {
    return CM_GONE;
  }
  return Runtime::get().call(Method::kUnsubscribe, [&](FrameWriter& writer) { writer.u64(subscription); });
}
constexpr cm_events_v1 kEvents = {sizeof(cm_events_v1), 0, events_publish, events_subscribe, events_unsubscribe};

}  // namespace

const void* runner_shared_table(std::string_view id) noexcept {
  if (id == CM_LOG_ID) {
    return &kLog;
  }
  if (id == CM_METRICS_ID) {
    return &kMetrics;
  }
  if (id == CM_EVENTS_ID) {
    return &kEvents;
  }
  return id == CM_REGISTRY_ID ? runner_registry_table() : nullptr;
}

bool shared_frame(OwnedFrame& owned) {
  if (owned.method != Method::kEvent) {
    return false;
  }
  const Frame frame = std::move(owned).view();
  FrameReader reader(frame);
  const std::string_view topic = reader.text();
  const std::string_view json = reader.text();
  const auto entry = subscriptions().find(frame.call);
  if (reader.done() && entry != subscriptions().end()) {
    const Subscription copy = entry->second;
    Runtime::get().enter(Callback::kEvent, [&] { copy.callback(copy.user, to_hview(topic), to_hview(json)); });
  }
  return true;
}

std::int64_t metrics_due_ns() noexcept {
  return MetricCells::get().due_ns();
}

void flush_metrics(bool now) {
  const std::int64_t due_ns = metrics_due_ns();
  if (due_ns != 0 && (now || due_ns <= steady_ns())) {
    MetricCells::get().flush();
  }
}

}  // namespace cm::isolation
