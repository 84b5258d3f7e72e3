// The child programs of one instance (cm.process/1). [loop]
#pragma once

#include <claudemesh/ext/process.h>
#include <claudemesh/cpp/result.hpp>

#include <cstdint>
#include <string>
#include <string_view>

#include "host/net/loop.hpp"
#include "host/services/handle_table.hpp"
#include "host/services/process_spawn.hpp"

namespace cm::host {

class Instance;

inline constexpr std::uint64_t kProcessMemoryBytes = 1024ull * 1024 * 1024;  // defaults of ext/process.h
inline constexpr std::uint64_t kProcessDescriptors = 256;
inline constexpr std::uint64_t kProcessOutputBytes = 64ull * 1024 * 1024;
inline constexpr std::uint64_t kProcessInputBytes = 1024 * 1024;
inline constexpr std::uint64_t kProcessGraceMs = 5000;
inline constexpr std::uint64_t kProcessTimeMsMax = 31'536'000'000;  // one year; longer times are cut to it

// The options as a plan, or what is wrong with them. Pure but for the copies.
Result<SpawnPlan> plan_of(const cm_process_options& options);

class Processes {
 public:
  explicit Processes(Instance& instance) : instance_(instance) {}
  ~Processes() { silence(); }
  Processes(const Processes&) = delete;
  Processes& operator=(const Processes&) = delete;

  Result<cm_handle> spawn(const cm_process_options& options, const cm_process_callbacks& callbacks, void* user);
  cm_status write(cm_handle process, cm_bytes_pview bytes);
  cm_status close_input(cm_handle process);
  cm_status pause_output(cm_handle process, bool paused);
  cm_status kill(cm_handle process, std::uint64_t grace_ms);
  bool abandon(cm_handle process);
  std::uint64_t process_id(cm_handle process) const;

  // Kills all of them; no callback follows.
  void silence();
  // Children that were alive at `silence` and that the plugin had not asked to kill.
  std::uint32_t left_alive() const noexcept { return left_alive_; }

 private:
  struct Stream {
    std::uint32_t number = CM_PROCESS_STDOUT;
    Descriptor fd;
    net::WatchId watch = net::WatchId::kNone;
  };
  struct Process {
    cm_process_callbacks callbacks{};
    void* user = nullptr;
    SpawnedChild child;
    net::WatchId exit_watch = net::WatchId::kNone;
    Stream output;
    Stream error;
    Descriptor input;
    net::WatchId input_watch = net::WatchId::kNone;
    std::string pending;      // of the input
    std::size_t written = 0;  // bytes of `pending` that the child has
    std::uint64_t output_bytes = 0;
    std::uint64_t output_bytes_max = 0;
    std::uint64_t input_bytes_max = 0;
    std::uint64_t time_ms_max = 0;
    std::uint64_t grace_ms = 0;
    std::int64_t grace_deadline_ns = 0;
    std::uint32_t cause = 0;  // why the host ends it: a CM_PROCESS_* reason, 0 not
    bool has_input = false;
    bool input_closing = false;  // close when `pending` is written
    bool tell_drained = false;
    bool paused = false;
    bool started = false;
    bool kill_asked = false;
    bool ended = false;  // collected; `status` and `usage` hold
    int status = 0;
    rusage usage{};
    net::TimerId limit_timer = net::TimerId::kNone;
    net::TimerId grace_timer = net::TimerId::kNone;
  };

  Process* find(cm_handle handle) const noexcept { return processes_.find(handle); }
  void on_spawned(cm_handle handle, Result<SpawnedChild> child);
  void watch_child(cm_handle handle, Process& process);
  void on_exit(cm_handle handle);
  void on_readable(cm_handle handle, bool error_stream);
  // False when the process is gone or the stream has nothing more now.
  bool read_some(cm_handle handle, bool error_stream);
  void end_stream(cm_handle handle, bool error_stream);
  void drain_streams(cm_handle handle);
  void finish(cm_handle handle);
  void flush_input(cm_handle handle);
  void drop_input(Process& process);
  void terminate(cm_handle handle, std::uint32_t cause, std::uint64_t grace_ms);
  void on_time_limit(cm_handle handle);
  void set_output_interest(Process& process);
  void release(Process& process);
  net::Loop& loop() const;

  Instance& instance_;
  HandleTable<Process> processes_{CM_PROCESS_CHILDREN_MAX, 0x9900};
  std::uint32_t left_alive_ = 0;
};

}  // namespace cm::host
