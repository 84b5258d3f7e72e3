// cm.buffer/1 in a runner child. Any thread.
#pragma once

#include <claudemesh/abi.h>

#include <cstdint>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <unordered_map>

namespace cm::isolation {

inline constexpr std::size_t kBufferBytesMax = 16u << 20;
inline constexpr std::size_t kBuffersMax = 65'536;

class Buffers {
 public:
  static Buffers& get();
  bool create(std::string_view bytes, cm_hbuf* out);  // false: over a limit
  bool retain(cm_handle buffer);                      // false: no such buffer
  bool release(cm_handle buffer);
  // Valid while the caller has a reference.
  const std::string* find(cm_handle buffer) const;

 private:
  struct Entry {
    std::unique_ptr<std::string> bytes;
    std::uint64_t references = 1;
  };
  mutable std::mutex mutex_;
  std::unordered_map<cm_handle, Entry> entries_;  // guarded by mutex_
  cm_handle next_ = 1;                            // guarded by mutex_
};

}  // namespace cm::isolation
