#include "protocol/wire_types.hpp"

#include <algorithm>
#include <array>

namespace cm::protocol {
namespace {

#define CM_WIRE_NAME(name, text) std::string_view(text),
constexpr std::array<std::string_view, kWireTypeCount> kNames = {
    CM_CLIENT_WIRE_TYPES(CM_WIRE_NAME) CM_SERVER_WIRE_TYPES(CM_WIRE_NAME) CM_NEGOTIATION_WIRE_TYPES(CM_WIRE_NAME)};
#undef CM_WIRE_NAME

struct Entry {
  std::string_view name;
  WireType type = WireType::kUnknown;
};

constexpr std::array<Entry, kWireTypeCount> make_sorted() {
  std::array<Entry, kWireTypeCount> entries{};
  for (std::size_t i = 0; i < kWireTypeCount; ++i) {
    entries[i] = Entry{kNames[i], static_cast<WireType>(i)};
  }
  std::sort(entries.begin(), entries.end(), [](const Entry& a, const Entry& b) { return a.name < b.name; });
  return entries;
}

constexpr auto kSorted = make_sorted();

constexpr bool has_duplicates() {
  for (std::size_t i = 1; i < kSorted.size(); ++i) {
    if (kSorted[i - 1].name == kSorted[i].name) {
      return true;
    }
  }
  return false;
}
static_assert(!has_duplicates());
static_assert(static_cast<std::size_t>(WireType::kHelloAck) == kClientWireTypeCount);

}  // namespace

WireType wire_type(std::string_view name) {
  const auto found = std::lower_bound(kSorted.begin(), kSorted.end(), name,
                                      [](const Entry& entry, std::string_view wanted) { return entry.name < wanted; });
  return found != kSorted.end() && found->name == name ? found->type : WireType::kUnknown;
}

std::string_view to_string(WireType type) {
  const auto index = static_cast<std::size_t>(type);
  return index < kNames.size() ? kNames[index] : std::string_view("unknown");
}

bool is_client_type(WireType type) {
  return static_cast<std::size_t>(type) < kClientWireTypeCount || type == WireType::kFeatureNegotiationRequest;
}

bool is_server_type(WireType type) {
  return type == WireType::kFeatureNegotiationResponse ||
         (static_cast<std::size_t>(type) >= kClientWireTypeCount &&
          static_cast<std::size_t>(type) < kClientWireTypeCount + kServerWireTypeCount);
}

}  // namespace cm::protocol
