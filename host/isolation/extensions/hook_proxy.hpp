// cm.hook/1 of a plugin that runs in a child: every question goes over, the answer comes later. [loop]
#pragma once

#include <claudemesh/ext/hook.h>

#include <cstdint>
#include <string>
#include <unordered_map>

#include "host/isolation/session.hpp"

namespace cm::isolation {

inline constexpr std::size_t kHookQuestionsMax = 4096;  // without an answer
inline constexpr std::uint32_t kHookTimeoutMs = 5'000;  // what a timeout_ms of 0 means

// Lives as long as the instance. Without a child a guard refuses and an observer lets pass (fail closed, fail open).
class HookProxy {
 public:
  // What the child's table said, of the first child.
  void set_facts(std::uint32_t kind, std::int32_t order, std::uint32_t timeout_ms);
  // The table; its functions take the IsolatedPlugin, which finds this.
  const cm_hook_v1* table() const noexcept { return &table_; }

  void attach(Session* session) noexcept { session_ = session; }
  // The child is gone: every open question gets its answer now.
  void detach();

  std::uint32_t invoke(const cm_hook_event& event, const cm_hook_reply& reply);
  void on_done(const Frame& frame);
  // Forgets questions whose deadline has passed: who asked them does not wait any more.
  void sweep();

 private:
  struct Question {
    void* context;
    cm_status (*finish)(void*, cm_handle, std::uint32_t, cm_bytes_pview) CM_NOEXCEPT;
    cm_handle ticket;
    std::int64_t deadline_ns;
  };
  std::uint32_t without_child(const cm_hook_event& event, const cm_hook_reply& reply) const;

  cm_hook_v1 table_{};
  Session* session_ = nullptr;
  std::unordered_map<std::uint64_t, Question> questions_;
};

}  // namespace cm::isolation
