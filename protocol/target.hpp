// Priorities and target specifications.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace cm::protocol {

enum class Priority : std::uint8_t { kNow, kNext, kLow };
std::string_view to_string(Priority priority);  // "now", "next", "low"
std::optional<Priority> parse_priority(std::string_view text);

// How the broker routes a targetSpec (wire/05 section 1, step 3).
enum class TargetKind : std::uint8_t {
  kKey,        // 64 lower-case hex characters: a member or a session key
  kBroadcast,  // "*" or "@all"
  kGroup,      // "@name"
  kTopic,      // "#topicId" (an id, not a name)
  kName,       // anything else: the original treats it as a direct target that matches nobody
};
struct TargetSpec {
  TargetKind kind = TargetKind::kName;
  std::string_view value;  // the key, the group or topic without its sign, or the whole text; a view into the argument

  bool is_direct() const noexcept { return kind == TargetKind::kKey || kind == TargetKind::kName; }
  bool is_multicast() const noexcept { return !is_direct(); }
};
// "@" and "#" alone are a group and a topic with an empty name, which match nobody; the empty text is kName.
TargetSpec classify_target(std::string_view text);

// Destination kinds of fingerprints and idempotency records.
enum class DestinationKind : std::uint8_t { kTopic, kDm, kQueue };
std::string_view to_string(DestinationKind kind);  // "topic", "dm", "queue"
std::optional<DestinationKind> parse_destination_kind(std::string_view text);

}  // namespace cm::protocol
