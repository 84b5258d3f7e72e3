// ISO 8601 instants as JavaScript writes and reads them. Pure.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace cm::daemon {

// "2026-04-15T12:00:00.000Z".
std::string format_iso_ms(std::int64_t unix_ms);
// YYYY-MM-DD, optionally with THH:MM[:SS[.fraction]] and Z or +HH:MM; without a zone it is UTC. nullopt: anything else.
std::optional<std::int64_t> parse_iso_ms(std::string_view text);

}  // namespace cm::daemon
