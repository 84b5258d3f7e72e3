// Goal: what is written is read back, and nothing that is not a frame is taken for one.
#include "host/isolation/frame.hpp"

#include <gtest/gtest.h>

#include "host/isolation/shared_memory.hpp"

namespace cm::isolation {
namespace {

std::string frame_of(Ring* ring, const std::function<void(FrameWriter&)>& fill, std::uint64_t call = 7) {
  std::string out;
  FrameWriter writer(out, Method::kLog, call, ring);
  fill(writer);
  EXPECT_TRUE(writer.finish());
  return out;
}

TEST(Frame, FieldsComeBackAsTheyWere) {
  const std::string bytes = frame_of(nullptr, [](FrameWriter& writer) {
    writer.u8(1);
    writer.u32(0xdeadbeef);
    writer.u64(0x0123456789abcdef);
    writer.i64(-5);
    writer.f64(1.5);
    writer.boolean(true);
    writer.text("Zürich");
    writer.bytes(std::string(100'000, '\xff'));
  });
  FrameDecoder decoder(nullptr);
  Frame frame;
  // One byte at a time: a frame is there when its last byte is.
  for (std::size_t i = 0; i + 1 < bytes.size(); ++i) {
    decoder.feed({bytes.data() + i, 1});
    ASSERT_EQ(decoder.next(frame), FrameDecoder::Outcome::kMore);
  }
  decoder.feed({bytes.data() + bytes.size() - 1, 1});
  ASSERT_EQ(decoder.next(frame), FrameDecoder::Outcome::kFrame);
  EXPECT_EQ(frame.method, Method::kLog);
  EXPECT_EQ(frame.call, 7U);
  FrameReader reader(frame);
  EXPECT_EQ(reader.u8(), 1);
  EXPECT_EQ(reader.u32(), 0xdeadbeefU);
  EXPECT_EQ(reader.u64(), 0x0123456789abcdefU);
  EXPECT_EQ(reader.i64(), -5);
  EXPECT_EQ(reader.f64(), 1.5);
  EXPECT_TRUE(reader.boolean());
  EXPECT_EQ(reader.text(), "Zürich");
  EXPECT_FALSE(reader.done());
  EXPECT_EQ(reader.bytes().size(), 100'000U);
  EXPECT_TRUE(reader.done());
}

TEST(Frame, LargePayloadsGoThroughTheRingWhileItHasRoom) {
  SharedMemory memory = *SharedMemory::make();
  Ring out = memory.to_child();
  Ring in = memory.to_child();
  FrameDecoder decoder(&in);
  // Many times the ring's size: its room comes back as frames are read.
  for (int round = 0; round < 40; ++round) {
    const std::string payload(300'000 + static_cast<std::size_t>(round), static_cast<char>('a' + round % 26));
    const std::string bytes = frame_of(&out, [&](FrameWriter& writer) { writer.bytes(payload); });
    EXPECT_LT(bytes.size(), 100U) << "round " << round;
    decoder.feed(bytes);
    Frame frame;
    ASSERT_EQ(decoder.next(frame), FrameDecoder::Outcome::kFrame) << decoder.problem();
    FrameReader reader(frame);
    EXPECT_EQ(reader.bytes(), payload);
    EXPECT_TRUE(reader.done());
  }
  // Nobody reads: the rest stands in the frame itself.
  std::string last;
  for (int i = 0; i < 20; ++i) {
    last = frame_of(&out, [](FrameWriter& writer) { writer.bytes(std::string(300'000, 'q')); });
  }
  EXPECT_GT(last.size(), 300'000U);
}

TEST(Frame, AReaderThatLiesAboutTheRingGetsNothingThroughIt) {
  SharedMemory memory = *SharedMemory::make();
  Ring out = memory.to_child();
  Ring liar = memory.to_child();
  std::string taken;
  EXPECT_FALSE(liar.take(kRingBytes * 3, 10, taken));
  EXPECT_FALSE(liar.take(0, UINT32_MAX, taken));
  EXPECT_FALSE(liar.take(kRingBytes - 5, 10, taken));
  ASSERT_TRUE(liar.take(100, 50, taken));  // more than was ever written
  EXPECT_FALSE(out.put("x").has_value());
  EXPECT_FALSE(liar.take(0, 10, taken)) << "what was consumed does not come again";
}

struct BadFrame {
  const char* name;
  std::string bytes;
};

TEST(Frame, WhatCannotBeAFrameIsRefused) {
  const auto header = [](std::uint32_t size, std::uint32_t method, std::uint32_t refs) {
    std::string bytes(kFrameHeaderBytes, '\0');
    for (int i = 0; i < 4; ++i) {
      bytes[static_cast<std::size_t>(i)] = static_cast<char>(size >> (8 * i));
    }
    bytes[4] = static_cast<char>(method);
    bytes[5] = static_cast<char>(method >> 8);
    bytes[6] = static_cast<char>(refs);
    return bytes;
  };
  for (const BadFrame& bad :
       {BadFrame{"too large", header(kFrameBytesMax + 1, 1, 0)}, BadFrame{"no method", header(0, 0, 0)},
        BadFrame{"unknown method", header(0, static_cast<std::uint32_t>(Method::kCount), 0)},
        BadFrame{"more payloads than bytes", header(4, 1, 1)},
        BadFrame{"payloads without a ring", header(12, 1, 1) + std::string(12, '\0')}}) {
    FrameDecoder decoder(nullptr);
    decoder.feed(bad.bytes);
    Frame frame;
    EXPECT_EQ(decoder.next(frame), FrameDecoder::Outcome::kBad) << bad.name;
    EXPECT_FALSE(decoder.problem().empty());
    decoder.feed(header(0, 1, 0));
    EXPECT_EQ(decoder.next(frame), FrameDecoder::Outcome::kBad) << "a bad stream stays bad";
  }
}

TEST(Frame, FieldsThatDoNotFitMakeTheReaderBad) {
  const Frame frame{Method::kLog, 0, std::string_view("\x05\0\0\0ab", 6), {}};
  FrameReader text(frame);
  EXPECT_EQ(text.text(), "");
  EXPECT_FALSE(text.good());
  EXPECT_EQ(text.u64(), 0U);
  FrameReader count(frame);
  EXPECT_EQ(count.count(1), 0U);
  EXPECT_FALSE(count.good());
  const Frame not_utf8{Method::kLog, 0, std::string_view("\x01\0\0\0\xff", 5), {}};
  FrameReader reader(not_utf8);
  EXPECT_EQ(reader.text(), "");
  EXPECT_FALSE(reader.good());
  const Frame not_bool{Method::kLog, 0, std::string_view("\x02", 1), {}};
  FrameReader boolean(not_bool);
  EXPECT_FALSE(boolean.boolean());
  EXPECT_FALSE(boolean.good());
}

TEST(Frame, ATooLargeFrameLeavesNothingBehind) {
  std::string out = "before";
  FrameWriter writer(out, Method::kLog, 1, nullptr);
  writer.bytes(std::string(kFrameBytesMax + 5, 'x'));
  EXPECT_FALSE(writer.finish());
  EXPECT_EQ(out, "before");
}

}  // namespace
}  // namespace cm::isolation
