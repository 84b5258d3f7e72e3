// The child programs of one simulated instance (cm.process/1), with the rules of the real host: the same check of the
// options, the same end of streams, limits and texts. Only time and programs are made up.
#pragma once

#include <claudemesh/ext/process.h>
#include <claudemesh/cpp/result.hpp>

#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>

namespace cm::sim {

class Instance;
class ChildProcess;

class Processes {
 public:
  explicit Processes(Instance& instance) : instance_(instance) {}
  ~Processes();
  Processes(const Processes&) = delete;
  Processes& operator=(const Processes&) = delete;

  Result<cm_handle> spawn(const cm_process_options& options, const cm_process_callbacks& callbacks, void* user);
  // Null: stale.
  ChildProcess* find(cm_handle process) const;
  bool abandon(cm_handle process);
  // Ends all of them; nothing is called any more. Those that were alive and that nobody had asked to end count as left.
  void silence();
  std::size_t size() const noexcept { return children_.size(); }
  std::size_t left_alive() const noexcept { return left_alive_; }

 private:
  friend class ChildProcess;
  Instance& instance_;
  std::map<cm_handle, std::shared_ptr<ChildProcess>> children_;
  std::size_t left_alive_ = 0;
};

const void* find_process_table();

}  // namespace cm::sim
