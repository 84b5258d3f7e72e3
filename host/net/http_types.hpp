// Vocabulary shared by the HTTP server and client. Pure.
#pragma once

#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace cm::net {

// Header fields in the order of arrival, names compared without case (RFC 9110 section 5.1). The text is kept in one
// block; views stay valid until the list changes.
class Headers {
 public:
  struct Field {
    std::string_view name;
    std::string_view value;
  };

  Headers() = default;
  Headers(std::initializer_list<std::pair<std::string_view, std::string_view>> fields);

  void add(std::string_view name, std::string_view value);
  // Removes every field of the name and adds one.
  void set(std::string_view name, std::string_view value);
  void remove(std::string_view name);
  void clear();

  std::size_t size() const noexcept { return fields_.size(); }
  bool empty() const noexcept { return fields_.empty(); }
  Field at(std::size_t index) const;
  // The first value of the name, or an empty view; has() tells an empty value from a missing one.
  std::string_view get(std::string_view name) const;
  bool has(std::string_view name) const;
  std::size_t count(std::string_view name) const;
  // True when one of the comma-separated elements of all fields of the name equals `token` (without case).
  bool has_token(std::string_view name, std::string_view token) const;

  // False when a name is not a token or a value has control characters: such a list must not be sent.
  bool sendable() const;

 private:
  struct Slot {
    std::uint32_t name_at;
    std::uint32_t name_size;
    std::uint32_t value_at;
    std::uint32_t value_size;
  };
  std::string text_;
  std::vector<Slot> fields_;
};

// Who is on the other end of a Unix socket, as the kernel knows it (SO_PEERCRED at connect time).
struct PeerCredentials {
  std::uint32_t user_id = 0;
  std::uint32_t group_id = 0;
  std::int32_t process_id = 0;
};

// The other end of a connection. For Unix sockets `host` is empty and `port` 0.
struct RemoteAddress {
  std::string host;
  std::uint16_t port = 0;
  // "127.0.0.1:80", "[::1]:80" or "unix".
  std::string text() const;
};

// The standard reason phrase, or "Unknown".
std::string_view status_reason(int status);
bool equal_without_case(std::string_view left, std::string_view right);
// RFC 9110 section 5.6.2.
bool is_token(std::string_view text);
// The value of a Date header for seconds since 1970 (RFC 9110 section 5.6.7).
std::string http_date(std::int64_t unix_seconds);

}  // namespace cm::net
