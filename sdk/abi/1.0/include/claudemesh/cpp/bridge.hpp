// cm.bridge/1 as C++: derive from BridgeInstance, write the two sides, and the rules, the table, the counters and the
// observers are there. [loop]
//
//   class Board final : public cm::BridgeInstance {
//     Status configure() override { ... open_bridge("board", "main"); map({...}); ... }
//     void to_mesh(const BridgeCrossing& crossing, HandedOver done) override { mesh_.send(crossing, std::move(done)); }
//     void to_remote(const BridgeCrossing& crossing, HandedOver done) override { ...; done({true}); }
//   };
#pragma once

#include <claudemesh/ext/bridge.h>
#include <claudemesh/ext/peer.h>

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <utility>

#include <claudemesh/cpp/bridge_rules.hpp>
#include <claudemesh/cpp/plugin.hpp>

namespace cm {

// What became of a hand-over.
struct BridgeReceipt {
  bool taken = false;  // by the other side; false is final
  std::string reason = {};
  std::string new_id = {};  // of the message there, if that side tells one
};

// Answers a hand-over: once, at once or later, on the loop. After the end of the bridge it does nothing.
using HandedOver = std::function<void(BridgeReceipt receipt)>;

// A plugin instance that offers cm.bridge/1. All functions are called on its loop.
class BridgeInstance : public PluginInstance {
 public:
  explicit BridgeInstance(const cm_host* host) : PluginInstance(host) {}

  // Hands a message that may cross to the mesh: `crossing.channel` of `crossing.mesh`, `crossing.text` with
  // `crossing.new_id` as the client message id (MeshSide::send does it). Not called for rehearsals. When it throws, the
  // message has not crossed. [loop]
  virtual void to_mesh(const BridgeCrossing& crossing, HandedOver done) = 0;
  // Hands one to the remote side: `crossing.text` of `crossing.author_name` to `crossing.channel`, with
  // `crossing.trail` beside it, where that side can carry it. [loop]
  virtual void to_remote(const BridgeCrossing& crossing, HandedOver done) = 0;
  // Its cm.bridge/1. A plugin that offers more calls this for the rest. [loop]
  const void* extension(std::string_view extension_id) override {
    return extension_id == CM_BRIDGE_ID ? &kTable : nullptr;
  }

 protected:
  // In configure: gives the bridge its mark, `network`:`name`, which is the same over restarts. [loop]
  Status open_bridge(std::string network, const std::string& name, BridgeStyle style = {}) {
    const std::string mark = network + ":" + name;
    if (!is_bridge_mark(mark)) {
      return make_error(ErrorCode::kInvalid, "found the mark \"" + mark +
                                                 "\", expected NETWORK:NAME of [a-z0-9._:-], " + "at most " +
                                                 std::to_string(CM_BRIDGE_MARK_BYTES_MAX) + " bytes");
    }
    network_ = std::move(network);
    rules_ = BridgeRules(mark, style);
    state_ = CM_BRIDGE_CONNECTING;
    return {};
  }
  // Adds or replaces a mapping, as the table does. [loop]
  cm_status map(BridgeMapping mapping) { return rules_.map(std::move(mapping)); }
  // Tells the state, CM_BRIDGE_*, and words for a person. [loop]
  void set_state(std::uint32_t state, std::string detail = {}) {
    state_ = state;
    detail_ = std::move(detail);
  }
  // In stop: hand-overs that are still open are told to nobody, and nothing crosses any more. [loop]
  void close_bridge() {
    set_state(CM_BRIDGE_STOPPED);
    alive_.reset();
    observers_.clear();
  }
  // A message of the remote side. CM_BUSY: too much is waiting, nothing was taken; CM_INVALID: no id; CM_GONE: closed.
  cm_status from_remote(BridgeMessage message) { return cross(CM_BRIDGE_TO_MESH, std::move(message), {}); }
  // A message of the mesh; the same answers. [loop]
  cm_status from_mesh(BridgeMessage message) { return cross(CM_BRIDGE_TO_REMOTE, std::move(message), {}); }
  // Mark and mappings. [loop]
  const BridgeRules& rules() const noexcept { return rules_; }
  // What has crossed and what has not; `mark`, `detail` and `mappings` are empty here. [loop]
  const cm_bridge_status& counts() const noexcept { return counts_; }

 private:
  struct Teller {
    cm_bridge_crossed crossed = nullptr;
    void* user = nullptr;
  };

