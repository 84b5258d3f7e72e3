// WebSocket framing (RFC 6455 section 5) without sockets: decoding in place, encoding of frame heads. Pure.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace cm::net {

// RFC 6455 section 5.2.
enum class WsOpcode : std::uint8_t {
  kContinuation = 0x0,
  kText = 0x1,
  kBinary = 0x2,
  kClose = 0x8,
  kPing = 0x9,
  kPong = 0xA,
};

// RFC 6455 section 7.4.1, those that this room sends or reports.
inline constexpr std::uint16_t kWsCloseNormal = 1000;
inline constexpr std::uint16_t kWsCloseGoingAway = 1001;
inline constexpr std::uint16_t kWsCloseProtocolError = 1002;
inline constexpr std::uint16_t kWsCloseNoStatus = 1005;  // never on the wire: the close frame had no code
inline constexpr std::uint16_t kWsCloseAbnormal =
    1006;  // never on the wire: the connection ended without a close frame
inline constexpr std::uint16_t kWsCloseInvalidData = 1007;
inline constexpr std::uint16_t kWsClosePolicy = 1008;
inline constexpr std::uint16_t kWsCloseTooBig = 1009;
inline constexpr std::uint16_t kWsCloseInternal = 1011;
inline constexpr std::uint16_t kWsCloseTryAgainLater = 1013;

inline constexpr std::size_t kWsFrameHeadBytesMax = 14;        // 2 + 8 length + 4 mask
inline constexpr std::size_t kWsControlPayloadBytesMax = 125;  // RFC 6455 section 5.5
inline constexpr std::size_t kWsCloseReasonBytesMax = 123;     // 125 minus the code

// Which end this program is. A server refuses unmasked frames and sends unmasked ones, a client the other way round.
enum class WsRole : std::uint8_t { kServer, kClient };

// A complete data message. `data` lies in the read buffer (or in the batch's assembled fragments), is valid until the
// batch is cleared, and at least kBufferPadding further bytes may be read behind it.
struct WsMessage {
  std::string_view data;
  bool text = false;  // validated UTF-8

  std::span<const std::uint8_t> bytes() const {
    return {reinterpret_cast<const std::uint8_t*>(data.data()), data.size()};
  }
};

// A control frame, copied (at most 125 bytes).
struct WsControl {
  WsOpcode opcode = WsOpcode::kPing;
  std::uint8_t size = 0;
  std::array<char, kWsControlPayloadBytesMax> payload{};

  std::string_view view() const { return {payload.data(), size}; }
};

// What one call of the decoder found. Kept per loop and reused: clear() keeps the vectors' memory.
struct WsBatch {
  std::vector<WsMessage> messages;
  std::vector<WsControl> controls;  // pings, pongs, and at most one close, which is last
  std::vector<std::vector<std::uint8_t>> assembled;

  void clear() {
    messages.clear();
    controls.clear();
    assembled.clear();
  }
};

// A violation: the close code to send (1002, 1007 or 1009) and a text for the close frame. code 0 means none.
struct WsFailure {
  std::uint16_t code = 0;
  std::string_view reason;

  explicit operator bool() const { return code != 0; }
};

// The receiving half of one connection. Between frames it holds no memory beyond itself; an unfinished fragmented
// message is kept in it (at most max_message_bytes).
class WsDecoder {
 public:
  WsDecoder(WsRole role, std::size_t max_message_bytes) : max_message_bytes_(max_message_bytes), role_(role) {}

  struct Outcome {
    std::size_t consumed = 0;  // whole frames; the caller keeps the rest and offers it again with more bytes
    std::size_t needed = 0;    // size in bytes of the frame at `consumed`, once known (0: its head is incomplete)
    WsFailure failure;         // what came before the violation is in the batch
    bool closed = false;       // a close frame was found; what follows it is ignored
  };

  // Decodes all whole frames of `buffer`, unmasking in place and appending to `out`. At least kBufferPadding bytes must
  // be readable behind the buffer's end. After a failure or a close frame the decoder must not be used again.
  Outcome decode(std::span<std::uint8_t> buffer, WsBatch& out);

 private:
  struct FrameHead;
  WsFailure on_frame(const FrameHead& head, std::span<std::uint8_t> payload, WsBatch& out, bool& closed);
  WsFailure on_control(const FrameHead& head, std::span<const std::uint8_t> payload, WsBatch& out, bool& closed);
  WsFailure on_data(const FrameHead& head, std::span<const std::uint8_t> payload, WsBatch& out);
  WsFailure check_head(const FrameHead& head) const;

  std::size_t max_message_bytes_;
  std::vector<std::uint8_t> fragments_;
  WsRole role_;
  bool fragmented_ = false;
  bool fragmented_text_ = false;
};

// A frame head as bytes.
struct WsFrameHead {
  std::array<std::uint8_t, kWsFrameHeadBytesMax> bytes{};
  std::uint8_t size = 0;
};

// The head of one frame; `mask` (client only) is written after the length when not null (4 bytes).
WsFrameHead ws_frame_head(WsOpcode opcode, bool fin, std::uint64_t payload_bytes, const std::uint8_t* mask);
// XORs `data` with the mask, starting at mask position 0 (RFC 6455 section 5.3).
void ws_apply_mask(std::span<std::uint8_t> data, const std::uint8_t mask[4]);
// True for codes that may stand in a close frame (RFC 6455 section 7.4): 1000..1003, 1007..1014, 3000..4999.
bool ws_close_code_valid(std::uint16_t code);
// The payload of a close frame: code (none for kWsCloseNoStatus) and the reason, cut to 123 bytes at a character
// border.
std::string ws_close_payload(std::uint16_t code, std::string_view reason);
// Strict UTF-8 (RFC 3629: no surrogates, no overlong forms, at most U+10FFFF).
bool utf8_valid(std::string_view text);

}  // namespace cm::net
