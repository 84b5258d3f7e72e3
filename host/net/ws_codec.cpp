#include "host/net/ws_codec.hpp"

#include <algorithm>
#include <cassert>
#include <cstring>

#include "host/net/shared_buffer.hpp"

namespace cm::net {

namespace {

// RFC 6455 section 5.2, the bits of the first two bytes.
constexpr std::uint8_t kFinBit = 0x80;
constexpr std::uint8_t kReservedBits = 0x70;
constexpr std::uint8_t kOpcodeBits = 0x0F;
constexpr std::uint8_t kMaskBit = 0x80;
constexpr std::uint8_t kLengthBits = 0x7F;
constexpr std::uint8_t kLength16 = 126;
constexpr std::uint8_t kLength64 = 127;
constexpr std::uint8_t kControlBit = 0x08;

std::uint64_t read_big_endian(const std::uint8_t* at, std::size_t bytes) {
  std::uint64_t value = 0;
  for (std::size_t i = 0; i < bytes; ++i) {
    value = value << 8 | at[i];
  }
  return value;
}

// The number of continuation bytes and the smallest code point for a UTF-8 lead byte; 0 bytes for an invalid lead.
std::size_t sequence_size(std::uint8_t lead) {
  if (lead >= 0xC2 && lead <= 0xDF) {
    return 2;
  }
  if (lead >= 0xE0 && lead <= 0xEF) {
    return 3;
  }
  return lead >= 0xF0 && lead <= 0xF4 ? 4 : 0;
}

// RFC 3629 section 4: which second bytes may follow a lead byte.
bool second_byte_valid(std::uint8_t lead, std::uint8_t second) {
  switch (lead) {
    case 0xE0:
      return second >= 0xA0 && second <= 0xBF;
    case 0xED:
      return second >= 0x80 && second <= 0x9F;
    case 0xF0:
      return second >= 0x90 && second <= 0xBF;
    case 0xF4:
      return second >= 0x80 && second <= 0x8F;
    default:
      return (second & 0xC0) == 0x80;
  }
}

}  // namespace

bool utf8_valid(std::string_view text) {
  const auto* at = reinterpret_cast<const std::uint8_t*>(text.data());
  const auto* end = at + text.size();
  while (at != end) {
    // Most text is ASCII: eight bytes at a time.
    while (end - at >= 8) {
      std::uint64_t word = 0;
      std::memcpy(&word, at, sizeof word);
      if ((word & 0x8080808080808080ULL) != 0) {
        break;
      }
      at += 8;
    }
    if (at == end) {
      return true;
    }
    if (*at < 0x80) {
      ++at;
      continue;
    }
    const std::size_t size = sequence_size(*at);
    if (size == 0 || static_cast<std::size_t>(end - at) < size || !second_byte_valid(at[0], at[1])) {
      return false;
    }
    for (std::size_t i = 2; i < size; ++i) {
      if ((at[i] & 0xC0) != 0x80) {
        return false;
      }
    }
    at += size;
  }
  return true;
}

bool ws_close_code_valid(std::uint16_t code) {
  return (code >= 1000 && code <= 1003) || (code >= 1007 && code <= 1014) || (code >= 3000 && code <= 4999);
}

void ws_apply_mask(std::span<std::uint8_t> data, const std::uint8_t mask[4]) {
  std::uint32_t mask32 = 0;
  std::memcpy(&mask32, mask, sizeof mask32);
  const std::uint64_t mask64 = static_cast<std::uint64_t>(mask32) << 32 | mask32;
  std::uint8_t* at = data.data();
  std::size_t left = data.size();
  for (; left >= 8; left -= 8, at += 8) {
    std::uint64_t word = 0;
    std::memcpy(&word, at, sizeof word);
    word ^= mask64;
    std::memcpy(at, &word, sizeof word);
  }
  for (std::size_t i = 0; i < left; ++i) {
    at[i] = static_cast<std::uint8_t>(at[i] ^ mask[i & 3]);
  }
}

WsFrameHead ws_frame_head(WsOpcode opcode, bool fin, std::uint64_t payload_bytes, const std::uint8_t* mask) {
  WsFrameHead head;
  auto put = [&head](std::uint64_t byte) { head.bytes[head.size++] = static_cast<std::uint8_t>(byte); };
  put((fin ? kFinBit : 0U) | static_cast<unsigned>(opcode));
  const unsigned mask_bit = mask != nullptr ? kMaskBit : 0U;
  std::size_t length_bytes = 0;
  if (payload_bytes < kLength16) {
    put(mask_bit | payload_bytes);
  } else if (payload_bytes <= 0xFFFF) {
    put(mask_bit | kLength16);
    length_bytes = 2;
  } else {
    put(mask_bit | kLength64);
    length_bytes = 8;
  }
  for (std::size_t i = length_bytes; i > 0; --i) {
    put(payload_bytes >> (8 * (i - 1)) & 0xFF);
  }
  if (mask != nullptr) {
    std::memcpy(head.bytes.data() + head.size, mask, 4);
    head.size = static_cast<std::uint8_t>(head.size + 4);
  }
  return head;
}

std::string ws_close_payload(std::uint16_t code, std::string_view reason) {
  std::string payload;
  if (code == kWsCloseNoStatus) {
    return payload;
  }
  payload.push_back(static_cast<char>(code >> 8));
  payload.push_back(static_cast<char>(code & 0xFF));
  std::size_t size = std::min(reason.size(), kWsCloseReasonBytesMax);
  while (size < reason.size() && size > 0 && (static_cast<std::uint8_t>(reason[size]) & 0xC0) == 0x80) {
    --size;
  }
  // A reason that is not text would make a correct peer fail the connection with 1007.
  payload.append(utf8_valid(reason.substr(0, size)) ? reason.substr(0, size) : std::string_view());
  return payload;
}

struct WsDecoder::FrameHead {
  WsOpcode opcode = WsOpcode::kContinuation;
  bool fin = false;
  bool masked = false;
  std::uint8_t reserved = 0;
  std::uint8_t length_code = 0;
  std::size_t size = 0;
  std::uint64_t payload_bytes = 0;

