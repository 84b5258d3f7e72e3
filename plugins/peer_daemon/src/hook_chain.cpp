#include "plugins/peer_daemon/src/hook_chain.hpp"

#include <algorithm>
#include <utility>

namespace cm::daemon {

Status HookChain::open(const HostApi& host, const std::vector<std::string>& instance_names) {
  host_ = &host;
  for (const std::string& name : instance_names) {
    Result<Extension<cm_hook_v1>> hook = Extension<cm_hook_v1>::acquire(host, name, CM_HOOK_ID);
    if (!hook) {
      return std::move(hook).error();
    }
    hooks_.push_back(Hook{name, std::move(*hook)});
  }
  std::sort(hooks_.begin(), hooks_.end(), [](const Hook& a, const Hook& b) {
    return a.extension->order != b.extension->order ? a.extension->order < b.extension->order : a.name < b.name;
  });
  return {};
}

void HookChain::close() {
  runs_.clear();
  hooks_.clear();
}

void HookChain::run(std::string_view point, std::string json, std::string payload, Done done) {
  if (hooks_.empty()) {
    done(HookOutcome{false, {}, std::move(payload)});
    return;
  }
  const cm_handle ticket = next_ticket_++;
  auto run = std::make_unique<Run>();
  run->chain = this;
  run->ticket = ticket;
  run->point = std::string(point);
  run->json = std::move(json);
  run->payload = std::move(payload);
  run->done = std::move(done);
  runs_.emplace(ticket, std::move(run));
  advance(ticket);
}

void HookChain::advance(cm_handle ticket) {
  for (;;) {
    const auto place = runs_.find(ticket);
    if (place == runs_.end()) {
      return;
    }
    Run& run = *place->second;
    if (run.next == hooks_.size()) {
      conclude(ticket, false, {});
      return;
    }
    const std::uint32_t result = invoke(run);
    if (!runs_.contains(ticket)) {
      return;  // answered through `finish` while it was being called
    }
    if (result == CM_HOOK_DEFER) {
      const std::uint32_t own_ms = hooks_[run.next].extension->timeout_ms;
      run.waiting = true;
      run.deadline = std::make_unique<Timer>(*host_);
      run.deadline->start_ms(own_ms == 0 ? kHookTimeoutMs : own_ms, [this, ticket] { missed_deadline(ticket); });
      return;
    }
    std::string answer = std::exchange(run.answer, {});
    if (!apply(run, result, std::move(answer))) {
      return;
    }
  }
}

std::uint32_t HookChain::invoke(Run& run) {
  Hook& hook = hooks_[run.next];
  if (!hook.extension) {
    // The plugin is going away: a guard that cannot be asked says no.
    return hook.extension.table()->kind == CM_HOOK_GUARD ? CM_HOOK_DENY : CM_HOOK_CONTINUE;
  }
  cm_hook_event event = {};
  event.size = sizeof(event);
  event.ticket = run.ticket;
  event.point = to_hview(run.point);
  event.json = to_hview(run.json);
  event.payload = cm_bytes_hview{reinterpret_cast<const std::uint8_t*>(run.payload.data()), run.payload.size()};
  const cm_hook_reply reply = {sizeof(cm_hook_reply), 0, this, &HookChain::set_payload, &HookChain::finish};
  return hook.extension->invoke(hook.extension.instance(), &event, &reply);
}

bool HookChain::apply(Run& run, std::uint32_t result, std::string answer) {
  const bool guard = hooks_[run.next].extension.table()->kind == CM_HOOK_GUARD;
  const std::string& name = hooks_[run.next].name;
  switch (result) {
    case CM_HOOK_CONTINUE:
      break;
    case CM_HOOK_REPLACE:
      run.payload = std::move(answer);
      break;
    case CM_HOOK_DENY:
      conclude(run.ticket, true, answer.empty() ? "denied by the hook " + name : std::move(answer));
      return false;
    default:
      if (guard) {
        conclude(run.ticket, true, "the guard " + name + " gave an unknown answer, which counts as a refusal");
        return false;
      }
      break;
  }
  ++run.next;
  return true;
}

void HookChain::missed_deadline(cm_handle ticket) {
  const auto place = runs_.find(ticket);
  if (place == runs_.end()) {
    return;
  }
  Run& run = *place->second;
  run.waiting = false;
  const std::string& name = hooks_[run.next].name;
  const bool guard = hooks_[run.next].extension.table()->kind == CM_HOOK_GUARD;
  host_->log(LogLevel::kWarn, "a hook missed its deadline", {{"hook", name}, {"point", run.point}});
  if (guard) {
    conclude(ticket, true, "the guard " + name + " did not answer in time, which counts as a refusal");
    return;
  }
  ++run.next;
  advance(ticket);
}

void HookChain::conclude(cm_handle ticket, bool denied, std::string text) {
  const auto place = runs_.find(ticket);
  const std::unique_ptr<Run> run = std::move(place->second);
  runs_.erase(place);
  run->done(HookOutcome{denied, std::move(text), std::move(run->payload)});
}

void HookChain::set_payload(void* context, cm_handle ticket, cm_bytes_pview payload) noexcept {
  auto* chain = static_cast<HookChain*>(context);
  const auto place = chain->runs_.find(ticket);
  if (place != chain->runs_.end()) {
    place->second->answer = std::string(to_view(payload));
  }
}

cm_status HookChain::finish(void* context, cm_handle ticket, std::uint32_t result, cm_bytes_pview payload) noexcept {
  auto* chain = static_cast<HookChain*>(context);
  const auto place = chain->runs_.find(ticket);
  if (place == chain->runs_.end() || !place->second->waiting || result == CM_HOOK_DEFER) {
    return CM_GONE;
  }
  Run& run = *place->second;
  run.waiting = false;
  run.deadline.reset();
  if (chain->apply(run, result, std::string(to_view(payload)))) {
    chain->advance(ticket);
  }
  return CM_OK;
}

}  // namespace cm::daemon
