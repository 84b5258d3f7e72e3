// Every function that the simulated host offers, as data: the probe counts, refuses and judges calls by it, and a check
// of a plugin lists them. One line per function; a table that is added to the host is added here.
#pragma once

#include <claudemesh/ext/host.h>
#include <claudemesh/ext/http.h>
#include <claudemesh/ext/process.h>
#include <claudemesh/ext/websocket.h>

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>

namespace cm::sim {

enum class ThreadTag : std::uint8_t { kAny, kLoop };

// What the function may be called for.
enum class CallNature : std::uint8_t {
  kPlain,
  kWork,      // begins something: not before start, not after stop
  kGiveBack,  // returns something to the host: also allowed between stop and the end of destroy
  kPassive,   // reads or notes something: always allowed
};

struct HostFunction {
  std::string_view table_id;
  std::string_view name;
  ThreadTag tag = ThreadTag::kAny;
  CallNature nature = CallNature::kPlain;
  bool fallible = false;      // answers a cm_status
  bool takes_handle = false;  // the argument after `self` is a handle that the host gave out

  std::string text() const { return std::string(table_id) + " " + std::string(name); }  // "cm.timer/1 start"
};

// X(table type, table id, function, tag, nature, takes_handle)
#define CM_SIM_HOST_FUNCTIONS(X)                                                \
  X(cm_buffer_v1, CM_BUFFER_ID, create, kAny, kPlain, false)                    \
  X(cm_buffer_v1, CM_BUFFER_ID, retain, kAny, kPlain, true)                     \
  X(cm_buffer_v1, CM_BUFFER_ID, release, kAny, kGiveBack, true)                 \
  X(cm_log_v1, CM_LOG_ID, write, kAny, kPassive, false)                         \
  X(cm_log_v1, CM_LOG_ID, enabled, kAny, kPassive, false)                       \
  X(cm_loop_v1, CM_LOOP_ID, post, kAny, kWork, true)                            \
  X(cm_loop_v1, CM_LOOP_ID, on_loop, kAny, kPassive, false)                     \
  X(cm_timer_v1, CM_TIMER_ID, start, kLoop, kWork, false)                       \
  X(cm_timer_v1, CM_TIMER_ID, cancel, kLoop, kGiveBack, true)                   \
  X(cm_clock_v1, CM_CLOCK_ID, monotonic_us, kAny, kPassive, false)              \
  X(cm_clock_v1, CM_CLOCK_ID, unix_ms, kAny, kPassive, false)                   \
  X(cm_random_v1, CM_RANDOM_ID, fill, kAny, kPassive, false)                    \
  X(cm_metrics_v1, CM_METRICS_ID, define, kLoop, kPlain, false)                 \
  X(cm_metrics_v1, CM_METRICS_ID, add, kAny, kPassive, false)                   \
  X(cm_metrics_v1, CM_METRICS_ID, set, kAny, kPassive, false)                   \
  X(cm_metrics_v1, CM_METRICS_ID, observe, kAny, kPassive, false)               \
  X(cm_events_v1, CM_EVENTS_ID, publish, kAny, kPlain, false)                   \
  X(cm_events_v1, CM_EVENTS_ID, subscribe, kLoop, kPlain, false)                \
  X(cm_events_v1, CM_EVENTS_ID, unsubscribe, kLoop, kGiveBack, true)            \
  X(cm_worker_v1, CM_WORKER_ID, create_queue, kLoop, kPlain, false)             \
  X(cm_worker_v1, CM_WORKER_ID, close_queue, kLoop, kGiveBack, true)            \
  X(cm_worker_v1, CM_WORKER_ID, submit, kAny, kWork, true)                      \
  X(cm_config_v1, CM_CONFIG_ID, instance_name, kLoop, kPassive, false)          \
  X(cm_config_v1, CM_CONFIG_ID, get_bool, kLoop, kPassive, false)               \
  X(cm_config_v1, CM_CONFIG_ID, get_int, kLoop, kPassive, false)                \
  X(cm_config_v1, CM_CONFIG_ID, get_float, kLoop, kPassive, false)              \
  X(cm_config_v1, CM_CONFIG_ID, get_text, kLoop, kPassive, false)               \
  X(cm_config_v1, CM_CONFIG_ID, list_size, kLoop, kPassive, false)              \
  X(cm_config_v1, CM_CONFIG_ID, list_text, kLoop, kPassive, false)              \
  X(cm_registry_v1, CM_REGISTRY_ID, acquire, kLoop, kPlain, false)              \
  X(cm_registry_v1, CM_REGISTRY_ID, release, kLoop, kGiveBack, true)            \
  X(cm_http_server_v1, CM_HTTP_SERVER_ID, listen, kLoop, kWork, false)          \
  X(cm_http_server_v1, CM_HTTP_SERVER_ID, local_address, kLoop, kPlain, true)   \
  X(cm_http_server_v1, CM_HTTP_SERVER_ID, route, kLoop, kPlain, true)           \
  X(cm_http_server_v1, CM_HTTP_SERVER_ID, fallback, kLoop, kPlain, true)        \
  X(cm_http_server_v1, CM_HTTP_SERVER_ID, close, kLoop, kGiveBack, true)        \
  X(cm_http_server_v1, CM_HTTP_SERVER_ID, header, kLoop, kPlain, true)          \
  X(cm_http_server_v1, CM_HTTP_SERVER_ID, path_parameter, kLoop, kPlain, true)  \
  X(cm_http_server_v1, CM_HTTP_SERVER_ID, query_parameter, kLoop, kPlain, true) \
  X(cm_http_server_v1, CM_HTTP_SERVER_ID, respond, kLoop, kGiveBack, true)      \
  X(cm_http_server_v1, CM_HTTP_SERVER_ID, stream_begin, kLoop, kPlain, true)    \
  X(cm_http_server_v1, CM_HTTP_SERVER_ID, stream_write, kLoop, kPlain, true)    \
  X(cm_http_server_v1, CM_HTTP_SERVER_ID, stream_end, kLoop, kGiveBack, true)   \
  X(cm_http_client_v1, CM_HTTP_CLIENT_ID, send, kLoop, kWork, false)            \
  X(cm_http_client_v1, CM_HTTP_CLIENT_ID, cancel, kLoop, kGiveBack, true)       \
  X(cm_websocket_v1, CM_WEBSOCKET_ID, accept, kLoop, kWork, true)               \
  X(cm_websocket_v1, CM_WEBSOCKET_ID, connect, kLoop, kWork, false)             \
  X(cm_websocket_v1, CM_WEBSOCKET_ID, send, kLoop, kPlain, true)                \
  X(cm_websocket_v1, CM_WEBSOCKET_ID, send_buffer, kLoop, kPlain, true)         \
  X(cm_websocket_v1, CM_WEBSOCKET_ID, ping, kLoop, kPlain, true)                \
  X(cm_websocket_v1, CM_WEBSOCKET_ID, close, kLoop, kGiveBack, true)            \
  X(cm_websocket_v1, CM_WEBSOCKET_ID, terminate, kLoop, kGiveBack, true)        \
  X(cm_websocket_v1, CM_WEBSOCKET_ID, buffered_bytes, kLoop, kPlain, true)      \
  X(cm_websocket_v1, CM_WEBSOCKET_ID, pause_reading, kLoop, kPlain, true)       \
  X(cm_websocket_v1, CM_WEBSOCKET_ID, resume_reading, kLoop, kPlain, true)      \
  X(cm_process_v1, CM_PROCESS_ID, spawn, kLoop, kWork, false)                   \
  X(cm_process_v1, CM_PROCESS_ID, write, kLoop, kPlain, true)                   \
  X(cm_process_v1, CM_PROCESS_ID, close_input, kLoop, kGiveBack, true)          \
  X(cm_process_v1, CM_PROCESS_ID, pause_output, kLoop, kPlain, true)            \
  X(cm_process_v1, CM_PROCESS_ID, kill, kLoop, kGiveBack, true)                 \
  X(cm_process_v1, CM_PROCESS_ID, abandon, kLoop, kGiveBack, true)              \
  X(cm_process_v1, CM_PROCESS_ID, process_id, kLoop, kPassive, true)

// All of them, in the order of their tables.
std::span<const HostFunction> host_functions() noexcept;

// Every table of the simulated host: its id and its size in this revision.
struct HostTableInfo {
  std::string_view id;
  std::uint32_t size;
};
std::span<const HostTableInfo> host_tables() noexcept;

// The table `id` whose functions go through the calling instance's probe; null when there is none. Lives for ever.
const void* find_probed_table(std::string_view id) noexcept;

}  // namespace cm::sim
