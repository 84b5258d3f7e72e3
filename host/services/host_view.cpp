#include "host/services/host_view.hpp"

#include "host/services/services.hpp"

namespace cm::host {

namespace {

using TableGetter = const void* (*)() noexcept;
constexpr TableGetter kTables[kHostTables] = {
    buffer_table,   log_table,         loop_table,        timer_table,     clock_table,
    random_table,   metrics_table,     events_table,      worker_table,    config_table,
    registry_table, http_server_table, http_client_table, websocket_table, process_table,
};

const void* get(cm_handle self, const char* table_id) noexcept {
  Instance* instance = InstanceDirectory::find(self);
  if (instance == nullptr || table_id == nullptr) {
    return nullptr;
  }
  const HostTable table = host_table_by_id(table_id);
  if (table == HostTable::kCount) {
    return nullptr;
  }
  if (!instance->granted(table)) {
    report_not_granted(*instance, table);
    return nullptr;
  }
  return host_table(table);
}

void set_error(cm_handle self, cm_text_pview text) noexcept {
  if (Instance* instance = InstanceDirectory::find(self); instance != nullptr) {
    instance->set_error(text_of(text));
  }
}

cm_status complete(cm_handle self, cm_handle ticket, cm_status status, cm_text_pview text) noexcept {
  Instance* instance = InstanceDirectory::find(self);
  if (instance == nullptr) {
    return CM_GONE;
  }
  return instance->services().tickets.complete(*instance, ticket, status, text_of(text));
}

}  // namespace

cm_host host_view_of(cm_handle self, std::uint32_t abi_version) noexcept {
  return cm_host{sizeof(cm_host), abi_version, self, get, set_error, complete};
}

const void* host_table(HostTable table) noexcept {
  return kTables[static_cast<std::size_t>(table)]();
}

}  // namespace cm::host
