// What a test asks an instance about, the judging of its calls, its options, and the orderly end of its life.
#include <utility>

#include "host/config/host_config.hpp"
#include "sdk/simhost/instance.hpp"
#include "sdk/simhost/world.hpp"

namespace cm::sim {

std::string Holdings::text() const {
  const std::pair<std::size_t, const char*> parts[] = {{timers, "timers"},
                                                       {posts, "posts"},
                                                       {jobs, "jobs"},
                                                       {queues, "worker queues"},
                                                       {listeners, "listeners"},
                                                       {requests, "unanswered requests"},
                                                       {sockets, "sockets"},
                                                       {calls, "HTTP calls"},
                                                       {subscriptions, "subscriptions"},
                                                       {references, "registry references"},
                                                       {buffers, "buffers"},
                                                       {processes, "child processes"}};
  std::string result;
  for (const auto& [count, what] : parts) {
    if (count != 0) {
      result += (result.empty() ? "" : ", ") + std::to_string(count) + " " + what;
    }
  }
  return result;
}

Holdings Instance::holdings() const {
  Holdings held;
  held.timers = timers_.size();
  held.posts = posts_.size();
  for (const auto& [queue, jobs] : jobs_) {
    held.jobs += jobs.size();
  }
  held.queues = queues.size();
  held.listeners = listeners.size();
  held.requests = requests.size();
  held.sockets = sockets.size();
  held.calls = calls.size();
  held.subscriptions = subscriptions.size();
  held.references = references.size();
  held.processes = processes.size() + processes.left_alive();
  held.buffers = node_.world().buffers_of(host_.self);
  return held;
}

// --- judging calls ---------------------------------------------------------------------------------------------------

std::optional<cm_status> Instance::enter_call(std::size_t function) {
  const HostFunction& called = host_functions()[function];
  const bool in_job = node_.world().in_job();
  if (in_job && called.tag == ThreadTag::kLoop) {
    probe_.note(Breach::kWrongThread, "it called " + called.text() + ", which is [loop], from a worker's job");
  }
  if (called.nature == CallNature::kWork && (phase_ == Phase::kMade || phase_ == Phase::kCreated)) {
    probe_.note(Breach::kWorkBeforeStart, "it called " + called.text() + " before start");
  }
  // A job that was waiting when the instance stopped runs afterwards and may try to come back.
  const bool late = phase_ == Phase::kStopped && !in_destroy_ && !in_job && !cut_off_;
  if (late && called.nature != CallNature::kPassive) {
    probe_.note(Breach::kCallAfterStop, "it called " + called.text() + " after stop had returned");
  }
  return probe_.enter(function);
}

void Instance::check_handle(const HostFunction& function, cm_handle handle) {
  if (!node_.world().was_given(handle)) {
    probe_.note(Breach::kUnknownHandle,
                "it gave " + function.text() + " the handle " + std::to_string(handle) + ", which the host never made");
  }
}

// --- options ---------------------------------------------------------------------------------------------------------

const config::ValidatedOptions* Instance::options(std::uint32_t which) {
  if (which == CM_CONFIG_ACTIVE) {
    return option_sets_.back().get();
  }
  if (candidate_ == nullptr) {
    probe_.note(Breach::kCandidate, "it read the candidate options while no reload was going on");
  }
  return candidate_.get();
}

cm_status Instance::reload_prepare(config::ValidatedOptions candidate) {
  if (!CM_HAS_FUNCTION(table_, cm_instance_table_v1, reload_finish) || table_->reload_prepare == nullptr ||
      table_->reload_finish == nullptr) {
    return CM_UNSUPPORTED;
  }
  candidate_ = std::make_unique<const config::ValidatedOptions>(std::move(candidate));
  return table_->reload_prepare(instance_);
}

// Earlier sets are kept until the end, because plugins keep views into their text.
void Instance::reload_finish(bool commit) {
  if (commit && candidate_ != nullptr) {
    option_sets_.push_back(std::move(candidate_));
  }
  table_->reload_finish(instance_, commit);
  candidate_.reset();
}

// --- the end ---------------------------------------------------------------------------------------------------------

void Instance::silence() {
  silenced_ = true;
  step_done_ = nullptr;
  processes.silence();
  give_back_posts_and_jobs();
}

void Instance::give_back_posts_and_jobs() {
  for (auto& [queue, jobs] : jobs_) {
    while (!jobs.empty()) {
      const Job job = jobs.front();
      jobs.pop_front();
      run_job(job);
    }
  }
  while (!posts_.empty()) {
    const PostedCall call = posts_.front();
    posts_.pop_front();
    if (call.dropped != nullptr) {
      call.dropped(call.user);
    }
  }
}

void Instance::run_job(const Job& job) {
  const World::JobScope scope(node_.world());
  job.function(job.user);
}

}  // namespace cm::sim
