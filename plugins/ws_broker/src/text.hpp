// Small texts: times, sortable ids, addresses, fields of JSON objects. Pure; usable on any thread.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "protocol/json.hpp"
#include "protocol/random.hpp"

namespace cm::broker {

// ISO 8601 in UTC with exactly three digits of the second: "2026-04-15T12:00:00.000Z".
std::string iso_time(std::int64_t unix_ms);

// Ids of 32 base62 characters that grow in byte order: the first eight are ms * 62 + slot, the rest is random. So the
// index over them is appended to, and they still are what message_status accepts. A clock that steps back does not
// make them shrink. One per owner.
class SortableIds {
 public:
  std::string next(std::int64_t now_ms, const protocol::RandomSource& random);

 private:
  std::uint64_t last_ = 0;
};

// The member if it is a text, else empty. The view lives as long as the object.
std::string_view text_member(const protocol::JsonValue& object, std::string_view name);
// A truthy text as JavaScript sees it: present, a string, not empty.
std::optional<std::string> text_if_set(const protocol::JsonValue& object, std::string_view name);

// Does an address such as "0.0.0.0:7900" or "[::]:7900" stand for all interfaces? Nobody elsewhere can connect to it.
bool is_wildcard_address(std::string_view address);

}  // namespace cm::broker
