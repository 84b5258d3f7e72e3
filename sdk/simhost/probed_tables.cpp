// The tables that plugins get: each function goes through the probe of its instance and then to the simulation's own
// function. The wrappers are made from the list in host_functions.hpp, so that no function can be forgotten.
#include <array>
#include <type_traits>
#include <utility>

#include "sdk/simhost/instance.hpp"
#include "sdk/simhost/world.hpp"

namespace cm::sim {
namespace {

enum Index : std::size_t {
#define CM_SIM_INDEX(table, id, function, tag, nature, handle) kIndex_##table##_##function,
  CM_SIM_HOST_FUNCTIONS(CM_SIM_INDEX)
#undef CM_SIM_INDEX
      kFunctionCount
};

template <typename Function>
struct ResultOf;
template <typename R, typename... Args>
struct ResultOf<R (*)(Args...) noexcept> {
  using Type = R;
};

constexpr std::array<HostFunction, kFunctionCount> kFunctions = {{
#define CM_SIM_FUNCTION(table, id, function, tag, nature, handle)        \
  {id,                                                                   \
   #function,                                                            \
   ThreadTag::tag,                                                       \
   CallNature::nature,                                                   \
   std::is_same_v<ResultOf<decltype(table::function)>::Type, cm_status>, \
   handle},
    CM_SIM_HOST_FUNCTIONS(CM_SIM_FUNCTION)
#undef CM_SIM_FUNCTION
}};

template <typename Table>
const Table& own_table(std::string_view id) {
  static const Table* const table = static_cast<const Table*>(find_table(id));
  return *table;
}

template <auto Member, std::size_t Number, typename Type = decltype(Member)>
struct Probed;

template <auto Member, std::size_t Number, typename Table, typename R, typename... Args>
struct Probed<Member, Number, R (*Table::*)(cm_handle, Args...) noexcept> {
  static R call(cm_handle self, Args... args) noexcept {
    if (World::current() == nullptr) {
      return on_foreign_thread(self, args...);
    }
    if (Instance* instance = World::instance_of(self)) {
      if constexpr (kFunctions[Number].takes_handle) {
        instance->check_handle(kFunctions[Number], first(args...));
      }
      const auto answer = instance->enter_call(Number);
      if constexpr (std::is_same_v<R, cm_status>) {
        if (answer) {
          return *answer;
        }
      }
    }
    return (own_table<Table>(kFunctions[Number].table_id).*Member)(self, args...);
  }

 private:
  static cm_handle first(auto first_argument, auto...) noexcept { return static_cast<cm_handle>(first_argument); }

