// Those who use what a plugin provides: a chain of hooks, the user of a store, the owner of links, the keeper of a
// bridge. Each does what the real user would do and writes down what came back, and when.
#pragma once

#include <claudemesh/ext/bridge.h>
#include <claudemesh/ext/hook.h>
#include <claudemesh/ext/storage.h>
#include <claudemesh/ext/transport.h>

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "sdk/checker/bench.hpp"

namespace cm::checker {

// --- hooks -----------------------------------------------------------------------------------------------------------

struct HookAnswer {
  std::uint32_t result = 0;
  bool has_payload = false;  // set_payload was called
  std::string payload;
  bool finished = false;  // a DEFER had its late answer
  std::uint32_t late_result = 0;
  std::uint32_t finishes = 0;
  bool wrote_into_event = false;  // point, facts or payload are not what they were
  std::uint64_t asked_us = 0;
  std::uint64_t finished_us = 0;
};

class HookDriver {
 public:
  explicit HookDriver(Bench& bench);
  bool usable() const noexcept { return table_ != nullptr && table_->invoke != nullptr; }
  const cm_hook_v1& table() const noexcept { return *table_; }
  // The answer is completed in place when a deferred one comes late; valid as long as the driver.
  HookAnswer& ask(std::string_view point, std::string_view json, std::string_view payload);
  std::uint64_t timeout_ms() const noexcept { return table_->timeout_ms == 0 ? 5'000 : table_->timeout_ms; }
  std::vector<std::unique_ptr<HookAnswer>>& answers() noexcept { return answers_; }

 private:
  static void set_payload(void* context, cm_handle ticket, cm_bytes_pview payload) noexcept;
  static cm_status finish(void* context, cm_handle ticket, std::uint32_t result, cm_bytes_pview payload) noexcept;

  Bench& bench_;
  const cm_hook_v1* table_;
  void* instance_;
  std::vector<std::unique_ptr<HookAnswer>> answers_;  // ticket = index + 1
};

// --- stores ----------------------------------------------------------------------------------------------------------

// One work and what became of it.
struct StoreCall {
  cm_status accepted = CM_INTERNAL;  // what submit, read or migrate answered
  std::uint32_t dones = 0;
  cm_status status = CM_INTERNAL;  // of `done`
  std::string error;
  bool done_in_job = false;  // `done` came on a worker instead of the loop
  std::uint64_t order = 0;   // the place of `done` among all
  std::uint32_t runs = 0;    // of the work
};

struct StoreRow {
  std::int64_t id = 0;
  std::string body;
};

// Uses the table check_items(id INTEGER PRIMARY KEY, body TEXT). Calls live as long as the driver.
class StoreDriver {
 public:
  explicit StoreDriver(Bench& bench);
  ~StoreDriver();
  bool usable() const noexcept { return table_ != nullptr; }
  const cm_storage_v1& table() const noexcept { return *table_; }
  void* instance() const noexcept { return instance_; }
  cm_handle caller() { return bench_.caller()->self(); }

  using Work = std::function<cm_status(cm_storage_transaction*, const cm_storage_sql_v1*)>;
  StoreCall& submit(Work work);
  StoreCall& read(Work work);
  StoreCall& migrate(std::string_view schema, std::string_view sql);
  StoreCall& insert(std::int64_t id, std::string_view body);
  bool wait(const StoreCall& call);  // until `done`, on virtual time
  bool wait_all();

  // The table is made; false: `problem`.
  bool prepare();
  // All rows by id; none: the read failed (`problem`).
  std::optional<std::vector<StoreRow>> rows();
  cm_statement statement(std::string_view sql);
  const std::string& problem() const noexcept { return problem_; }
  static cm_status execute(cm_storage_transaction* transaction, const cm_storage_sql_v1* sql, cm_statement statement,
                           std::int64_t id, std::string_view body);

  cm_statement insert_statement = 0;
  cm_statement select_statement = 0;

