// The hot reader: no crash, views stay inside, and what was read is written and read back the same.
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <vector>

#include "protocol/wire_reader.hpp"
#include "protocol/wire_write.hpp"

namespace {

using namespace cm::protocol;

template <typename Read, typename Write>
void check_round_trip(const FrameReader& reader, Read read, Write write) {
  const auto view = (reader.*read)();
  if (!view.ok()) {
    return;
  }
  std::string text;
  write(text, *view);
  FrameReader second(kMaxClientFrameBytes);
  if (!second.open_copy(text).ok() || !(second.*read)().ok()) {
    std::abort();
  }
  std::string again;
  write(again, *(second.*read)());
  if (again != text) {
    std::abort();
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  // Exactly the promised padding, on the heap, so that a sanitizer sees any access beyond it.
  std::vector<char> buffer(size + kParsePadding, 'x');
  if (size != 0) {
    std::memcpy(buffer.data(), data, size);
  }
  static FrameReader reader;
  if (!reader.open(std::string_view(buffer.data(), size)).ok()) {
    return 0;
  }
  check_round_trip(reader, &FrameReader::send, [](std::string& out, const SendView& view) { write_send(out, view); });
  check_round_trip(reader, &FrameReader::ack, [](std::string& out, const AckView& view) { write_ack(out, view); });
  check_round_trip(reader, &FrameReader::client_ack,
                   [](std::string& out, const ClientAckView& view) { write_client_ack(out, view); });
  // The event's data is skipped without validation, so a push is only rewritten when the whole frame is strict JSON.
  if (reader.tree().ok()) {
    check_round_trip(reader, &FrameReader::push, [](std::string& out, const PushView& view) { write_push(out, view); });
  } else {
    static_cast<void>(reader.push());
  }
  return 0;
}
