// What a runner child takes away from itself before it loads a plugin.
#pragma once

#include <claudemesh/cpp/result.hpp>

#include <cstdint>
#include <vector>

#include "host/config/host_config.hpp"

namespace cm::isolation {

struct SandboxLimits {
  std::uint64_t memory_bytes = 0;
  std::uint64_t file_bytes = 0;
  std::uint32_t descriptors = 0;
  bool network = false;
  int landlock_version = 0;              // 0: files stay open to the child
  std::vector<config::FileGrant> files;  // all that it may open, otherwise
};

// Threads and processes of the same user, a backstop against a bomb of threads: new processes are refused anyway.
inline constexpr std::uint64_t kUserTasksMax = 4096;

// Limits of resources, no new privileges, the files that may be opened (others answer EACCES), and a list of the system
// calls that may be made (others answer EPERM). Inherited by every thread made later; cannot be undone. Call it while
// the process has one thread. kIo.
Status enter_sandbox(const SandboxLimits& limits);

// Whether the address space can be limited; not under a sanitizer, which maps terabytes.
constexpr bool kLimitsAddressSpace =
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
    false;
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
    false;
#else
    true;
#endif
#else
    true;
#endif

}  // namespace cm::isolation
