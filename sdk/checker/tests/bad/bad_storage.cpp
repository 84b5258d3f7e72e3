// The SQLite store behind a table that does one thing wrong: everything goes through, but for what
// `cm_badness` spoils.
#include <claudemesh/ext/storage.h>
#include <sqlite3.h>
#include <claudemesh/cpp/plugin.hpp>

#include <cstring>
#include <map>
#include <memory>
#include <string>

#include "plugins/storage_sqlite/src/storage_plugin.hpp"

extern "C" const char cm_badness[];  // what this one does wrong; linked to it

namespace {

const std::string_view kBad = cm_badness;

// From here on SQLite believes that each file is synced as soon as it asks for it.
void forget_syncs() {
  static sqlite3_vfs lazy = *sqlite3_vfs_find("unix");
  lazy.zName = "lazy";
  lazy.xOpen = [](sqlite3_vfs* vfs, const char* name, sqlite3_file* file, int flags, int* out_flags) {
    static std::map<const sqlite3_io_methods*, sqlite3_io_methods> without_sync;
    const sqlite3_vfs* real = sqlite3_vfs_find("unix");
    const int code = real->xOpen(vfs, name, file, flags, out_flags);
    if (code == SQLITE_OK) {
      sqlite3_io_methods& methods = without_sync.try_emplace(file->pMethods, *file->pMethods).first->second;
      methods.xSync = [](sqlite3_file*, int) { return SQLITE_OK; };
      file->pMethods = &methods;
    }
    return code;
  };
  sqlite3_vfs_register(&lazy, 1);
}

class BadStore;

// One call on its way through.
struct Passing {
  BadStore* store;
  cm_handle caller;
  cm_storage_work work;
  cm_storage_done done;
  void* user;
  bool answered = false;
  cm_status status = CM_OK;
};

// An answer on its way to the caller.
struct Answer {
  cm_storage_done done;
  void* user;
  cm_status status;
};

thread_local const cm_storage_sql_v1* real_sql = nullptr;  // of the work that runs now

class BadStore final : public cm::PluginInstance {
 public:
  explicit BadStore(const cm_host* host) : PluginInstance(host), inner_(host) {}
  cm::Status configure() override {
    if (kBad == "never_syncs") {
      forget_syncs();
    }
    cm::Status configured = inner_.configure();
    real_ = static_cast<const cm_storage_v1*>(inner_.extension(CM_STORAGE_ID));
    return configured;
  }
  void start(Done started) override { inner_.start(std::move(started)); }
  void drain(std::uint64_t deadline_ms, Done drained) override { inner_.drain(deadline_ms, std::move(drained)); }
  void stop() override {
    stopped_ = true;
    inner_.stop();
  }
  const void* extension(std::string_view id) override { return id == CM_STORAGE_ID ? &table_ : nullptr; }

 private:
  static BadStore& self(void* instance) { return *static_cast<BadStore*>(static_cast<PluginInstance*>(instance)); }
  void* inner() { return static_cast<PluginInstance*>(&inner_); }

  static cm_status statement(void* instance, cm_text_pview sql, cm_statement* out) noexcept {
    if (kBad != "statement") {
      return self(instance).real_->statement(self(instance).inner(), sql, out);
    }
    self(instance).text_ = std::string(sql.data, sql.size) + std::string(++self(instance).statements_, ' ');
    return self(instance).real_->statement(self(instance).inner(), cm::to_pview(self(instance).text_), out);
  }
  static cm_status migrate(void* instance, cm_handle caller, cm_text_pview schema, const cm_migration* migrations,
                           std::uint32_t count, cm_storage_done done, void* user) noexcept {
    if (kBad == "migrate" && ++self(instance).migrations_ > 1) {
      return CM_INVALID;
    }
    return self(instance).real_->migrate(self(instance).inner(), caller, schema, migrations, count, done, user);
  }

