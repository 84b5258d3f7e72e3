// Handles for reference-counted buffers (cm.buffer/1): net::SharedBuffer behind generation-checked slots.
#pragma once

#include <claudemesh/abi.h>
#include <claudemesh/cpp/result.hpp>

#include <array>
#include <atomic>
#include <cstdint>
#include <memory>

#include "host/net/shared_buffer.hpp"
#include "host/services/handle_table.hpp"

namespace cm::host {

inline constexpr std::uint32_t kBuffersMax = 1u << 20u;                       // alive at once in one host
inline constexpr std::uint64_t kBufferBytesMax = 256ull * 1024 * 1024;        // of one buffer
inline constexpr std::uint64_t kBufferBytesTotalMax = 2048ull * 1024 * 1024;  // of all buffers alive

// Any thread, without locks. The count of plugin references lives in the slot, beside the generation, so that a stale
// handle can never touch a count: both change in one atomic step.
class BufferStore {
 public:
  BufferStore() = default;
  ~BufferStore();
  BufferStore(const BufferStore&) = delete;
  BufferStore& operator=(const BufferStore&) = delete;

  // Takes the bytes in under one reference of `owner` (the number of the instance). An empty buffer is the null handle.
  // kBusy over a limit.
  Result<cm_hbuf> insert(net::SharedBuffer bytes, std::uint32_t owner);

  // False for a stale or invented handle; the null handle is always fine.
  bool retain(cm_handle handle, std::uint32_t user) noexcept;
  bool release(cm_handle handle, std::uint32_t user) noexcept;

  // A reference of the host's own to the bytes; false when the handle is stale. The null handle gives empty bytes.
  bool share(cm_handle handle, net::SharedBuffer& out) noexcept;

  // Frees the buffers that `owner` made and that no other instance ever touched; the others may still be in use.
  // Answers how many were freed. [control], after the owner's destroy.
  std::uint32_t free_owned_by(std::uint32_t owner) noexcept;

  std::uint32_t alive() const noexcept { return alive_.load(std::memory_order_relaxed); }
  std::uint64_t refused() const noexcept { return refused_.load(std::memory_order_relaxed); }

 private:
  static constexpr std::uint32_t kChunkSlots = 1024;
  static constexpr std::uint32_t kChunks = kBuffersMax / kChunkSlots;
  static constexpr std::uint32_t kNone = UINT32_MAX;

  struct Slot {
    std::atomic<std::uint64_t> state{std::uint64_t{1} << 32u};  // generation above, references below
    std::atomic<net::SharedBufferRep*> bytes{nullptr};
    std::atomic<std::uint32_t> owner{0};
    std::atomic<bool> crossed{false};  // used by another instance than the owner
    std::atomic<std::uint32_t> next_free{kNone};
  };
  struct Chunk {
    std::array<Slot, kChunkSlots> slots;
  };

  Slot* slot_at(std::uint32_t index) const noexcept;
  Slot* obtain_slot(std::uint32_t& index);
  bool drop_reference(Slot& slot, std::uint32_t index, std::uint32_t generation) noexcept;
  bool add_reference(Slot& slot, std::uint32_t generation) noexcept;
  void push_free(Slot& slot, std::uint32_t index) noexcept;
  std::uint32_t pop_free() noexcept;

  std::array<std::atomic<Chunk*>, kChunks> chunks_{};
  std::atomic<std::uint32_t> used_slots_{0};
  std::atomic<std::uint64_t> free_head_{kNone};  // a tag against ABA above, the index below
  std::atomic<std::uint32_t> alive_{0};
  std::atomic<std::uint64_t> alive_bytes_{0};
  std::atomic<std::uint64_t> refused_{0};
};

}  // namespace cm::host
