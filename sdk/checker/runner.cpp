#include "sdk/checker/runner.hpp"

#include <poll.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <map>
#include <thread>

#include "host/loader/manifest.hpp"
#include "sdk/checker/bench.hpp"
#include "sdk/checker/child.hpp"

namespace cm::checker {
namespace {

constexpr const char* kFuzzName = "fuzz";

// A folder for all children of one run, removed with what they left there.
class RunFolder {
 public:
  RunFolder() {
    std::string pattern = (std::filesystem::temp_directory_path() / "claudemesh-check-XXXXXX").string();
    const char* made = ::mkdtemp(pattern.data());
    path_ = made == nullptr ? std::filesystem::temp_directory_path() / "claudemesh-check" : std::filesystem::path(made);
  }
  ~RunFolder() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  RunFolder(const RunFolder&) = delete;
  RunFolder& operator=(const RunFolder&) = delete;
  std::filesystem::path next() { return path_ / std::to_string(++number_); }

 private:
  std::filesystem::path path_;
  std::uint64_t number_ = 0;
};

std::uint32_t job_count(const RunOptions& options) {
  return options.jobs != 0 ? options.jobs : std::max(1U, std::thread::hardware_concurrency());
}

// Why the check need not run, or nothing.
std::optional<Outcome> skip_reason(const Check& check, const Subject& subject) {
  if (check.needs_manifest && !subject.manifest) {
    return skipped("it has no readable manifest (manifest.is_readable says why)");
  }
  if (!check.extension.empty() && !subject.provides(check.extension)) {
    return skipped("it does not provide " + std::string(check.extension));
  }
  return std::nullopt;
}

// Waits until a child says something, ends or is to be ended.
void wait_for_any(const std::vector<Child*>& children) {
  std::vector<pollfd> polled;
  std::uint64_t timeout_ms = 1'000;
  for (const Child* child : children) {
    child->add_polled(polled);
    timeout_ms = std::min(timeout_ms, child->milliseconds_left());
  }
  ::poll(polled.data(), polled.size(), static_cast<int>(timeout_ms) + 1);
}

// Calls `next` for new children while there is room, and `ended` for each that has come to its end.
void run_children(std::uint32_t jobs, const std::function<std::unique_ptr<Child>(std::size_t&)>& next,
                  const std::function<void(std::size_t, Child&)>& ended) {
  std::map<std::size_t, std::unique_ptr<Child>> running;
  bool more = true;
  while (more || !running.empty()) {
    while (more && running.size() < jobs) {
      std::size_t id = 0;
      std::unique_ptr<Child> child = next(id);
      more = child != nullptr;
      if (more) {
        running[id] = std::move(child);
      }
    }
    std::vector<Child*> children;
    for (const auto& [id, child] : running) {
      children.push_back(child.get());
    }
    if (!children.empty()) {
      wait_for_any(children);
    }
    for (auto entry = running.begin(); entry != running.end();) {
      entry->second->enforce_limit();
      if (entry->second->read()) {
        ended(entry->first, *entry->second);
        entry = running.erase(entry);
      } else {
        ++entry;
      }
    }
  }
}

// A parent that is gone has nobody to read it.
void report_line(std::string_view line) {
  while (!line.empty()) {
    const ssize_t written = ::write(kReportFd, line.data(), line.size());
    if (written < 0 && errno == EINTR) {
      continue;
    }
    if (written <= 0) {
      return;
    }
    line.remove_prefix(static_cast<std::size_t>(written));
  }
}

[[noreturn]] void finish_child(const Outcome& outcome) {
  report_line(result_line(outcome));
  // No destructors and no exit handlers: what the plugin left behind is not to be met again.
  ::_exit(0);
}

Outcome fuzz_many(const Subject& subject, std::uint64_t first, std::uint64_t stride, std::uint64_t count) {
  for (std::uint64_t i = 0; i < count; ++i) {
    const std::uint64_t seed = first + i * stride;
    progress("seed " + std::to_string(seed));
    Outcome outcome = fuzz_one(subject, seed);
    if (outcome.verdict == Verdict::kFailed) {
      progress("seed " + std::to_string(seed));
      return outcome;
    }
    report_line("S1\n");
  }
  return ok();
}

std::uint64_t number_in(const std::string& text) {
  return std::strtoull(text.c_str(), nullptr, 10);
}

// "seed 17: whatever" -> 17
std::uint64_t seed_of(const std::string& progress_text, std::uint64_t fallback) {
  return progress_text.starts_with("seed ") ? number_in(progress_text.substr(5)) : fallback;
}

}  // namespace

Result<Subject> load_subject(const std::filesystem::path& file, const std::filesystem::path& config_file) {
  Subject subject;
  std::error_code error;
  subject.file = std::filesystem::canonical(file, error);
  if (error) {
    return make_error(ErrorCode::kGone,
                      "found no file " + file.string() + ", expected the library of a plugin; give its path");
  }
  if (!config_file.empty()) {
    auto config = read_check_config(config_file);
    if (!config) {
      return config.error();
    }
    subject.config = std::move(config).value();
  }
  auto manifest = loader::read_manifest(subject.file);
  if (manifest) {
    subject.manifest = std::move(manifest).value();
    subject.config = complete(std::move(subject.config), *subject.manifest);
  } else {
    subject.manifest_error = manifest.error().message;
  }
  return subject;
}

bool matches(std::string_view pattern, std::string_view name) {
  const auto star = pattern.find('*');
  if (star == std::string_view::npos) {
    return pattern == name;
  }
  if (!name.starts_with(pattern.substr(0, star))) {
    return false;
  }
  const std::string_view rest = pattern.substr(star + 1);
  for (std::size_t at = star; at <= name.size(); ++at) {
    if (matches(rest, name.substr(at))) {
      return true;
    }
  }
  return false;
}

std::vector<CheckResult> run_checks(const Subject& subject, const RunOptions& options,
                                    const std::function<void(const CheckResult&)>& done) {
  std::vector<CheckResult> results;
  for (const Check& check : all_checks()) {
    if (options.only.empty() || matches(options.only, check.name)) {
      results.push_back(CheckResult{&check, {}, 0});
    }
  }
  RunFolder folder;
  std::vector<bool> finished(results.size(), false);
  std::size_t shown = 0;
  std::size_t started = 0;
  std::size_t timeouts = 0;
  const auto show = [&] {
    while (shown < results.size() && finished[shown]) {
      done(results[shown++]);
    }
  };
  const auto next = [&](std::size_t& id) -> std::unique_ptr<Child> {
    while (started < results.size()) {
      id = started++;
      const Check& check = *results[id].check;
      auto reason = skip_reason(check, subject);
      if (!reason && timeouts >= kTimeoutsMax) {
        reason = skipped(std::to_string(timeouts) + " checks came to no end; mend these first");
      }
      if (reason) {
        results[id].outcome = *reason;
        finished[id] = true;
        continue;
      }
      const std::uint64_t limit_ms =
          std::uint64_t{check.time_limit_ms == 0 ? kTimeLimitMs : check.time_limit_ms} * options.slowness;
      return std::make_unique<Child>(std::vector<std::string>{subject.file.string(), std::string(check.name),
                                                              options.config_file.string(), "1", "1", "1"},
                                     folder.next(), limit_ms);
    }
    return nullptr;
  };
  run_children(job_count(options), next, [&](std::size_t id, Child& child) {
    results[id].outcome = child.outcome();
    results[id].took_ms = child.took_ms();
    timeouts += child.timed_out() ? 1U : 0U;
    finished[id] = true;
    show();
  });
  show();
  return results;
}

std::vector<CheckResult> run_here(const Subject& subject, const RunOptions& options,
                                  const std::function<void(const CheckResult&)>& done) {
  const Check* check = find_check(options.only);
  if (check == nullptr) {
    return {};
  }
  RunFolder folder;
  const std::filesystem::path own = folder.next();
  std::filesystem::create_directories(own);
  for (const char* variable : {"HOME", "TMPDIR", "XDG_CACHE_HOME", "CM_CHECK_BASE"}) {
    ::setenv(variable, own.c_str(), 1);
  }
  register_caller();
  const auto reason = skip_reason(*check, subject);
  const CheckResult result{check, reason ? *reason : check->run(subject), 0};
  done(result);
  return {result};
}

FuzzReport run_fuzz(const Subject& subject, const RunOptions& options, std::uint64_t first_seed,
                    std::uint32_t seconds) {
  constexpr std::uint64_t kSeedsPerChild = 1;  // a plugin may keep something in its library; a seed alone must do
  FuzzReport report;
  RunFolder folder;
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(seconds);
  std::uint64_t next_seed = first_seed;
  std::map<std::size_t, std::uint64_t> firsts;
  bool once_done = false;
  const std::uint64_t per_child = seconds == 0 ? 1 : kSeedsPerChild;
  const auto next = [&](std::size_t& id) -> std::unique_ptr<Child> {
    const bool over = seconds == 0 ? std::exchange(once_done, true) : std::chrono::steady_clock::now() >= deadline;
    if (over || report.findings.size() >= kFindingsMax) {
      return nullptr;
    }
    id = static_cast<std::size_t>(next_seed);
    firsts[id] = next_seed;
    auto child =
        std::make_unique<Child>(std::vector<std::string>{subject.file.string(), kFuzzName, options.config_file.string(),
                                                         std::to_string(next_seed), "1", std::to_string(per_child)},
                                folder.next(), std::uint64_t{kTimeLimitMs} * 3 * options.slowness);
    next_seed += per_child;
    return child;
  };
  run_children(job_count(options), next, [&](std::size_t id, Child& child) {
    report.seeds += child.seeds_done();
    const Outcome outcome = child.outcome();
    if (outcome.verdict == Verdict::kFailed && report.findings.size() < kFindingsMax) {
      report.findings.push_back(FuzzFinding{seed_of(child.last_progress(), firsts[id]), outcome});
    }
  });
  return report;
}

void become_child_if_asked(int argc, char** argv) {
  constexpr int kArgumentCount = 8;
  if (argc != kArgumentCount || std::string_view(argv[1]) != kChildArgument) {
    return;
  }
  set_progress_fd(kReportFd);
  const std::string name = argv[3];
  try {
    register_caller();
    auto subject = load_subject(argv[2], argv[4]);
    if (!subject) {
      finish_child(
          failed(subject.error().message, "a plugin and a configuration that can be read", "correct the file"));
    }
    subject->seed = number_in(argv[5]);
    if (name == kFuzzName) {
      finish_child(fuzz_many(*subject, subject->seed, number_in(argv[6]), number_in(argv[7])));
    }
    const Check* check = find_check(name);
    finish_child(check == nullptr ? skipped("there is no such check") : check->run(*subject));
  } catch (const std::exception& exception) {
    finish_child(failed(std::string("an exception came out: ") + exception.what(), "no exception crosses the boundary",
                        "catch everything in the functions of your tables"));
  }
}

}  // namespace cm::checker