 private:
  struct Pending;
  StoreCall& begin(Work work, bool writes);
  static cm_status run_work(void* user, cm_storage_transaction* transaction, const cm_storage_sql_v1* sql) noexcept;
  static void on_done(void* user, cm_status status, cm_text_hview error) noexcept;

  Bench& bench_;
  const cm_storage_v1* table_;
  void* instance_;
  std::vector<std::unique_ptr<Pending>> pending_;
  std::uint64_t dones_ = 0;
  std::string problem_;
};

// --- links -----------------------------------------------------------------------------------------------------------

struct LinkEvent {
  std::uint64_t at_us;
  std::uint32_t state;
};

struct LinkSent {
  std::string id;
  std::uint32_t outcome;
};

class LinkDriver {
 public:
  explicit LinkDriver(Bench& bench);
  bool usable() const noexcept { return table_ != nullptr; }
  const cm_transport_v1& table() const noexcept { return *table_; }
  void* instance() const noexcept { return instance_; }

  cm_status open(std::string_view url);
  bool open_and_wait();  // until OPEN; false: it did not come
  void close();
  // Answers what `send` answered; `taken` counts.
  cm_status send(const std::string& id, std::string_view text, std::uint64_t* taken = nullptr);
  std::uint32_t state() const noexcept { return states.empty() ? 0 : states.back().state; }
  bool wait_state(std::uint32_t state, std::uint64_t limit_ms);
  cm_handle link() const noexcept { return link_; }

  std::vector<LinkEvent> states;
  std::vector<LinkSent> sent;
  std::vector<std::string> inbound;  // message ids
  std::uint64_t late_calls = 0;      // callbacks after close
  std::uint64_t calls_inside_open = 0;

 private:
  static void on_state(void* user, cm_handle link, std::uint32_t state, cm_text_hview detail) noexcept;
  static void on_inbound(void* user, cm_handle link, const cm_inbound* messages, std::uint64_t count) noexcept;
  static void on_sent(void* user, cm_handle link, const cm_send_result* results, std::uint64_t count) noexcept;
  static cm_status on_sign(void* user, cm_handle link, std::uint32_t key, cm_text_hview text,
                           std::uint8_t* out) noexcept;

  Bench& bench_;
  const cm_transport_v1* table_;
  void* instance_;
  cm_handle link_ = CM_NO_HANDLE;
  bool closed_ = false;
};

// --- bridges ---------------------------------------------------------------------------------------------------------

struct Crossing {
  std::uint32_t outcome = 0;
  std::uint32_t direction = 0;
  std::string mapping_id;
  std::string message_id;
  std::string channel;
  std::string text;
  std::string trail;
  std::string new_id;
};

class BridgeDriver {
 public:
  explicit BridgeDriver(Bench& bench);
  bool usable() const noexcept { return table_ != nullptr; }
  const cm_bridge_v1& table() const noexcept { return *table_; }
  void* instance() const noexcept { return instance_; }
  cm_status map(std::string_view id, std::string_view remote, std::string_view target, std::uint32_t directions);
  struct Message {
    std::string channel;
    std::string id;
    std::string text = "hello";
    std::string trail = {};
    std::uint32_t flags = CM_BRIDGE_REHEARSAL;
    std::string author = "somebody";
  };
  // The crossings that followed; `accepted` is what the call answered.
  std::vector<Crossing> deliver(bool from_remote, const Message& message, cm_status* accepted = nullptr);
  std::optional<cm_bridge_status> status();
  std::string mark();

 private:
  static void on_crossed(void* user, const cm_bridge_crossing* crossing) noexcept;
  Bench& bench_;
  const cm_bridge_v1* table_;
  void* instance_;
};

// --- everything a plugin offers, used once ---------------------------------------------------------------------------

struct ExerciseOptions {
  std::uint64_t quiet_ms = 5'000;  // of virtual time afterwards
};
// Hooks are asked, stores written, links opened, bridges rehearsed, listeners called; then time passes. Judges nothing.
void exercise(Bench& bench, ExerciseOptions options = {});

}  // namespace cm::checker
