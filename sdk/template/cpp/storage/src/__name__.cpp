// {{name}}: cm.storage/1 over an SQLite database in memory. One worker runs all works in the order of their arrival,
// each in a transaction of its own, so reads see everything that was reported done. Memory is as durable as the
// process.
#include <claudemesh/ext/storage.h>
#include <claudemesh/cpp/plugin.hpp>

#include <sqlite3.h>

#include <atomic>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

namespace {

// Statement texts by id. Any thread.
class Statements {
 public:
  cm_statement intern(std::string_view sql) {
    const std::lock_guard lock(mutex_);
    const auto [found, added] = ids_.try_emplace(std::string(sql), static_cast<cm_statement>(texts_.size()));
    if (added) {
      texts_.push_back(&found->first);
    }
    return found->second;
  }
  const std::string* text(cm_statement id) {
    const std::lock_guard lock(mutex_);
    return id < texts_.size() ? texts_[id] : nullptr;
  }

 private:
  std::mutex mutex_;
  std::map<std::string, cm_statement, std::less<>> ids_;
  std::vector<const std::string*> texts_;
};

// The database. Only on the worker, but for its making and its end.
class Database {
 public:
  explicit Database(Statements& statements) : statements_(statements) {}
  ~Database() { close(); }
  Database(const Database&) = delete;
  Database& operator=(const Database&) = delete;

  bool open() { return sqlite3_open(":memory:", &db_) == SQLITE_OK && run("PRAGMA foreign_keys = ON"); }
  void close() {
    for (const auto& [id, prepared] : prepared_) {
      sqlite3_finalize(prepared);
    }
    prepared_.clear();
    sqlite3_close(db_);
    db_ = nullptr;
  }
  bool run(const std::string& sql) {
    const bool good = sqlite3_exec(db_, sql.c_str(), nullptr, nullptr, nullptr) == SQLITE_OK;
    error_ = good ? std::string() : sqlite3_errmsg(db_);
    return good;
  }
  cm_status execute(cm_statement id, const cm_value* values, std::uint32_t count, std::uint64_t* out_changes,
                    cm_row_callback row, void* user) {
    sqlite3_stmt* statement = prepare(id);
    if (statement == nullptr || !bind(statement, values, count)) {
      return fail(statement);
    }
    const int changes_before = sqlite3_total_changes(db_);
    int step = SQLITE_ROW;
    while ((step = sqlite3_step(statement)) == SQLITE_ROW) {
      if (row != nullptr && !give_row(statement, row, user)) {
        step = SQLITE_DONE;
        break;
      }
    }
    if (step != SQLITE_DONE) {
      return fail(statement);
    }
    sqlite3_reset(statement);
    if (out_changes != nullptr) {
      *out_changes = static_cast<std::uint64_t>(sqlite3_total_changes(db_) - changes_before);
    }
    return CM_OK;
  }
  const std::string& error() const { return error_; }
  bool read_only(cm_statement id) {
    sqlite3_stmt* statement = prepare(id);
    return statement == nullptr || sqlite3_stmt_readonly(statement) != 0;
  }
  sqlite3* raw() const { return db_; }

