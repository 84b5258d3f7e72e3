#include "host/isolation/frame.hpp"

#include <bit>
#include <cstring>

#include "host/net/ws_codec.hpp"

namespace cm::isolation {

namespace {

constexpr std::size_t kRefBytes = 12;

std::uint64_t read_number(const char* bytes, std::size_t count) {
  std::uint64_t value = 0;
  for (std::size_t i = 0; i < count; ++i) {
    value |= static_cast<std::uint64_t>(static_cast<unsigned char>(bytes[i])) << (8 * i);
  }
  return value;
}

void write_number(char* bytes, std::uint64_t value, std::size_t count) {
  for (std::size_t i = 0; i < count; ++i) {
    bytes[i] = static_cast<char>(value >> (8 * i));
  }
}

}  // namespace

// --- Ring ------------------------------------------------------------------------------------------------------------

std::optional<std::uint64_t> Ring::put(std::string_view payload) {
  if (payload.size() > capacity_) {
    return std::nullopt;
  }
  const std::uint64_t consumed = consumed_->load(std::memory_order_acquire);
  std::uint64_t at = head_;
  const std::uint64_t offset = at % capacity_;
  if (offset + payload.size() > capacity_) {
    at += capacity_ - offset;  // a payload never wraps
  }
  // A reader that claims to have consumed more than there is lies; it gets nothing through the ring any more.
  if (consumed > head_ || at + payload.size() - consumed > capacity_) {
    return std::nullopt;
  }
  std::memcpy(bytes_ + at % capacity_, payload.data(), payload.size());
  head_ = at + payload.size();
  return at;
}

bool Ring::take(std::uint64_t position, std::uint32_t size, std::string& out) {
  const bool follows = position >= head_ && position - head_ <= capacity_;
  if (!follows || size > capacity_ || position % capacity_ + size > capacity_) {
    return false;
  }
  out.assign(bytes_ + position % capacity_, size);
  head_ = position + size;
  consumed_->store(head_, std::memory_order_release);
  return true;
}

// --- FrameWriter -----------------------------------------------------------------------------------------------------

FrameWriter::FrameWriter(std::string& out, Method method, std::uint64_t call, Ring* ring)
    : out_(out), begin_(out.size()), ring_(ring) {
  number(0, 4);
  number(static_cast<std::uint64_t>(method), 2);
  number(0, 2);
  number(call, 8);
}

void FrameWriter::number(std::uint64_t value, int byte_count) {
  char bytes[8];
  write_number(bytes, value, static_cast<std::size_t>(byte_count));
  out_.append(bytes, static_cast<std::size_t>(byte_count));
}

void FrameWriter::f64(double value) {
  u64(std::bit_cast<std::uint64_t>(value));
}

void FrameWriter::bytes(std::string_view value) {
  if (value.size() > kInlineBytesMax && value.size() <= kFrameBytesMax && ring_ != nullptr &&
      refs_.size() < kRingRefsMax) {
    if (const auto position = ring_->put(value); position.has_value()) {
      u32(kRingFlag | static_cast<std::uint32_t>(refs_.size()));
      refs_.push_back(Ref{*position, static_cast<std::uint32_t>(value.size())});
      return;
    }
  }
  // What is too large is not copied: `finish` refuses the frame by its length alone.
  const std::size_t size = std::min<std::size_t>(value.size(), kFrameBytesMax + 1);
  u32(static_cast<std::uint32_t>(size));
  out_.append(value.substr(0, size));
}

bool FrameWriter::finish() {
  for (const Ref& ref : refs_) {
    u64(ref.position);
    u32(ref.size);
  }
  const std::size_t body = out_.size() - begin_ - kFrameHeaderBytes;
  if (body > kFrameBytesMax) {
    out_.resize(begin_);
    return false;
  }
  write_number(out_.data() + begin_, body, 4);
  write_number(out_.data() + begin_ + 6, refs_.size(), 2);
  return true;
}

// --- FrameDecoder ----------------------------------------------------------------------------------------------------

char* FrameDecoder::prepare(std::size_t size) {
  if (begin_ != 0 && (begin_ == filled_ || begin_ > buffer_.size() / 2)) {
    std::memmove(buffer_.data(), buffer_.data() + begin_, filled_ - begin_);
    filled_ -= begin_;
    begin_ = 0;
  }
  if (buffer_.size() - filled_ < size) {
    buffer_.resize(filled_ + size);
  }
  return buffer_.data() + filled_;
}

void FrameDecoder::feed(std::string_view bytes) {
  if (!bytes.empty()) {
    std::memcpy(prepare(bytes.size()), bytes.data(), bytes.size());
    commit(bytes.size());
  }
}

FrameDecoder::Outcome FrameDecoder::bad(std::string problem) {
  problem_ = std::move(problem);
  return Outcome::kBad;
}

FrameDecoder::Outcome FrameDecoder::next(Frame& frame) {
  if (!problem_.empty()) {
    return Outcome::kBad;
  }
  if (filled_ - begin_ < kFrameHeaderBytes) {
    return Outcome::kMore;
  }
  const char* header = buffer_.data() + begin_;
  const auto size = static_cast<std::uint32_t>(read_number(header, 4));
  const auto method = static_cast<std::uint32_t>(read_number(header + 4, 2));
  const auto ref_count = static_cast<std::uint32_t>(read_number(header + 6, 2));
  if (size > kFrameBytesMax) {
    return bad("a frame of " + std::to_string(size) + " bytes, expected at most " + std::to_string(kFrameBytesMax));
  }
  if (method == 0 || method >= static_cast<std::uint32_t>(Method::kCount)) {
    return bad("a frame of the unknown method " + std::to_string(method));
  }
  if (ref_count > kRingRefsMax || ref_count * kRefBytes > size || (ref_count != 0 && ring_ == nullptr)) {
    return bad("a frame with " + std::to_string(ref_count) + " payloads in shared memory, more than can be");
  }
  if (filled_ - begin_ < kFrameHeaderBytes + size) {
    return Outcome::kMore;
  }
  frame.method = static_cast<Method>(method);
  frame.call = read_number(header + 8, 8);
  frame.body = std::string_view(header + kFrameHeaderBytes, size);
  begin_ += kFrameHeaderBytes + size;
  if (!take_payloads(frame, ref_count)) {
    return bad("a payload outside the shared memory");
  }
  return Outcome::kFrame;
}

bool FrameDecoder::take_payloads(Frame& frame, std::uint32_t ref_count) {
  frame.payloads.clear();
  const std::size_t refs_at = frame.body.size() - ref_count * kRefBytes;
  for (std::uint32_t i = 0; i < ref_count; ++i) {
    const char* ref = frame.body.data() + refs_at + i * kRefBytes;
    frame.payloads.emplace_back();
    if (!ring_->take(read_number(ref, 8), static_cast<std::uint32_t>(read_number(ref + 8, 4)), frame.payloads.back())) {
      return false;
    }
  }
  frame.body.remove_suffix(ref_count * kRefBytes);
  return true;
}

// --- FrameReader -----------------------------------------------------------------------------------------------------

std::string_view FrameReader::fail() {
  good_ = false;
  return {};
}

std::uint64_t FrameReader::number(std::size_t byte_count) {
  if (!good_ || frame_.body.size() - position_ < byte_count) {
    good_ = false;
    return 0;
  }
  const std::uint64_t value = read_number(frame_.body.data() + position_, byte_count);
  position_ += byte_count;
  return value;
}

double FrameReader::f64() {
  return std::bit_cast<double>(u64());
}

bool FrameReader::boolean() {
  const std::uint8_t value = u8();
  good_ = good_ && value <= 1;
  return good_ && value == 1;
}

std::string_view FrameReader::bytes() {
  const std::uint32_t size = u32();
  if (!good_) {
    return {};
  }
  if ((size & kRingFlag) != 0) {
    const std::uint32_t index = size & ~kRingFlag;
    return index < frame_.payloads.size() ? std::string_view(frame_.payloads[index]) : fail();
  }
  if (frame_.body.size() - position_ < size) {
    return fail();
  }
  const std::string_view value = frame_.body.substr(position_, size);
  position_ += size;
  return value;
}

std::string_view FrameReader::text() {
  const std::string_view value = bytes();
  return net::utf8_valid(value) ? value : fail();
}

std::uint32_t FrameReader::count(std::uint32_t item_bytes_min) {
  const std::uint32_t value = u32();
  if (!good_ || static_cast<std::uint64_t>(value) * item_bytes_min > frame_.body.size() - position_) {
    good_ = false;
    return 0;
  }
  return value;
}

}  // namespace cm::isolation
