// The transaction that a work sees: cm_storage_sql_v1 over one connection. On the worker that runs the work.
#pragma once

#include <claudemesh/ext/storage.h>

#include <cstdint>
#include <string>
#include <string_view>

#include <claudemesh/cpp/host.hpp>

#include "plugins/storage_sqlite/src/connection.hpp"
#include "plugins/storage_sqlite/src/health.hpp"
#include "plugins/storage_sqlite/src/work_watch.hpp"

// The C ABI only has pointers to it; the C++ class derives from it.
struct cm_storage_transaction {};

namespace cm::storage {

class Transaction final : public cm_storage_transaction {
 public:
  // What is referred to must outlive the transaction.
  Transaction(const HostApi& host, Connection& connection, Health& health, WorkWatch& watch) noexcept
      : host_(host), connection_(connection), health_(health), watch_(watch) {}

  // Runs `work` and measures it. `now_us` is the time before; the answer's `ended_us` the time after. A work's CM_GONE
  // and CM_DEFER become CM_INTERNAL: neither is an answer that a work may give.
  struct Outcome {
    cm_status status = CM_OK;
    std::uint64_t ended_us = 0;
  };
  Outcome run(cm_storage_work work, void* user, std::uint64_t now_us) noexcept;

  const std::string& error() const noexcept { return error_; }
  std::string take_error() noexcept { return std::exchange(error_, {}); }
  // The statement that took longest in the last run, 0 if none ran.
  cm_statement slowest() const noexcept { return slowest_; }
  std::uint64_t slowest_us() const noexcept { return slowest_us_; }

  static const cm_storage_sql_v1* table() noexcept;

 private:
  struct Rows {
    cm_row_callback callback = nullptr;
    void* user = nullptr;
  };
  static cm_status execute(cm_storage_transaction* transaction, cm_statement statement, const cm_value* parameters,
                           std::uint32_t count, std::uint64_t* out_changes) noexcept;
  static cm_status query(cm_storage_transaction* transaction, cm_statement statement, const cm_value* parameters,
                         std::uint32_t count, cm_row_callback row, void* user) noexcept;
  static cm_text_hview last_error(cm_storage_transaction* transaction) noexcept;

  cm_status run_statement(cm_statement id, const cm_value* parameters, std::uint32_t count, Rows rows,
                          std::uint64_t* out_changes);
  cm_status bind(sqlite3_stmt* statement, cm_statement id, const cm_value* parameters, std::uint32_t count);
  int step_all(sqlite3_stmt* statement, Rows rows);
  cm_status refuse(std::string text);
  cm_status fail(int code, cm_statement id, std::string text);
  void measure(cm_statement id) noexcept;

  const HostApi& host_;
  Connection& connection_;
  Health& health_;
  WorkWatch& watch_;
  std::string error_;
  std::uint64_t last_us_ = 0;
  std::uint64_t slowest_us_ = 0;
  cm_statement slowest_ = 0;
};

// A statement's text for a log or an error, shortened. Statements hold no values: those are parameters.
std::string statement_excerpt(std::string_view sql);

}  // namespace cm::storage