  cm_status cross(std::uint32_t direction, BridgeMessage message, Teller teller) {
    if (alive_ == nullptr) {
      return CM_GONE;
    }
    if (message.message_id.empty()) {
      return CM_INVALID;
    }
    if (counts_.waiting >= CM_BRIDGE_REMEMBERED) {
      return CM_BUSY;
    }
    for (BridgeCrossing& crossing : rules_.judge(direction, std::move(message))) {
      if (crossing.outcome == 0 && (crossing.flags & CM_BRIDGE_REHEARSAL) != 0) {
        crossing.outcome = CM_BRIDGE_REHEARSED;
      }
      if (crossing.outcome != 0) {
        // Later: whoever called us has not returned yet.
        host().post([this, crossing = std::move(crossing), teller] { tell(crossing, teller); });
        continue;
      }
      hand_over(crossing, teller);
    }
    return CM_OK;
  }

  void hand_over(const BridgeCrossing& crossing, Teller teller) {
    ++counts_.waiting;
    const auto open = std::make_shared<bool>(true);
    HandedOver done = [this, alive = std::weak_ptr<bool>(alive_), open, crossing, teller](BridgeReceipt receipt) {
      if (!std::exchange(*open, false) || alive.expired()) {
        return;
      }
      BridgeCrossing ended = crossing;
      ended.outcome = receipt.taken ? CM_BRIDGE_FORWARDED : CM_BRIDGE_FAILED;
      ended.reason = std::move(receipt.reason);
      if (!receipt.new_id.empty()) {
        ended.new_id = std::move(receipt.new_id);
      }
      // The side may have answered at once, inside deliver_*.
      host().post([this, ended = std::move(ended), teller] {
        --counts_.waiting;
        tell(ended, teller);
      });
    };
    const bool to_the_mesh = crossing.direction == CM_BRIDGE_TO_MESH;
    const bool returned = host().guarded(to_the_mesh ? "to_mesh" : "to_remote", [&] {
      if (to_the_mesh) {
        to_mesh(crossing, done);
      } else {
        to_remote(crossing, done);
      }
    });
    if (!returned) {
      done({false, "the hand-over threw an exception; the log has its text"});
    }
  }

  std::uint64_t* counter_of(const BridgeCrossing& crossing) {
    switch (crossing.outcome) {
      case CM_BRIDGE_FORWARDED:
        return crossing.direction == CM_BRIDGE_TO_MESH ? &counts_.to_mesh : &counts_.to_remote;
      case CM_BRIDGE_UNMAPPED:
        return &counts_.dropped_unmapped;
      case CM_BRIDGE_ECHO:
        return &counts_.dropped_echo;
      case CM_BRIDGE_DUPLICATE:
        return &counts_.dropped_duplicate;
      case CM_BRIDGE_LOOP:
        return &counts_.dropped_loop;
      case CM_BRIDGE_FILTERED:
        return &counts_.dropped_filtered;
      case CM_BRIDGE_FAILED:
        return &counts_.failed;
      default:
        return nullptr;  // a rehearsal went nowhere
    }
  }

  void tell(const BridgeCrossing& ended, Teller teller) {
    if (std::uint64_t* counter = counter_of(ended)) {
      ++*counter;
    }
    if (ended.outcome == CM_BRIDGE_FAILED) {
      host().log(LogLevel::kWarn, "a message did not cross", {{"channel", ended.channel}, {"reason", ended.reason}});
    }
    const bool crossed = ended.outcome <= CM_BRIDGE_REHEARSED;
    const auto shown = [crossed](const std::string& text) {
      return to_hview(crossed ? std::string_view(text) : std::string_view());
    };
    cm_bridge_crossing view = {};
    view.size = sizeof(view);
    view.outcome = ended.outcome;
    view.direction = ended.direction;
    view.flags = ended.flags;
    view.mapping_id = to_hview(ended.mapping_id);
    view.message_id = to_hview(ended.message_id);
    view.reason = to_hview(ended.reason);
    view.channel = to_hview(ended.channel);
    view.mesh = to_hview(ended.mesh);
    view.author_name = to_hview(ended.author_name);
    view.text = shown(ended.text);
    view.trail = shown(ended.trail);
    view.new_id = shown(ended.new_id);
    if (teller.crossed != nullptr) {
      teller.crossed(teller.user, &view);
    }
    // One of them may end itself or another.
    const std::map<cm_handle, Teller> present = observers_;
    for (const auto& [handle, observer] : present) {
      if (observers_.count(handle) != 0) {
        observer.crossed(observer.user, &view);
      }
    }
  }

