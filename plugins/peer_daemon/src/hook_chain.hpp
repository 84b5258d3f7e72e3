// Runs the hooks of cm.hook/1 at one point, in their order (claudemesh/ext/hook.h).
#pragma once

#include <claudemesh/ext/hook.h>
#include <claudemesh/cpp/host.hpp>

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace cm::daemon {

inline constexpr std::uint64_t kHookTimeoutMs = 5'000;

struct HookOutcome {
  bool denied = false;
  std::string text;     // why, when denied
  std::string payload;  // perhaps replaced
};

// Lives on the daemon's loop, as the hooks do.
class HookChain {
 public:
  using Done = std::function<void(HookOutcome)>;

  // Acquires the instances and sorts them. kGone names the instance that offers no hook.
  Status open(const HostApi& host, const std::vector<std::string>& instance_names);
  void close();
  bool empty() const noexcept { return hooks_.empty(); }

  // `done` is called exactly once, before the return when no hook defers; never after close.
  void run(std::string_view point, std::string json, std::string payload, Done done);

 private:
  struct Hook {
    std::string name;
    Extension<cm_hook_v1> extension;
  };
  struct Run {
    HookChain* chain = nullptr;
    cm_handle ticket = CM_NO_HANDLE;
    std::string point;
    std::string json;
    std::string payload;
    std::string answer;  // of set_payload
    std::size_t next = 0;
    bool waiting = false;  // a hook deferred
    Done done;
    std::unique_ptr<Timer> deadline;
  };

  static void set_payload(void* context, cm_handle ticket, cm_bytes_pview payload) noexcept;
  static cm_status finish(void* context, cm_handle ticket, std::uint32_t result, cm_bytes_pview payload) noexcept;

  void advance(cm_handle ticket);
  std::uint32_t invoke(Run& run);
  // False when the run is over.
  bool apply(Run& run, std::uint32_t result, std::string answer);
  void missed_deadline(cm_handle ticket);
  void conclude(cm_handle ticket, bool denied, std::string text);

  const HostApi* host_ = nullptr;
  cm_handle next_ticket_ = 1;
  std::vector<Hook> hooks_;
  std::map<cm_handle, std::unique_ptr<Run>> runs_;
};

}  // namespace cm::daemon