 private:
  sqlite3_stmt* prepare(cm_statement id) {
    if (const auto found = prepared_.find(id); found != prepared_.end()) {
      return found->second;
    }
    const std::string* sql = statements_.text(id);
    sqlite3_stmt* statement = nullptr;
    if (sql != nullptr &&
        sqlite3_prepare_v3(db_, sql->c_str(), -1, SQLITE_PREPARE_PERSISTENT, &statement, nullptr) == SQLITE_OK &&
        statement != nullptr) {
      prepared_[id] = statement;
    }
    return statement;
  }
  static bool bind(sqlite3_stmt* statement, const cm_value* values, std::uint32_t count) {
    for (std::uint32_t i = 0; i < count; ++i) {
      const cm_value& value = values[i];
      const int at = static_cast<int>(i) + 1;
      int status = SQLITE_OK;
      switch (value.type) {
        case CM_VALUE_INT:
          status = sqlite3_bind_int64(statement, at, value.integer);
          break;
        case CM_VALUE_FLOAT:
          status = sqlite3_bind_double(statement, at, value.real);
          break;
        case CM_VALUE_TEXT:
          status =
              sqlite3_bind_text64(statement, at, value.data_size == 0 ? "" : reinterpret_cast<const char*>(value.data),
                                  value.data_size, SQLITE_TRANSIENT, SQLITE_UTF8);
          break;
        case CM_VALUE_BLOB:
          status =
              sqlite3_bind_blob64(statement, at, value.data_size == 0 ? "" : reinterpret_cast<const char*>(value.data),
                                  value.data_size, SQLITE_TRANSIENT);
          break;
        default:
          status = sqlite3_bind_null(statement, at);
          break;
      }
      if (status != SQLITE_OK) {
        return false;
      }
    }
    return true;
  }
  static bool give_row(sqlite3_stmt* statement, cm_row_callback row, void* user) {
    std::vector<cm_value> columns(static_cast<std::size_t>(sqlite3_column_count(statement)));
    for (std::size_t i = 0; i < columns.size(); ++i) {
      const int at = static_cast<int>(i);
      cm_value& value = columns[i];
      value = cm_value();
      switch (sqlite3_column_type(statement, at)) {
        case SQLITE_INTEGER:
          value.type = CM_VALUE_INT;
          value.integer = sqlite3_column_int64(statement, at);
          break;
        case SQLITE_FLOAT:
          value.type = CM_VALUE_FLOAT;
          value.real = sqlite3_column_double(statement, at);
          break;
        case SQLITE_NULL:
          value.type = CM_VALUE_NULL;
          break;
        default:
          value.type = sqlite3_column_type(statement, at) == SQLITE_TEXT ? CM_VALUE_TEXT : CM_VALUE_BLOB;
          value.data = static_cast<const std::uint8_t*>(sqlite3_column_blob(statement, at));
          value.data_size = static_cast<std::uint64_t>(sqlite3_column_bytes(statement, at));
      }
    }
    return row(user, columns.data(), static_cast<std::uint32_t>(columns.size()));
  }
  cm_status fail(sqlite3_stmt* statement) {
    error_ = sqlite3_errmsg(db_);
    sqlite3_reset(statement);
    return CM_INVALID;
  }

  Statements& statements_;
  sqlite3* db_ = nullptr;
  std::map<cm_statement, sqlite3_stmt*> prepared_;
  std::string error_;
};

// What a work sees as its transaction.
struct Transaction {
  Database* database;
  bool may_write;
};
Transaction* as_transaction(cm_storage_transaction* raw) {
  return reinterpret_cast<Transaction*>(raw);
}

cm_status sql_execute(cm_storage_transaction* raw, cm_statement statement, const cm_value* values, std::uint32_t count,
                      std::uint64_t* out_changes) noexcept {
  Transaction* transaction = as_transaction(raw);
  if (!transaction->may_write && !transaction->database->read_only(statement)) {
    return CM_INVALID;
  }
  return transaction->database->execute(statement, values, count, out_changes, nullptr, nullptr);
}
cm_status sql_query(cm_storage_transaction* raw, cm_statement statement, const cm_value* values, std::uint32_t count,
                    cm_row_callback row, void* user) noexcept {
  Transaction* transaction = as_transaction(raw);
  if (!transaction->may_write && !transaction->database->read_only(statement)) {
    return CM_INVALID;
  }
  return transaction->database->execute(statement, values, count, nullptr, row, user);
}
cm_text_hview sql_last_error(cm_storage_transaction* raw) noexcept {
  return cm::to_hview(as_transaction(raw)->database->error());
}
constexpr cm_storage_sql_v1 kSql = {sizeof(cm_storage_sql_v1), 0, sql_execute, sql_query, sql_last_error};

class {{Name}} final : public cm::PluginInstance {
 public:
  explicit {{Name}}(const cm_host* host) : PluginInstance(host), database_(statements_) {}

