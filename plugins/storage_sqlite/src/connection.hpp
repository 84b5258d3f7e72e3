// One SQLite connection with its prepared statements. Used by one thread at a time (interrupt excepted).
#pragma once

#include <claudemesh/ext/storage.h>
#include <sqlite3.h>

#include <array>
#include <cstdint>
#include <mutex>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <claudemesh/cpp/result.hpp>

#include "plugins/storage_sqlite/src/options.hpp"
#include "plugins/storage_sqlite/src/statement_registry.hpp"

namespace cm::storage {

enum class Access { kWriter, kReader };

struct ConnectionSettings {
  std::string path;
  std::string vfs;
  Access access = Access::kWriter;
  Synchronous synchronous = Synchronous::kFull;
  int busy_timeout_ms = 5'000;
  std::int64_t page_size_bytes = 4'096;
  std::int64_t cache_size_bytes = 16 * 1'024 * 1'024;
  std::int64_t wal_size_limit_bytes = 64 * 1'024 * 1'024;
};

// The settings that the options give to the writer, or to a reader.
ConnectionSettings connection_settings(const StorageOptions& options, Access access);

// Borrows a prepared statement; gives it back (reset) when destroyed.
class StatementLease {
 public:
  StatementLease() = default;
  StatementLease(sqlite3_stmt* statement, bool owned) noexcept : statement_(statement), owned_(owned) {}
  StatementLease(const StatementLease&) = delete;
  StatementLease& operator=(const StatementLease&) = delete;
  StatementLease(StatementLease&& other) noexcept
      : statement_(std::exchange(other.statement_, nullptr)), owned_(other.owned_) {}
  StatementLease& operator=(StatementLease&& other) noexcept {
    std::swap(statement_, other.statement_);
    std::swap(owned_, other.owned_);
    return *this;
  }
  ~StatementLease() { give_back(); }

  sqlite3_stmt* get() const noexcept { return statement_; }
  void give_back() noexcept {
    sqlite3_stmt* statement = std::exchange(statement_, nullptr);
    if (owned_) {
      sqlite3_finalize(statement);
    } else {
      sqlite3_reset(statement);  // of null: does nothing
    }
  }

 private:
  sqlite3_stmt* statement_ = nullptr;
  bool owned_ = false;  // a second copy, because the cached one is in the middle of its rows
};

class Connection {
 public:
  // The steps of a transaction; each is a prepared statement of its own.
  enum class Control { kBegin, kBeginImmediate, kCommit, kRollback, kSavepoint, kRelease, kRollbackTo, kCount };

  // `registry` must outlive the connection.
  Connection(const StatementRegistry& registry, ConnectionSettings settings);
  ~Connection();
  Connection(const Connection&) = delete;
  Connection& operator=(const Connection&) = delete;

  // Opens the file, applies the settings and verifies that they hold. Does nothing when open.
  Status open();
  void close() noexcept;
  bool is_open() const noexcept { return database_ != nullptr; }
  sqlite3* raw() const noexcept { return database_; }
  const ConnectionSettings& settings() const noexcept { return settings_; }

  // An SQLite result code. On failure `error` has the text.
  int lease(cm_statement id, StatementLease* out, std::string* error);
  int control(Control control) noexcept;
  std::string_view statement_text(cm_statement id) const { return registry_.text(id); }
  bool in_transaction() const noexcept { return database_ != nullptr && sqlite3_get_autocommit(database_) == 0; }
  // Whether a deferred foreign key is broken at this point of the transaction.
  bool foreign_keys_broken() const noexcept;

  // Runs several statements without values (pragmas, migrations); rows are ignored.
  int run_script(std::string_view sql, bool trusted);
  // The first column of the first row as text; empty if there is none.
  Result<std::string> query_text(std::string_view sql);
  // Copies pages from the log into the file, never waiting for a reader. SQLite result code.
  int checkpoint(int mode, int* log_pages, int* copied_pages) noexcept;

  // Pages in the log after the last commit of this connection, and the most since the last reset of the mark.
  int wal_pages() const noexcept { return wal_pages_; }
  int wal_pages_peak() const noexcept { return wal_pages_peak_; }
  void reset_wal_pages() noexcept { wal_pages_ = wal_pages_peak_ = 0; }

  // The last failure of SQLite as a text of three parts.
  std::string describe(std::string_view action, int code) const;
  Error error(std::string_view action, int code) const;

  // Makes what runs end early with SQLITE_INTERRUPT. [any]
  void interrupt() noexcept;
  std::size_t prepared_count() const noexcept { return prepared_count_; }

 private:
  // While it lives, statements about transactions and settings are allowed: they are ours.
  class Trust {
   public:
    explicit Trust(Connection& connection) noexcept : connection_(connection), before_(connection.trusted_) {
      connection_.trusted_ = true;
    }
    ~Trust() { connection_.trusted_ = before_; }
    Trust(const Trust&) = delete;
    Trust& operator=(const Trust&) = delete;

   private:
    Connection& connection_;
    bool before_;
  };

  static int authorize(void* user, int action, const char* first, const char* second, const char* database,
                       const char* trigger) noexcept;
  static int after_commit(void* user, sqlite3* database, const char* name, int pages) noexcept;
  Status configure();
  Status expect_setting(std::string_view pragma, std::string_view expected);
  int prepare(std::string_view sql, unsigned flags, sqlite3_stmt** out, std::string* error);

  const StatementRegistry& registry_;
  const ConnectionSettings settings_;
  std::mutex handle_mutex_;  // guards database_ against interrupt() from another thread
  sqlite3* database_ = nullptr;
  std::vector<sqlite3_stmt*> statements_;  // by id - 1
  std::array<sqlite3_stmt*, static_cast<std::size_t>(Control::kCount)> controls_ = {};
  std::size_t prepared_count_ = 0;
  int wal_pages_ = 0;
  int wal_pages_peak_ = 0;
  bool trusted_ = false;
};

}  // namespace cm::storage