  // Threads of the plugin itself may call [any] functions. Only posts have an effect in the simulation.
  static R on_foreign_thread(cm_handle self, Args... args) noexcept {
    World::note_foreign_call(self, kFunctions[Number]);
    if constexpr (Number == kIndex_cm_loop_v1_post) {
      return World::foreign_post(args...);
    } else if constexpr (Number == kIndex_cm_clock_v1_monotonic_us) {
      return World::foreign_now_us();
    } else if constexpr (std::is_same_v<R, cm_status>) {
      return CM_GONE;
    } else {
      return R();
    }
  }
};

template <typename Table, typename... Functions>
constexpr Table make_table(Functions... functions) {
  return Table{sizeof(Table), 0, functions...};
}

#define CM_SIM_WRAP(table, function) &Probed<&table::function, kIndex_##table##_##function>::call

constexpr auto kBuffer = make_table<cm_buffer_v1>(CM_SIM_WRAP(cm_buffer_v1, create), CM_SIM_WRAP(cm_buffer_v1, retain),
                                                  CM_SIM_WRAP(cm_buffer_v1, release));
constexpr auto kLog = make_table<cm_log_v1>(CM_SIM_WRAP(cm_log_v1, write), CM_SIM_WRAP(cm_log_v1, enabled));
constexpr auto kLoop = make_table<cm_loop_v1>(CM_SIM_WRAP(cm_loop_v1, post), CM_SIM_WRAP(cm_loop_v1, on_loop));
constexpr auto kTimer = make_table<cm_timer_v1>(CM_SIM_WRAP(cm_timer_v1, start), CM_SIM_WRAP(cm_timer_v1, cancel));
constexpr auto kClock =
    make_table<cm_clock_v1>(CM_SIM_WRAP(cm_clock_v1, monotonic_us), CM_SIM_WRAP(cm_clock_v1, unix_ms));
constexpr auto kRandom = make_table<cm_random_v1>(CM_SIM_WRAP(cm_random_v1, fill));
constexpr auto kMetrics =
    make_table<cm_metrics_v1>(CM_SIM_WRAP(cm_metrics_v1, define), CM_SIM_WRAP(cm_metrics_v1, add),
                              CM_SIM_WRAP(cm_metrics_v1, set), CM_SIM_WRAP(cm_metrics_v1, observe));
constexpr auto kEvents = make_table<cm_events_v1>(
    CM_SIM_WRAP(cm_events_v1, publish), CM_SIM_WRAP(cm_events_v1, subscribe), CM_SIM_WRAP(cm_events_v1, unsubscribe));
constexpr auto kWorker = make_table<cm_worker_v1>(
    CM_SIM_WRAP(cm_worker_v1, create_queue), CM_SIM_WRAP(cm_worker_v1, close_queue), CM_SIM_WRAP(cm_worker_v1, submit));
constexpr auto kConfig = make_table<cm_config_v1>(
    CM_SIM_WRAP(cm_config_v1, instance_name), CM_SIM_WRAP(cm_config_v1, get_bool), CM_SIM_WRAP(cm_config_v1, get_int),
    CM_SIM_WRAP(cm_config_v1, get_float), CM_SIM_WRAP(cm_config_v1, get_text), CM_SIM_WRAP(cm_config_v1, list_size),
    CM_SIM_WRAP(cm_config_v1, list_text));
constexpr auto kRegistry =
    make_table<cm_registry_v1>(CM_SIM_WRAP(cm_registry_v1, acquire), CM_SIM_WRAP(cm_registry_v1, release));
constexpr auto kServer = make_table<cm_http_server_v1>(
    CM_SIM_WRAP(cm_http_server_v1, listen), CM_SIM_WRAP(cm_http_server_v1, local_address),
    CM_SIM_WRAP(cm_http_server_v1, route), CM_SIM_WRAP(cm_http_server_v1, fallback),
    CM_SIM_WRAP(cm_http_server_v1, close), CM_SIM_WRAP(cm_http_server_v1, header),
    CM_SIM_WRAP(cm_http_server_v1, path_parameter), CM_SIM_WRAP(cm_http_server_v1, query_parameter),
    CM_SIM_WRAP(cm_http_server_v1, respond), CM_SIM_WRAP(cm_http_server_v1, stream_begin),
    CM_SIM_WRAP(cm_http_server_v1, stream_write), CM_SIM_WRAP(cm_http_server_v1, stream_end));
constexpr auto kClient =
    make_table<cm_http_client_v1>(CM_SIM_WRAP(cm_http_client_v1, send), CM_SIM_WRAP(cm_http_client_v1, cancel));
constexpr auto kWebsocket = make_table<cm_websocket_v1>(
    CM_SIM_WRAP(cm_websocket_v1, accept), CM_SIM_WRAP(cm_websocket_v1, connect), CM_SIM_WRAP(cm_websocket_v1, send),
    CM_SIM_WRAP(cm_websocket_v1, send_buffer), CM_SIM_WRAP(cm_websocket_v1, ping), CM_SIM_WRAP(cm_websocket_v1, close),
    CM_SIM_WRAP(cm_websocket_v1, terminate), CM_SIM_WRAP(cm_websocket_v1, buffered_bytes),
    CM_SIM_WRAP(cm_websocket_v1, pause_reading), CM_SIM_WRAP(cm_websocket_v1, resume_reading));
constexpr auto kProcess = make_table<cm_process_v1>(
    CM_SIM_WRAP(cm_process_v1, spawn), CM_SIM_WRAP(cm_process_v1, write), CM_SIM_WRAP(cm_process_v1, close_input),
    CM_SIM_WRAP(cm_process_v1, pause_output), CM_SIM_WRAP(cm_process_v1, kill), CM_SIM_WRAP(cm_process_v1, abandon),
    CM_SIM_WRAP(cm_process_v1, process_id));

struct NamedTable {
  HostTableInfo info;
  const void* table;
};
constexpr NamedTable kTables[] = {
    {{CM_BUFFER_ID, sizeof(kBuffer)}, &kBuffer},
    {{CM_LOG_ID, sizeof(kLog)}, &kLog},
    {{CM_LOOP_ID, sizeof(kLoop)}, &kLoop},
    {{CM_TIMER_ID, sizeof(kTimer)}, &kTimer},
    {{CM_CLOCK_ID, sizeof(kClock)}, &kClock},
    {{CM_RANDOM_ID, sizeof(kRandom)}, &kRandom},
    {{CM_METRICS_ID, sizeof(kMetrics)}, &kMetrics},
    {{CM_EVENTS_ID, sizeof(kEvents)}, &kEvents},
    {{CM_WORKER_ID, sizeof(kWorker)}, &kWorker},
    {{CM_CONFIG_ID, sizeof(kConfig)}, &kConfig},
    {{CM_REGISTRY_ID, sizeof(kRegistry)}, &kRegistry},
    {{CM_HTTP_SERVER_ID, sizeof(kServer)}, &kServer},
    {{CM_HTTP_CLIENT_ID, sizeof(kClient)}, &kClient},
    {{CM_WEBSOCKET_ID, sizeof(kWebsocket)}, &kWebsocket},
    {{CM_PROCESS_ID, sizeof(kProcess)}, &kProcess},
};

constexpr auto table_infos() {
  std::array<HostTableInfo, std::size(kTables)> infos{};
  for (std::size_t i = 0; i < infos.size(); ++i) {
    infos[i] = kTables[i].info;
  }
  return infos;
}
constexpr auto kTableInfos = table_infos();

}  // namespace

std::span<const HostFunction> host_functions() noexcept {
  return kFunctions;
}

std::span<const HostTableInfo> host_tables() noexcept {
  return kTableInfos;
}

const void* find_probed_table(std::string_view id) noexcept {
  for (const NamedTable& entry : kTables) {
    if (entry.info.id == id) {
      return entry.table;
    }
  }
  // A table that is not in the list yet is handed out as it is: it works, but is neither counted nor made to fail.
  return find_table(id);
}

}  // namespace cm::sim
