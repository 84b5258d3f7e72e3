// The parsers over the tree: whatever parses is written and parses again to the same bytes.
#include <cstdint>
#include <cstdlib>

#include "protocol/wire_parse.hpp"
#include "protocol/wire_write.hpp"

namespace {

using namespace cm::protocol;

template <typename T>
void check(const JsonValue& frame, cm::Result<T> (*parse)(const JsonValue&), void (*write)(std::string&, const T&)) {
  const auto parsed = parse(frame);
  if (!parsed.ok()) {
    return;
  }
  std::string text;
  write(text, *parsed);
  const auto tree = parse_json(text);
  if (!tree.ok()) {
    std::abort();
  }
  const auto again = parse(*tree);
  if (!again.ok()) {
    std::abort();
  }
  std::string second;
  write(second, *again);
  if (second != text) {
    std::abort();
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const auto frame = parse_json(std::string_view(reinterpret_cast<const char*>(data), size));
  if (!frame.ok()) {
    return 0;
  }
  check<Hello>(*frame, parse_hello, write_hello);
  check<SessionHello>(*frame, parse_session_hello, write_session_hello);
  check<HelloAck>(*frame, parse_hello_ack, write_hello_ack);
  check<ErrorFrame>(*frame, parse_error, write_error);
  check<ListPeers>(*frame, parse_list_peers, write_list_peers);
  check<PeersList>(*frame, parse_peers_list, write_peers_list);
  check<MessageStatusRequest>(*frame, parse_message_status, write_message_status);
  check<MessageStatusResult>(*frame, parse_message_status_result, write_message_status_result);
  return 0;
}