  // --- cm.bridge/1 ---------------------------------------------------------------------------------------------------

  // The instance of an extension is the object that the factory made, seen as its base.
  static BridgeInstance& of(void* instance) noexcept {
    return *static_cast<BridgeInstance*>(static_cast<PluginInstance*>(instance));
  }
  // What another plugin gets when a function of the table throws.
  template <typename Call>
  static cm_status guarded_answer(void* instance, std::string_view name, Call&& call) noexcept {
    cm_status status = CM_INTERNAL;
    return of(instance).host().guarded(name, [&] { status = call(); }) ? status : CM_INTERNAL;
  }
  static cm_text_hview table_network(void* instance) noexcept { return to_hview(of(instance).network_); }
  static cm_status table_status(void* instance, cm_bridge_status* out) noexcept {
    if (out == nullptr) {
      return CM_INVALID;
    }
    const BridgeInstance& bridge = of(instance);
    cm_bridge_status now = bridge.counts_;
    now.size = out->size;
    now.state = bridge.state_;
    now.mark = to_hview(bridge.rules_.mark());
    now.detail = to_hview(bridge.detail_);
    now.mappings = bridge.rules_.mappings().size();
    std::memcpy(out, &now, std::min<std::size_t>(out->size, sizeof(now)));
    return CM_OK;
  }
  static cm_status table_mappings(void* instance, cm_bridge_mapping_row row, void* user) noexcept {
    if (row == nullptr) {
      return CM_INVALID;
    }
    for (const auto& [id, mapping] : of(instance).rules_.mappings()) {
      // The row is a function of the C interface, which throws nothing.
      const cm_bridge_mapping view = {sizeof(view),
                                      mapping.directions,
                                      to_pview(id),
                                      to_pview(mapping.remote),
                                      to_pview(mapping.mesh),
                                      to_pview(mapping.target),
                                      to_pview(mapping.options_json)};
      row(user, &view);
    }
    return CM_OK;
  }
  static cm_status table_map(void* instance, const cm_bridge_mapping* wanted) noexcept {
    if (wanted == nullptr || wanted->size < sizeof(cm_bridge_mapping)) {
      return CM_INVALID;
    }
    return guarded_answer(instance, "bridge_map", [&] {
      return of(instance).rules_.map({text_of(wanted->id), text_of(wanted->remote), text_of(wanted->target),
                                      text_of(wanted->mesh), wanted->directions, text_of(wanted->options_json)});
    });
  }
  static cm_status table_unmap(void* instance, cm_text_pview id) noexcept {
    return guarded_answer(instance, "bridge_unmap",
                          [&] { return of(instance).rules_.unmap(text_of(id)) ? CM_OK : CM_GONE; });
  }
  static cm_status deliver(void* instance, std::uint32_t direction, const cm_bridge_message* raw, Teller teller) {
    if (raw == nullptr || raw->size < sizeof(cm_bridge_message)) {
      return CM_INVALID;
    }
    BridgeMessage message = {text_of(raw->channel),
                             text_of(raw->message_id),
                             text_of(raw->author_id),
                             text_of(raw->author_name),
                             text_of(raw->text),
                             text_of(raw->trail),
                             text_of(raw->mesh),
                             text_of(raw->reply_to),
                             raw->unix_ms,
                             raw->flags};
    return of(instance).cross(direction, std::move(message), teller);
  }
  static cm_status table_deliver_remote(void* instance, const cm_bridge_message* message, cm_bridge_crossed crossed,
                                        void* user) noexcept {
    return guarded_answer(instance, "bridge_deliver",
                          [&] { return deliver(instance, CM_BRIDGE_TO_MESH, message, {crossed, user}); });
  }
  static cm_status table_deliver_mesh(void* instance, const cm_bridge_message* message, cm_bridge_crossed crossed,
                                      void* user) noexcept {
    return guarded_answer(instance, "bridge_deliver",
                          [&] { return deliver(instance, CM_BRIDGE_TO_REMOTE, message, {crossed, user}); });
  }
  static cm_status table_observe(void* instance, cm_bridge_crossed crossed, void* user, cm_handle* out) noexcept {
    if (crossed == nullptr || out == nullptr) {
      return CM_INVALID;
    }
    return guarded_answer(instance, "bridge_observe", [&] {
      BridgeInstance& bridge = of(instance);
      bridge.observers_[bridge.last_observer_ + 1] = {crossed, user};
      *out = ++bridge.last_observer_;
      return CM_OK;
    });
  }
  static void table_unobserve(void* instance, cm_handle observer) noexcept { of(instance).observers_.erase(observer); }
  static std::string text_of(cm_text_pview text) {
    return text.size == 0 ? std::string() : std::string(text.data, text.size);
  }

