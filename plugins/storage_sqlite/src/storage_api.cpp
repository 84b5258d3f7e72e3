// The functions of cm.storage/1. Any thread.
#include <array>
#include <utility>

#include "plugins/storage_sqlite/src/backup.hpp"
#include "plugins/storage_sqlite/src/migrations.hpp"
#include "plugins/storage_sqlite/src/storage_plugin.hpp"

namespace cm::storage {
namespace {

struct DialectEntry {
  std::string_view key;
  std::string_view sql;
};
constexpr std::array<DialectEntry, 4> kDialect = {{
    {"now_ms", "CAST(round((julianday('now') - 2440587.5) * 86400000) AS INTEGER)"},
    {"blob", "BLOB"},
    {"autoincrement_key", "INTEGER PRIMARY KEY AUTOINCREMENT"},
    {"json", "TEXT"},
}};

// The instance of an extension is what the factory made.
StoragePlugin& as_plugin(void* instance) noexcept {
  return *static_cast<StoragePlugin*>(static_cast<PluginInstance*>(instance));
}

}  // namespace

const void* StoragePlugin::extension(std::string_view extension_id) {
  return extension_id == CM_STORAGE_ID && core_ != nullptr ? table() : nullptr;
}

const cm_storage_v1* StoragePlugin::table() noexcept {
  static constexpr cm_storage_v1 kTable = {sizeof(cm_storage_v1),     0,
                                           &StoragePlugin::statement, &StoragePlugin::migrate,
                                           &StoragePlugin::submit,    &StoragePlugin::read,
                                           &StoragePlugin::backup,    &StoragePlugin::dialect};
  return &kTable;
}

cm_status StoragePlugin::statement(void* instance, cm_text_pview sql, cm_statement* out_statement) noexcept {
  StoragePlugin& plugin = as_plugin(instance);
  const Result<cm_statement> id = plugin.core_->registry.intern(to_view(sql));
  if (!id) {
    plugin.host().log(LogLevel::kError, id.error().message);
    return status_from_error(id.error());
  }
  *out_statement = *id;
  return CM_OK;
}

cm_status StoragePlugin::migrate(void* instance, cm_handle caller, cm_text_pview schema, const cm_migration* migrations,
                                 std::uint32_t migration_count, cm_storage_done done, void* user) noexcept {
  StoragePlugin& plugin = as_plugin(instance);
  Core& core = *plugin.core_;
  if (!core.in_flight.enter()) {
    return CM_GONE;
  }
  const HostApi& host = plugin.host();
  const std::string name(to_view(schema));
  // A refusal goes the same way as an answer, because only that way carries a text.
  auto files =
      std::make_shared<const Result<std::vector<MigrationFile>>>(copy_migrations(name, migrations, migration_count));
  const cm_status status =
      core.writer.submit_task([&core, &host, caller, name, files, done, user](Connection& connection) {
        Status result;
        if (!files->ok()) {
          result = files->error();
        } else if (core.stopping.load(std::memory_order_acquire)) {
          result = make_error(ErrorCode::kBusy, "the storage is stopping; repeat the migration after the restart");
        } else if (core.health.degraded()) {
          result = make_error(ErrorCode::kIo, core.health.degraded_text());
        } else {
          result = apply_migrations(host, connection, name, files->value());
        }
        Completion completion{done, user, CM_OK, {}};
        if (!result.ok()) {
          completion.status = status_from_error(result.error());
          completion.error = result.error().message;
          host.log(LogLevel::kError, completion.error);
        }
        send_completion(host, caller, std::move(completion));
        core.in_flight.leave();
      });
  if (status != CM_OK) {
    core.in_flight.leave();
  }
  return status;
}

cm_status StoragePlugin::submit(void* instance, cm_handle caller, cm_storage_work work, cm_storage_done done,
                                void* user) noexcept {
  return as_plugin(instance).core_->writer.submit(caller, work, done, user);
}

cm_status StoragePlugin::read(void* instance, cm_handle caller, cm_storage_work work, cm_storage_done done,
                              void* user) noexcept {
  return as_plugin(instance).core_->readers.submit(caller, work, done, user);
}

cm_status StoragePlugin::backup(void* instance, cm_handle caller, cm_text_pview path, cm_storage_done done,
                                void* user) noexcept {
  StoragePlugin& plugin = as_plugin(instance);
  Core& core = *plugin.core_;
  const cm_handle queue = plugin.backup_queue_.load(std::memory_order_acquire);
  if (!core.in_flight.enter()) {
    return CM_GONE;
  }
  Backup::Request request{caller, std::string(to_view(path)), done, user};
  const cm_status status = queue == CM_NO_HANDLE ? CM_BUSY
                                                 : Backup::start(plugin.host(), queue, core.registry, core.options,
                                                                 core.in_flight, core.stopping, std::move(request));
  if (status != CM_OK) {
    core.in_flight.leave();
  }
  return status;
}

cm_text_hview StoragePlugin::dialect(void* instance, cm_text_pview key) noexcept {
  static_cast<void>(instance);
  for (const DialectEntry& entry : kDialect) {
    if (entry.key == to_view(key)) {
      return to_hview(entry.sql);
    }
  }
  return to_hview(std::string_view());
}

}  // namespace cm::storage
