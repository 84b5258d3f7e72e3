#include "plugins/storage_sqlite/src/storage_plugin.hpp"

#include <utility>

#include "plugins/storage_sqlite/src/startup.hpp"

namespace cm::storage {
namespace {

constexpr std::uint64_t kWatchPeriodMs = 1'000;

}  // namespace

StoragePlugin::Core::Core(const HostApi& host, StorageOptions given)
    : options(std::move(given)),
      metrics(Metrics::define(host)),
      health(host, metrics, options.read_only_grace_ms),
      writer(host, registry, options, metrics, health, in_flight),
      readers(host, registry, options, metrics, health, in_flight) {}

StoragePlugin::StoragePlugin(const cm_host* host) : PluginInstance(host) {
  watch_timer_.bind(this->host());
  drain_timer_.bind(this->host());
}

StoragePlugin::~StoragePlugin() = default;

Status StoragePlugin::configure() {
  if (host().worker_table() == nullptr || host().loop_table() == nullptr || host().timer_table() == nullptr) {
    return make_error(ErrorCode::kDenied,
                      "the tables cm.worker/1, cm.loop/1 and cm.timer/1 were not granted; storage_sqlite needs all "
                      "three; allow them in the permissions of this plugin");
  }
  Result<StorageOptions> options = read_options(host());
  if (!options) {
    return options.error();
  }
  core_ = std::make_unique<Core>(host(), std::move(*options));
  return {};
}

// --- start ---------------------------------------------------------------------------------------------------------

Status StoragePlugin::create_queues() {
  const cm_worker_v1* workers = host().worker_table();
  cm_status status = workers->create_queue(host().self(), to_pview("sqlite-write"), &writer_queue_);
  for (std::size_t i = 0; status == CM_OK && i < core_->readers.size(); ++i) {
    cm_handle queue = CM_NO_HANDLE;
    const std::string name = "sqlite-read-" + std::to_string(i);
    status = workers->create_queue(host().self(), to_pview(name), &queue);
    if (status == CM_OK) {
      reader_queues_.push_back(queue);
    }
  }
  if (status != CM_OK) {
    return error_from_status(status,
                             "the host gave no worker queue; 1 + readers were expected; lower the option readers");
  }
  return {};
}

void StoragePlugin::close_queues() {
  const cm_worker_v1* workers = host().worker_table();
  for (const cm_handle queue : reader_queues_) {
    workers->close_queue(host().self(), queue);
  }
  reader_queues_.clear();
  if (writer_queue_ != CM_NO_HANDLE) {
    workers->close_queue(host().self(), std::exchange(writer_queue_, CM_NO_HANDLE));
  }
}

void StoragePlugin::start(Done started) {
  if (Status queues = create_queues(); !queues) {
    close_queues();
    started(std::move(queues));
    return;
  }
  auto file = std::make_shared<Result<DatabaseFile>>(DatabaseFile());
  Core* core = core_.get();
  const Status submitted = run_on_worker(
      host(), writer_queue_,
      [this, core, file] { *file = open_database(host(), core->options, core->writer.connection(), core->readers); },
      [this, file, started] { opened(std::move(*file), started); });
  if (!submitted.ok()) {
    close_queues();
    started(submitted);
  }
}

void StoragePlugin::opened(Result<DatabaseFile> file, const Done& started) {
  if (!file) {
    close_queues();
    started(file.error());
    return;
  }
  core_->file = std::move(*file);
  core_->readers.bind(reader_queues_);
  core_->writer.bind(writer_queue_);
  backup_queue_.store(reader_queues_.front(), std::memory_order_release);
  watch_timer_.every_ms(kWatchPeriodMs, [this] { watch(); });
  started(Status());
}

// --- while it runs --------------------------------------------------------------------------------------------------

void StoragePlugin::watch() {
  watch_works();
  checkpoint_when_idle();
}

void StoragePlugin::watch_works() {
  const std::uint64_t now_us = host().monotonic_us();
  const auto check = [this, now_us](WorkWatch& watch, std::string_view where) {
    cm_statement statement = 0;
    if (!watch.became_stuck(now_us, core_->options.stuck_work_ms * 1'000, &statement)) {
      return;
    }
    core_->metrics.stuck_works.add();
    host().log(LogLevel::kError, "a work does not end and holds up what waits behind it; it was expected to be short",
               {LogField("where", where), LogField("limit_ms", core_->options.stuck_work_ms),
                LogField("statement", statement_excerpt(core_->registry.text(statement)))});
  };
  check(core_->writer.watch(), "writer");
  for (std::size_t i = 0; i < core_->readers.size(); ++i) {
    check(core_->readers.watch(i), "reader");
  }
}

// Once per idle period: what the next start would have to replay is copied now, when nobody waits for it.
void StoragePlugin::checkpoint_when_idle() {
  Writer& writer = core_->writer;
  const std::uint64_t last_us = writer.last_commit_us();
  const std::uint64_t now_us = host().monotonic_us();
  const bool idle = last_us != 0 && now_us >= last_us + core_->options.idle_after_ms * 1'000;
  if (!idle || last_us == checkpointed_commit_us_ || writer.queue_depth() != 0) {
    return;
  }
  checkpointed_commit_us_ = last_us;
  const std::int64_t log_bytes = std::int64_t{writer.wal_pages_peak()} * core_->options.page_size_bytes;
  const bool large = log_bytes > core_->options.wal_truncate_size_bytes;
  const int mode = large ? SQLITE_CHECKPOINT_TRUNCATE : SQLITE_CHECKPOINT_PASSIVE;
  static_cast<void>(writer.submit_task([&writer, mode](Connection&) { writer.checkpoint(mode); }));
}

Status StoragePlugin::reload_prepare() {
  candidate_ = read_live_options(host(), CM_CONFIG_CANDIDATE);
  return {};
}

void StoragePlugin::reload_finish(bool commit) {
  if (commit) {
    core_->writer.apply(candidate_);
    core_->readers.apply(candidate_);
  }
}

// --- the end --------------------------------------------------------------------------------------------------------

void StoragePlugin::drain(std::uint64_t deadline_ms, Done drained_callback) {
  drained_ = std::move(drained_callback);
  drain_timer_.start_ms(deadline_ms, [this] {
    const std::size_t left = core_->in_flight.count();
    drained(make_error(ErrorCode::kBusy, std::to_string(left) +
                                             " works were not finished in time; their callers are told that they did "
                                             "not run; give the host a longer drain deadline"));
  });
  core_->in_flight.close([this] { host().post([this] { finish_drain(); }); });
}

void StoragePlugin::finish_drain() {
  Writer& writer = core_->writer;
  const cm_status status = writer.submit_task([this, &writer](Connection& connection) {
    if (connection.is_open() && !core_->health.degraded()) {
      connection.run_script("PRAGMA optimize", true);
      writer.checkpoint(SQLITE_CHECKPOINT_TRUNCATE);
    }
    host().post([this] { drained(Status()); });
  });
  if (status != CM_OK) {
    drained(Status());  // every answer is out; the next start does the rest
  }
}

void StoragePlugin::drained(Status status) {
  drain_timer_.cancel();
  if (const Done done = std::exchange(drained_, {})) {
    done(std::move(status));
  }
}

void StoragePlugin::stop() {
  watch_timer_.cancel();
  drain_timer_.cancel();
  drained_ = {};
  backup_queue_.store(CM_NO_HANDLE, std::memory_order_release);
  core_->in_flight.close([] {});
  core_->stopping.store(true, std::memory_order_release);
  core_->readers.abandon();
  core_->writer.abandon();
  // The last jobs close the connections; should the host take no more jobs, the destructor does it.
  static_cast<void>(core_->writer.submit_task([](Connection& connection) { connection.close(); }));
  Core* core = core_.get();
  for (std::size_t i = 0; i < reader_queues_.size(); ++i) {
    static_cast<void>(run_on_worker(host(), reader_queues_[i], [core, i] { core->readers.close(i); }, {}));
  }
  close_queues();
}

}  // namespace cm::storage