  bool control() const { return (static_cast<std::uint8_t>(opcode) & kControlBit) != 0; }
};

// Checks what can be known from the head alone, so that a bad frame is refused before its payload is waited for.
WsFailure WsDecoder::check_head(const FrameHead& head) const {
  const auto opcode = static_cast<std::uint8_t>(head.opcode);
  if (head.reserved != 0) {
    return {kWsCloseProtocolError, "reserved bits are set but no extension was negotiated"};
  }
  if ((opcode > 0x2 && opcode < 0x8) || opcode > 0xA) {
    return {kWsCloseProtocolError, "the opcode is not defined"};
  }
  if (head.masked != (role_ == WsRole::kServer)) {
    return {kWsCloseProtocolError, head.masked ? "a server must not mask frames" : "a client must mask every frame"};
  }
  if (head.control()) {
    if (!head.fin) {
      return {kWsCloseProtocolError, "a control frame is fragmented"};
    }
    return head.length_code >= kLength16 ? WsFailure{kWsCloseProtocolError, "a control frame is over 125 bytes"}
                                         : WsFailure{};
  }
  if (head.opcode == WsOpcode::kContinuation && !fragmented_) {
    return {kWsCloseProtocolError, "a continuation frame continues nothing"};
  }
  if (head.opcode != WsOpcode::kContinuation && fragmented_) {
    return {kWsCloseProtocolError, "a new message began inside a fragmented one"};
  }
  return {};
}

WsDecoder::Outcome WsDecoder::decode(std::span<std::uint8_t> buffer, WsBatch& out) {
  Outcome outcome;
  for (;;) {
    const std::span<std::uint8_t> rest = buffer.subspan(outcome.consumed);
    outcome.needed = 0;
    if (rest.size() < 2) {
      return outcome;
    }
    FrameHead head;
    head.fin = (rest[0] & kFinBit) != 0;
    head.reserved = rest[0] & kReservedBits;
    head.opcode = static_cast<WsOpcode>(rest[0] & kOpcodeBits);
    head.masked = (rest[1] & kMaskBit) != 0;
    head.length_code = rest[1] & kLengthBits;
    outcome.failure = check_head(head);
    if (outcome.failure) {
      return outcome;
    }
    const std::size_t length_bytes = head.length_code == kLength64 ? 8 : head.length_code == kLength16 ? 2 : 0;
    head.size = 2 + length_bytes + (head.masked ? 4 : 0);
    if (rest.size() < 2 + length_bytes) {
      return outcome;
    }
    head.payload_bytes = length_bytes == 0 ? head.length_code : read_big_endian(rest.data() + 2, length_bytes);
    const std::uint64_t smallest = length_bytes == 8 ? 0x10000 : length_bytes == 2 ? kLength16 : 0;
    if (head.payload_bytes < smallest || head.payload_bytes >> 63 != 0) {
      outcome.failure = {kWsCloseProtocolError, "the payload length is not in its shortest form"};
      return outcome;
    }
    if (!head.control() && head.payload_bytes > max_message_bytes_ - fragments_.size()) {
      outcome.failure = {kWsCloseTooBig, "the message is larger than allowed"};
      return outcome;
    }
    outcome.needed = head.size + static_cast<std::size_t>(head.payload_bytes);
    if (rest.size() < outcome.needed) {
      return outcome;
    }
    const auto payload = rest.subspan(head.size, static_cast<std::size_t>(head.payload_bytes));
    if (head.masked) {
      ws_apply_mask(payload, rest.data() + head.size - 4);
    }
    outcome.consumed += outcome.needed;
    outcome.failure = on_frame(head, payload, out, outcome.closed);
    if (outcome.failure || outcome.closed) {
      outcome.needed = 0;
      return outcome;
    }
  }
}

WsFailure WsDecoder::on_frame(const FrameHead& head, std::span<std::uint8_t> payload, WsBatch& out, bool& closed) {
  return head.control() ? on_control(head, payload, out, closed) : on_data(head, payload, out);
}

WsFailure WsDecoder::on_control(const FrameHead& head, std::span<const std::uint8_t> payload, WsBatch& out,
                                bool& closed) {
  if (head.opcode == WsOpcode::kClose) {
    // RFC 6455 section 5.5.1: empty, or a valid code followed by UTF-8.
    if (payload.size() == 1) {
      return {kWsCloseProtocolError, "a close frame has half a code"};
    }
    if (payload.size() >= 2) {
      const auto code = static_cast<std::uint16_t>(read_big_endian(payload.data(), 2));
      if (!ws_close_code_valid(code)) {
        return {kWsCloseProtocolError, "the close code must not be sent"};
      }
      if (!utf8_valid({reinterpret_cast<const char*>(payload.data()) + 2, payload.size() - 2})) {
        return {kWsCloseInvalidData, "the close reason is not valid UTF-8"};
      }
    }
    closed = true;
  }
  WsControl& control = out.controls.emplace_back();
  control.opcode = head.opcode;
  control.size = static_cast<std::uint8_t>(payload.size());
  std::copy(payload.begin(), payload.end(), control.payload.begin());
  return {};
}

WsFailure WsDecoder::on_data(const FrameHead& head, std::span<const std::uint8_t> payload, WsBatch& out) {
  const bool first = head.opcode != WsOpcode::kContinuation;
  if (first && !head.fin) {
    fragmented_ = true;
    fragmented_text_ = head.opcode == WsOpcode::kText;
  }
  WsMessage message;
  if (first && head.fin) {
    message.text = head.opcode == WsOpcode::kText;
    message.data = {reinterpret_cast<const char*>(payload.data()), payload.size()};
  } else {
    fragments_.insert(fragments_.end(), payload.begin(), payload.end());
    if (!head.fin) {
      return {};
    }
    const std::size_t size = fragments_.size();
    fragments_.resize(size + kBufferPadding);
    message.text = fragmented_text_;
    message.data = {reinterpret_cast<const char*>(fragments_.data()), size};
    out.assembled.push_back(std::move(fragments_));  // moving a vector keeps its bytes where they are
    fragments_ = {};
    fragmented_ = false;
  }
  if (message.text && !utf8_valid(message.data)) {
    return {kWsCloseInvalidData, "a text message is not valid UTF-8"};
  }
  assert(message.data.size() <= max_message_bytes_);
  out.messages.push_back(message);
  return {};
}

}  // namespace cm::net
