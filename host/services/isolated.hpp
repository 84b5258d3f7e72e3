// Binds host/isolation to the instances of this host.
#pragma once

#include <memory>

#include "host/config/host_config.hpp"
#include "host/isolation/isolated_plugin.hpp"

namespace cm::host {

class Instance;

// [control] The plugin of an instance whose configuration says isolation = "process".
std::unique_ptr<isolation::IsolatedPlugin> make_isolated(const config::InstanceConfig& config,
                                                         config::LogLevel log_level, Instance& instance);

// [control] Whether the library may be run: the checks that loading makes in process, without loading it.
Status check_isolated(const config::InstanceConfig& config);

}  // namespace cm::host
