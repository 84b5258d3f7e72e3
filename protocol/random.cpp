#include "protocol/random.hpp"

#include <sodium.h>

#include <array>
#include <cstdlib>
#include <cstring>
#include <limits>

namespace cm::protocol {

void ensure_crypto() {
  // A local static is initialised once, also when several threads arrive together.
  static const bool ready = [] {
    if (sodium_init() < 0) {
      std::abort();  // without entropy no key may be made; there is nobody to report to this early
    }
    return true;
  }();
  static_cast<void>(ready);
}

RandomSource system_random() {
  ensure_crypto();
  return [](std::span<std::uint8_t> out) { randombytes_buf(out.data(), out.size()); };
}

std::uint64_t random_below(const RandomSource& random, std::uint64_t bound) {
  // Draws below 2^64 mod bound are dropped, so that every residue is equally likely.
  const std::uint64_t threshold = (std::numeric_limits<std::uint64_t>::max() - bound + 1) % bound;
  while (true) {
    std::array<std::uint8_t, 8> bytes{};
    random(bytes);
    std::uint64_t draw = 0;
    std::memcpy(&draw, bytes.data(), sizeof(draw));
    if (draw >= threshold) {
      return draw % bound;
    }
  }
}

}  // namespace cm::protocol
