#include "plugins/ws_broker/src/hooks.hpp"

#include <algorithm>

namespace cm::broker {

namespace {

constexpr std::string_view kDenied = "refused by a hook";

}  // namespace

Status HookChain::open(const std::vector<std::string>& instances) {
  for (const std::string& name : instances) {
    auto extension = Extension<cm_hook_v1>::acquire(host_, name, CM_HOOK_ID);
    if (!extension) {
      return std::move(extension).error();
    }
    hooks_.push_back(Hook{name, std::move(*extension)});
  }
  std::sort(hooks_.begin(), hooks_.end(), [](const Hook& a, const Hook& b) {
    const std::int32_t order_a = a.extension->order;
    const std::int32_t order_b = b.extension->order;
    return order_a != order_b ? order_a < order_b : a.name < b.name;
  });
  return {};
}

void HookChain::close() {
  runs_.clear();
  hooks_.clear();
}

void HookChain::run(std::string point, std::string facts_json, std::string payload, Done done) {
  if (hooks_.empty()) {
    done(HookOutcome());
    return;
  }
  if (runs_.size() >= kRunsMax) {
    done(HookOutcome{false, "too many messages wait for a hook", std::nullopt});
    return;
  }
  auto run = std::make_shared<Run>(host_);
  run->chain = this;
  run->ticket = next_ticket_++;
  run->point = std::move(point);
  run->facts = std::move(facts_json);
  run->payload = std::move(payload);
  run->done = std::move(done);
  runs_.emplace(run->ticket, run);
  advance(run);
}

void HookChain::advance(const std::shared_ptr<Run>& run) {
  while (run->next < hooks_.size()) {
    const Hook& hook = hooks_[run->next];
    if (!hook.extension) {
      ++run->next;  // it is going away
      continue;
    }
    cm_hook_event event = {};
    event.size = sizeof(event);
    event.ticket = run->ticket;
    event.point = to_hview(run->point);
    event.json = to_hview(run->facts);
    event.payload = cm_bytes_hview{reinterpret_cast<const std::uint8_t*>(run->payload.data()), run->payload.size()};
    cm_hook_reply reply = {};
    reply.size = sizeof(reply);
    reply.context = this;
    reply.set_payload = &HookChain::set_payload;
    reply.finish = &HookChain::finish;
    run->answer_payload.clear();
    run->in_hook = true;
    const std::uint32_t result = hook.extension->invoke(hook.extension.instance(), &event, &reply);
    run->in_hook = false;
    if (!apply(run, hook, result)) {
      return;
    }
  }
  end(run, true, {});
}

bool HookChain::apply(const std::shared_ptr<Run>& run, const Hook& hook, std::uint32_t result) {
  const bool guard = hook.extension->kind != CM_HOOK_OBSERVER;
  switch (result) {
    case CM_HOOK_DEFER:
      wait(run, hook);
      return false;
    case CM_HOOK_DENY:
      end(run, false, run->answer_payload.empty() ? std::string(kDenied) : run->answer_payload);
      return false;
    case CM_HOOK_REPLACE:
      run->payload = run->answer_payload;
      run->replaced = true;
      break;
    case CM_HOOK_CONTINUE:
      break;
    default:
      host_.log(LogLevel::kError, "a hook gave an unknown answer", {{"hook", hook.name}, {"answer", result}});
      if (guard) {
        end(run, false, std::string(kDenied));
        return false;
      }
  }
  ++run->next;
  return true;
}

void HookChain::wait(const std::shared_ptr<Run>& run, const Hook& hook) {
  run->waiting = true;
  const bool guard = hook.extension->kind != CM_HOOK_OBSERVER;
  const std::uint64_t timeout_ms = hook.extension->timeout_ms == 0 ? kDefaultTimeoutMs : hook.extension->timeout_ms;
  run->deadline.start_ms(timeout_ms, [this, weak = std::weak_ptr<Run>(run), guard, name = hook.name] {
    const std::shared_ptr<Run> late = weak.lock();
    if (!late || !late->waiting) {
      return;
    }
    late->waiting = false;
    host_.log(LogLevel::kWarn, "a hook missed its deadline", {{"hook", name}});
    if (guard) {
      end(late, false, "a hook did not answer in time");
      return;
    }
    ++late->next;
    advance(late);
  });
}

void HookChain::end(const std::shared_ptr<Run>& run, bool allowed, std::string text) {
  runs_.erase(run->ticket);
  run->deadline.cancel();
  HookOutcome outcome;
  outcome.allowed = allowed;
  outcome.text = std::move(text);
  if (allowed && run->replaced) {
    outcome.payload = run->payload;
  }
  auto done = std::move(run->done);
  done(std::move(outcome));
}

void HookChain::set_payload(void* context, cm_handle ticket, cm_bytes_pview payload) noexcept {
  auto* chain = static_cast<HookChain*>(context);
  const auto found = chain->runs_.find(ticket);
  if (found != chain->runs_.end() && found->second->in_hook) {
    found->second->answer_payload = to_view(payload);
  }
}

cm_status HookChain::finish(void* context, cm_handle ticket, std::uint32_t result, cm_bytes_pview payload) noexcept {
  auto* chain = static_cast<HookChain*>(context);
  const auto found = chain->runs_.find(ticket);
  if (found == chain->runs_.end() || !found->second->waiting || result == CM_HOOK_DEFER) {
    return CM_GONE;
  }
  const std::shared_ptr<Run> run = found->second;
  run->waiting = false;
  run->deadline.cancel();
  run->answer_payload = to_view(payload);
  if (chain->apply(run, chain->hooks_[run->next], result)) {
    chain->advance(run);
  }
  return CM_OK;
}

}  // namespace cm::broker
