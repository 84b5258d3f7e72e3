// What a test sees of, and does to, the calls of one instance into its host: counters, failures on demand, older and
// newer tables, and a list of what the instance did against the rules. Every instance has one; it is idle until it is
// asked.
//
//   node.find("x")->probe().fail_call("cm.timer/1 start", 3, CM_BUSY);   the third start of a timer fails
//   node.find("x")->probe().withhold("cm.log/1");                        as if the permission was not granted
//
// Set tables up between World::prepare and the instance's create. All functions but `enter` are for the thread of the
// world.
#pragma once

#include <claudemesh/abi.h>

#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "sdk/simhost/host_functions.hpp"
#include "sdk/simhost/scheduler.hpp"

namespace cm::sim {

enum class Breach : std::uint8_t {
  kWrongThread,       // a [loop] function on another thread or inside a worker's job
  kUnknownHandle,     // a handle that the host never gave out
  kReleasedTwice,     // a buffer or reference that was given back already
  kUndeclaredOption,  // an option that the manifest does not declare, or with another type
  kCandidate,         // the candidate options read outside reload_prepare .. reload_finish
  kWorkBeforeStart,   // timers, posts, jobs, listeners or connections before start
  kCallAfterStop,     // a call between the return of stop and destroy
  kBehindSize,        // a function that the table's size does not cover
  kCompletion,        // a step completed twice, or with a ticket that was not given
};
std::string_view breach_name(Breach breach) noexcept;  // "call after stop"

struct BreachNote {
  Breach breach;
  std::string text;  // what was found
};

class HostProbe {
 public:
  static constexpr std::size_t kNotesMax = 64;

  // --- faults. What gives something back (cancel, close, release) never fails unless it is named ---
  // The `number`-th call (from 1) of "cm.timer/1 start" answers `status` and does nothing.
  void fail_call(std::string_view function, std::uint64_t number, cm_status status);
  // The `number`-th call of any fallible function of the table (empty: of all tables).
  void fail_nth(std::string_view table_id, std::uint64_t number, cm_status status);
  // Each fallible call fails with this probability; the status is drawn from BUSY, IO, GONE and INTERNAL.
  void fail_randomly(double probability, std::uint64_t seed);
  void stop_failing();
  // The function that fail_nth made fail, empty when it came to no such call.
  const std::string& failed_function() const noexcept { return failed_function_; }

  // --- tables ---
  void withhold(std::string_view table_id) { withheld_.emplace(table_id); }
  // An older host: the table says `size` and the functions behind it are null.
  void truncate(std::string_view table_id, std::uint32_t size);
  // A newer host: functions that this revision does not know follow; calling one is noted as kBehindSize.
  void extend(std::string_view table_id, std::uint32_t functions);
  // The same functions behind the table, but its size does not cover them: as memory of an older host looks.
  void set_traps_behind(std::string_view table_id, std::uint32_t functions);
  // What cm_host.get answers. Notes the question.
  const void* table(std::string_view table_id);

  // --- what happened ---
  std::uint64_t calls(std::string_view function) const noexcept;
  std::uint64_t calls_total() const noexcept;
  // Calls that fail_nth counts.
  std::uint64_t fallible_calls(std::string_view table_id) const noexcept;
  const std::set<std::string, std::less<>>& asked_for() const noexcept { return asked_; }
  std::vector<BreachNote> breaches() const;
  void note(Breach breach, std::string text);  // [any]

  // --- for the tables: a call begins. An answer means: do nothing and give this to the plugin ---
  std::optional<cm_status> enter(std::size_t function) noexcept;

 private:
  struct Fault {
    std::size_t function = SIZE_MAX;  // SIZE_MAX: any of `table_id`
    std::string table_id;
    std::uint64_t calls_left = 0;
    cm_status status = CM_OK;
  };
  const void* copy_of(std::string_view table_id, std::uint32_t size_told, std::uint32_t traps, bool cut);

  std::vector<std::uint64_t> counts_ = std::vector<std::uint64_t>(host_functions().size(), 0);
  std::vector<Fault> faults_;
  double random_probability_ = 0;
  Random random_{1};
  std::string failed_function_;
  std::set<std::string, std::less<>> withheld_;
  std::map<std::string, std::vector<const void*>, std::less<>> copies_;  // tables of another size
  std::set<std::string, std::less<>> asked_;
  mutable std::mutex notes_mutex_;
  std::vector<BreachNote> notes_;
};

}  // namespace cm::sim