  // Without these the host's `configure` is refused in words.
  std::vector<cm::TableNeed> required_tables() const override {
    return {cm::need<cm_config_v1>(CM_CONFIG_ID), cm::need<cm_loop_v1>(CM_LOOP_ID),
            cm::need<cm_worker_v1>(CM_WORKER_ID)};
  }
  cm::Status configure() override {
    queue_max_ = static_cast<std::uint64_t>(host().option_int("queue_max"));
    return database_.open() ? cm::Status() : cm::make_error(cm::ErrorCode::kIo, "SQLite gave no database in memory");
  }
  void start(Done started) override {
    const cm_worker_v1* worker = host().worker_table();
    const bool made =
        worker != nullptr && worker->create_queue(host().self(), cm::to_pview("storage"), &queue_) == CM_OK;
    accepting_ = made;
    started(made ? cm::Status() : cm::make_error(cm::ErrorCode::kDenied, "the table cm.worker/1 is not granted"));
  }
  // Users stop before their provider, so nothing new comes; what was accepted is finished by the host before destroy.
  void drain(std::uint64_t, Done drained) override {
    accepting_ = false;
    drained(cm::Status());
  }
  void stop() override {
    accepting_ = false;
    if (queue_ != CM_NO_HANDLE) {
      host().worker_table()->close_queue(host().self(), queue_);
    }
  }
  const void* extension(std::string_view id) override { return id == CM_STORAGE_ID ? &kTable : nullptr; }

 private:
  // One accepted call: runs on the worker, answers on the caller's loop.
  struct Job {
    {{Name}}* owner;
    cm_handle caller;
    cm_storage_done done;
    void* user;
    std::function<cm_status(Database&, std::string& error)> work;
    cm_status status = CM_OK;
    std::string error = {};
  };

  static {{Name}}& self_of(void* instance) {
    return *static_cast<{{Name}}*>(static_cast<cm::PluginInstance*>(instance));
  }

  cm_status enqueue(std::unique_ptr<Job> job) {
    if (!accepting_) {
      return CM_GONE;
    }
    if (waiting_.fetch_add(1) >= queue_max_) {
      waiting_.fetch_sub(1);
      return CM_BUSY;
    }
    const cm_status status = host().worker_table()->submit(host().self(), queue_, &{{Name}}::run, job.get());
    if (status != CM_OK) {
      waiting_.fetch_sub(1);
      return status;
    }
    static_cast<void>(job.release());  // run frees it
    return CM_OK;
  }
  static void run(void* user) noexcept {
    std::unique_ptr<Job> job(static_cast<Job*>(user));
    job->status = job->work(job->owner->database_, job->error);
    job->owner->waiting_.fetch_sub(1);
    const cm_loop_v1* loop = job->owner->host().loop_table();
    const cm_handle self = job->owner->host().self();
    if (loop->post(self, job->caller, &{{Name}}::answer, &{{Name}}::nobody, job.get()) == CM_OK) {
      static_cast<void>(job.release());
    } else {
      job->done(job->user, CM_GONE, cm::to_hview(std::string_view()));
    }
  }
  static void answer(void* user) noexcept {
    const std::unique_ptr<Job> job(static_cast<Job*>(user));
    job->done(job->user, job->status, cm::to_hview(job->error));
  }
  static void nobody(void* user) noexcept {
    const std::unique_ptr<Job> job(static_cast<Job*>(user));
    job->done(job->user, CM_GONE, cm::to_hview(std::string_view()));
  }

  static cm_status transact(Database& database, std::string& error, bool may_write,
                            const std::function<cm_status(cm_storage_transaction*)>& work) {
    if (!database.run("BEGIN")) {
      error = database.error();
      return CM_IO;
    }
    Transaction transaction{&database, may_write};
    const cm_status status = work(reinterpret_cast<cm_storage_transaction*>(&transaction));
    if (status != CM_OK) {
      error = database.error();
      database.run("ROLLBACK");
      return status;
    }
    if (!database.run("COMMIT")) {
      error = database.error();
      database.run("ROLLBACK");
      return CM_INVALID;
    }
    return CM_OK;
  }
  cm_status work_on(cm_handle caller, bool may_write, cm_storage_work work, cm_storage_done done, void* user) {
    auto body = [may_write, work, user](Database& database, std::string& error) {
      return transact(database, error, may_write,
                      [&](cm_storage_transaction* transaction) { return work(user, transaction, &kSql); });
    };
    return enqueue(std::make_unique<Job>(Job{this, caller, done, user, body}));
  }

