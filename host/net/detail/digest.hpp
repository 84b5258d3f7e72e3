// The two small encodings of the WebSocket handshake and of Basic authorisation. Pure.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>

namespace cm::net::detail {

// RFC 6455 section 4.2.2: base64(SHA-1(key + GUID)).
std::string websocket_accept_key(std::string_view key);
std::string base64_encode(std::span<const std::uint8_t> bytes);

}  // namespace cm::net::detail
