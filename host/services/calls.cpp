#include "host/services/calls.hpp"

#include <string>

#include "host/services/instance.hpp"
#include "host/services/services.hpp"

namespace cm::host {

constinit thread_local CurrentCall current_call{};
constinit thread_local LoopThread* current_loop_thread = nullptr;

namespace {

constexpr const char* kCallbackNames[kCallbackKinds] = {
    "none",
    "create",
    "configure",
    "get_extension",
    "start",
    "drain",
    "stop",
    "destroy",
    "reload_prepare",
    "reload_finish",
    "post",
    "timer",
    "event",
    "job",
    "going_away",
    "http_request",
    "http_stream",
    "http_result",
    "websocket_opened",
    "websocket_messages",
    "websocket_pong",
    "websocket_drained",
    "websocket_closed",
    "process_output",
    "process_drained",
    "process_exited",
    "remote",
};

void report_overrun(Instance& instance, CallbackKind kind, std::int64_t elapsed_ns) noexcept {
  auto& overruns = instance.stats(kind).overruns;
  overruns.fetch_add(1, std::memory_order_relaxed);
  instance.services().counters.call_overruns.fetch_add(1, std::memory_order_relaxed);
  instance.misbehaved("the callback " + std::string(callback_name(kind)) + " held its loop for " +
                      std::to_string(elapsed_ns / 1'000'000) + " ms; the budget is " +
                      std::to_string(kCallBudgetNs / 1'000'000) + " ms, so move blocking work to a worker");
}

}  // namespace

const char* callback_name(CallbackKind kind) noexcept {
  const auto index = static_cast<std::size_t>(kind);
  return index < kCallbackKinds ? kCallbackNames[index] : "unknown";
}

std::uint64_t CallStats::calls() const noexcept {
  std::uint64_t total = 0;
  for (std::size_t index = 0; index < Histogram::kBuckets; ++index) {
    total += duration_us.bucket(index);
  }
  return total;
}

LoopWatch::Sample LoopWatch::sample() const noexcept {
  Sample result;
  result.since_ns = since_ns_.load(std::memory_order_acquire);
  result.instance = instance_.load(std::memory_order_relaxed);
  result.kind = kind_.load(std::memory_order_relaxed);
  if (result.since_ns == 0 || since_ns_.load(std::memory_order_acquire) != result.since_ns) {
    return {};
  }
  return result;
}

CallScope::CallScope(Instance& instance, CallbackKind kind) noexcept
    : outer_(current_call), started_ns_(net::Loop::now_ns()) {
  assert(outer_.instance == nullptr && "the host entered a plugin from inside a plugin");
  current_call = CurrentCall{&instance, kind};
  if (kind != CallbackKind::kJob) {
    assert(current_loop_thread == &instance.loop_thread() && "an instance must be entered on its own loop");
    current_loop_thread->watch().begin(&instance, kind, started_ns_);
  }
}

CallScope::~CallScope() {
  const auto [instance, kind] = current_call;
  const std::int64_t elapsed_ns = net::Loop::now_ns() - started_ns_;
  const auto elapsed_us = static_cast<std::uint64_t>(elapsed_ns > 0 ? elapsed_ns / 1000 : 0);
  current_call = outer_;
  if (kind == CallbackKind::kJob) {
    instance->stats(kind).duration_us.observe(elapsed_us);
    return;
  }
  current_loop_thread->watch().end();
  instance->stats(kind).duration_us.observe_unshared(elapsed_us);
  if (elapsed_ns > kCallBudgetNs) [[unlikely]] {
    instance->set_degraded(false);
    report_overrun(*instance, kind, elapsed_ns);
  }
}

void report_garbage(Instance& instance, CallbackKind kind, cm_status status) noexcept {
  instance.misbehaved("the callback " + std::string(callback_name(kind)) + " answered " + std::to_string(status) +
                      ", which is no status of the ABI; it counts as a failure");
}

void count_call_error(Instance& instance, CallbackKind kind) noexcept {
  instance.stats(kind).errors.fetch_add(1, std::memory_order_relaxed);
}

}  // namespace cm::host
