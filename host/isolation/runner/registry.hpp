// cm.registry/1 in a runner child, and the stand-ins for the extensions of others: cm.hook/1 and cm.peer/1. [loop]
#pragma once

#include <claudemesh/ext/hook.h>
#include <claudemesh/ext/host.h>

#include <cstdint>
#include <memory>

namespace cm::isolation {

// What the plugin holds; its address is `cm_extension.instance`.
struct RemoteReference {
  std::uint64_t id = 0;
  cm_callback going_away = nullptr;
  void* user = nullptr;
  bool gone = false;
  cm_hook_v1 hook{};  // of cm.hook/1
};

const void* runner_registry_table() noexcept;
const void* runner_peer_table() noexcept;
// The reference behind an extension's `instance`, or null when it was released or its provider has gone.
const RemoteReference* live_reference(const void* instance) noexcept;

}  // namespace cm::isolation
