#include "plugins/storage_sqlite/src/transaction.hpp"

#include <algorithm>
#include <array>
#include <vector>

#include "plugins/storage_sqlite/src/sqlite_error.hpp"

namespace cm::storage {
namespace {

constexpr std::size_t kExcerptBytesMax = 240;
constexpr int kColumnsOnStack = 32;

int bind_value(sqlite3_stmt* statement, int index, const cm_value& value) noexcept {
  // SQLite takes null pointers for NULL; empty text and blobs are values.
  static constexpr char kEmpty = '\0';
  const void* data = value.data == nullptr ? static_cast<const void*>(&kEmpty) : value.data;
  switch (value.type) {
    case CM_VALUE_NULL:
      return sqlite3_bind_null(statement, index);
    case CM_VALUE_INT:
      return sqlite3_bind_int64(statement, index, value.integer);
    case CM_VALUE_FLOAT:
      return sqlite3_bind_double(statement, index, value.real);
    case CM_VALUE_TEXT:
      return sqlite3_bind_text64(statement, index, static_cast<const char*>(data), value.data_size, SQLITE_STATIC,
                                 SQLITE_UTF8);
    case CM_VALUE_BLOB:
      return sqlite3_bind_blob64(statement, index, data, value.data_size, SQLITE_STATIC);
    default:
      return SQLITE_MISMATCH;
  }
}

void read_column(sqlite3_stmt* statement, int index, cm_value& out) noexcept {
  out = {};
  switch (sqlite3_column_type(statement, index)) {
    case SQLITE_INTEGER:
      out.type = CM_VALUE_INT;
      out.integer = sqlite3_column_int64(statement, index);
      return;
    case SQLITE_FLOAT:
      out.type = CM_VALUE_FLOAT;
      out.real = sqlite3_column_double(statement, index);
      return;
    case SQLITE_TEXT:
      out.type = CM_VALUE_TEXT;
      out.data = sqlite3_column_text(statement, index);
      out.data_size = static_cast<std::uint64_t>(sqlite3_column_bytes(statement, index));
      return;
    case SQLITE_BLOB:
      out.type = CM_VALUE_BLOB;
      out.data = static_cast<const std::uint8_t*>(sqlite3_column_blob(statement, index));
      out.data_size = static_cast<std::uint64_t>(sqlite3_column_bytes(statement, index));
      return;
    default:
      out.type = CM_VALUE_NULL;
  }
}

}  // namespace

std::string statement_excerpt(std::string_view sql) {
  std::string text(sql.substr(0, kExcerptBytesMax));
  std::replace(text.begin(), text.end(), '\n', ' ');
  if (sql.size() > kExcerptBytesMax) {
    text += "...";
  }
  return text;
}

const cm_storage_sql_v1* Transaction::table() noexcept {
  static constexpr cm_storage_sql_v1 kTable = {sizeof(cm_storage_sql_v1), 0, &Transaction::execute, &Transaction::query,
                                               &Transaction::last_error};
  return &kTable;
}

Transaction::Outcome Transaction::run(cm_storage_work work, void* user, std::uint64_t now_us) noexcept {
  error_.clear();
  slowest_ = 0;
  slowest_us_ = 0;
  last_us_ = now_us;
  watch_.begin(now_us);
  cm_status status = work(user, this, table());
  watch_.end();
  if (status == CM_GONE || status >= CM_DEFER) {
    error_ = "a work answered " + std::to_string(status) +
             "; CM_OK or a failure other than CM_GONE was expected; "
             "correct the caller";
    status = CM_INTERNAL;
  }
  return Outcome{status, host_.monotonic_us()};
}

cm_status Transaction::execute(cm_storage_transaction* transaction, cm_statement statement, const cm_value* parameters,
                               std::uint32_t count, std::uint64_t* out_changes) noexcept {
  auto* self = static_cast<Transaction*>(transaction);
  return self->run_statement(statement, parameters, count, Rows(), out_changes);
}

cm_status Transaction::query(cm_storage_transaction* transaction, cm_statement statement, const cm_value* parameters,
                             std::uint32_t count, cm_row_callback row, void* user) noexcept {
  auto* self = static_cast<Transaction*>(transaction);
  return self->run_statement(statement, parameters, count, Rows{row, user}, nullptr);
}

cm_text_hview Transaction::last_error(cm_storage_transaction* transaction) noexcept {
  return to_hview(static_cast<Transaction*>(transaction)->error_);
}

cm_status Transaction::run_statement(cm_statement id, const cm_value* parameters, std::uint32_t count, Rows rows,
                                     std::uint64_t* out_changes) {
  if (!connection_.in_transaction()) {
    // SQLite undoes the whole transaction after some disk failures. What follows would run, and be kept, on its own.
    error_ = error_.empty() ? "the transaction was rolled back by an earlier failure; the work was expected to stop "
                              "there; answer that failure from the work"
                            : error_;
    return CM_IO;
  }
  watch_.statement(id);
  StatementLease lease;
  std::string text;
  int code = connection_.lease(id, &lease, &text);
  if (code != SQLITE_OK) {
    return fail(code, id, std::move(text));
  }
  sqlite3_stmt* statement = lease.get();
  if (connection_.settings().access == Access::kReader && sqlite3_stmt_readonly(statement) == 0) {
    return refuse("a read ran a statement that writes; only statements that read were expected; use submit; it is: " +
                  statement_excerpt(sqlite3_sql(statement)));
  }
  if (const cm_status bound = bind(statement, id, parameters, count); bound != CM_OK) {
    return bound;
  }
  sqlite3* database = connection_.raw();
  const std::int64_t before = sqlite3_total_changes64(database);
  code = step_all(statement, rows);
  if (code != SQLITE_DONE && code != SQLITE_ROW) {
    return fail(code, id, {});
  }
  if (out_changes != nullptr) {
    const bool changed = sqlite3_total_changes64(database) != before;
    *out_changes = changed ? static_cast<std::uint64_t>(sqlite3_changes64(database)) : 0;
  }
  lease.give_back();
  measure(id);
  return CM_OK;
}

cm_status Transaction::bind(sqlite3_stmt* statement, cm_statement id, const cm_value* parameters, std::uint32_t count) {
  const int expected = sqlite3_bind_parameter_count(statement);
  if (static_cast<std::uint32_t>(expected) != count) {
    // A missing value would silently be the one of the run before.
    return refuse("a statement got " + std::to_string(count) + " values; " + std::to_string(expected) +
                  " were expected; pass one for each parameter; it is: " + statement_excerpt(sqlite3_sql(statement)));
  }
  for (std::uint32_t i = 0; i < count; ++i) {
    const int code = bind_value(statement, static_cast<int>(i) + 1, parameters[i]);
    if (code != SQLITE_OK) {
      return fail(code, id,
                  "value " + std::to_string(i + 1) +
                      " of a statement has an unknown type or is too long; "
                      "null, int, float, text or blob were expected; it is: " +
                      statement_excerpt(sqlite3_sql(statement)));
    }
  }
  return CM_OK;
}

// SQLITE_DONE, SQLITE_ROW (the callback has enough) or a failure.
int Transaction::step_all(sqlite3_stmt* statement, Rows rows) {
  int code = sqlite3_step(statement);
  if (code != SQLITE_ROW || rows.callback == nullptr) {
    while (code == SQLITE_ROW) {
      code = sqlite3_step(statement);
    }
    return code;
  }
  const int columns = sqlite3_column_count(statement);
  std::array<cm_value, kColumnsOnStack> on_stack;
  std::vector<cm_value> on_heap(columns > kColumnsOnStack ? static_cast<std::size_t>(columns) : 0);
  cm_value* values = on_heap.empty() ? on_stack.data() : on_heap.data();
  while (code == SQLITE_ROW) {
    for (int i = 0; i < columns; ++i) {
      read_column(statement, i, values[i]);
    }
    if (!rows.callback(rows.user, values, static_cast<std::uint32_t>(columns))) {
      return SQLITE_ROW;
    }
    code = sqlite3_step(statement);
  }
  return code;
}

cm_status Transaction::refuse(std::string text) {
  error_ = std::move(text);
  return CM_INVALID;
}

// `text` empty: SQLite's own.
cm_status Transaction::fail(int code, cm_statement id, std::string text) {
  error_ = text.empty() ? connection_.describe("a statement failed", code) : std::move(text);
  if (id != 0 && error_.find("it is: ") == std::string::npos) {
    error_ += "; it is: " + statement_excerpt(connection_.statement_text(id));
  }
  health_.failed(code, error_);
  return status_of(classify(code));
}

void Transaction::measure(cm_statement id) noexcept {
  const std::uint64_t now_us = host_.monotonic_us();
  const std::uint64_t took_us = now_us - last_us_;
  last_us_ = now_us;
  if (slowest_ == 0 || took_us > slowest_us_) {
    slowest_ = id;
    slowest_us_ = took_us;
  }
}

}  // namespace cm::storage
