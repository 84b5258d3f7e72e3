// Any bytes into the decoder, and the fields of whatever comes out: nothing may be read outside, nothing may hang.
#include <cstddef>
#include <cstdint>

#include "host/isolation/options_codec.hpp"
#include "host/isolation/shared_memory.hpp"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace cm::isolation;
  static SharedMemory memory = *SharedMemory::make();
  Ring ring = memory.to_host();
  FrameDecoder decoder(&ring);
  decoder.feed({reinterpret_cast<const char*>(data), size});
  Frame frame;
  while (decoder.next(frame) == FrameDecoder::Outcome::kFrame) {
    FrameReader options(frame);
    static_cast<void>(read_options(options));
    FrameReader fields(frame);
    const std::uint32_t count = fields.count(8);
    for (std::uint32_t i = 0; i < count && fields.good(); ++i) {
      static_cast<void>(fields.text());
      static_cast<void>(fields.bytes());
      static_cast<void>(fields.boolean());
      static_cast<void>(fields.f64());
    }
  }
  return 0;
}
