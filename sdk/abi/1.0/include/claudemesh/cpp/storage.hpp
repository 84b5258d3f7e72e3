// cm.storage/1 as C++: statements, transactions, and awaitable submits.
#pragma once

#include <claudemesh/ext/storage.h>

#include <array>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <claudemesh/cpp/host.hpp>

namespace cm {

// A parameter. Text and bytes are views: what they point to must live until execute or query returns.
class SqlValue {
 public:
  SqlValue(std::nullptr_t) noexcept { value_.type = CM_VALUE_NULL; }
  SqlValue(std::int64_t integer) noexcept {
    value_.type = CM_VALUE_INT;
    value_.integer = integer;
  }
  SqlValue(int integer) noexcept : SqlValue(static_cast<std::int64_t>(integer)) {}
  SqlValue(std::uint32_t integer) noexcept : SqlValue(static_cast<std::int64_t>(integer)) {}
  SqlValue(bool boolean) noexcept : SqlValue(static_cast<std::int64_t>(boolean ? 1 : 0)) {}
  SqlValue(double real) noexcept {
    value_.type = CM_VALUE_FLOAT;
    value_.real = real;
  }
  SqlValue(std::string_view text) noexcept { set(CM_VALUE_TEXT, text); }
  SqlValue(const std::string& text) noexcept { set(CM_VALUE_TEXT, text); }
  SqlValue(const char* text) noexcept { set(CM_VALUE_TEXT, text); }
  SqlValue(std::span<const std::uint8_t> bytes) noexcept {
    set(CM_VALUE_BLOB, {reinterpret_cast<const char*>(bytes.data()), bytes.size()});
  }
  // Empty text as NULL, for optional columns.
  static SqlValue text_or_null(std::string_view text) noexcept {
    return text.empty() ? SqlValue(nullptr) : SqlValue(text);
  }

  // As the C functions want it. [any]
  const cm_value& raw() const noexcept { return value_; }

 private:
  void set(std::uint32_t type, std::string_view bytes) noexcept {
    value_.type = type;
    value_.data = reinterpret_cast<const std::uint8_t*>(bytes.data());
    value_.data_size = bytes.size();
  }
  cm_value value_ = {};
};

// One result row; views are valid only inside the row callback.
class SqlRow {
 public:
  SqlRow(const cm_value* columns, std::uint32_t count) noexcept : columns_(columns), count_(count) {}
  // How many columns the row has. [worker]
  std::uint32_t size() const noexcept { return count_; }
  // Is the column NULL, or is there no such column? [worker]
  bool is_null(std::uint32_t column) const noexcept { return at(column).type == CM_VALUE_NULL; }
  // The number of an INTEGER column; 0 for others. [worker]
  std::int64_t integer(std::uint32_t column) const noexcept { return at(column).integer; }
  // The number of a REAL column; 0 for others. [worker]
  double real(std::uint32_t column) const noexcept { return at(column).real; }
  // The text of a TEXT column; empty for others. [worker]
  std::string_view text(std::uint32_t column) const noexcept {
    const cm_value& value = at(column);
    return {reinterpret_cast<const char*>(value.data), value.data_size};
  }
  // The bytes of a BLOB column; empty for others. [worker]
  std::span<const std::uint8_t> blob(std::uint32_t column) const noexcept {
    return {at(column).data, at(column).data_size};
  }

 private:
  const cm_value& at(std::uint32_t column) const noexcept {
    static constexpr cm_value kNull = {};
    return column < count_ ? columns_[column] : kNull;
  }
  const cm_value* columns_;
  std::uint32_t count_;
};

// Inside a work. On the storage plugin's worker thread.
class SqlTransaction {
 public:
  SqlTransaction(cm_storage_transaction* transaction, const cm_storage_sql_v1* sql) noexcept
      : transaction_(transaction), sql_(sql) {}

  // For works in C that are run inside this one. [worker]
  cm_storage_transaction* raw() const noexcept { return transaction_; }
  // The functions that go with it. [worker]
  const cm_storage_sql_v1* raw_sql() const noexcept { return sql_; }

  // Number of changed rows.
  Result<std::uint64_t> execute(cm_statement statement, std::initializer_list<SqlValue> parameters = {}) {
    const Parameters raw(parameters);
    std::uint64_t changes = 0;
    const cm_status status = sql_->execute(transaction_, statement, raw.data(), raw.size(), &changes);
    if (status != CM_OK) {
      return failure(status);
    }
    return changes;
  }

