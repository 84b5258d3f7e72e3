#include "sdk/checker/check.hpp"

#include <unistd.h>

#include <algorithm>
#include <atomic>

namespace cm::checker {
namespace {

std::atomic<int> progress_fd = -1;

std::vector<Check> joined() {
  std::vector<Check> checks;
  for (const auto group : {symbols_checks, manifest_checks, negotiation_checks, lifecycle_checks, configuration_checks,
                           threads_checks, handles_checks, leaks_checks, fault_checks, network_checks, hook_checks,
                           transport_checks, storage_checks, bridge_checks}) {
    const std::span<const Check> part = group();
    checks.insert(checks.end(), part.begin(), part.end());
  }
  return checks;
}

}  // namespace

Outcome ok() {
  return {};
}

Outcome skipped(std::string reason) {
  return Outcome{Verdict::kSkipped, std::move(reason), {}, {}};
}

Outcome failed(std::string found, std::string expected, std::string remedy) {
  return Outcome{Verdict::kFailed, std::move(found), std::move(expected), std::move(remedy)};
}

bool Subject::provides(std::string_view extension_id) const noexcept {
  return manifest && manifest->provides_extension(extension_id);
}

std::span<const Check> all_checks() {
  static const std::vector<Check> checks = joined();
  return checks;
}

const Check* find_check(std::string_view name) {
  const auto checks = all_checks();
  const auto found =
      std::find_if(checks.begin(), checks.end(), [name](const Check& check) { return check.name == name; });
  return found == checks.end() ? nullptr : &*found;
}

void set_progress_fd(int fd) {
  progress_fd = fd;
}

void progress(std::string_view text) {
  const int fd = progress_fd;
  if (fd < 0) {
    return;
  }
  // "P" begins a note of progress, a new line ends it; one write, so that a crash cannot cut it in two.
  std::string line = "P" + std::string(text) + "\n";
  std::replace(line.begin(), line.end() - 1, '\n', ' ');
  if (::write(fd, line.data(), line.size()) < 0) {
    progress_fd = -1;  // the parent is gone; nobody listens any more
  }
}

}  // namespace cm::checker
