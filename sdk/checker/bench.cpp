#include "sdk/checker/bench.hpp"

#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <thread>
#include <utility>

#include "host/config/host_config.hpp"
#include "sdk/checker/process_state.hpp"
#include "sdk/simhost/host_functions.hpp"

namespace cm::checker {
namespace {

constexpr std::size_t kLogLinesMax = 4096;
constexpr std::chrono::milliseconds kWaitForThreads{2};  // real time that one event waits for threads of the plugin

// The same folder for all benches of this process, emptied: setenv keeps every value that it ever had, which would look
// like a leak of the plugin.
std::filesystem::path fresh_folder() {
  const char* base = std::getenv("CM_CHECK_BASE");
  const std::filesystem::path parent = base == nullptr ? std::filesystem::temp_directory_path() : base;
  std::filesystem::path folder = parent / ("bench-" + std::to_string(::getpid()));
  std::error_code ignored;
  std::filesystem::remove_all(folder, ignored);
  std::filesystem::create_directories(folder);
  std::filesystem::permissions(folder, std::filesystem::perms::owner_all);
  const char* known = std::getenv("CM_CHECK_DIR");
  if (known == nullptr || folder != known) {
    ::setenv("CM_CHECK_DIR", folder.c_str(), 1);
  }
  return folder;
}

}  // namespace

std::string status_name(cm_status status) {
  constexpr const char* kNames[] = {"CM_OK",   "CM_INVALID", "CM_UNSUPPORTED", "CM_DENIED", "CM_BUSY",
                                    "CM_GONE", "CM_IO",      "CM_INTERNAL",    "CM_DEFER"};
  return status < std::size(kNames) ? kNames[status] : "the unknown status " + std::to_string(status);
}

Bench::Bench(const Subject& subject, BenchOptions options)
    : about_(subject), options_(std::move(options)), folder_(fresh_folder()) {
  sim::WorldOptions world_options;
  world_options.seed = options_.seed;
  world_options.log_level = options_.log_level;
  world_options.trace = [this](std::string_view line) {
    if (log_lines_.size() < kLogLinesMax) {
      log_lines_.emplace_back(line);
    }
  };
  world_ = std::make_unique<sim::World>(std::move(world_options));
  peer_ = std::make_unique<Peer>(*world_);
  node_ = &world_->add_node(std::string(kNodeName), toml());
  prepared_ = world_->prepare(*node_);
  if (!prepared_) {
    problem_ = node_->last_error;
    problem_of_subject_ = true;
    return;
  }
  if (options_.probe) {
    options_.probe(this->subject().probe());
  }
}

Bench::~Bench() {
  if (has_subject()) {
    stop();
    destroy();
  }
  peer_.reset();
  world_.reset();
  std::error_code ignored;
  std::filesystem::remove_all(folder_, ignored);
}

std::string Bench::toml() const {
  const Values& values = options_.values.empty() ? about_.config.values : options_.values;
  std::string text = "[plugins." + std::string(kSubjectName) + "]\nfile = " + toml_text(about_.file.string()) + "\n";
  for (const auto& [option, value] : values) {
    text += option + " = " + value + "\n";
  }
  return text + about_.config.other_plugins + "[plugins." + std::string(kCallerName) + "]\nuse = \"" +
         std::string(kCallerName) + "\"\n";
}

// --- steps -----------------------------------------------------------------------------------------------------------

cm_status Bench::refuse(sim::Instance& instance, std::string_view step, cm_status status, const std::string& text) {
  problem_of_subject_ = instance.name() == kSubjectName;
  problem_ = std::string(problem_of_subject_ ? "its " : "the " + std::string(step) + " of " + instance.name() + " ") +
             (problem_of_subject_ ? std::string(step) + " " : std::string()) + "answered " + status_name(status) +
             (text.empty() ? " without a text" : ": " + text);
  return status;
}

cm_status Bench::create() {
  for (sim::Instance* instance : node_->instances()) {
    cm_status status = CM_OK;
    timed("create", [&] { status = instance->create(); });
    if (status != CM_OK) {
      return refuse(*instance, "create", status, instance->take_error());
    }
  }
  return CM_OK;
}

cm_status Bench::configure() {
  for (sim::Instance* instance : node_->instances()) {
    cm_status status = CM_OK;
    timed("configure", [&] { status = instance->configure(); });
    if (status != CM_OK) {
      return refuse(*instance, "configure", status, instance->take_error());
    }
  }
  return CM_OK;
}

cm_status Bench::start() {
  for (sim::Instance* instance : node_->instances()) {
    bool answered = false;
    cm_status status = CM_BUSY;
    std::string text = "and then nothing within " + std::to_string(kStartLimitMs / 1000) + " s";
    timed("start", [&] {
      instance->start([&](cm_status answer, std::string answer_text) {
        answered = true;
        status = answer;
        text = std::move(answer_text);
      });
    });
    run(kStartLimitMs, [&answered] { return answered; });
    if (!has_subject()) {
      return CM_GONE;  // a planned crash
    }
    if (!answered) {
      instance->abandon_step();
      status = CM_DEFER;
    }
    if (status != CM_OK) {
      return refuse(*instance, "start", status, text);
    }
  }
  return CM_OK;
}

cm_status Bench::drain() {
  auto instances = node_->instances();
  cm_status worst = CM_OK;
  for (auto instance = instances.rbegin(); instance != instances.rend(); ++instance) {
    bool answered = false;
    cm_status status = CM_BUSY;
    timed("drain", [&] {
      (*instance)->drain(kDrainLimitMs, [&](cm_status answer, const std::string&) {
        answered = true;
        status = answer;
      });
    });
    run(kDrainLimitMs, [&answered] { return answered; });
    if (!has_subject()) {
      return CM_GONE;
    }
    if (!answered) {
      (*instance)->abandon_step();
    }
    if (status != CM_OK && (*instance)->name() == kSubjectName) {
      worst =
          refuse(**instance, "drain", status, answered ? (*instance)->take_error() : "no answer until the deadline");
    }
  }
  return worst;
}

void Bench::stop() {
  if (std::exchange(stopped_, true) || !has_subject()) {
    return;
  }
  auto instances = node_->instances();
  for (auto instance = instances.rbegin(); instance != instances.rend(); ++instance) {
    timed("stop", [&] { (*instance)->stop(); });
    (*instance)->silence();
  }
  if (about_.manifest) {
    run(1'000);  // whatever a plugin left running would show now
  }
}

void Bench::destroy() {
  if (!has_subject()) {
    return;
  }
  world_->shut_down(*node_, [this] {
    left_ = subject().holdings();
    breaches_ = subject().probe().breaches();
  });
}

void Bench::end() {
  if (has_subject() && subject().phase() == sim::Phase::kStarted) {
    drain();
  }
  stop();
  destroy();
}

bool Bench::bring_up() {
  return prepared_ && create() == CM_OK && configure() == CM_OK && start() == CM_OK;
}

void Bench::crash() {
  breaches_ = subject().probe().breaches();
  world_->crash(*node_);
}

bool Bench::boot_again() {
  stopped_ = false;
  prepared_ = world_->prepare(*node_);
  if (!prepared_) {
    problem_ = node_->last_error;
    problem_of_subject_ = true;
    return false;
  }
  return create() == CM_OK && configure() == CM_OK && start() == CM_OK;
}

Outcome Bench::could_not(std::string_view what) const {
  if (!problem_of_subject_) {
    return skipped("another plugin of the check's configuration does not work: " + problem_);
  }
  return failed("it does not " + std::string(what) + ": " + problem_,
                "a plugin that works with the values of the check (" + std::to_string(about_.config.values.size()) +
                    " were given)",
                remedy());
}

// What the text of the problem points to.
std::string Bench::remedy() const {
  if (problem_.find("the unknown status") != std::string::npos) {
    return "answer one of the statuses of <claudemesh/abi.h>";
  }
  if (problem_.find("answered CM_DEFER") != std::string::npos) {
    return "after CM_DEFER call `complete` with the ticket of the step, in every branch (in C++: call `started`)";
  }
  const std::vector<std::string> asked = about_.manifest ? about_.manifest->host_tables : std::vector<std::string>();
  for (const auto& table : sim::host_tables()) {
    const bool named = problem_.find(table.id) != std::string::npos;
    if (named && std::find(asked.begin(), asked.end(), table.id) == asked.end()) {
      return "add \"" + std::string(table.id) +
             "\" to `requires` in plugin.toml: an instance gets only tables that its manifest asks for";
    }
  }
  return "give the values that it needs with --config FILE, or correct what the text says";
}

std::vector<sim::BreachNote> Bench::breaches() {
  return has_subject() ? subject().probe().breaches() : breaches_;
}

// --- time ------------------------------------------------------------------------------------------------------------

void Bench::timed(std::string_view what, const std::function<void()>& call) {
  const std::uint64_t jobs = world_->jobs_begun();
  const auto begin = std::chrono::steady_clock::now();
  call();
  if (world_->jobs_begun() != jobs) {
    return;  // a job may take its time: in the real host it runs beside the loop
  }
  const auto spent = std::chrono::steady_clock::now() - begin;
  const auto spent_us =
      static_cast<std::uint64_t>(std::chrono::duration_cast<std::chrono::microseconds>(spent).count());
  if (spent_us > slowest_us_) {
    slowest_us_ = spent_us;
    slowest_what_ = what;
  }
}

bool Bench::run(std::uint64_t duration_ms, const std::function<bool()>& until) {
  sim::Scheduler& scheduler = world_->scheduler();
  const std::uint64_t end_us = scheduler.now_us() + duration_ms * 1000;
  const sim::EventId end = scheduler.at(end_us, [] {});
  // Virtual time must not run away from threads that live in real time.
  const bool has_threads = thread_count() > 1;
  while (!scheduler.empty() && scheduler.next_time_us() <= end_us && ++events_ <= kEventsMax) {
    if (until && until()) {
      scheduler.cancel(end);
      return true;
    }
    if (has_threads) {
      std::this_thread::sleep_for(kWaitForThreads);
    }
    timed("a callback", [this] { world_->step(); });
  }
  return until && until();
}

}  // namespace cm::checker
