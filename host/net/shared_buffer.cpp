#include "host/net/shared_buffer.hpp"

#include <cassert>
#include <cstdlib>
#include <cstring>
#include <new>

namespace cm::net {

namespace {

// The rep and its bytes lie in one malloc block, so that a builder can grow it with realloc.
void release_block(SharedBufferRep* rep) noexcept {
  rep->~SharedBufferRep();
  std::free(rep);
}

struct AdoptedRep : SharedBufferRep {
  std::string text;
};

struct BorrowedRep : SharedBufferRep {
  SharedBuffer::ReleaseFn give_back = nullptr;
  void* context = nullptr;
};

struct SliceRep : SharedBufferRep {
  SharedBuffer whole;
};

std::uint8_t* block_bytes(void* block) {
  return static_cast<std::uint8_t*>(block) + sizeof(SharedBufferRep);
}

void* resize_block(void* block, std::size_t capacity) {
  void* grown = std::realloc(block, sizeof(SharedBufferRep) + capacity + kBufferPadding);
  if (grown == nullptr) {
    throw std::bad_alloc();
  }
  return grown;
}

SharedBuffer seal_block(void* block, std::size_t size) {
  std::memset(block_bytes(block) + size, 0, kBufferPadding);
  auto* rep = ::new (block) SharedBufferRep;
  rep->padded = 1;
  rep->data = block_bytes(block);
  rep->size = size;
  rep->release = &release_block;
  return SharedBuffer::attach(rep);
}

}  // namespace

SharedBuffer SharedBuffer::copy(std::span<const std::uint8_t> bytes) {
  if (bytes.empty()) {
    return {};
  }
  void* block = resize_block(nullptr, bytes.size());
  std::memcpy(block_bytes(block), bytes.data(), bytes.size());
  return seal_block(block, bytes.size());
}

SharedBuffer SharedBuffer::copy(std::string_view text) {
  return copy(std::span(reinterpret_cast<const std::uint8_t*>(text.data()), text.size()));
}

SharedBuffer SharedBuffer::adopt(std::string text) {
  if (text.empty()) {
    return {};
  }
  auto* rep = new AdoptedRep;
  rep->text = std::move(text);
  rep->data = reinterpret_cast<const std::uint8_t*>(rep->text.data());
  rep->size = rep->text.size();
  rep->release = [](SharedBufferRep* self) noexcept { delete static_cast<AdoptedRep*>(self); };
  return attach(rep);
}

SharedBuffer SharedBuffer::borrow(const void* data, std::size_t size, ReleaseFn release, void* context) {
  assert(release != nullptr);
  auto* rep = new BorrowedRep;
  rep->data = static_cast<const std::uint8_t*>(data);
  rep->size = size;
  rep->give_back = release;
  rep->context = context;
  rep->release = [](SharedBufferRep* self) noexcept {
    auto* borrowed = static_cast<BorrowedRep*>(self);
    borrowed->give_back(borrowed->context, borrowed->data, borrowed->size);
    delete borrowed;
  };
  return attach(rep);
}

SharedBuffer SharedBuffer::slice(std::size_t offset, std::size_t size) const {
  assert(offset <= this->size() && size <= this->size() - offset);
  if (size == 0) {
    return {};
  }
  auto* rep = new SliceRep;
  rep->whole = *this;
  rep->padded = padded() ? 1 : 0;  // behind a part come the rest of the whole and its padding
  rep->data = data() + offset;
  rep->size = size;
  rep->release = [](SharedBufferRep* self) noexcept { delete static_cast<SliceRep*>(self); };
  return attach(rep);
}

SharedBufferBuilder::~SharedBufferBuilder() {
  std::free(block_);
}

std::uint8_t* SharedBufferBuilder::bytes() const noexcept {
  return block_bytes(block_);
}

void SharedBufferBuilder::reserve(std::size_t capacity) {
  if (capacity > capacity_) {
    block_ = resize_block(block_, capacity);
    capacity_ = capacity;
  }
}

std::uint8_t* SharedBufferBuilder::extend(std::size_t size) {
  constexpr std::size_t kFirstBytes = 512;
  const std::size_t wanted = size_ + size;
  if (block_ == nullptr || wanted > capacity_) {
    const std::size_t doubled = capacity_ * 2 > kFirstBytes ? capacity_ * 2 : kFirstBytes;
    reserve(wanted > doubled ? wanted : doubled);
  }
  std::uint8_t* at = bytes() + size_;
  size_ = wanted;
  return at;
}

void SharedBufferBuilder::append(std::span<const std::uint8_t> bytes) {
  if (!bytes.empty()) {
    std::memcpy(extend(bytes.size()), bytes.data(), bytes.size());
  }
}

void SharedBufferBuilder::append(std::string_view text) {
  append(std::span(reinterpret_cast<const std::uint8_t*>(text.data()), text.size()));
}

SharedBuffer SharedBufferBuilder::finish() {
  if (size_ == 0) {
    return {};
  }
  // A builder that doubled far beyond its content gives the surplus back, since the buffer may live long in a queue.
  if (capacity_ > size_ + size_ / 2 + 1024) {
    block_ = resize_block(block_, size_);
  }
  SharedBuffer buffer = seal_block(block_, size_);
  block_ = nullptr;
  size_ = 0;
  capacity_ = 0;
  return buffer;
}

}  // namespace cm::net