  static cm_status statement(void* instance, cm_text_pview sql, cm_statement* out_statement) noexcept {
    *out_statement = self_of(instance).statements_.intern(cm::to_view(sql));
    return CM_OK;
  }
  static cm_status submit(void* instance, cm_handle caller, cm_storage_work work, cm_storage_done done,
                          void* user) noexcept {
    return self_of(instance).work_on(caller, true, work, done, user);
  }
  static cm_status read(void* instance, cm_handle caller, cm_storage_work work, cm_storage_done done,
                        void* user) noexcept {
    return self_of(instance).work_on(caller, false, work, done, user);
  }
  // The memory is new at each start, so every migration is missing the first time; their texts are remembered for the
  // second.
  static cm_status migrate(void* instance, cm_handle caller, cm_text_pview schema, const cm_migration* migrations,
                           std::uint32_t count, cm_storage_done done, void* user) noexcept {
    {{Name}}& self = self_of(instance);
    std::vector<std::string> files;
    for (std::uint32_t i = 0; i < count; ++i) {
      if (migrations[i].number != i + 1) {
        return CM_INVALID;
      }
      files.emplace_back(cm::to_view(migrations[i].sql));
    }
    auto body = [&self, name = std::string(cm::to_view(schema)), files](Database& database, std::string& error) {
      std::vector<std::string>& applied = self.applied_[name];
      for (std::size_t i = 0; i < applied.size() && i < files.size(); ++i) {
        if (applied[i] != files[i]) {
          error = "migration " + std::to_string(i + 1) + " of " + name + " has changed since it was applied";
          return static_cast<cm_status>(CM_INVALID);
        }
      }
      for (std::size_t i = applied.size(); i < files.size(); ++i) {
        if (!database.run("BEGIN") || !database.run(files[i]) || !database.run("COMMIT")) {
          error = database.error();
          database.run("ROLLBACK");
          return static_cast<cm_status>(CM_INVALID);
        }
        applied.push_back(files[i]);
      }
      return static_cast<cm_status>(CM_OK);
    };
    return self.enqueue(std::make_unique<Job>(Job{&self, caller, done, user, body}));
  }
  static cm_status backup(void* instance, cm_handle caller, cm_text_pview path, cm_storage_done done,
                          void* user) noexcept {
    {{Name}}& self = self_of(instance);
    auto body = [target = std::string(cm::to_view(path))](Database& database, std::string& error) {
      sqlite3* copy = nullptr;
      bool good = sqlite3_open_v2(("file:" + target).c_str(), &copy,
                                  SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_URI, nullptr) == SQLITE_OK;
      sqlite3_backup* backup = good ? sqlite3_backup_init(copy, "main", database.raw(), "main") : nullptr;
      good = backup != nullptr && sqlite3_backup_step(backup, -1) == SQLITE_DONE;
      good = sqlite3_backup_finish(backup) == SQLITE_OK && good;
      error = good ? "" : sqlite3_errmsg(copy);
      sqlite3_close(copy);
      return static_cast<cm_status>(good ? CM_OK : CM_IO);
    };
    return self.enqueue(std::make_unique<Job>(Job{&self, caller, done, user, body}));
  }
  static cm_text_hview dialect(void*, cm_text_pview key) noexcept {
    const std::string_view wanted = cm::to_view(key);
    return cm::to_hview(wanted == "now_ms" ? std::string_view("CAST(unixepoch('subsec') * 1000 AS INTEGER)")
                        : wanted == "blob" ? std::string_view("BLOB")
                        : wanted == "autoincrement_key" ? std::string_view("INTEGER PRIMARY KEY AUTOINCREMENT")
                        : wanted == "json"              ? std::string_view("TEXT")
                                                        : std::string_view());
  }

  static constexpr cm_storage_v1 kTable = {sizeof(cm_storage_v1), 0, statement, migrate, submit, read, backup, dialect};

  Statements statements_;
  Database database_;
  std::map<std::string, std::vector<std::string>> applied_;  // by schema; only on the worker
  cm_handle queue_ = CM_NO_HANDLE;
  std::uint64_t queue_max_ = 0;
  std::atomic<std::uint64_t> waiting_{0};
  std::atomic<bool> accepting_{false};
};

}  // namespace

CM_DEFINE_PLUGIN({{Name}});
