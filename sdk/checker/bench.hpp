// The plugin under test in a simulated host, with the other plugins that it needs: one life, step by step, watched.
//
//   Bench bench(subject);
//   if (!bench.bring_up()) { return bench.could_not("start"); }
//   exercise(bench);
//   bench.end();
//   bench.left().total(), bench.breaches(), ...
//
// One bench at a time. Everything happens on the calling thread.
#pragma once

#include <claudemesh/plugin.h>

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "sdk/checker/check.hpp"
#include "sdk/checker/peer.hpp"
#include "sdk/simhost/world.hpp"

namespace cm::checker {

inline constexpr std::uint64_t kStartLimitMs = 60'000;   // virtual; what `start` may take
inline constexpr std::uint64_t kDrainLimitMs = 10'000;   // virtual; the deadline that `drain` gets
inline constexpr std::uint64_t kEventsMax = 3'000'000;   // of one bench; more is a storm
inline constexpr std::uint64_t kBlockedLimitMs = 1'000;  // of one call into the plugin; the real watchdog's limit
inline constexpr std::string_view kSubjectName = "subject";
inline constexpr std::string_view kCallerName = "check_caller";
inline constexpr std::string_view kNodeName = "check";
inline constexpr std::string_view kPeerNode = "peer";  // where the checker's own servers stand

struct BenchOptions {
  std::uint64_t seed = 1;
  Values values = {};                               // instead of the subject's own
  std::function<void(sim::HostProbe&)> probe = {};  // sets up the subject's probe before create
  std::uint32_t log_level = CM_LOG_TRACE;
};

class Bench {
 public:
  explicit Bench(const Subject& subject, BenchOptions options = {});
  ~Bench();
  Bench(const Bench&) = delete;
  Bench& operator=(const Bench&) = delete;

  // --- steps. They take the other plugins along, and answer what the subject answered ---
  bool prepared() const noexcept { return prepared_; }
  cm_status create();
  cm_status configure();
  cm_status start();  // waits on virtual time; CM_DEFER: no answer within kStartLimitMs
  cm_status drain();
  void stop();        // drains nothing; stop and silence of everything
  void destroy();     // after stop: the end; what is left is in `left`
  void end();         // drain, if it was started; stop; destroy
  bool bring_up();    // create, configure, start
  void crash();       // as a power cut, and the orderly rest is left out
  bool boot_again();  // after crash: a new life on the same disk
  // Which of the steps failed last, and why.
  const std::string& problem() const noexcept { return problem_; }
  bool problem_of_subject() const noexcept { return problem_of_subject_; }
  // The outcome of a check that needs a running plugin: failed when the subject is to blame.
  Outcome could_not(std::string_view what) const;

  // --- time ---
  bool run(std::uint64_t duration_ms, const std::function<bool()>& until = {});
  std::uint64_t slowest_us() const noexcept { return slowest_us_; }  // of one event or step without jobs, in real time
  const std::string& slowest_what() const noexcept { return slowest_what_; }
  bool storm() const noexcept { return events_ > kEventsMax; }
  void timed(std::string_view what, const std::function<void()>& call);

  // --- parts; instances are null before prepare and after the end ---
  sim::World& world() noexcept { return *world_; }
  sim::Node& node() noexcept { return *node_; }
  Peer& peer() noexcept { return *peer_; }
  // Keeps what late callbacks may still write to until the bench is gone.
  void keep(std::shared_ptr<void> object) { kept_.push_back(std::move(object)); }
  sim::Instance& subject() { return *node_->find(kSubjectName); }
  sim::Instance* caller() { return node_->find(kCallerName); }
  bool has_subject() { return node_->find(kSubjectName) != nullptr; }
  const Subject& about() const noexcept { return about_; }
  template <typename Table>
  const Table* extension(const char* id) {
    return has_subject() ? static_cast<const Table*>(subject().extension(id)) : nullptr;
  }
  const std::filesystem::path& folder() const noexcept { return folder_; }

  // --- what was seen ---
  const sim::Holdings& left() const noexcept { return left_; }
  std::vector<sim::BreachNote> breaches();
  const std::vector<std::string>& log_lines() const noexcept { return log_lines_; }

 private:
  std::string toml() const;
  std::string remedy() const;
  cm_status refuse(sim::Instance& instance, std::string_view step, cm_status status, const std::string& text);

  const Subject& about_;
  BenchOptions options_;
  std::filesystem::path folder_;
  std::vector<std::shared_ptr<void>> kept_;
  std::unique_ptr<sim::World> world_;
  std::unique_ptr<Peer> peer_;
  sim::Node* node_ = nullptr;
  bool prepared_ = false;
  bool stopped_ = false;
  std::string problem_;
  bool problem_of_subject_ = false;
  std::uint64_t events_ = 0;
  std::uint64_t slowest_us_ = 0;
  std::string slowest_what_;
  sim::Holdings left_;
  std::vector<sim::BreachNote> breaches_;
  std::vector<std::string> log_lines_;
};

// A status as the header spells it: "CM_BUSY".
std::string status_name(cm_status status);
// Registers the plugin that stands for the user of an extension. Once per process.
void register_caller();

}  // namespace cm::checker
