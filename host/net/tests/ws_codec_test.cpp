// Goal: RFC 6455 framing, valid and invalid, however the bytes are cut. Method: a table of byte strings.
#include "host/net/ws_codec.hpp"

#include <gtest/gtest.h>

#include "host/net/shared_buffer.hpp"

namespace cm::net {
namespace {

std::string frame(int first_byte, std::string_view payload, bool masked = true) {
  const std::uint8_t mask[4] = {0x11, 0x22, 0x33, 0x44};
  const auto head = ws_frame_head(static_cast<WsOpcode>(first_byte & 0x0F), (first_byte & 0x80) != 0, payload.size(),
                                  masked ? mask : nullptr);
  std::string out(reinterpret_cast<const char*>(head.bytes.data()), head.size);
  out[0] = static_cast<char>(first_byte);
  std::string body(payload);
  if (masked) {
    ws_apply_mask({reinterpret_cast<std::uint8_t*>(body.data()), body.size()}, mask);
  }
  return out + body;
}

struct Decoded {
  std::vector<std::pair<bool, std::string>> messages;
  std::vector<std::pair<WsOpcode, std::string>> controls;
  WsFailure failure;
  bool closed = false;
};

// Offers the bytes in pieces of `step`, as a connection would.
Decoded decode(std::string_view bytes, std::size_t step, WsRole role = WsRole::kServer, std::size_t limit = 1 << 20) {
  WsDecoder decoder(role, limit);
  Decoded result;
  std::vector<std::uint8_t> carry;
  WsBatch batch;
  for (std::size_t at = 0; at < bytes.size() && !result.failure && !result.closed; at += step) {
    const std::string_view piece = bytes.substr(at, step);
    carry.insert(carry.end(), piece.begin(), piece.end());
    const std::size_t size = carry.size();
    carry.resize(size + kBufferPadding);
    batch.clear();
    const auto outcome = decoder.decode(std::span(carry).first(size), batch);
    for (const auto& message : batch.messages) {
      result.messages.emplace_back(message.text, std::string(message.data));
    }
    for (const auto& control : batch.controls) {
      result.controls.emplace_back(control.opcode, std::string(control.view()));
    }
    result.failure = outcome.failure;
    result.closed = outcome.closed;
    EXPECT_TRUE(outcome.needed == 0 || outcome.needed > size - outcome.consumed);
    carry.resize(size);
    carry.erase(carry.begin(), carry.begin() + static_cast<std::ptrdiff_t>(outcome.consumed));
  }
  return result;
}

TEST(NetWsCodec, DecodesAllLengthsAndCuts) {
  for (const std::size_t size : {0u, 1u, 125u, 126u, 127u, 65535u, 65536u, 70000u}) {
    const std::string payload(size, 'q');
    const std::string bytes = frame(0x82, payload) + frame(0x81, "after");
    for (const std::size_t step : {std::size_t{7}, std::size_t{1000}, bytes.size()}) {
      const Decoded result = decode(bytes, step);
      ASSERT_EQ(result.messages.size(), 2u) << size << " in pieces of " << step;
      EXPECT_EQ(result.messages[0].second, payload);
      EXPECT_FALSE(result.messages[0].first);
      EXPECT_EQ(result.messages[1].second, "after");
      EXPECT_TRUE(result.messages[1].first);
    }
  }
}

TEST(NetWsCodec, FragmentsWithControlsBetween) {
  const std::string bytes = frame(0x01, "He") + frame(0x89, "ping") + frame(0x00, "l") + frame(0x8A, "pong") +
                            frame(0x80, "lo") + frame(0x02, "") + frame(0x80, "");
  for (const std::size_t step : {std::size_t{1}, bytes.size()}) {
    const Decoded result = decode(bytes, step);
    ASSERT_EQ(result.messages.size(), 2u);
    EXPECT_EQ(result.messages[0], std::make_pair(true, std::string("Hello")));
    EXPECT_EQ(result.messages[1], std::make_pair(false, std::string()));
    ASSERT_EQ(result.controls.size(), 2u);
    EXPECT_EQ(result.controls[0], std::make_pair(WsOpcode::kPing, std::string("ping")));
    EXPECT_EQ(result.controls[1], std::make_pair(WsOpcode::kPong, std::string("pong")));
    EXPECT_FALSE(result.failure);
  }
}

TEST(NetWsCodec, SplitCharacterAcrossFragments) {
  EXPECT_EQ(decode(frame(0x01, "\xC3") + frame(0x80, "\xA9"), 100).messages.at(0).second, "\xC3\xA9");
}

struct BadCase {
  const char* name;
  std::string bytes;
  std::uint16_t code;
  WsRole role = WsRole::kServer;
};

TEST(NetWsCodec, RefusesEveryViolation) {
  const std::string close_1005("\x03\xED", 2);
  const std::string close_bad_text = std::string("\x03\xE8", 2) + "\xFF";
  const BadCase cases[] = {
      {"reserved bit 1", frame(0xC1, "x"), 1002},
      {"reserved bit 2", frame(0xA1, "x"), 1002},
      {"reserved bit 3", frame(0x91, "x"), 1002},
      {"opcode 3", frame(0x83, "x"), 1002},
      {"opcode 7", frame(0x87, "x"), 1002},
      {"opcode 11", frame(0x8B, "x"), 1002},
      {"opcode 15", frame(0x8F, "x"), 1002},
      {"unmasked from a client", frame(0x81, "x", false), 1002},
      {"masked from a server", frame(0x81, "x", true), 1002, WsRole::kClient},
      {"fragmented ping", frame(0x09, "x"), 1002},
      {"ping of 126 bytes", frame(0x89, std::string(126, 'x')), 1002},
      {"continuation of nothing", frame(0x80, "x"), 1002},
      {"new message inside a fragmented one", frame(0x01, "x") + frame(0x81, "y"), 1002},
      {"16-bit length for 125", std::string("\x82\xFE\x00\x7D", 4) + std::string(4 + 125, 'x'), 1002},
      {"64-bit length for 65535", std::string("\x82\xFF\0\0\0\0\0\0\xFF\xFF", 10) + "mask", 1002},
      {"64-bit length with the top bit", std::string("\x82\xFF\x80\0\0\0\0\0\0\0", 10) + "mask", 1002},
      {"invalid text", frame(0x81, "\xC3\x28"), 1007},
      {"invalid text over fragments", frame(0x01, "\xC3") + frame(0x80, "("), 1007},
      {"half a close code", frame(0x88, "\x03"), 1002},
      {"close code 1005", frame(0x88, close_1005), 1002},
      {"close code 0", frame(0x88, std::string("\0\0", 2)), 1002},
      {"close reason not text", frame(0x88, close_bad_text), 1007},
      {"over the limit", frame(0x82, std::string(1001, 'x')), 1009},
      {"over the limit in fragments", frame(0x02, std::string(600, 'x')) + frame(0x80, std::string(401, 'x')), 1009},
      {"announced over the limit", std::string("\x82\xFF\0\0\0\x7F\0\0\0\0", 10), 1009},
  };
  for (const BadCase& bad : cases) {
    for (const std::size_t step : {std::size_t{1}, bad.bytes.size()}) {
      // A good message before the violation must still be delivered.
      const std::string good = frame(0x82, "good", bad.role == WsRole::kServer);
      const Decoded result = decode(good + bad.bytes, step == 1 ? 1 : good.size() + step, bad.role, 1000);
      EXPECT_EQ(result.failure.code, bad.code) << bad.name << " in pieces of " << step;
      ASSERT_EQ(result.messages.size(), 1u) << bad.name;
      EXPECT_EQ(result.messages[0].second, "good") << bad.name;
    }
  }
}

TEST(NetWsCodec, CloseEndsTheStream) {
  const Decoded result = decode(frame(0x88, std::string("\x0F\xA1", 2) + "bye") + frame(0x81, "late"), 1000);
  EXPECT_TRUE(result.closed);
  ASSERT_EQ(result.controls.size(), 1u);
  EXPECT_EQ(result.controls[0].second, std::string("\x0F\xA1", 2) + "bye");
  EXPECT_TRUE(result.messages.empty());
  EXPECT_TRUE(decode(frame(0x88, ""), 1000).closed);
}

TEST(NetWsCodec, CloseCodesOfTheWire) {
  for (const int code : {1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 1014, 3000, 4001, 4999}) {
    EXPECT_TRUE(ws_close_code_valid(static_cast<std::uint16_t>(code))) << code;
  }
  for (const int code : {0, 999, 1004, 1005, 1006, 1015, 1016, 2999, 5000, 65535}) {
    EXPECT_FALSE(ws_close_code_valid(static_cast<std::uint16_t>(code))) << code;
  }
}

TEST(NetWsCodec, ClosePayloadIsCutAtACharacter) {
  std::string reason(122, 'a');
  reason += "\xC3\xA9";
  EXPECT_EQ(ws_close_payload(1000, reason).size(), 2u + 122u);
  EXPECT_EQ(ws_close_payload(kWsCloseNoStatus, "x"), "");
  EXPECT_EQ(ws_close_payload(1000, "\xFF").size(), 2u);
}

TEST(NetWsCodec, Utf8Table) {
  for (const char* good : {"", "plain ascii text of more than eight bytes", "\xC2\x80", "\xE0\xA0\x80", "\xED\x9F\xBF",
                           "\xEE\x80\x80", "\xF0\x90\x80\x80", "\xF4\x8F\xBF\xBF", "abcdefg\xE2\x82\xACxyz"}) {
    EXPECT_TRUE(utf8_valid(good)) << good;
  }
  for (const char* bad : {"\x80", "\xC0\x80", "\xC1\xBF", "\xC2", "\xE0\x9F\xBF", "\xED\xA0\x80", "\xE2\x82",
                          "\xF0\x8F\xBF\xBF", "\xF4\x90\x80\x80", "\xF5\x80\x80\x80", "\xFF", "abcdefgh\xC3("}) {
    EXPECT_FALSE(utf8_valid(bad)) << bad;
  }
}

}  // namespace
}  // namespace cm::net
