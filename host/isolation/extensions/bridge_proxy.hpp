// cm.bridge/1 of a plugin that runs in a child. What must be answered at once (status, mappings) comes from a copy that
// the child keeps current; everything else goes over. [loop]
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "host/isolation/extensions/bridge_codec.hpp"
#include "host/isolation/session.hpp"

namespace cm::isolation {

inline constexpr std::size_t kDeliveriesMax = 4096;  // whose crossings can still be told; the oldest is forgotten
inline constexpr std::size_t kObserversMax = 64;

class BridgeProxy {
 public:
  explicit BridgeProxy(HostSide& host_side);
  void set_facts(std::string_view network) { network_ = std::string(network); }
  const cm_bridge_v1* table() const noexcept { return &table_; }

  void attach(Session* session);
  // The child is gone: deliveries of which nothing was told have failed.
  void detach();
  // False: not one of ours.
  bool handle(const Frame& frame, Session& session);

  cm_text_hview network() const noexcept { return to_hview(network_); }
  cm_status status(cm_bridge_status* out);
  cm_status mappings(cm_bridge_mapping_row row, void* user);
  cm_status map(const cm_bridge_mapping& mapping);
  cm_status unmap(std::string_view id);
  cm_status deliver(std::uint32_t direction, const cm_bridge_message& message, cm_bridge_crossed crossed, void* user);
  cm_status observe(cm_bridge_crossed crossed, void* user, cm_handle* out);
  void unobserve(cm_handle observer) { observers_.erase(observer); }

 private:
  struct Delivery {
    std::uint32_t direction;
    std::string message_id;
    cm_bridge_crossed crossed;
    void* user;
    bool told = false;
  };
  struct Observer {
    cm_bridge_crossed crossed;
    void* user;
  };
  void on_crossing(const Frame& frame, Session& session);
  void send_mapping(const BridgeMapping& mapping);

  HostSide& host_side_;
  cm_bridge_v1 table_;
  std::string network_;
  Session* session_ = nullptr;
  BridgeState state_;
  std::string shown_detail_;                    // what the last status pointed to
  std::map<std::string, BridgeMapping> added_;  // by `map`: told to every child
  std::map<std::uint64_t, Delivery> deliveries_;
  std::map<cm_handle, Observer> observers_;
  cm_handle next_observer_ = 1;
};

}  // namespace cm::isolation
