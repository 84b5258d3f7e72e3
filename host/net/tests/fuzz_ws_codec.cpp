// Any bytes, in two different cuts, must give the same messages and the same verdict, and never read outside.
#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <string>
#include <vector>

#include "host/net/shared_buffer.hpp"
#include "host/net/ws_codec.hpp"

namespace {

using cm::net::kBufferPadding;
using cm::net::WsBatch;
using cm::net::WsDecoder;
using cm::net::WsRole;

std::string decode(const std::uint8_t* data, std::size_t size, std::size_t step, WsRole role) {
  WsDecoder decoder(role, 2000);
  WsBatch batch;
  std::string trace;
  std::string controls;  // kept apart: a cut moves controls relative to the messages of the same read
  std::vector<std::uint8_t> carry;
  for (std::size_t at = 0; at < size; at += step) {
    const std::size_t piece = std::min(step, size - at);
    carry.insert(carry.end(), data + at, data + at + piece);
    const std::size_t have = carry.size();
    carry.resize(have + kBufferPadding);
    batch.clear();
    const auto outcome = decoder.decode(std::span(carry).first(have), batch);
    if (outcome.consumed > have) {
      std::abort();
    }
    for (const auto& message : batch.messages) {
      trace.append(message.text ? "T" : "B").append(message.data).append(";");
    }
    for (const auto& control : batch.controls) {
      controls.append("C").append(control.view()).append(";");
    }
    if (outcome.failure || outcome.closed) {
      trace += "!" + std::to_string(outcome.failure.code);
      break;
    }
    carry.resize(have);
    carry.erase(carry.begin(), carry.begin() + static_cast<std::ptrdiff_t>(outcome.consumed));
  }
  return trace + "|" + controls;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size);
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size < 2) {
    return 0;
  }
  const WsRole role = (data[0] & 1) != 0 ? WsRole::kServer : WsRole::kClient;
  const std::size_t step = 1 + data[1] % 16;
  const std::string whole = decode(data + 2, size - 2, size, role);
  if (whole != decode(data + 2, size - 2, step, role)) {
    std::abort();
  }
  return 0;
}
