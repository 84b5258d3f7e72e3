// Reference-counted immutable bytes: the one form in which payloads travel through this room.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <utility>

namespace cm::net {

// Readable bytes that follow the data of every buffer made by copy(), SharedBufferBuilder and the servers of this room,
// so that simdjson (SIMDJSON_PADDING = 64) parses in place. Buffers made by adopt() and borrow() promise nothing.
inline constexpr std::size_t kBufferPadding = 64;

// The counted object behind a SharedBuffer. Opaque: the C ABI passes a pointer to it as its `_hbuf` handle, with
// SharedBuffer::retain_raw and release_raw behind the table's retain and release. Any thread.
struct SharedBufferRep {
  using Release = void (*)(SharedBufferRep*) noexcept;

  std::atomic<std::uint32_t> references{1};
  std::uint32_t padded = 0;  // 1: kBufferPadding readable bytes follow the data
  const std::uint8_t* data = nullptr;
  std::size_t size = 0;
  Release release = nullptr;  // destroys the object; called by whoever drops the last reference
};

// A handle of pointer size. Copying counts a reference (atomic), the bytes are never copied and never change.
// Thread: a handle belongs to one thread at a time; different handles of the same bytes may be used anywhere.
class SharedBuffer {
 public:
  // Called once, by the thread that drops the last reference, to give the memory back to its owner.
  using ReleaseFn = void (*)(void* context, const void* data, std::size_t size);

  SharedBuffer() noexcept = default;
  SharedBuffer(const SharedBuffer& other) noexcept : rep_(other.rep_) { retain_raw(rep_); }
  SharedBuffer(SharedBuffer&& other) noexcept : rep_(std::exchange(other.rep_, nullptr)) {}
  SharedBuffer& operator=(SharedBuffer other) noexcept {
    std::swap(rep_, other.rep_);
    return *this;
  }
  ~SharedBuffer() { release_raw(rep_); }

  // Copies the bytes once into one allocation, padded. An empty input gives an empty handle.
  static SharedBuffer copy(std::span<const std::uint8_t> bytes);
  static SharedBuffer copy(std::string_view text);
  // Takes the string over; its bytes are not copied (short strings excepted). Not padded.
  static SharedBuffer adopt(std::string text);
  // Memory of somebody else, valid until `release(context, data, size)` is called. Not padded.
  static SharedBuffer borrow(const void* data, std::size_t size, ReleaseFn release, void* context);
  // A part of this buffer that keeps the whole alive. [offset, offset + size) must lie inside.
  SharedBuffer slice(std::size_t offset, std::size_t size) const;

  const std::uint8_t* data() const noexcept { return rep_ != nullptr ? rep_->data : nullptr; }
  std::size_t size() const noexcept { return rep_ != nullptr ? rep_->size : 0; }
  bool empty() const noexcept { return size() == 0; }
  bool padded() const noexcept { return rep_ != nullptr && rep_->padded != 0; }
  std::span<const std::uint8_t> bytes() const noexcept { return {data(), size()}; }
  std::string_view view() const noexcept { return {reinterpret_cast<const char*>(data()), size()}; }
  std::string to_string() const { return std::string(view()); }
  // The number of handles, for tests and diagnosis only.
  std::uint32_t use_count() const noexcept { return rep_ != nullptr ? rep_->references.load() : 0; }

  // The raw side for the C ABI. detach() gives the reference away, attach() takes one over, null is allowed everywhere.
  SharedBufferRep* get() const noexcept { return rep_; }
  SharedBufferRep* detach() noexcept { return std::exchange(rep_, nullptr); }
  static SharedBuffer attach(SharedBufferRep* rep) noexcept {
    SharedBuffer buffer;
    buffer.rep_ = rep;
    return buffer;
  }
  static SharedBuffer share(SharedBufferRep* rep) noexcept {
    retain_raw(rep);
    return attach(rep);
  }
  static void retain_raw(SharedBufferRep* rep) noexcept {
    if (rep != nullptr) {
      rep->references.fetch_add(1, std::memory_order_relaxed);
    }
  }
  static void release_raw(SharedBufferRep* rep) noexcept {
    if (rep != nullptr && rep->references.fetch_sub(1, std::memory_order_acq_rel) == 1) {
      rep->release(rep);
    }
  }

 private:
  SharedBufferRep* rep_ = nullptr;
};

// Grows bytes and turns them into a padded SharedBuffer without a further copy. One thread at a time.
class SharedBufferBuilder {
 public:
  SharedBufferBuilder() noexcept = default;
  explicit SharedBufferBuilder(std::size_t capacity) { reserve(capacity); }
  SharedBufferBuilder(SharedBufferBuilder&& other) noexcept
      : block_(std::exchange(other.block_, nullptr)),
        size_(std::exchange(other.size_, 0)),
        capacity_(std::exchange(other.capacity_, 0)) {}
  SharedBufferBuilder& operator=(SharedBufferBuilder&& other) noexcept {
    std::swap(block_, other.block_);
    std::swap(size_, other.size_);
    std::swap(capacity_, other.capacity_);
    return *this;
  }
  SharedBufferBuilder(const SharedBufferBuilder&) = delete;
  SharedBufferBuilder& operator=(const SharedBufferBuilder&) = delete;
  ~SharedBufferBuilder();

  void reserve(std::size_t capacity);
  void append(std::span<const std::uint8_t> bytes);
  void append(std::string_view text);
  // `size` writable bytes at the end, already counted in size(); valid until the next call.
  std::uint8_t* extend(std::size_t size);
  std::size_t size() const noexcept { return size_; }
  // Hands the bytes over and is empty afterwards. Nothing appended gives an empty handle.
  SharedBuffer finish();

 private:
  std::uint8_t* bytes() const noexcept;

  void* block_ = nullptr;  // SharedBufferRep, then capacity_ bytes, then the padding
  std::size_t size_ = 0;
  std::size_t capacity_ = 0;
};

}  // namespace cm::net
