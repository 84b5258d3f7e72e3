#include <claudemesh/cpp/text.hpp>

#include <array>

#include "host/isolation/forward.hpp"

namespace cm::isolation {

namespace {

constexpr std::size_t kLogFieldsMax = 32;
constexpr std::uint32_t kMetricEntryBytes = 13;
enum class MetricChange : std::uint8_t { kAdd = 0, kSet = 1, kObserve = 2 };

}  // namespace

bool ForwardBasic::handle(const Frame& frame) {
  switch (frame.method) {
    case Method::kLog:
      log(frame);
      return true;
    case Method::kMetrics:
      metrics(frame);
      return true;
    case Method::kPublish:
      publish(frame);
      return true;
    case Method::kMetricDefine:
      define(frame);
      return true;
    case Method::kSubscribe:
      subscribe(frame);
      return true;
    case Method::kUnsubscribe:
      unsubscribe(frame);
      return true;
    default:
      return false;
  }
}

void ForwardBasic::log(const Frame& frame) {
  FrameReader reader(frame);
  const std::uint32_t level = reader.u32();
  const std::string_view message = reader.text();
  const std::uint32_t count = reader.count(8);
  std::array<cm_log_field, kLogFieldsMax> fields;
  for (std::uint32_t i = 0; i < count; ++i) {
    const std::string_view key = reader.text();
    const std::string_view value = reader.text();
    if (i < kLogFieldsMax) {
      fields[i] = {to_pview(key), to_pview(value)};
    }
  }
  if (!reader.done()) {
    context_.session.garbage("a log line that cannot be read");
    return;
  }
  if (++lines_this_second_ > kLogLinesPerSecondMax) {
    context_.counters.log_lines_dropped.fetch_add(1, std::memory_order_relaxed);
    return;
  }
  if (const auto* table = context_.table<cm_log_v1>(CM_LOG_ID); table != nullptr) {
    table->write(context_.self(), level, to_pview(message), fields.data(), std::min<std::size_t>(count, kLogFieldsMax));
  }
}

void ForwardBasic::each_second() {
  lines_this_second_ = 0;
  const std::uint64_t dropped = context_.counters.log_lines_dropped.load(std::memory_order_relaxed);
  if (dropped != lines_dropped_told_) {
    context_.host_side.misbehaved("its process writes more than " + std::to_string(kLogLinesPerSecondMax) +
                                  " log lines in a second; " + std::to_string(dropped - lines_dropped_told_) +
                                  " were dropped");
    lines_dropped_told_ = dropped;
  }
}

void ForwardBasic::metrics(const Frame& frame) {
  FrameReader reader(frame);
  const std::uint32_t count = reader.count(kMetricEntryBytes);
  const auto* table = context_.table<cm_metrics_v1>(CM_METRICS_ID);
  for (std::uint32_t i = 0; i < count; ++i) {
    const auto change = static_cast<MetricChange>(reader.u8());
    const std::uint32_t metric = reader.u32();
    const std::int64_t value = reader.i64();
    if (table == nullptr || !reader.good()) {
      continue;
    }
    if (change == MetricChange::kAdd) {
      table->add(context_.self(), metric, value);
    } else if (change == MetricChange::kSet) {
      table->set(context_.self(), metric, value);
    } else if (change == MetricChange::kObserve) {
      table->observe(context_.self(), metric, static_cast<std::uint64_t>(value));
    }
  }
  if (!reader.done()) {
    context_.session.garbage("metrics that cannot be read");
  }
}

void ForwardBasic::publish(const Frame& frame) {
  FrameReader reader(frame);
  const std::string_view topic = reader.text();
  const std::string_view json = reader.text();
  if (!reader.done()) {
    context_.session.garbage("an event that cannot be read");
    return;
  }
  const auto* table = context_.table<cm_events_v1>(CM_EVENTS_ID);
  if (table != nullptr && table->publish(context_.self(), to_pview(topic), to_pview(json)) == CM_INVALID) {
    context_.host_side.misbehaved("it published an event outside the bounds");
  }
}

void ForwardBasic::define(const Frame& frame) {
  FrameReader reader(frame);
  const std::uint32_t kind = reader.u32();
  const std::string_view name = reader.text();
  const std::string_view labels = reader.text();
  const std::string_view help = reader.text();
  if (!reader.done()) {
    context_.session.garbage("a definition of a metric that cannot be read");
    return;
  }
  const std::string key = std::to_string(kind) + ' ' + std::string(name) + '{' + std::string(labels);
  std::uint32_t metric = 0;
  cm_status status = CM_OK;
  if (const auto known = context_.metrics.find(key); known != context_.metrics.end()) {
    metric = known->second;
  } else if (const auto* table = context_.table<cm_metrics_v1>(CM_METRICS_ID); table != nullptr) {
    status = table->define(context_.self(), kind, to_pview(name), to_pview(labels), to_pview(help), &metric);
  } else {
    status = CM_DENIED;
  }
  if (status == CM_OK) {
    context_.metrics.emplace(key, metric);
  }
  context_.session.reply(frame.call, status, [metric](FrameWriter& writer) { writer.u32(metric); });
}

void ForwardBasic::on_event(void* user, cm_text_hview topic, cm_text_hview json) noexcept {
  const auto* subscription = static_cast<const Subscription*>(user);
  Session& session = subscription->owner->context_.session;
  if (session.crowded()) {
    return;  // as on the bus itself: events are dropped before they pile up
  }
  session.send(Method::kEvent, subscription->id, [&](FrameWriter& writer) {
    writer.text(to_view(topic));
    writer.text(to_view(json));
  });
}

void ForwardBasic::subscribe(const Frame& frame) {
  FrameReader reader(frame);
  const std::uint64_t id = reader.u64();
  const std::string_view topic = reader.text();
  if (!reader.done() || subscriptions_.contains(id)) {
    context_.session.garbage("a subscription that cannot be read");
    return;
  }
  const auto* table = context_.table<cm_events_v1>(CM_EVENTS_ID);
  auto subscription = std::make_unique<Subscription>(Subscription{this, id, CM_NO_HANDLE});
  const cm_status status = table == nullptr ? CM_DENIED
                                            : table->subscribe(context_.self(), to_pview(topic), &on_event,
                                                               subscription.get(), &subscription->handle);
  if (status == CM_OK) {
    subscriptions_.emplace(id, std::move(subscription));
  }
  context_.session.reply(frame.call, status);
}

void ForwardBasic::unsubscribe(const Frame& frame) {
  FrameReader reader(frame);
  const std::uint64_t id = reader.u64();
  if (!reader.done()) {
    context_.session.garbage("a subscription that cannot be read");
    return;
  }
  const auto entry = subscriptions_.find(id);
  cm_status status = CM_GONE;
  if (entry != subscriptions_.end()) {
    const auto* table = context_.table<cm_events_v1>(CM_EVENTS_ID);
    status = table->unsubscribe(context_.self(), entry->second->handle);
    subscriptions_.erase(entry);
  }
  context_.session.reply(frame.call, status);
}

void ForwardBasic::release_all() {
  const auto* table = subscriptions_.empty() ? nullptr : context_.table<cm_events_v1>(CM_EVENTS_ID);
  for (const auto& [id, subscription] : subscriptions_) {
    if (table != nullptr) {
      table->unsubscribe(context_.self(), subscription->handle);
    }
  }
  subscriptions_.clear();
}

}  // namespace cm::isolation
