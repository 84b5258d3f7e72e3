#include "sdk/simhost/probe.hpp"

#include <algorithm>
#include <cstring>
#include <utility>

namespace cm::sim {
namespace {

constexpr std::size_t kPointerBytes = sizeof(void*);

// Stands behind the end of a table: a plugin that calls it did not look at the size. There is no instance in sight, so
// what it finds is kept for whoever owns a copied table on this thread.
thread_local HostProbe* trap_owner = nullptr;

cm_status trapped() noexcept {
  if (trap_owner != nullptr) {
    trap_owner->note(Breach::kBehindSize, "it called a function behind the size that the table tells");
  }
  return CM_UNSUPPORTED;
}

const void* trap() {
  cm_status (*function)() noexcept = &trapped;
  const void* address = nullptr;
  std::memcpy(&address, &function, sizeof(address));
  return address;
}

cm_status drawn_status(Random& random) {
  constexpr cm_status kStatuses[] = {CM_BUSY, CM_IO, CM_GONE, CM_INTERNAL};
  return kStatuses[random.below(std::size(kStatuses))];
}

}  // namespace

std::string_view breach_name(Breach breach) noexcept {
  switch (breach) {
    case Breach::kWrongThread:
      return "wrong thread";
    case Breach::kUnknownHandle:
      return "unknown handle";
    case Breach::kReleasedTwice:
      return "released twice";
    case Breach::kUndeclaredOption:
      return "undeclared option";
    case Breach::kCandidate:
      return "candidate options outside a reload";
    case Breach::kWorkBeforeStart:
      return "work before start";
    case Breach::kCallAfterStop:
      return "call after stop";
    case Breach::kBehindSize:
      return "function behind the table's size";
    case Breach::kCompletion:
      return "wrong completion";
  }
  return "unknown";
}

// --- faults ----------------------------------------------------------------------------------------------------------

void HostProbe::fail_call(std::string_view function, std::uint64_t number, cm_status status) {
  const auto functions = host_functions();
  for (std::size_t i = 0; i < functions.size(); ++i) {
    if (functions[i].text() == function) {
      faults_.push_back(Fault{i, {}, number, status});
    }
  }
}

void HostProbe::fail_nth(std::string_view table_id, std::uint64_t number, cm_status status) {
  faults_.push_back(Fault{SIZE_MAX, std::string(table_id), number, status});
}

void HostProbe::fail_randomly(double probability, std::uint64_t seed) {
  random_probability_ = probability;
  random_ = Random(seed);
}

void HostProbe::stop_failing() {
  faults_.clear();
  random_probability_ = 0;
}

std::optional<cm_status> HostProbe::enter(std::size_t function) noexcept {
  ++counts_[function];
  const HostFunction& called = host_functions()[function];
  if (!called.fallible) {
    return std::nullopt;
  }
  for (Fault& fault : faults_) {
    const bool any = fault.function == SIZE_MAX && called.nature != CallNature::kGiveBack;
    const bool meant =
        fault.function == function || (any && (fault.table_id.empty() || fault.table_id == called.table_id));
    if (meant && fault.calls_left > 0 && --fault.calls_left == 0) {
      failed_function_ = called.text();
      return fault.status;
    }
  }
  if (random_probability_ > 0 && called.nature != CallNature::kGiveBack && random_.chance(random_probability_)) {
    return called.table_id == CM_CONFIG_ID ? CM_INTERNAL : drawn_status(random_);  // GONE would mean "not set"
  }
  return std::nullopt;
}

// --- tables ----------------------------------------------------------------------------------------------------------

const void* HostProbe::copy_of(std::string_view table_id, std::uint32_t size_told, std::uint32_t traps, bool cut) {
  const void* original = find_probed_table(table_id);
  if (original == nullptr) {
    return nullptr;
  }
  std::uint32_t size = 0;
  std::memcpy(&size, original, sizeof(size));
  std::vector<const void*>& copy = copies_[std::string(table_id)];
  copy.assign(size / kPointerBytes + traps, nullptr);
  std::memcpy(copy.data(), original, cut ? std::min(size, size_told) : size);
  std::fill(copy.begin() + static_cast<std::ptrdiff_t>(size / kPointerBytes), copy.end(), trap());
  std::memcpy(copy.data(), &size_told, sizeof(size_told));
  return copy.data();
}

void HostProbe::truncate(std::string_view table_id, std::uint32_t size) {
  copy_of(table_id, size, 0, true);
}

void HostProbe::extend(std::string_view table_id, std::uint32_t functions) {
  for (const HostTableInfo& known : host_tables()) {
    if (known.id == table_id) {
      copy_of(table_id, known.size + functions * static_cast<std::uint32_t>(kPointerBytes), functions, false);
    }
  }
}

void HostProbe::set_traps_behind(std::string_view table_id, std::uint32_t functions) {
  for (const HostTableInfo& known : host_tables()) {
    if (known.id == table_id) {
      copy_of(table_id, known.size, functions, false);
    }
  }
}

const void* HostProbe::table(std::string_view table_id) {
  asked_.emplace(table_id);
  if (withheld_.contains(table_id)) {
    return nullptr;
  }
  const auto copy = copies_.find(table_id);
  if (copy != copies_.end()) {
    trap_owner = this;
    return copy->second.data();
  }
  return find_probed_table(table_id);
}

// --- what happened ---------------------------------------------------------------------------------------------------

std::uint64_t HostProbe::calls(std::string_view function) const noexcept {
  const auto functions = host_functions();
  for (std::size_t i = 0; i < functions.size(); ++i) {
    const std::string_view table = functions[i].table_id;
    if (function.size() == table.size() + 1 + functions[i].name.size() && function.starts_with(table) &&
        function.ends_with(functions[i].name)) {
      return counts_[i];
    }
  }
  return 0;
}

std::uint64_t HostProbe::calls_total() const noexcept {
  std::uint64_t total = 0;
  for (const std::uint64_t count : counts_) {
    total += count;
  }
  return total;
}

std::uint64_t HostProbe::fallible_calls(std::string_view table_id) const noexcept {
  const auto functions = host_functions();
  std::uint64_t total = 0;
  for (std::size_t i = 0; i < functions.size(); ++i) {
    const bool meant = table_id.empty() || functions[i].table_id == table_id;
    total += meant && functions[i].fallible && functions[i].nature != CallNature::kGiveBack ? counts_[i] : 0;
  }
  return total;
}

std::vector<BreachNote> HostProbe::breaches() const {
  const std::lock_guard lock(notes_mutex_);
  return notes_;
}

void HostProbe::note(Breach breach, std::string text) {
  const std::lock_guard lock(notes_mutex_);
  if (notes_.size() < kNotesMax) {
    notes_.push_back(BreachNote{breach, std::move(text)});
  }
}

}  // namespace cm::sim
