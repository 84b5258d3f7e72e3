#include "host/services/buffers.hpp"

#include <string>

namespace cm::host {

BufferStore::~BufferStore() {
  for (std::uint32_t index = 0; index < used_slots_.load(); ++index) {
    if (Slot* slot = slot_at(index); slot != nullptr) {
      net::SharedBuffer::release_raw(slot->bytes.exchange(nullptr));
    }
  }
  for (auto& chunk : chunks_) {
    const std::unique_ptr<Chunk> owned(chunk.load());
  }
}

BufferStore::Slot* BufferStore::slot_at(std::uint32_t index) const noexcept {
  if (index >= kBuffersMax) {
    return nullptr;
  }
  Chunk* chunk = chunks_[index / kChunkSlots].load(std::memory_order_acquire);
  return chunk != nullptr ? &chunk->slots[index % kChunkSlots] : nullptr;
}

std::uint32_t BufferStore::pop_free() noexcept {
  std::uint64_t head = free_head_.load(std::memory_order_acquire);
  while (static_cast<std::uint32_t>(head) != kNone) {
    const auto index = static_cast<std::uint32_t>(head);
    const std::uint32_t next = slot_at(index)->next_free.load(std::memory_order_relaxed);
    const std::uint64_t wanted = (((head >> 32u) + 1) << 32u) | next;
    if (free_head_.compare_exchange_weak(head, wanted, std::memory_order_acq_rel, std::memory_order_acquire)) {
      return index;
    }
  }
  return kNone;
}

void BufferStore::push_free(Slot& slot, std::uint32_t index) noexcept {
  std::uint64_t head = free_head_.load(std::memory_order_relaxed);
  std::uint64_t wanted = 0;
  do {
    slot.next_free.store(static_cast<std::uint32_t>(head), std::memory_order_relaxed);
    wanted = (((head >> 32u) + 1) << 32u) | index;
  } while (!free_head_.compare_exchange_weak(head, wanted, std::memory_order_acq_rel, std::memory_order_relaxed));
}

BufferStore::Slot* BufferStore::obtain_slot(std::uint32_t& index) {
  index = pop_free();
  if (index != kNone) {
    return slot_at(index);
  }
  index = used_slots_.load(std::memory_order_relaxed);
  do {
    if (index >= kBuffersMax) {
      return nullptr;
    }
  } while (!used_slots_.compare_exchange_weak(index, index + 1, std::memory_order_relaxed));
  auto& place = chunks_[index / kChunkSlots];
  if (place.load(std::memory_order_acquire) == nullptr) {
    auto fresh = std::make_unique<Chunk>();
    Chunk* expected = nullptr;
    if (place.compare_exchange_strong(expected, fresh.get(), std::memory_order_acq_rel)) {
      static_cast<void>(fresh.release());  // now owned by chunks_
    }
  }
  return slot_at(index);
}

Result<cm_hbuf> BufferStore::insert(net::SharedBuffer bytes, std::uint32_t owner) {
  if (bytes.empty()) {
    return cm_hbuf{CM_NO_HANDLE, nullptr, 0};
  }
  const std::uint64_t size = bytes.size();
  if (size > kBufferBytesMax || alive_bytes_.load(std::memory_order_relaxed) + size > kBufferBytesTotalMax) {
    refused_.fetch_add(1, std::memory_order_relaxed);
    return make_error(ErrorCode::kBusy, "a buffer of " + std::to_string(size) + " bytes is over the limit of " +
                                            std::to_string(kBufferBytesMax) + " for one or " +
                                            std::to_string(kBufferBytesTotalMax) + " for all; release buffers first");
  }
  std::uint32_t index = kNone;
  Slot* slot = obtain_slot(index);
  if (slot == nullptr) {
    refused_.fetch_add(1, std::memory_order_relaxed);
    return make_error(ErrorCode::kBusy,
                      std::to_string(kBuffersMax) + " buffers are in use, which is the limit; release some first");
  }
  const cm_hbuf result{make_handle(handle_generation(slot->state.load(std::memory_order_relaxed)), index), bytes.data(),
                       size};
  slot->owner.store(owner, std::memory_order_relaxed);
  slot->crossed.store(false, std::memory_order_relaxed);
  slot->bytes.store(bytes.detach(), std::memory_order_relaxed);
  alive_.fetch_add(1, std::memory_order_relaxed);
  alive_bytes_.fetch_add(size, std::memory_order_relaxed);
  slot->state.fetch_add(1, std::memory_order_release);
  return result;
}

bool BufferStore::add_reference(Slot& slot, std::uint32_t generation) noexcept {
  std::uint64_t state = slot.state.load(std::memory_order_relaxed);
  do {
    const auto references = static_cast<std::uint32_t>(state);
    if (static_cast<std::uint32_t>(state >> 32u) != generation || references == 0 || references == UINT32_MAX) {
      return false;
    }
  } while (!slot.state.compare_exchange_weak(state, state + 1, std::memory_order_acquire, std::memory_order_relaxed));
  return true;
}

bool BufferStore::drop_reference(Slot& slot, std::uint32_t index, std::uint32_t generation) noexcept {
  std::uint64_t state = slot.state.load(std::memory_order_relaxed);
  std::uint64_t wanted = 0;
  bool last = false;
  do {
    const auto references = static_cast<std::uint32_t>(state);
    if (static_cast<std::uint32_t>(state >> 32u) != generation || references == 0) {
      return false;
    }
    last = references == 1;
    const std::uint32_t next_generation = generation == UINT32_MAX ? 1 : generation + 1;
    wanted = last ? static_cast<std::uint64_t>(next_generation) << 32u : state - 1;
  } while (!slot.state.compare_exchange_weak(state, wanted, std::memory_order_acq_rel, std::memory_order_relaxed));
  if (last) {
    const net::SharedBuffer bytes = net::SharedBuffer::attach(slot.bytes.exchange(nullptr, std::memory_order_relaxed));
    alive_.fetch_sub(1, std::memory_order_relaxed);
    alive_bytes_.fetch_sub(bytes.size(), std::memory_order_relaxed);
    push_free(slot, index);
  }
  return true;
}

bool BufferStore::retain(cm_handle handle, std::uint32_t user) noexcept {
  if (handle == CM_NO_HANDLE) {
    return true;
  }
  Slot* slot = slot_at(handle_index(handle));
  if (slot == nullptr || !add_reference(*slot, handle_generation(handle))) {
    return false;
  }
  if (slot->owner.load(std::memory_order_relaxed) != user) {
    slot->crossed.store(true, std::memory_order_relaxed);
  }
  return true;
}

bool BufferStore::release(cm_handle handle, std::uint32_t user) noexcept {
  if (handle == CM_NO_HANDLE) {
    return true;
  }
  const std::uint32_t index = handle_index(handle);
  Slot* slot = slot_at(index);
  if (slot == nullptr) {
    return false;
  }
  if (slot->owner.load(std::memory_order_relaxed) != user) {
    slot->crossed.store(true, std::memory_order_relaxed);
  }
  return drop_reference(*slot, index, handle_generation(handle));
}

bool BufferStore::share(cm_handle handle, net::SharedBuffer& out) noexcept {
  if (handle == CM_NO_HANDLE) {
    out = net::SharedBuffer();
    return true;
  }
  const std::uint32_t index = handle_index(handle);
  Slot* slot = slot_at(index);
  if (slot == nullptr || !add_reference(*slot, handle_generation(handle))) {
    return false;
  }
  // The reference taken above keeps the slot's bytes in place while they are counted once more.
  out = net::SharedBuffer::share(slot->bytes.load(std::memory_order_relaxed));
  drop_reference(*slot, index, handle_generation(handle));
  return true;
}

std::uint32_t BufferStore::free_owned_by(std::uint32_t owner) noexcept {
  std::uint32_t freed = 0;
  const std::uint32_t used = used_slots_.load(std::memory_order_relaxed);
  for (std::uint32_t index = 0; index < used; ++index) {
    Slot* slot = slot_at(index);
    if (slot == nullptr) {
      continue;
    }
    std::uint64_t state = slot->state.load(std::memory_order_acquire);
    const bool left_behind = static_cast<std::uint32_t>(state) != 0 &&
                             slot->owner.load(std::memory_order_relaxed) == owner &&
                             !slot->crossed.load(std::memory_order_relaxed);
    if (!left_behind) {
      continue;
    }
    const auto generation = static_cast<std::uint32_t>(state >> 32u);
    while (drop_reference(*slot, index, generation)) {
    }
    ++freed;
  }
  return freed;
}

}  // namespace cm::host
