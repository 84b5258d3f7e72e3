// Process isolation in a configuration: the keys, and whether the plugin can run so.
#pragma once

#include <span>
#include <string_view>

#include "host/config/host_config.hpp"
#include "host/config/problems.hpp"

namespace cm::config {

// Extensions that an isolated plugin may offer to others, and may use of others.
std::span<const std::string_view> extensions_out_of_process() noexcept;
std::span<const std::string_view> extensions_into_process() noexcept;

// The values of the keys `isolation` and `isolation_*`, which have been checked.
IsolationSettings read_isolation(const ValidatedOptions& own);

// Complains when an isolated plugin provides, or is told to use, an extension that cannot cross the boundary, or may
// start programs (cm.process/1). After the plugin's own options and permissions were read.
void check_isolation(const InstanceConfig& instance, const ValidatedOptions& own, Problems& problems);

}  // namespace cm::config
