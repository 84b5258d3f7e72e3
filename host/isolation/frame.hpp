// The frames between the host and a runner child: a length, a method, a call number, fields. Both sides treat the other
// as hostile: every length, count and text is checked, and one bad frame ends the connection.
#pragma once

#include <atomic>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "host/isolation/methods.hpp"

namespace cm::isolation {

inline constexpr std::size_t kFrameHeaderBytes = 16;
inline constexpr std::uint32_t kFrameBytesMax = 20u << 20;  // body of one frame, as it stands on the socket
inline constexpr std::size_t kInlineBytesMax = 4096;        // larger payloads go through the shared ring if it has room
inline constexpr std::size_t kRingRefsMax = 1024;           // payloads of one frame that stand in the ring
inline constexpr std::uint32_t kRingFlag = 1u << 31;
static_assert(kFrameBytesMax < kRingFlag);

// One direction of the shared memory: payloads stand one behind the other, the socket carries their positions in order.
// The writer trusts nothing of the reader but `consumed`, which it checks; the reader trusts nothing but its own count.
class Ring {
 public:
  Ring() = default;
  Ring(char* bytes, std::uint64_t capacity, std::atomic<std::uint64_t>* consumed)
      : bytes_(bytes), capacity_(capacity), consumed_(consumed) {}

  // Writer: copies the payload in; its position, or nothing when there is no room now.
  std::optional<std::uint64_t> put(std::string_view payload);
  // Reader: copies the payload out and gives its room back. False for a position that cannot be.
  bool take(std::uint64_t position, std::uint32_t size, std::string& out);

 private:
  char* bytes_ = nullptr;
  std::uint64_t capacity_ = 0;
  std::atomic<std::uint64_t>* consumed_ = nullptr;
  std::uint64_t head_ = 0;  // writer: behind the last payload; reader: what it has taken
};

// Appends one frame to `out`. Not used again after `finish`.
class FrameWriter {
 public:
  FrameWriter(std::string& out, Method method, std::uint64_t call, Ring* ring);

  void u8(std::uint8_t value) { out_.push_back(static_cast<char>(value)); }
  void u32(std::uint32_t value) { number(value, 4); }
  void u64(std::uint64_t value) { number(value, 8); }
  void i64(std::int64_t value) { number(static_cast<std::uint64_t>(value), 8); }
  void f64(double value);
  void boolean(bool value) { u8(value ? 1 : 0); }
  // Text must be UTF-8 and bytes may be anything; both look the same on the socket.
  void text(std::string_view value) { bytes(value); }
  void bytes(std::string_view value);

  // False when the frame is larger than kFrameBytesMax: then nothing was appended.
  bool finish();

 private:
  void number(std::uint64_t value, int byte_count);

  struct Ref {
    std::uint64_t position;
    std::uint32_t size;
  };

  std::string& out_;
  std::size_t begin_;
  Ring* ring_;
  std::vector<Ref> refs_;
};

// One frame as it arrived. The views are valid until the next call of the decoder.
struct Frame {
  Method method = Method::kNone;
  std::uint64_t call = 0;
  std::string_view body;
  std::vector<std::string> payloads;  // taken out of the ring
};

// A frame that owns its bytes, for those that wait.
struct OwnedFrame {
  Method method = Method::kNone;
  std::uint64_t call = 0;
  std::string body;
  std::vector<std::string> payloads;

  explicit OwnedFrame(Frame&& frame)
      : method(frame.method), call(frame.call), body(frame.body), payloads(std::move(frame.payloads)) {}
  Frame view() && { return Frame{method, call, body, std::move(payloads)}; }
};

// Cuts a stream of bytes into frames.
class FrameDecoder {
 public:
  enum class Outcome { kFrame, kMore, kBad };

  // `ring` may be null: then frames must not refer to it.
  explicit FrameDecoder(Ring* ring) : ring_(ring) {}

  // Room for at least `size` bytes behind what is there; `commit` says how many were written.
  char* prepare(std::size_t size);
  void commit(std::size_t size) { filled_ += size; }
  void feed(std::string_view bytes);
  // kBad: `problem` says what was wrong; nothing may be read any more.
  Outcome next(Frame& frame);
  const std::string& problem() const noexcept { return problem_; }

 private:
  Outcome bad(std::string problem);
  bool take_payloads(Frame& frame, std::uint32_t ref_count);

  Ring* ring_;
  std::string buffer_;
  std::size_t begin_ = 0;
  std::size_t filled_ = 0;
  std::string problem_;
};

// Reads the fields of a frame. After the first thing that does not fit everything reads as zero or empty and `done` is
// false: check it before anything is used.
class FrameReader {
 public:
  explicit FrameReader(const Frame& frame) : frame_(frame) {}

  std::uint8_t u8() { return static_cast<std::uint8_t>(number(1)); }
  std::uint32_t u32() { return static_cast<std::uint32_t>(number(4)); }
  std::uint64_t u64() { return number(8); }
  std::int64_t i64() { return static_cast<std::int64_t>(number(8)); }
  double f64();
  bool boolean();
  std::string_view text();  // checked to be UTF-8
  std::string_view bytes();
  // A count of items of at least `item_bytes_min` bytes each: never more than the frame could hold.
  std::uint32_t count(std::uint32_t item_bytes_min);

  bool good() const noexcept { return good_; }
  // All fields fitted and nothing is left.
  bool done() const noexcept { return good_ && position_ == frame_.body.size(); }

 private:
  std::uint64_t number(std::size_t byte_count);
  std::string_view fail();

  const Frame& frame_;
  std::size_t position_ = 0;
  bool good_ = true;
};

}  // namespace cm::isolation
