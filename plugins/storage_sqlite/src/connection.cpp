#include "plugins/storage_sqlite/src/connection.hpp"

#include <algorithm>

#include "plugins/storage_sqlite/src/sqlite_error.hpp"

namespace cm::storage {
namespace {

constexpr std::array<const char*, static_cast<std::size_t>(Connection::Control::kCount)> kControlSql = {
    "BEGIN", "BEGIN IMMEDIATE", "COMMIT", "ROLLBACK", "SAVEPOINT cm_work", "RELEASE cm_work", "ROLLBACK TO cm_work"};

// Pragmas that only look, or that concern the caller's own tables.
constexpr std::array<std::string_view, 9> kHarmlessPragmas = {
    "table_info",       "table_xinfo",       "table_list",   "index_list",        "index_info",
    "foreign_key_list", "foreign_key_check", "user_version", "defer_foreign_keys"};

bool is_blank(std::string_view sql) noexcept {
  return sql.find_first_not_of(" \t\r\n;") == std::string_view::npos;
}

}  // namespace

ConnectionSettings connection_settings(const StorageOptions& options, Access access) {
  ConnectionSettings settings;
  settings.path = options.path;
  settings.vfs = options.vfs;
  settings.access = access;
  settings.synchronous = options.synchronous;
  settings.busy_timeout_ms = options.busy_timeout_ms;
  settings.page_size_bytes = options.page_size_bytes;
  settings.cache_size_bytes = access == Access::kWriter ? options.cache_size_bytes : options.reader_cache_size_bytes;
  settings.wal_size_limit_bytes = options.wal_truncate_size_bytes;
  return settings;
}

Connection::Connection(const StatementRegistry& registry, ConnectionSettings settings)
    : registry_(registry), settings_(std::move(settings)) {}

Connection::~Connection() {
  close();
}

Status Connection::open() {
  if (is_open()) {
    return {};
  }
  sqlite3* database = nullptr;
  const int flags = SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_PRIVATECACHE |
                    SQLITE_OPEN_EXRESCODE;
  const char* vfs = settings_.vfs.empty() ? nullptr : settings_.vfs.c_str();
  const int code = sqlite3_open_v2(settings_.path.c_str(), &database, flags, vfs);
  {
    const std::lock_guard lock(handle_mutex_);
    database_ = database;
  }
  if (code != SQLITE_OK) {
    Error failure = error("opening the database " + settings_.path, code);
    close();
    return failure;
  }
  Status configured = configure();
  if (!configured) {
    close();
  }
  return configured;
}

Status Connection::configure() {
  sqlite3_busy_timeout(database_, settings_.busy_timeout_ms);
  sqlite3_db_config(database_, SQLITE_DBCONFIG_DQS_DML, 0, nullptr);
  sqlite3_db_config(database_, SQLITE_DBCONFIG_DQS_DDL, 0, nullptr);
  sqlite3_db_config(database_, SQLITE_DBCONFIG_TRUSTED_SCHEMA, 0, nullptr);
  const bool writer = settings_.access == Access::kWriter;
  std::string pragmas = "PRAGMA cache_size=-" + std::to_string(settings_.cache_size_bytes / 1'024) +
                        ";PRAGMA temp_store=MEMORY;PRAGMA foreign_keys=ON;";
  if (writer) {
    pragmas += "PRAGMA page_size=" + std::to_string(settings_.page_size_bytes) +
               ";PRAGMA journal_mode=WAL;PRAGMA synchronous=" +
               (settings_.synchronous == Synchronous::kExtra ? "EXTRA" : "FULL") +
               ";PRAGMA journal_size_limit=" + std::to_string(settings_.wal_size_limit_bytes) +
               ";PRAGMA analysis_limit=400;";
  } else {
    pragmas += "PRAGMA query_only=ON;";
  }
  const int code = run_script(pragmas, true);
  if (code != SQLITE_OK) {
    return error("setting up the database " + settings_.path, code);
  }
  if (sqlite3_db_readonly(database_, "main") == 1) {
    return make_error(ErrorCode::kIo, "the database " + settings_.path +
                                          " can only be read; a file that can be written was expected; check its "
                                          "permissions and how its file system is mounted");
  }
  if (Status mode = expect_setting("journal_mode", "wal"); !mode) {
    return mode;
  }
  const std::string_view level = settings_.synchronous == Synchronous::kExtra ? "3" : "2";
  if (Status sync = writer ? expect_setting("synchronous", level) : Status(); !sync) {
    return sync;
  }
  if (Status keys = expect_setting("foreign_keys", "1"); !keys) {
    return keys;
  }
  sqlite3_wal_hook(database_, &Connection::after_commit, this);
  sqlite3_set_authorizer(database_, &Connection::authorize, this);
  return {};
}

Status Connection::expect_setting(std::string_view pragma, std::string_view expected) {
  Result<std::string> found = query_text("PRAGMA " + std::string(pragma));
  if (!found) {
    return found.error();
  }
  if (*found != expected) {
    return make_error(ErrorCode::kIo, "the database " + settings_.path + " has " + std::string(pragma) + "=" + *found +
                                          "; " + std::string(expected) +
                                          " was expected, because a confirmed write could be lost otherwise; put the "
                                          "file on a local file system");
  }
  return {};
}

void Connection::close() noexcept {
  for (sqlite3_stmt* statement : statements_) {
    sqlite3_finalize(statement);
  }
  statements_.clear();
  prepared_count_ = 0;
  for (sqlite3_stmt*& statement : controls_) {
    sqlite3_finalize(std::exchange(statement, nullptr));
  }
  const std::lock_guard lock(handle_mutex_);
  sqlite3_close_v2(std::exchange(database_, nullptr));
}

int Connection::prepare(std::string_view sql, unsigned flags, sqlite3_stmt** out, std::string* error) {
  const char* tail = nullptr;
  const int code = sqlite3_prepare_v3(database_, sql.data(), static_cast<int>(sql.size()), flags, out, &tail);
  if (code != SQLITE_OK) {
    *error = describe("a statement could not be prepared", code) + "; it is: " + std::string(sql);
    return code;
  }
  const std::string_view rest = sql.substr(static_cast<std::size_t>(tail - sql.data()));
  if (*out == nullptr || !is_blank(rest)) {
    sqlite3_finalize(std::exchange(*out, nullptr));
    *error =
        "a statement text holds none or several statements; exactly one was expected; register each one alone; it "
        "is: " +
        std::string(sql);
    return SQLITE_ERROR;
  }
  return SQLITE_OK;
}

int Connection::lease(cm_statement id, StatementLease* out, std::string* error) {
  if (id == 0 || id > statements_.size() || statements_[id - 1] == nullptr) {
    const std::string_view sql = registry_.text(id);
    if (sql.empty()) {
      *error = "statement " + std::to_string(id) +
               " is unknown; an id given by this database was expected; register "
               "the statement here first";
      return SQLITE_ERROR;
    }
    sqlite3_stmt* prepared = nullptr;
    const int code = prepare(sql, SQLITE_PREPARE_PERSISTENT, &prepared, error);
    if (code != SQLITE_OK) {
      return code;
    }
    statements_.resize(std::max<std::size_t>(statements_.size(), id));
    statements_[id - 1] = prepared;
    ++prepared_count_;
  }
  sqlite3_stmt* cached = statements_[id - 1];
  if (sqlite3_stmt_busy(cached) == 0) {
    *out = StatementLease(cached, false);
    return SQLITE_OK;
  }
  sqlite3_stmt* second = nullptr;
  const int code = prepare(registry_.text(id), 0, &second, error);
  if (code == SQLITE_OK) {
    *out = StatementLease(second, true);
  }
  return code;
}

int Connection::control(Control control) noexcept {
  const Trust trust(*this);
  const auto index = static_cast<std::size_t>(control);
  sqlite3_stmt*& statement = controls_[index];
  if (statement == nullptr) {
    const int code =
        sqlite3_prepare_v3(database_, kControlSql[index], -1, SQLITE_PREPARE_PERSISTENT, &statement, nullptr);
    if (code != SQLITE_OK) {
      return code;
    }
  }
  const int code = sqlite3_step(statement);
  sqlite3_reset(statement);
  return code == SQLITE_DONE ? SQLITE_OK : code;
}

bool Connection::foreign_keys_broken() const noexcept {
  int current = 0;
  int peak = 0;
  sqlite3_db_status(database_, SQLITE_DBSTATUS_DEFERRED_FKS, &current, &peak, 0);
  return current != 0;
}

int Connection::run_script(std::string_view sql, bool trusted) {
  const bool before = std::exchange(trusted_, trusted);
  int code = SQLITE_OK;
  while (code == SQLITE_OK && !is_blank(sql)) {
    sqlite3_stmt* statement = nullptr;
    const char* tail = nullptr;
    code = sqlite3_prepare_v2(database_, sql.data(), static_cast<int>(sql.size()), &statement, &tail);
    if (code != SQLITE_OK) {
      break;
    }
    sql.remove_prefix(static_cast<std::size_t>(tail - sql.data()));
    if (statement == nullptr) {
      continue;  // a comment
    }
    while ((code = sqlite3_step(statement)) == SQLITE_ROW) {
    }
    const int finalized = sqlite3_finalize(statement);
    code = code == SQLITE_DONE ? SQLITE_OK : finalized;
  }
  trusted_ = before;
  return code;
}

Result<std::string> Connection::query_text(std::string_view sql) {
  const Trust trust(*this);
  sqlite3_stmt* statement = nullptr;
  std::string text;
  int code = prepare(sql, 0, &statement, &text);
  if (code != SQLITE_OK) {
    return Error{static_cast<ErrorCode>(status_of(classify(code))), std::move(text)};
  }
  code = sqlite3_step(statement);
  if (code == SQLITE_ROW) {
    const unsigned char* value = sqlite3_column_text(statement, 0);
    text = value == nullptr ? std::string() : std::string(reinterpret_cast<const char*>(value));
  }
  const int finalized = sqlite3_finalize(statement);
  if (code != SQLITE_ROW && code != SQLITE_DONE) {
    return error("asking the database " + settings_.path, finalized);
  }
  return text;
}

int Connection::checkpoint(int mode, int* log_pages, int* copied_pages) noexcept {
  // A reader in an old snapshot would make the writer wait; copying the rest can wait instead.
  sqlite3_busy_timeout(database_, 0);
  const int code = sqlite3_wal_checkpoint_v2(database_, "main", mode, log_pages, copied_pages);
  sqlite3_busy_timeout(database_, settings_.busy_timeout_ms);
  return code;
}

std::string Connection::describe(std::string_view action, int code) const {
  const char* text = database_ == nullptr ? sqlite3_errstr(code) : sqlite3_errmsg(database_);
  const int system_error = database_ == nullptr ? 0 : sqlite3_system_errno(database_);
  return failure_text(action, code, text, system_error, settings_.path);
}

Error Connection::error(std::string_view action, int code) const {
  const Failure failure = classify(code);
  const cm_status status = failure == Failure::kNone ? CM_INTERNAL : status_of(failure);
  return Error{static_cast<ErrorCode>(status), describe(action, code)};
}

void Connection::interrupt() noexcept {
  const std::lock_guard lock(handle_mutex_);
  if (database_ != nullptr) {
    sqlite3_interrupt(database_);
  }
}

int Connection::authorize(void* user, int action, const char* first, const char* second, const char* database,
                          const char* trigger) noexcept {
  static_cast<void>(database);
  static_cast<void>(trigger);
  if (static_cast<const Connection*>(user)->trusted_) {
    return SQLITE_OK;
  }
  switch (action) {
    case SQLITE_TRANSACTION:  // a work that commits by itself would confirm the works beside it too early
    case SQLITE_SAVEPOINT:
    case SQLITE_ATTACH:
    case SQLITE_DETACH:
      return SQLITE_DENY;
    case SQLITE_PRAGMA: {
      const std::string_view name = first == nullptr ? std::string_view() : std::string_view(first);
      const bool harmless = std::find(kHarmlessPragmas.begin(), kHarmlessPragmas.end(), name) != kHarmlessPragmas.end();
      return second == nullptr || harmless ? SQLITE_OK : SQLITE_DENY;
    }
    default:
      return SQLITE_OK;
  }
}

int Connection::after_commit(void* user, sqlite3* database, const char* name, int pages) noexcept {
  static_cast<void>(database);
  static_cast<void>(name);
  auto* connection = static_cast<Connection*>(user);
  connection->wal_pages_ = pages;
  connection->wal_pages_peak_ = std::max(connection->wal_pages_peak_, pages);
  return SQLITE_OK;
}

}  // namespace cm::storage
