#pragma once

#include <claudemesh/ext/bridge.h>
#include <claudemesh/ext/hook.h>
#include <claudemesh/ext/transport.h>

namespace cm::isolation {

// The extensions that the plugin provides, once known. Pointers stay the plugin's. [loop]
void serve_hook(void* instance, const cm_hook_v1* table);
void serve_transport(void* instance, const cm_transport_v1* table);
void serve_bridge(void* instance, const cm_bridge_v1* table);
// After the start: watches the bridge, if there is one.
void start_bridge();

}  // namespace cm::isolation
