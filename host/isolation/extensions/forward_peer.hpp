// cm.peer/1 for a child: the calls are carried out by the providing instance of the host. [loop]
#pragma once

#include <claudemesh/ext/peer.h>

#include "host/isolation/forward.hpp"

namespace cm::isolation {

inline constexpr std::size_t kPeerSubscriptionsMax = 256;  // of one child
inline constexpr std::size_t kPeerCallsMax = 4096;         // waiting for their answer, of one child

class ForwardPeer {
 public:
  ForwardPeer(ForwardContext& context, const ForwardRegistry& registry);
  ~ForwardPeer();
  bool handle(const Frame& frame);
  // Ends the subscriptions of a reference that is about to be released.
  void unsubscribe_all(std::uint64_t reference);
  // The same when the provider goes away by itself.
  void forget(std::uint64_t reference);

 private:
  struct Subscription {
    ForwardPeer* owner;
    std::uint64_t id;
    std::uint64_t reference;
    cm_handle handle;
  };
  // An answer may come after the child's end, and even after that of the instance: the table knows no cancel. So a
  // call owns itself until then, and knows of its owner only while that lives.
  struct Call {
    std::shared_ptr<ForwardPeer*> owner;
    std::uint64_t number;
  };
  void send(const Frame& frame);
  void subscribe(const Frame& frame);
  void unsubscribe(const Frame& frame);
  static void on_sent(void* user, std::uint32_t http_status, cm_text_hview json) noexcept;
  static void on_event(void* user, cm_text_hview kind, cm_text_hview json) noexcept;

  ForwardContext& context_;
  const ForwardRegistry& registry_;
  std::shared_ptr<ForwardPeer*> self_;
  std::map<std::uint64_t, std::unique_ptr<Subscription>> subscriptions_;
  std::size_t calls_waiting_ = 0;
};

}  // namespace cm::isolation
