#include "host/services/events.hpp"

#include <algorithm>

#include "host/services/instance.hpp"
#include "host/services/services.hpp"

namespace cm::host {

namespace {

struct Event {
  std::string topic;
  std::string json;
};

void post_event(Instance& instance, cm_handle subscription, const std::shared_ptr<const Event>& event) {
  if (!instance.enter_gate()) {
    return;
  }
  if (instance.events_waiting.load(std::memory_order_relaxed) >= kEventsWaitingMax) {
    instance.events_dropped.fetch_add(1, std::memory_order_relaxed);
    instance.leave_gate();
    return;
  }
  instance.events_waiting.fetch_add(1, std::memory_order_relaxed);
  instance.loop_thread().loop().post([&instance, subscription, event] {
    instance.events_waiting.fetch_sub(1, std::memory_order_relaxed);
    if (instance.open()) {
      instance.holdings->subscriptions->deliver(subscription, event->topic, event->json);
    }
  });
  instance.leave_gate();
}

Status check_event(std::string_view topic, std::string_view json) {
  if (topic.empty() || topic.size() > kEventTopicBytesMax) {
    return make_error(ErrorCode::kInvalid, "an event topic has " + std::to_string(topic.size()) +
                                               " bytes; expected 1 to " + std::to_string(kEventTopicBytesMax));
  }
  if (json.size() > kEventJsonBytesMax) {
    return make_error(ErrorCode::kInvalid, "the event " + std::string(topic) + " has " + std::to_string(json.size()) +
                                               " bytes of JSON; at most " + std::to_string(kEventJsonBytesMax) +
                                               " are carried, so send a reference instead");
  }
  return {};
}

}  // namespace

bool topic_matches(std::string_view pattern, std::string_view topic) noexcept {
  if (!pattern.empty() && pattern.back() == '*') {
    return topic.starts_with(pattern.substr(0, pattern.size() - 1));
  }
  return pattern == topic;
}

void EventBus::add(Instance& instance, cm_handle subscription, std::string pattern) {
  const std::lock_guard lock(mutex_);
  listeners_.push_back(Listener{&instance, subscription, std::move(pattern)});
}

void EventBus::remove(const Instance& instance, cm_handle subscription) {
  const std::lock_guard lock(mutex_);
  std::erase_if(listeners_, [&](const Listener& listener) {
    return listener.instance == &instance && listener.subscription == subscription;
  });
}

Status EventBus::publish(std::string_view topic, std::string_view json) {
  if (Status good = check_event(topic, json); !good) {
    return good;
  }
  const auto event = std::make_shared<const Event>(Event{std::string(topic), std::string(json)});
  published_.fetch_add(1, std::memory_order_relaxed);
  const std::lock_guard lock(mutex_);
  for (const Listener& listener : listeners_) {
    if (topic_matches(listener.pattern, topic)) {
      post_event(*listener.instance, listener.subscription, event);
    }
  }
  return {};
}

Result<cm_handle> EventSubscriptions::subscribe(std::string_view topic, cm_event_callback callback, void* user) {
  if (callback == nullptr || topic.empty() || topic.size() > kEventTopicBytesMax) {
    return make_error(ErrorCode::kInvalid, "a subscription needs a callback and a topic of 1 to " +
                                               std::to_string(kEventTopicBytesMax) + " bytes");
  }
  const cm_handle subscription = entries_.insert(std::make_unique<Entry>(Entry{callback, user}));
  if (subscription == CM_NO_HANDLE) {
    return make_error(ErrorCode::kBusy, "an instance may have at most " + std::to_string(kSubscriptionsMax) +
                                            " subscriptions; use a prefix that ends with '*'");
  }
  instance_.services().events.add(instance_, subscription, std::string(topic));
  return subscription;
}

bool EventSubscriptions::unsubscribe(cm_handle subscription) {
  if (entries_.remove(subscription) == nullptr) {
    return false;
  }
  instance_.services().events.remove(instance_, subscription);
  return true;
}

void EventSubscriptions::deliver(cm_handle subscription, std::string_view topic, std::string_view json) {
  const Entry* entry = entries_.find(subscription);
  if (entry == nullptr) {
    return;
  }
  const Entry copy = *entry;  // the callback may unsubscribe itself
  enter(instance_, CallbackKind::kEvent, [&] { copy.callback(copy.user, view_of(topic), view_of(json)); });
}

void EventSubscriptions::silence() {
  for (const cm_handle subscription : entries_.handles()) {
    instance_.services().events.remove(instance_, subscription);
  }
}

}  // namespace cm::host