  // Calls `row(const SqlRow&)` for each row; `row` may return void, or bool false to stop. What it throws leaves query.
  template <typename RowFunction>
  Status query(cm_statement statement, std::initializer_list<SqlValue> parameters, RowFunction&& row) {
    const Parameters raw(parameters);
    Rows<RowFunction> rows{row, {}};
    const cm_status status =
        sql_->query(transaction_, statement, raw.data(), raw.size(), &row_callback<RowFunction>, &rows);
    rows.carried.rethrow();
    if (status != CM_OK) {
      return failure(status);
    }
    return {};
  }

 private:
  static constexpr std::size_t kParametersMax = 32;
  class Parameters {
   public:
    explicit Parameters(std::initializer_list<SqlValue> values) noexcept {
      assert(values.size() <= kParametersMax);
      for (const SqlValue& value : values) {
        values_[size_++] = value.raw();
      }
    }
    const cm_value* data() const noexcept { return values_.data(); }
    std::uint32_t size() const noexcept { return size_; }

   private:
    std::array<cm_value, kParametersMax> values_;
    std::uint32_t size_ = 0;
  };

  template <typename RowFunction>
  struct Rows {
    std::remove_reference_t<RowFunction>& function;
    detail::Carried carried;
  };
  template <typename RowFunction>
  static bool row_callback(void* user, const cm_value* columns, std::uint32_t count) noexcept {
    auto* rows = static_cast<Rows<RowFunction>*>(user);
    const SqlRow row(columns, count);
    bool more = true;
    const bool done = rows->carried.run([&] {
      if constexpr (std::is_void_v<decltype(rows->function(row))>) {
        rows->function(row);
      } else {
        more = rows->function(row);
      }
    });
    return done && more;
  }
  Error failure(cm_status status) {
    return error_from_status(status, std::string(to_view(sql_->last_error(transaction_))));
  }

  cm_storage_transaction* transaction_;
  const cm_storage_sql_v1* sql_;
};

// A work answers Status(); an Error rolls back this work alone and is what the submitter gets. So does an exception,
// which is logged as misbehaviour; the submitter then gets kInternal.
using SqlWork = std::function<Status(SqlTransaction&)>;

namespace detail {
// Runs a work for a C function that asks for one; `error` gets the text of its failure. [worker]
inline cm_status run_sql_work(const Boundary& boundary, std::string_view callback, const SqlWork& work,
                              cm_storage_transaction* transaction, const cm_storage_sql_v1* sql,
                              std::string* error) noexcept {
  cm_status code = CM_INTERNAL;
  const bool returned = boundary.guarded(callback, [&] {
    SqlTransaction wrapped(transaction, sql);
    const Status status = work(wrapped);
    if (!status.ok()) {
      *error = status.error().message;
    }
    code = status.ok() ? CM_OK : status_from_error(status.error());
  });
  if (!returned) {
    *error = "an exception left the work, so it was rolled back; the log has its text";
    return CM_INTERNAL;
  }
  return code;
}
}  // namespace detail

// One step of a schema; numbers from 1 without a gap.
struct SqlMigration {
  std::uint32_t number;
  std::string name;
  std::string sql;
};

// A database of another instance. All functions [loop], unless they say otherwise.
class StorageClient {
 public:
  StorageClient() = default;

  // `instance_name` empty: the only one there is. [loop]
  static Result<StorageClient> acquire(const HostApi& host, std::string_view instance_name) {
    auto extension = Extension<cm_storage_v1>::acquire(host, instance_name, CM_STORAGE_ID);
    if (!extension) {
      return std::move(extension).error();
    }
    StorageClient client;
    client.host_ = &host;
    client.extension_ = std::move(*extension);
    return client;
  }

  explicit operator bool() const noexcept { return static_cast<bool>(extension_); }
  // Gives the database back; the destructor does it too. [loop]
  void release() noexcept { extension_.release(); }

  // Registers a statement; errors in the SQL show when it first runs. [any]
  cm_statement statement(std::string_view sql) {
    cm_statement id = 0;
    extension_->statement(extension_.instance(), to_pview(sql), &id);
    return id;
  }

