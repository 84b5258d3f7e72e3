#include "sdk/simhost/processes.hpp"

#include <cstring>
#include <string>
#include <utility>

#include <claudemesh/cpp/host.hpp>
#include "host/services/processes.hpp"
#include "sdk/simhost/child_process.hpp"
#include "sdk/simhost/instance.hpp"
#include "sdk/simhost/world.hpp"

namespace cm::sim {

Processes::~Processes() {
  silence();
}

Result<cm_handle> Processes::spawn(const cm_process_options& options, const cm_process_callbacks& callbacks,
                                   void* user) {
  Result<host::SpawnPlan> plan = host::plan_of(options);
  if (!plan) {
    return std::move(plan).error();
  }
  if (children_.size() >= CM_PROCESS_CHILDREN_MAX) {
    return make_error(ErrorCode::kBusy, std::to_string(CM_PROCESS_CHILDREN_MAX) +
                                            " children run, which is the limit of an instance; wait for some to end");
  }
  ProgramStart start;
  start.program = plan->program;
  start.arguments.assign(plan->arguments.begin() + 1, plan->arguments.end());
  start.environment = plan->environment;
  start.working_folder = plan->working_folder;
  start.memory_bytes_max = plan->memory_bytes_max;
  start.cpu_ms_max = options.cpu_ms_max;
  start.has_input = plan->input;
  const cm_handle handle = instance_.next_handle();
  const auto child =
      std::make_shared<ChildProcess>(instance_, *this, handle, std::move(start), options, callbacks, user);
  children_.emplace(handle, child);
  child->launch();
  return handle;
}

ChildProcess* Processes::find(cm_handle process) const {
  const auto found = children_.find(process);
  return found == children_.end() ? nullptr : found->second.get();
}

bool Processes::abandon(cm_handle process) {
  const auto found = children_.find(process);
  if (found == children_.end()) {
    return false;
  }
  found->second->vanish();
  children_.erase(found);
  return true;
}

void Processes::silence() {
  for (const auto& [handle, child] : children_) {
    left_alive_ += child->counts_as_left() ? 1 : 0;
    child->vanish();
  }
  children_.clear();
}

namespace {

Instance* enter(cm_handle self) {
  Instance* instance = World::instance_of(self);
  if (instance == nullptr || !instance->alive()) {
    return nullptr;
  }
  instance->node().count_step();
  return instance->alive() ? instance : nullptr;
}

// The child, after one more step of the node; null when it or the node is gone.
ChildProcess* child_of(cm_handle self, cm_handle process) {
  Instance* instance = enter(self);
  return instance == nullptr ? nullptr : instance->processes.find(process);
}

// As much of `given` as the plugin knows.
template <typename T>
T prefix_of(const T& given) {
  T result = {};
  std::memcpy(&result, &given, given.size < sizeof(T) ? given.size : sizeof(T));
  return result;
}

cm_status process_spawn(cm_handle self, const cm_process_options* options, const cm_process_callbacks* callbacks,
                        void* user, cm_handle* out_process) noexcept {
  Instance* instance = enter(self);
  if (instance == nullptr) {
    return CM_GONE;
  }
  if (options == nullptr || callbacks == nullptr || out_process == nullptr) {
    return CM_INVALID;
  }
  const auto process = instance->processes.spawn(prefix_of(*options), prefix_of(*callbacks), user);
  if (!process) {
    instance->set_error(process.error().message);
    return status_from_error(process.error());
  }
  *out_process = *process;
  return CM_OK;
}

cm_status process_write(cm_handle self, cm_handle process, cm_bytes_pview bytes) noexcept {
  ChildProcess* child = child_of(self, process);
  return child == nullptr ? CM_GONE : child->write(bytes);
}

cm_status process_close_input(cm_handle self, cm_handle process) noexcept {
  ChildProcess* child = child_of(self, process);
  return child == nullptr ? CM_GONE : child->close_writing();
}

cm_status process_pause_output(cm_handle self, cm_handle process, bool paused) noexcept {
  ChildProcess* child = child_of(self, process);
  if (child == nullptr) {
    return CM_GONE;
  }
  child->pause(paused);
  return CM_OK;
}

cm_status process_kill(cm_handle self, cm_handle process, std::uint64_t grace_ms) noexcept {
  ChildProcess* child = child_of(self, process);
  if (child == nullptr) {
    return CM_GONE;
  }
  child->kill(grace_ms);
  return CM_OK;
}

// Gives something back, so it is no step, and works between stop and the end of destroy too.
cm_status process_abandon(cm_handle self, cm_handle process) noexcept {
  Instance* instance = World::instance_of(self);
  return instance != nullptr && instance->processes.abandon(process) ? CM_OK : CM_GONE;
}

std::uint64_t process_number(cm_handle self, cm_handle process) noexcept {
  Instance* instance = World::instance_of(self);
  const ChildProcess* child = instance == nullptr ? nullptr : instance->processes.find(process);
  return child == nullptr ? 0 : child->number();
}

constexpr cm_process_v1 kProcess = {sizeof(cm_process_v1), 0,
                                    process_spawn,         process_write,
                                    process_close_input,   process_pause_output,
                                    process_kill,          process_abandon,
                                    process_number};

}  // namespace

const void* find_process_table() {
  return &kProcess;
}

}  // namespace cm::sim
