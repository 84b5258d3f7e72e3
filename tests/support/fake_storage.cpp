#include "tests/support/fake_storage.hpp"

#include <sqlite3.h>

#include <cstdio>
#include <cstdlib>
#include <memory>
#include <utility>

namespace cm::testing {
namespace {

struct StatementCloser {
  void operator()(sqlite3_stmt* statement) const noexcept { sqlite3_finalize(statement); }
};
using Statement = std::unique_ptr<sqlite3_stmt, StatementCloser>;

void bind(sqlite3_stmt* statement, int index, const cm_value& value) {
  switch (value.type) {
    case CM_VALUE_INT:
      sqlite3_bind_int64(statement, index, value.integer);
      break;
    case CM_VALUE_FLOAT:
      sqlite3_bind_double(statement, index, value.real);
      break;
    case CM_VALUE_TEXT:
      sqlite3_bind_text(statement, index, reinterpret_cast<const char*>(value.data == nullptr ? nullptr : value.data),
                        static_cast<int>(value.data_size), SQLITE_TRANSIENT);
      if (value.data == nullptr) {
        sqlite3_bind_text(statement, index, "", 0, SQLITE_TRANSIENT);
      }
      break;
    case CM_VALUE_BLOB:
      sqlite3_bind_blob(statement, index, value.data, static_cast<int>(value.data_size), SQLITE_TRANSIENT);
      break;
    default:
      sqlite3_bind_null(statement, index);
      break;
  }
}

cm_value column(sqlite3_stmt* statement, int index) {
  cm_value value = {};
  switch (sqlite3_column_type(statement, index)) {
    case SQLITE_INTEGER:
      value.type = CM_VALUE_INT;
      value.integer = sqlite3_column_int64(statement, index);
      break;
    case SQLITE_TEXT:
      value.type = CM_VALUE_TEXT;
      value.data = sqlite3_column_text(statement, index);
      value.data_size = static_cast<std::uint64_t>(sqlite3_column_bytes(statement, index));
      break;
    case SQLITE_BLOB:
      value.type = CM_VALUE_BLOB;
      value.data = static_cast<const std::uint8_t*>(sqlite3_column_blob(statement, index));
      value.data_size = static_cast<std::uint64_t>(sqlite3_column_bytes(statement, index));
      break;
    default:
      break;
  }
  return value;
}

void must(bool condition, const char* what) {
  if (!condition) {
    std::fprintf(stderr, "fake storage: %s\n", what);
    std::abort();
  }
}

void exec(sqlite3* database, const std::string& sql) {
  must(sqlite3_exec(database, sql.c_str(), nullptr, nullptr, nullptr) == SQLITE_OK, sqlite3_errmsg(database));
}

}  // namespace

// The functions of the tables; a transaction handle is the storage itself.
struct FakeStorageTable {
  static FakeStorage* of(void* pointer) { return static_cast<FakeStorage*>(pointer); }
  static FakeStorage* of(cm_storage_transaction* transaction) { return of(static_cast<void*>(transaction)); }

  static cm_status step(cm_storage_transaction* transaction, cm_statement id, const cm_value* parameters,
                        std::uint32_t count, cm_row_callback row, void* user, std::uint64_t* changes) {
    FakeStorage* storage = of(transaction);
    sqlite3_stmt* raw = nullptr;
    const std::string& sql = storage->statements_.at(id);
    if (sqlite3_prepare_v2(storage->database_, sql.c_str(), -1, &raw, nullptr) != SQLITE_OK) {
      storage->last_error_ = sqlite3_errmsg(storage->database_);
      return CM_INVALID;
    }
    const Statement statement(raw);
    for (std::uint32_t i = 0; i < count; ++i) {
      bind(raw, static_cast<int>(i) + 1, parameters[i]);
    }
    int result = sqlite3_step(raw);
    while (result == SQLITE_ROW) {
      std::vector<cm_value> columns;
      for (int i = 0; i < sqlite3_column_count(raw); ++i) {
        columns.push_back(column(raw, i));
      }
      if (row != nullptr && !row(user, columns.data(), static_cast<std::uint32_t>(columns.size()))) {
        return CM_OK;
      }
      result = sqlite3_step(raw);
    }
    if (result != SQLITE_DONE) {
      storage->last_error_ = sqlite3_errmsg(storage->database_);
      return CM_INVALID;
    }
    if (changes != nullptr) {
      *changes = static_cast<std::uint64_t>(sqlite3_changes(storage->database_));
    }
    return CM_OK;
  }
  static cm_status execute(cm_storage_transaction* transaction, cm_statement id, const cm_value* parameters,
                           std::uint32_t count, std::uint64_t* changes) noexcept {
    return step(transaction, id, parameters, count, nullptr, nullptr, changes);
  }
  static cm_status query(cm_storage_transaction* transaction, cm_statement id, const cm_value* parameters,
                         std::uint32_t count, cm_row_callback row, void* user) noexcept {
    return step(transaction, id, parameters, count, row, user, nullptr);
  }
  static cm_text_hview last_error(cm_storage_transaction* transaction) noexcept {
    return to_hview(of(transaction)->last_error_);
  }

