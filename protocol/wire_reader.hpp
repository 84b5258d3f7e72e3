// Reads frames as they come from a socket. The four hot messages (send, ack, push, client_ack) are read in one pass of
// simdjson on demand, without a tree and without copying: the returned views point into the reader and into the text.
#pragma once

#include <cstddef>
#include <memory>
#include <string_view>

#include <claudemesh/cpp/result.hpp>

#include "protocol/json.hpp"
#include "protocol/wire_messages.hpp"
#include "protocol/wire_types.hpp"

namespace cm::protocol {

inline constexpr std::size_t kParsePadding = 64;         // >= SIMDJSON_PADDING, asserted in the source file
inline constexpr std::size_t kMaxMessageBytes = 65'536;  // MAX_MESSAGE_BYTES: frames that a broker accepts
inline constexpr std::size_t kMaxClientFrameBytes = 16 * 1024 * 1024;  // our bound for frames that a client accepts

// One per loop or per connection; not thread-safe. Reuse it: it grows to the largest frame and allocates no more.
// Strings with lone surrogate escapes make a frame invalid here. Fields that nobody asked for are skipped and not
// validated beyond their brackets and UTF-8.
class FrameReader {
 public:
  explicit FrameReader(std::size_t max_bytes = kMaxMessageBytes);
  FrameReader(FrameReader&&) noexcept;
  FrameReader& operator=(FrameReader&&) noexcept;
  ~FrameReader();

  // Takes one frame. The caller guarantees that kParsePadding bytes behind the text are readable (their content does
  // not matter) and that text and padding stay unchanged until the next open. kInvalid: too large, not an object, not
  // JSON, no "type". An unknown type is no error: the result is WireType::kUnknown and type_name() tells it.
  Result<WireType> open(std::string_view padded_text);
  // The same for a text without padding; copies it.
  Result<WireType> open_copy(std::string_view text);

  // Of the opened frame; views are valid until the next open.
  WireType type() const noexcept;
  std::string_view type_name() const noexcept;
  std::string_view text() const noexcept;
  std::string_view id() const noexcept;      // "" when absent or no string: what a negative ack echoes
  std::string_view req_id() const noexcept;  // "" when absent

  // The content, when type() fits (kInvalid otherwise). kInvalid names the first field that is missing or wrong.
  Result<SendView> send() const;
  Result<AckView> ack() const;
  Result<PushView> push() const;
  Result<ClientAckView> client_ack() const;

  // Any frame as a tree (bounded depth), for everything that is not hot.
  Result<JsonValue> tree() const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace cm::protocol
