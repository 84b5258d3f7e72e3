// Generation-checked handles (anchors: rule 10). A handle is 64 bits: generation above, index below. The table answers
// a stale or invented handle with "not there", never with another object's memory.
#pragma once

#include <claudemesh/abi.h>

#include <cassert>
#include <cstdint>
#include <memory>
#include <optional>
#include <utility>
#include <vector>

namespace cm::host {

constexpr cm_handle make_handle(std::uint32_t generation, std::uint32_t index) noexcept {
  return (static_cast<cm_handle>(generation) << 32u) | index;
}
constexpr std::uint32_t handle_index(cm_handle handle) noexcept {
  return static_cast<std::uint32_t>(handle);
}
constexpr std::uint32_t handle_generation(cm_handle handle) noexcept {
  return static_cast<std::uint32_t>(handle >> 32u);
}

// Owns objects of one kind and names them by handle. Not synchronised: it belongs to one loop or stands behind its
// owner's mutex. Objects do not move, so a pointer from `find` stays valid until that object is removed.
template <typename T>
class HandleTable {
 public:
  // `first_generation` differs between tables so that a handle of one table rarely fits another.
  explicit HandleTable(std::uint32_t capacity, std::uint32_t first_generation = 1) noexcept
      : capacity_(capacity), first_generation_(first_generation == 0 ? 1 : first_generation) {}

  // Takes the object in; CM_NO_HANDLE when the table is full (the object is then destroyed).
  cm_handle insert(std::unique_ptr<T> object) {
    assert(object != nullptr);
    std::uint32_t index = free_head_;
    if (index != kNone) {
      free_head_ = slots_[index].next_free;
    } else {
      if (slots_.size() >= capacity_) {
        return CM_NO_HANDLE;
      }
      index = static_cast<std::uint32_t>(slots_.size());
      slots_.push_back(Slot{nullptr, first_generation_, kNone});
    }
    Slot& slot = slots_[index];
    slot.object = std::move(object);
    ++size_;
    return make_handle(slot.generation, index);
  }

  // The handle that the next successful insert will answer, for objects that must know their own name.
  std::optional<cm_handle> next_handle() const noexcept {
    if (free_head_ != kNone) {
      return make_handle(slots_[free_head_].generation, free_head_);
    }
    if (slots_.size() >= capacity_) {
      return std::nullopt;
    }
    return make_handle(first_generation_, static_cast<std::uint32_t>(slots_.size()));
  }

  T* find(cm_handle handle) const noexcept {
    const std::uint32_t index = handle_index(handle);
    if (index >= slots_.size() || slots_[index].generation != handle_generation(handle)) {
      return nullptr;
    }
    return slots_[index].object.get();
  }

  // Takes the object out and makes every copy of the handle stale. Null when the handle is not valid.
  std::unique_ptr<T> remove(cm_handle handle) noexcept {
    if (find(handle) == nullptr) {
      return nullptr;
    }
    const std::uint32_t index = handle_index(handle);
    Slot& slot = slots_[index];
    std::unique_ptr<T> object = std::move(slot.object);
    slot.generation = slot.generation == UINT32_MAX ? 1 : slot.generation + 1;
    slot.next_free = free_head_;
    free_head_ = index;
    assert(size_ > 0);
    --size_;
    return object;
  }

  // Calls `visit(handle, object)` for each object; `visit` may remove the object it was given, and no other.
  template <typename Visit>
  void for_each(Visit&& visit) {
    for (std::uint32_t index = 0; index < slots_.size(); ++index) {
      if (slots_[index].object != nullptr) {
        visit(make_handle(slots_[index].generation, index), *slots_[index].object);
      }
    }
  }

  std::vector<cm_handle> handles() const {
    std::vector<cm_handle> result;
    result.reserve(size_);
    for (std::uint32_t index = 0; index < slots_.size(); ++index) {
      if (slots_[index].object != nullptr) {
        result.push_back(make_handle(slots_[index].generation, index));
      }
    }
    return result;
  }

  std::uint32_t size() const noexcept { return size_; }
  bool empty() const noexcept { return size_ == 0; }

 private:
  static constexpr std::uint32_t kNone = UINT32_MAX;

  struct Slot {
    std::unique_ptr<T> object;
    std::uint32_t generation;
    std::uint32_t next_free;
  };

  std::vector<Slot> slots_;
  std::uint32_t capacity_;
  std::uint32_t first_generation_;
  std::uint32_t free_head_ = kNone;
  std::uint32_t size_ = 0;
};

}  // namespace cm::host
