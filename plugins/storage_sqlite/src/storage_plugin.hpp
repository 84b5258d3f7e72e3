// The plugin: one instance is one database file (claudemesh/ext/storage.h is the contract).
//
// Threads: one dedicated worker queue for the writer and one per reader; life cycle and timer on the instance's loop.
// The functions of cm.storage/1 come from any thread.
#pragma once

#include <claudemesh/ext/storage.h>

#include <atomic>
#include <memory>
#include <string_view>
#include <vector>

#include <claudemesh/cpp/plugin.hpp>

#include "plugins/storage_sqlite/src/database_file.hpp"
#include "plugins/storage_sqlite/src/health.hpp"
#include "plugins/storage_sqlite/src/in_flight.hpp"
#include "plugins/storage_sqlite/src/metrics.hpp"
#include "plugins/storage_sqlite/src/options.hpp"
#include "plugins/storage_sqlite/src/reader_pool.hpp"
#include "plugins/storage_sqlite/src/statement_registry.hpp"
#include "plugins/storage_sqlite/src/writer.hpp"

namespace cm::storage {

class StoragePlugin final : public PluginInstance {
 public:
  explicit StoragePlugin(const cm_host* host);
  ~StoragePlugin() override;

  std::vector<TableNeed> required_tables() const override {
    return {need<cm_loop_v1>(CM_LOOP_ID), need<cm_timer_v1>(CM_TIMER_ID), need<cm_clock_v1>(CM_CLOCK_ID),
            need<cm_worker_v1>(CM_WORKER_ID), need<cm_config_v1>(CM_CONFIG_ID)};
  }
  Status configure() override;
  void start(Done started) override;
  // Refuses new work (CM_GONE), finishes what was accepted, copies the log into the file. Late: kBusy.
  void drain(std::uint64_t deadline_ms, Done drained) override;
  void stop() override;
  const void* extension(std::string_view extension_id) override;
  Status reload_prepare() override;
  void reload_finish(bool commit) override;

 private:
  // Made by configure, which has the options. Destroyed after the host has waited for all jobs.
  struct Core {
    Core(const HostApi& host, StorageOptions given);
    StorageOptions options;
    StatementRegistry registry;
    Metrics metrics;
    Health health;
    InFlight in_flight;
    std::atomic<bool> stopping = false;
    DatabaseFile file;  // released after the connections below are closed
    Writer writer;
    ReaderPool readers;
  };

  static const cm_storage_v1* table() noexcept;
  static cm_status statement(void* instance, cm_text_pview sql, cm_statement* out_statement) noexcept;
  static cm_status migrate(void* instance, cm_handle caller, cm_text_pview schema, const cm_migration* migrations,
                           std::uint32_t migration_count, cm_storage_done done, void* user) noexcept;
  static cm_status submit(void* instance, cm_handle caller, cm_storage_work work, cm_storage_done done,
                          void* user) noexcept;
  static cm_status read(void* instance, cm_handle caller, cm_storage_work work, cm_storage_done done,
                        void* user) noexcept;
  static cm_status backup(void* instance, cm_handle caller, cm_text_pview path, cm_storage_done done,
                          void* user) noexcept;
  static cm_text_hview dialect(void* instance, cm_text_pview key) noexcept;

  Status create_queues();
  void close_queues();
  void opened(Result<DatabaseFile> file, const Done& started);
  void watch();
  void watch_works();
  void checkpoint_when_idle();
  void finish_drain();
  void drained(Status status);

  std::unique_ptr<Core> core_;
  cm_handle writer_queue_ = CM_NO_HANDLE;
  std::vector<cm_handle> reader_queues_;
  std::atomic<cm_handle> backup_queue_ = CM_NO_HANDLE;  // 0 until started
  Timer watch_timer_;
  Timer drain_timer_;
  Done drained_;
  LiveOptions candidate_;
  std::uint64_t checkpointed_commit_us_ = 0;  // the last commit that an idle checkpoint has covered
};

}  // namespace cm::storage
