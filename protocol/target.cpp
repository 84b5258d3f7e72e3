#include "protocol/target.hpp"

#include "protocol/encoding.hpp"

namespace cm::protocol {

std::string_view to_string(Priority priority) {
  switch (priority) {
    case Priority::kNow:
      return "now";
    case Priority::kNext:
      return "next";
    case Priority::kLow:
      return "low";
  }
  return "next";
}

std::optional<Priority> parse_priority(std::string_view text) {
  if (text == "now") {
    return Priority::kNow;
  }
  if (text == "next") {
    return Priority::kNext;
  }
  if (text == "low") {
    return Priority::kLow;
  }
  return std::nullopt;
}

TargetSpec classify_target(std::string_view text) {
  if (text == "*" || text == "@all") {
    return {TargetKind::kBroadcast, text};
  }
  if (text.starts_with('@')) {
    return {TargetKind::kGroup, text.substr(1)};
  }
  if (text.starts_with('#')) {
    return {TargetKind::kTopic, text.substr(1)};
  }
  if (is_hex(text, 64, HexCase::kLowerOnly)) {
    return {TargetKind::kKey, text};
  }
  return {TargetKind::kName, text};
}

std::string_view to_string(DestinationKind kind) {
  switch (kind) {
    case DestinationKind::kTopic:
      return "topic";
    case DestinationKind::kDm:
      return "dm";
    case DestinationKind::kQueue:
      return "queue";
  }
  return "dm";
}

std::optional<DestinationKind> parse_destination_kind(std::string_view text) {
  if (text == "topic") {
    return DestinationKind::kTopic;
  }
  if (text == "dm") {
    return DestinationKind::kDm;
  }
  if (text == "queue") {
    return DestinationKind::kQueue;
  }
  return std::nullopt;
}

}  // namespace cm::protocol