  static constexpr cm_bridge_v1 kTable = {sizeof(cm_bridge_v1), 0,
                                          &table_network,       &table_status,
                                          &table_mappings,      &table_map,
                                          &table_unmap,         &table_deliver_remote,
                                          &table_deliver_mesh,  &table_observe,
                                          &table_unobserve};

  std::string network_;
  BridgeRules rules_;
  std::uint32_t state_ = CM_BRIDGE_CONNECTING;
  std::string detail_;
  cm_bridge_status counts_ = {};
  std::map<cm_handle, Teller> observers_;
  cm_handle last_observer_ = 0;
  std::shared_ptr<bool> alive_ = std::make_shared<bool>(true);
};

// The mesh side of a bridge: sends and hears as a local identity of a daemon, by cm.peer/1. [loop]
class MeshSide {
 public:
  MeshSide() = default;
  MeshSide(const MeshSide&) = delete;
  MeshSide& operator=(const MeshSide&) = delete;
  ~MeshSide() { close(); }

  // In configure: `peer` is the name of the instance that offers cm.peer/1, from an option with `same_loop`. [loop]
  Status open(const HostApi& host, std::string_view peer) {
    auto extension = Extension<cm_peer_v1>::acquire(host, peer, CM_PEER_ID);
    if (!extension) {
      return std::move(extension).error();
    }
    host_ = &host;
    peer_ = std::move(*extension);
    return {};
  }
  // In start: `on_event` gets each event of GET /v1/events, its kind and its JSON. [loop]
  Status hear(std::function<void(std::string_view kind, std::string_view json)> on_event) {
    on_event_ = std::move(on_event);
    const cm_status status =
        peer_ ? peer_->subscribe(peer_.instance(), &MeshSide::event, this, &subscription_) : CM_GONE;
    return status == CM_OK ? Status() : Status(error_from_status(status, "the daemon takes no subscription"));
  }
  // In stop: no event follows. [loop]
  void close() noexcept {
    if (subscription_ != CM_NO_HANDLE && peer_) {
      peer_->unsubscribe(peer_.instance(), subscription_);
    }
    subscription_ = CM_NO_HANDLE;
    peer_.release();
  }
  // What to_mesh does: `done` when it is durable in the daemon's outbox, or was refused. [loop]
  void send(const BridgeCrossing& crossing, HandedOver done) {
    cm_peer_message message = {};
    message.size = sizeof(message);
    message.priority = kPriorityNext;
    message.mesh = to_pview(crossing.mesh);
    message.to = to_pview(crossing.channel);
    message.text = to_pview(crossing.text);
    message.client_message_id = to_pview(crossing.new_id);
    auto waiting = std::make_unique<Waiting>(Waiting{host_, std::move(done)});
    const cm_status status = peer_ ? peer_->send(peer_.instance(), &message, &MeshSide::sent, waiting.get()) : CM_GONE;
    if (status == CM_OK) {
      static_cast<void>(waiting.release());  // `sent` frees it
      return;
    }
    waiting->done({false, "the daemon takes nothing now (status " + std::to_string(status) + ")"});
  }

 private:
  struct Waiting {
    const HostApi* host;
    HandedOver done;
  };
  static constexpr std::uint32_t kPriorityNext = 2;
  static constexpr std::uint32_t kFirstRefusal = 300;  // of the HTTP statuses of POST /v1/send

  static void event(void* user, cm_text_hview kind, cm_text_hview json) noexcept {
    auto* self = static_cast<MeshSide*>(user);
    self->host_->guarded("peer_event", [&] {
      if (const auto function = self->on_event_) {
        function(to_view(kind), to_view(json));
      }
    });
  }
  static void sent(void* user, std::uint32_t http_status, cm_text_hview json) noexcept {
    const std::unique_ptr<Waiting> waiting(static_cast<Waiting*>(user));
    const bool taken = http_status < kFirstRefusal;
    waiting->host->guarded("peer_sent",
                           [&] { waiting->done({taken, taken ? std::string() : std::string(to_view(json))}); });
  }

  const HostApi* host_ = nullptr;
  Extension<cm_peer_v1> peer_;
  cm_handle subscription_ = CM_NO_HANDLE;
  std::function<void(std::string_view, std::string_view)> on_event_;
};

}  // namespace cm
