#include <claudemesh/ext/peer.h>
#include <claudemesh/cpp/text.hpp>

#include "host/isolation/extensions/forward_peer.hpp"
#include "host/isolation/forward.hpp"

namespace cm::isolation {

ForwardRegistry::ForwardRegistry(ForwardContext& context)
    : context_(context), peer_(std::make_unique<ForwardPeer>(context, *this)) {}
ForwardRegistry::~ForwardRegistry() = default;

bool ForwardRegistry::handle(const Frame& frame) {
  switch (frame.method) {
    case Method::kAcquire:
      acquire(frame);
      return true;
    case Method::kRelease:
      release(frame);
      return true;
    case Method::kHookAsk:
      ask(frame);
      return true;
    default:
      return peer_->handle(frame);
  }
}

const cm_extension* ForwardRegistry::find(std::uint64_t id, bool hook) const {
  const auto entry = references_.find(id);
  return entry != references_.end() && entry->second->hook == hook ? &entry->second->extension : nullptr;
}

void ForwardRegistry::acquire(const Frame& frame) {
  FrameReader reader(frame);
  const std::uint64_t id = reader.u64();
  const std::string_view name = reader.text();
  const std::string_view extension = reader.text();
  if (!reader.done() || references_.contains(id)) {
    context_.session.garbage("a question for an extension that cannot be read");
    return;
  }
  const bool hook = extension == CM_HOOK_ID;
  const auto* table = context_.table<cm_registry_v1>(CM_REGISTRY_ID);
  if (table == nullptr || (!hook && extension != CM_PEER_ID)) {
    context_.session.reply(frame.call, table == nullptr ? CM_DENIED : CM_UNSUPPORTED);
    return;
  }
  auto reference = std::make_unique<Reference>(Reference{this, id, {}, hook});
  const cm_status status = table->acquire(context_.self(), to_pview(name), to_pview(extension), &going_away,
                                          reference.get(), &reference->extension);
  context_.session.reply(frame.call, status, [&](FrameWriter& writer) {
    const auto* facts = hook && status == CM_OK ? static_cast<const cm_hook_v1*>(reference->extension.table) : nullptr;
    writer.u32(facts == nullptr ? 0 : facts->kind);
    writer.u32(facts == nullptr ? 0 : static_cast<std::uint32_t>(facts->order));
    writer.u32(facts == nullptr ? 0 : facts->timeout_ms);
    writer.u64(reference->extension.provider);
  });
  if (status == CM_OK) {
    references_.emplace(id, std::move(reference));
  }
}

void ForwardRegistry::going_away(void* user) noexcept {
  auto* reference = static_cast<Reference*>(user);
  ForwardRegistry& self = *reference->owner;
  self.context_.session.send(Method::kGoingAway, reference->id);
  // The host releases it when this returns; from here on the child's calls find nothing.
  self.peer_->forget(reference->id);
  self.references_.erase(reference->id);
}

void ForwardRegistry::release(const Frame& frame) {
  FrameReader reader(frame);
  const std::uint64_t id = reader.u64();
  if (!reader.done()) {
    context_.session.garbage("a reference that cannot be read");
    return;
  }
  if (const auto entry = references_.find(id); entry != references_.end()) {
    peer_->unsubscribe_all(id);
    const auto* table = context_.table<cm_registry_v1>(CM_REGISTRY_ID);
    table->release(context_.self(), entry->second->extension.reference);
    references_.erase(entry);
  }
  context_.session.reply(frame.call, CM_OK);
}

void ForwardRegistry::ask(const Frame& frame) {
  FrameReader reader(frame);
  const std::uint64_t id = reader.u64();
  cm_hook_event event = {};
  event.size = sizeof(event);
  event.ticket = frame.call;
  event.point = to_hview(reader.text());
  event.json = to_hview(reader.text());
  const std::string_view payload = reader.bytes();
  event.payload = {reinterpret_cast<const std::uint8_t*>(payload.data()), payload.size()};
  if (!reader.done() || asks_.contains(frame.call)) {
    context_.session.garbage("a question for a hook that cannot be read");
    return;
  }
  const cm_extension* extension = find(id, true);
  if (extension == nullptr || asks_.size() >= kAsksMax) {
    answer(frame.call, CM_HOOK_DENY, "the hook is gone or too many answers are waited for");
    return;
  }
  const auto* hook = static_cast<const cm_hook_v1*>(extension->table);
  const cm_hook_reply reply = {sizeof(reply), 0, this, &set_payload, &finish};
  asks_.emplace(frame.call, Ask{});
  const std::uint32_t result = hook->invoke(extension->instance, &event, &reply);
  const auto entry = asks_.find(frame.call);
  if (entry == asks_.end()) {
    return;  // answered through `finish` meanwhile
  }
  if (result == CM_HOOK_DEFER) {
    entry->second.deferred = true;
    return;
  }
  const std::string text = std::move(entry->second.payload);
  asks_.erase(entry);
  answer(frame.call, result, text);
}

void ForwardRegistry::answer(std::uint64_t call, std::uint32_t result, std::string_view payload) {
  context_.session.send(Method::kHookResult, call, [&](FrameWriter& writer) {
    writer.u32(result);
    writer.bytes(payload);
  });
}

void ForwardRegistry::set_payload(void* context, cm_handle ticket, cm_bytes_pview payload) noexcept {
  auto* self = static_cast<ForwardRegistry*>(context);
  if (const auto entry = self->asks_.find(ticket); entry != self->asks_.end()) {
    entry->second.payload = std::string(to_view(payload));
  }
}

cm_status ForwardRegistry::finish(void* context, cm_handle ticket, std::uint32_t result,
                                  cm_bytes_pview payload) noexcept {
  auto* self = static_cast<ForwardRegistry*>(context);
  const auto entry = self->asks_.find(ticket);
  if (entry == self->asks_.end() || !entry->second.deferred || result == CM_HOOK_DEFER) {
    return CM_GONE;
  }
  self->asks_.erase(entry);
  self->answer(ticket, result, to_view(payload));
  return CM_OK;
}

void ForwardRegistry::release_all() {
  asks_.clear();
  const auto* table = references_.empty() ? nullptr : context_.table<cm_registry_v1>(CM_REGISTRY_ID);
  for (const auto& [id, reference] : references_) {
    peer_->unsubscribe_all(id);
    if (table != nullptr) {
      table->release(context_.self(), reference->extension.reference);
    }
  }
  references_.clear();
}

}  // namespace cm::isolation
