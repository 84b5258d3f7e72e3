// What the broker knows, in the structs of claudemesh/ext/broker.h. Views into the model and into the object itself:
// valid as long as both.
#pragma once

#include <claudemesh/ext/broker.h>
#include <claudemesh/cpp/host.hpp>
#include <string>
#include <string_view>

#include "plugins/ws_broker/src/model.hpp"

namespace cm::broker {

class SenderFacts {
 public:
  explicit SenderFacts(const Presence& presence);
  SenderFacts(const SenderFacts&) = delete;
  SenderFacts& operator=(const SenderFacts&) = delete;
  const cm_broker_sender* get() const noexcept { return &view_; }

 private:
  std::string groups_;
  cm_broker_sender view_ = {};
};

class MemberFacts {
 public:
  explicit MemberFacts(const Member& member);
  MemberFacts(const MemberFacts&) = delete;
  MemberFacts& operator=(const MemberFacts&) = delete;
  const cm_broker_member* get() const noexcept { return &view_; }

 private:
  std::string groups_;
  cm_broker_member view_ = {};
};

cm_broker_mesh mesh_facts(const Mesh& mesh);

// Whether an instance still runs. Extensions have no goodbye: who stopped is found out before it would be called. All
// users live on the broker's loop, so that the answer holds until the turn ends. [loop]
bool is_alive(const HostApi& host, cm_handle instance);

}  // namespace cm::broker