  // Runs on the loop of this instance.
  using Done = std::function<void(Status)>;

  // Durable when `done` gets an ok status (claudemesh/ext/storage.h). `done` runs on this instance's loop; if the
  // submit itself is refused (queue full, going away), it runs before the return.
  void submit(SqlWork work, Done done) { run(extension_->submit, std::move(work), std::move(done)); }
  // The same on a reader, where writing is refused. [loop]
  void read(SqlWork work, Done done) { run(extension_->read, std::move(work), std::move(done)); }

  // Applies what is missing of the migrations, in order. [loop]
  void migrate(std::string_view schema, const std::vector<SqlMigration>& migrations, Done done) {
    std::vector<cm_migration> raw;
    for (const SqlMigration& migration : migrations) {
      raw.push_back(cm_migration{migration.number, 0, to_pview(migration.name), to_pview(migration.sql)});
    }
    auto job = std::make_unique<Job>(Job{host_->boundary(), nullptr, std::move(done)});
    const cm_status status =
        extension_->migrate(extension_.instance(), host_->self(), to_pview(schema), raw.data(),
                            static_cast<std::uint32_t>(raw.size()), &StorageClient::finish, job.get());
    accept_or_refuse(status, std::move(job));
  }
  // Writes a consistent copy to `path`, which must not exist. [loop]
  void backup(std::string_view path, Done done) {
    auto job = std::make_unique<Job>(Job{host_->boundary(), nullptr, std::move(done)});
    const cm_status status =
        extension_->backup(extension_.instance(), host_->self(), to_pview(path), &StorageClient::finish, job.get());
    accept_or_refuse(status, std::move(job));
  }

  // Awaitable forms.
  Task<Status> submit(SqlWork work) {
    OneShot<Status> answer;
    submit(std::move(work), [&answer](Status status) { answer.set(std::move(status)); });
    co_return co_await answer;
  }
  // The same on a reader. [loop]
  Task<Status> read(SqlWork work) {
    OneShot<Status> answer;
    read(std::move(work), [&answer](Status status) { answer.set(std::move(status)); });
    co_return co_await answer;
  }
  // Applies what is missing of the migrations, in order. [loop]
  Task<Status> migrate(std::string schema, std::vector<SqlMigration> migrations) {
    OneShot<Status> answer;
    migrate(schema, migrations, [&answer](Status status) { answer.set(std::move(status)); });
    co_return co_await answer;
  }

 private:
  struct Job {
    detail::Boundary boundary;
    SqlWork work;
    Done done;
    std::string error = {};
  };
  using Submit = cm_status (*)(void*, cm_handle, cm_storage_work, cm_storage_done, void*) noexcept;

  void run(Submit function, SqlWork work, Done done) {
    auto job = std::make_unique<Job>(Job{host_->boundary(), std::move(work), std::move(done)});
    const cm_status status =
        function(extension_.instance(), host_->self(), &StorageClient::run_work, &StorageClient::finish, job.get());
    accept_or_refuse(status, std::move(job));
  }
  static void accept_or_refuse(cm_status status, std::unique_ptr<Job> job) {
    if (status == CM_OK) {
      static_cast<void>(job.release());
      return;
    }
    job->done(error_from_status(status, "the storage takes no work now: its queue is full or it is going away"));
  }
  static cm_status run_work(void* user, cm_storage_transaction* transaction, const cm_storage_sql_v1* sql) noexcept {
    auto* job = static_cast<Job*>(user);
    const cm_status code =
        detail::run_sql_work(job->boundary, "storage_work", job->work, transaction, sql, &job->error);
    return code == CM_GONE ? CM_INTERNAL : code;  // CM_GONE has a meaning of its own in `done`
  }
  static void finish(void* user, cm_status status, cm_text_hview error) noexcept {
    const std::unique_ptr<Job> job(static_cast<Job*>(user));
    if (status == CM_GONE) {
      return;  // the instance is stopped: nobody waits any more
    }
    job->boundary.guarded("storage_done", [&] {
      job->done(status == CM_OK
                    ? Status()
                    : Status(error_from_status(status, job->error.empty() ? std::string(to_view(error)) : job->error)));
    });
  }

  const HostApi* host_ = nullptr;
  Extension<cm_storage_v1> extension_;
};

}  // namespace cm
