// The chain of cm.hook/1 providers at the point `broker.accept`.
#pragma once

#include <claudemesh/ext/hook.h>
#include <claudemesh/cpp/host.hpp>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace cm::broker {

struct HookOutcome {
  bool allowed = true;
  std::string text;                    // why not
  std::optional<std::string> payload;  // a replacement
};

// Calls the hooks in ascending order. A guard fails closed, an observer fails open. All hooks live on this loop. [loop]
class HookChain {
 public:
  static constexpr std::uint64_t kDefaultTimeoutMs = 5'000;
  static constexpr std::size_t kRunsMax = 10'000;  // answers that are waited for at a time; beyond: refused

  using Done = std::function<void(HookOutcome)>;

  explicit HookChain(const HostApi& host) : host_(host) {}
  ~HookChain() { close(); }

  Status open(const std::vector<std::string>& instances);
  void close();
  bool empty() const noexcept { return hooks_.empty(); }
  // `done` is called before the return, or later; never after close().
  void run(std::string point, std::string facts_json, std::string payload, Done done);

 private:
  struct Hook {
    std::string name;
    Extension<cm_hook_v1> extension;
  };
  struct Run {
    explicit Run(const HostApi& host) : deadline(host) {}
    HookChain* chain = nullptr;
    cm_handle ticket = CM_NO_HANDLE;
    std::string point;
    std::string facts;
    std::string payload;
    bool replaced = false;
    std::size_t next = 0;
    bool in_hook = false;  // inside invoke
    bool waiting = false;  // a DEFER is open
    std::string answer_payload;
    Timer deadline;
    Done done;
  };

  static void set_payload(void* context, cm_handle ticket, cm_bytes_pview payload) noexcept;
  static cm_status finish(void* context, cm_handle ticket, std::uint32_t result, cm_bytes_pview payload) noexcept;
  void advance(const std::shared_ptr<Run>& run);
  // True when the chain goes on; otherwise the run is over or waits.
  bool apply(const std::shared_ptr<Run>& run, const Hook& hook, std::uint32_t result);
  void wait(const std::shared_ptr<Run>& run, const Hook& hook);
  void end(const std::shared_ptr<Run>& run, bool allowed, std::string text);

  const HostApi& host_;
  std::vector<Hook> hooks_;
  std::map<cm_handle, std::shared_ptr<Run>> runs_;
  cm_handle next_ticket_ = 1;
};

}  // namespace cm::broker