  static cm_status pass(void* instance, bool writes, cm_handle caller, cm_storage_work work, cm_storage_done done,
                        void* user) noexcept {
    BadStore& store = self(instance);
    if (kBad == "done_at_once") {
      auto* finished = new Passing{&store, caller, work, done, user};
      const cm_status posted = store.host().loop_table()->post(
          store.host().self(), caller,
          [](void* passing) noexcept {
            const std::unique_ptr<Passing> owned(static_cast<Passing*>(passing));
            owned->done(owned->user, CM_OK, {nullptr, 0});
          },
          nullptr, finished);
      return writes && posted == CM_OK ? CM_OK : store.real_->read(store.inner(), caller, work, done, user);
    }
    auto passing = std::make_unique<Passing>(Passing{&store, caller, work, done, user});
    const auto function = writes || kBad == "readers_write" ? store.real_->submit : store.real_->read;
    const cm_status status = function(store.inner(), caller, &run, &finish, passing.get());
    if (status == CM_OK) {
      passing.release();
    }
    return status;
  }
  static cm_status submit(void* instance, cm_handle caller, cm_storage_work work, cm_storage_done done,
                          void* user) noexcept {
    return pass(instance, true, caller, work, done, user);
  }
  static cm_status read(void* instance, cm_handle caller, cm_storage_work work, cm_storage_done done,
                        void* user) noexcept {
    return pass(instance, false, caller, work, done, user);
  }
  static cm_status backup(void*, cm_handle, cm_text_pview, cm_storage_done, void*) noexcept { return CM_UNSUPPORTED; }
  static cm_text_hview dialect(void*, cm_text_pview) noexcept { return {nullptr, 0}; }

  static cm_status run(void* user, cm_storage_transaction* transaction, const cm_storage_sql_v1* sql) noexcept {
    auto* passing = static_cast<Passing*>(user);
    real_sql = sql;
    const cm_storage_sql_v1 spoilt = {sizeof(spoilt), 0, &execute, &query, sql->last_error};
    passing->status = passing->work(passing->user, transaction, &spoilt);
    if (kBad == "done_before_commit") {
      // Posted from inside the work, so that it may arrive before the commit that follows.
      auto answer = std::make_unique<Answer>(Answer{passing->done, passing->user, passing->status});
      const cm::HostApi& host = passing->store->host();
      const cm_status posted = host.loop_table()->post(
          host.self(), passing->caller,
          [](void* context) noexcept {
            const std::unique_ptr<Answer> owned(static_cast<Answer*>(context));
            owned->done(owned->user, owned->status, {nullptr, 0});
          },
          [](void* context) noexcept { delete static_cast<Answer*>(context); }, answer.get());
      if (posted == CM_OK) {
        passing->answered = true;
        answer.release();
      }
    }
    if (kBad == "done_in_job") {
      passing->answered = true;
      passing->done(passing->user, passing->status, {nullptr, 0});
    }
    return kBad == "keeps_failed" ? CM_OK : passing->status;
  }
  static void finish(void* user, cm_status status, cm_text_hview error) noexcept {
    const std::unique_ptr<Passing> passing(static_cast<Passing*>(user));
    if (passing->answered || (kBad == "silent_at_stop" && status == CM_GONE)) {
      return;
    }
    if (kBad == "keeps_failed" && status == CM_OK) {
      status = passing->status;
    }
    if (kBad == "hides_full_disk" && (status == CM_IO || status == CM_BUSY)) {
      status = CM_OK;
    }
    passing->done(passing->user, status, error);
    if (kBad == "done_twice") {
      passing->done(passing->user, status, error);
    }
  }
  static cm_status execute(cm_storage_transaction* transaction, cm_statement statement, const cm_value* values,
                           std::uint32_t count, std::uint64_t* changes) noexcept {
    cm_value copies[8] = {};
    for (std::uint32_t i = 0; i < count && i < 8; ++i) {
      copies[i] = values[i];
      if (kBad == "cuts_text" && copies[i].type == CM_VALUE_TEXT && copies[i].data_size > 0) {
        copies[i].data_size = strnlen(reinterpret_cast<const char*>(copies[i].data), copies[i].data_size);
      }
    }
    return real_sql->execute(transaction, statement, copies, count, changes);
  }
  struct Rows {
    cm_row_callback row;
    void* user;
  };
  static cm_status query(cm_storage_transaction* transaction, cm_statement statement, const cm_value* values,
                         std::uint32_t count, cm_row_callback row, void* user) noexcept {
    if (kBad != "never_stops") {
      return real_sql->query(transaction, statement, values, count, row, user);
    }
    Rows rows{row, user};
    return real_sql->query(
        transaction, statement, values, count,
        [](void* context, const cm_value* columns, std::uint32_t columns_count) noexcept {
          static_cast<Rows*>(context)->row(static_cast<Rows*>(context)->user, columns, columns_count);
          return true;
        },
        &rows);
  }

  cm::storage::StoragePlugin inner_;
  const cm_storage_v1* real_ = nullptr;
  cm_storage_v1 table_ = {sizeof(cm_storage_v1), 0, &statement, &migrate, &submit, &read, &backup, &dialect};
  std::string text_;
  std::size_t statements_ = 0;
  int migrations_ = 0;
  bool stopped_ = false;
};

}  // namespace

CM_DEFINE_PLUGIN(BadStore);
