#include <algorithm>
#include <cassert>
#include <cstring>
#include <memory>

#include "host/net/detail/write_queue.hpp"

namespace cm::net::detail {

namespace {

constexpr std::size_t kPiecesMax = 256;              // well under IOV_MAX (1024); more does not pay
constexpr std::size_t kStageBytes = 64 * 1024;       // small pieces are packed here
constexpr std::size_t kPackedPayloadBytesMax = 512;  // copying so few bytes costs less than one more iovec
constexpr std::size_t kKeptSegments = 16;

}  // namespace

void WriteQueue::push(std::span<const std::uint8_t> head, SharedBuffer payload) {
  assert(head.size() <= kHeadBytesMax);
  if (head.empty() && payload.empty()) {
    return;
  }
  Segment& segment = segments_.emplace_back();
  std::copy(head.begin(), head.end(), segment.head.begin());
  segment.head_size = static_cast<std::uint8_t>(head.size());
  segment.payload = std::move(payload);
  bytes_ += segment.size();
}

// Fills the pieces from the front of the queue. Neighbouring small parts share one piece in the thread's stage, whose
// content is rebuilt on each call, so it need not outlive the write.
std::size_t WriteQueue::gather(std::span<iovec> pieces) const {
  // Made by the first write of a thread: a buffer inside the thread's own storage is zeroed for threads that never
  // write.
  thread_local const auto owned = std::make_unique<std::array<std::uint8_t, kStageBytes>>();
  std::array<std::uint8_t, kStageBytes>& stage = *owned;
  std::size_t staged = 0;
  std::size_t count = 0;
  bool last_in_stage = false;
  auto add = [&](const std::uint8_t* data, std::size_t size) {
    const bool packable = size <= kPackedPayloadBytesMax && staged + size <= stage.size();
    if (!packable) {
      pieces[count++] = {const_cast<std::uint8_t*>(data), size};
      last_in_stage = false;
      return;
    }
    std::memcpy(stage.data() + staged, data, size);
    if (last_in_stage) {
      pieces[count - 1].iov_len += size;
    } else {
      pieces[count++] = {stage.data() + staged, size};
      last_in_stage = true;
    }
    staged += size;
  };
  std::size_t skip = offset_;
  for (std::size_t i = first_; i < segments_.size() && count + 2 <= pieces.size(); ++i) {
    const Segment& segment = segments_[i];
    const std::size_t head_skip = std::min<std::size_t>(skip, segment.head_size);
    if (head_skip < segment.head_size) {
      add(segment.head.data() + head_skip, segment.head_size - head_skip);
    }
    const std::size_t payload_skip = skip - head_skip;
    if (payload_skip < segment.payload.size()) {
      add(segment.payload.data() + payload_skip, segment.payload.size() - payload_skip);
    }
    skip = 0;
  }
  return count;
}

IoStatus WriteQueue::flush(StreamSocket& socket, std::size_t& written) {
  while (bytes_ != 0) {
    std::array<iovec, kPiecesMax> pieces;
    const std::size_t count = gather(pieces);
    const IoResult result = socket.write(std::span(pieces).first(count));
    if (result.status != IoStatus::kOk) {
      return result.status;
    }
    written += result.bytes;
    consume(result.bytes);
  }
  return IoStatus::kOk;
}

void WriteQueue::consume(std::size_t bytes) {
  assert(bytes <= bytes_);
  bytes_ -= bytes;
  bytes += offset_;
  while (first_ < segments_.size() && bytes >= segments_[first_].size()) {
    bytes -= segments_[first_].size();
    segments_[first_].payload = SharedBuffer();
    ++first_;
  }
  offset_ = bytes;
  if (first_ == segments_.size()) {
    segments_.clear();
    first_ = 0;
    if (segments_.capacity() > kKeptSegments) {
      segments_ = {};
    }
  } else if (first_ > 1024 && first_ > segments_.size() / 2) {
    segments_.erase(segments_.begin(), segments_.begin() + static_cast<std::ptrdiff_t>(first_));
    first_ = 0;
  }
}

void WriteQueue::drop_unstarted() {
  const std::size_t keep = first_ + (offset_ != 0 ? 1 : 0);
  segments_.resize(keep);
  bytes_ = offset_ != 0 ? segments_[first_].size() - offset_ : 0;
  if (bytes_ == 0) {
    segments_ = {};
    first_ = 0;
    offset_ = 0;
  }
}

}  // namespace cm::net::detail
