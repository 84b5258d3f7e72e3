// From the C structs of plugins to the types of host/net.
#pragma once

#include <claudemesh/ext/http.h>

#include <algorithm>
#include <cstring>

#include "host/net/http_types.hpp"
#include "host/services/instance.hpp"

namespace cm::host {

// A copy of a struct whose first member is the size its author knew: members behind that are zero, and what this host
// does not know yet is ignored.
template <typename Options>
Options copy_prefix(const Options& given) noexcept {
  Options result{};
  std::memcpy(&result, &given, std::min<std::size_t>(given.size, sizeof(Options)));
  return result;
}

inline net::Headers headers_of(const cm_http_header* headers, std::uint64_t count) {
  net::Headers result;
  for (std::uint64_t i = 0; i < count; ++i) {
    result.add(text_of(headers[i].name), text_of(headers[i].value));
  }
  return result;
}

}  // namespace cm::host
