// What a plugin holds of the host: cm_host and the tables it may get.
#pragma once

#include <claudemesh/plugin.h>

#include "host/services/instance.hpp"

namespace cm::host {

cm_host host_view_of(cm_handle self, std::uint32_t abi_version) noexcept;

// The static function table behind an id; never null for a table of this host.
const void* host_table(HostTable table) noexcept;

// One per table, each in the source file of its service.
const void* buffer_table() noexcept;
const void* log_table() noexcept;
const void* loop_table() noexcept;
const void* timer_table() noexcept;
const void* clock_table() noexcept;
const void* random_table() noexcept;
const void* metrics_table() noexcept;
const void* events_table() noexcept;
const void* worker_table() noexcept;
const void* config_table() noexcept;
const void* registry_table() noexcept;
const void* http_server_table() noexcept;
const void* http_client_table() noexcept;
const void* websocket_table() noexcept;
const void* process_table() noexcept;

}  // namespace cm::host
