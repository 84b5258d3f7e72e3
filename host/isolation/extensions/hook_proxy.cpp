#include "host/isolation/extensions/hook_proxy.hpp"

#include <claudemesh/cpp/text.hpp>

#include <utility>

#include "host/isolation/isolated_plugin.hpp"

namespace cm::isolation {

namespace {

constexpr std::string_view kGone =
    "the plugin that judges this is not running now, which counts as a refusal; try later";

std::uint32_t invoke_proxy(void* instance, const cm_hook_event* event, const cm_hook_reply* reply) noexcept {
  return static_cast<IsolatedPlugin*>(instance)->hook().invoke(*event, *reply);
}

}  // namespace

void HookProxy::set_facts(std::uint32_t kind, std::int32_t order, std::uint32_t timeout_ms) {
  table_ = {sizeof(cm_hook_v1), kind, order, timeout_ms, &invoke_proxy};
}

std::uint32_t HookProxy::without_child(const cm_hook_event& event, const cm_hook_reply& reply) const {
  if (table_.kind != CM_HOOK_GUARD) {
    return CM_HOOK_CONTINUE;
  }
  reply.set_payload(reply.context, event.ticket, to_bytes_pview(kGone));
  return CM_HOOK_DENY;
}

std::uint32_t HookProxy::invoke(const cm_hook_event& event, const cm_hook_reply& reply) {
  if (session_ == nullptr || session_->crowded() || questions_.size() >= kHookQuestionsMax) {
    return without_child(event, reply);
  }
  const std::uint64_t call = session_->next_call();
  const bool sent = session_->send(Method::kHookInvoke, call, [&event](FrameWriter& writer) {
    writer.text(to_view(event.point));
    writer.text(to_view(event.json));
    writer.bytes(to_view(event.payload));
  });
  if (!sent) {
    return without_child(event, reply);
  }
  const std::int64_t timeout_ms = table_.timeout_ms == 0 ? kHookTimeoutMs : table_.timeout_ms;
  questions_.emplace(call,
                     Question{reply.context, reply.finish, event.ticket, net::Loop::now_ns() + timeout_ms * 1'000'000});
  return CM_HOOK_DEFER;
}

void HookProxy::on_done(const Frame& frame) {
  FrameReader reader(frame);
  const std::uint32_t result = reader.u32();
  const std::string_view payload = reader.bytes();
  if (!reader.done() || result == CM_HOOK_DEFER || result > CM_HOOK_REPLACE) {
    session_->garbage("an answer of a hook that cannot be read");
    return;
  }
  const auto entry = questions_.find(frame.call);
  if (entry == questions_.end()) {
    return;  // late: the question was given up
  }
  const Question question = entry->second;
  questions_.erase(entry);
  // `finish` is only valid until the deadline.
  if (net::Loop::now_ns() < question.deadline_ns) {
    question.finish(question.context, question.ticket, result, to_bytes_pview(payload));
  }
}

void HookProxy::detach() {
  session_ = nullptr;
  // Answers may ask this hook again, at once.
  const auto open = std::exchange(questions_, {});
  const std::int64_t now_ns = net::Loop::now_ns();
  const bool guard = table_.kind == CM_HOOK_GUARD;
  for (const auto& [call, question] : open) {
    if (now_ns < question.deadline_ns) {
      question.finish(question.context, question.ticket, guard ? CM_HOOK_DENY : CM_HOOK_CONTINUE,
                      to_bytes_pview(guard ? kGone : std::string_view()));
    }
  }
}

void HookProxy::sweep() {
  const std::int64_t now_ns = net::Loop::now_ns();
  std::erase_if(questions_, [now_ns](const auto& entry) { return entry.second.deadline_ns <= now_ns; });
}

}  // namespace cm::isolation