  static cm_status statement(void* instance, cm_text_pview sql, cm_statement* out) noexcept {
    auto& statements = of(instance)->statements_;
    *out = static_cast<cm_statement>(statements.size());
    statements.emplace_back(to_view(sql));
    return CM_OK;
  }
  static cm_status migrate(void* instance, cm_handle, cm_text_pview schema, const cm_migration* migrations,
                           std::uint32_t count, cm_storage_done done, void* user) noexcept {
    FakeStorage* storage = of(instance);
    std::uint32_t& applied = storage->applied_[std::string(to_view(schema))];
    for (; applied < count; ++applied) {
      exec(storage->database_, std::string(to_view(migrations[applied].sql)));
    }
    storage->deliver({done, user, CM_OK, {}});
    return CM_OK;
  }
  static cm_status submit(void* instance, cm_handle, cm_storage_work work, cm_storage_done done, void* user) noexcept {
    return of(instance)->run(work, done, user, true);
  }
  static cm_status read(void* instance, cm_handle, cm_storage_work work, cm_storage_done done, void* user) noexcept {
    return of(instance)->run(work, done, user, false);
  }
  static cm_status backup(void*, cm_handle, cm_text_pview, cm_storage_done, void*) noexcept { return CM_UNSUPPORTED; }
  static cm_text_hview dialect(void*, cm_text_pview) noexcept { return {nullptr, 0}; }
};

FakeStorage::FakeStorage(FakeHost& host) : host_(host) {
  must(sqlite3_open(":memory:", &database_) == SQLITE_OK, "cannot open");
}

FakeStorage::~FakeStorage() {
  sqlite3_close(database_);
}

void FakeStorage::provide(const std::string& name) {
  static const cm_storage_v1 kTable = {sizeof(cm_storage_v1),        0,
                                       &FakeStorageTable::statement, &FakeStorageTable::migrate,
                                       &FakeStorageTable::submit,    &FakeStorageTable::read,
                                       &FakeStorageTable::backup,    &FakeStorageTable::dialect};
  host_.provide(name, CM_STORAGE_ID, this, &kTable);
}

cm_status FakeStorage::run(cm_storage_work work, cm_storage_done done, void* user, bool write) {
  static const cm_storage_sql_v1 kSql = {sizeof(cm_storage_sql_v1), 0, &FakeStorageTable::execute,
                                         &FakeStorageTable::query, &FakeStorageTable::last_error};
  if (write && submit_status != CM_OK) {
    return submit_status;
  }
  exec(database_, "BEGIN IMMEDIATE");
  cm_status status = work(user, reinterpret_cast<cm_storage_transaction*>(this), &kSql);
  if (status == CM_OK && write) {
    status = commit_status;
  }
  exec(database_, status == CM_OK ? "COMMIT" : "ROLLBACK");
  commits += write && status == CM_OK ? 1 : 0;
  Answer answer{done, user, status, status == CM_OK ? std::string() : "fake failure: " + last_error_};
  if (hold_answers && write) {
    held_.push_back(std::move(answer));
  } else {
    deliver(std::move(answer));
  }
  return CM_OK;
}

void FakeStorage::deliver(Answer answer) {
  host_.schedule(100,
                 [answer = std::move(answer)] { answer.done(answer.user, answer.status, to_hview(answer.error)); });
}

void FakeStorage::release() {
  hold_answers = false;
  for (Answer& answer : std::exchange(held_, {})) {
    deliver(std::move(answer));
  }
}

std::vector<std::string> FakeStorage::query(const std::string& sql) {
  std::vector<std::string> rows;
  sqlite3_stmt* raw = nullptr;
  must(sqlite3_prepare_v2(database_, sql.c_str(), -1, &raw, nullptr) == SQLITE_OK, sqlite3_errmsg(database_));
  const Statement statement(raw);
  while (sqlite3_step(raw) == SQLITE_ROW) {
    const unsigned char* text = sqlite3_column_text(raw, 0);
    rows.emplace_back(text == nullptr ? "NULL" : reinterpret_cast<const char*>(text));
  }
  return rows;
}

std::string FakeStorage::value(const std::string& sql) {
  const std::vector<std::string> rows = query(sql);
  return rows.empty() ? std::string("(no row)") : rows.front();
}

}  // namespace cm::testing
