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

inline constexpr std::int64_t kIsolationPathsMax = 64;  // in each of isolation_read and isolation_write

// The values of the keys `isolation` and `isolation_*`, which have been checked. Files are granted by these keys, and
// by the plugin's own options of type path (or lists of them) that the configuration gives: a path that stands in its
// table is meant for it. A default is not, because the plugin's author wrote it.
IsolationSettings read_isolation(const ValidatedOptions& own, const ValidatedOptions& of_plugin);

// Complains when an isolated plugin provides, or is told to use, an extension that cannot cross the boundary, or may
// start programs (cm.process/1). After the plugin's own options and permissions were read.
void check_isolation(const InstanceConfig& instance, const ValidatedOptions& own, Problems& problems);

}  // namespace cm::config
