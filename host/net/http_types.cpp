#include "host/net/http_types.hpp"

#include <array>
#include <cstdio>
#include <ctime>

namespace cm::net {

namespace {

constexpr char lower(char c) {
  return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
}

// RFC 9110 section 5.6.2: tchar.
constexpr bool is_token_char(char c) {
  if ((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9')) {
    return true;
  }
  return std::string_view("!#$%&'*+-.^_`|~").find(c) != std::string_view::npos;
}

std::string_view trim(std::string_view text) {
  while (!text.empty() && (text.front() == ' ' || text.front() == '\t')) {
    text.remove_prefix(1);
  }
  while (!text.empty() && (text.back() == ' ' || text.back() == '\t')) {
    text.remove_suffix(1);
  }
  return text;
}

bool value_sendable(std::string_view value) {
  for (const char c : value) {
    const auto byte = static_cast<unsigned char>(c);
    if ((byte < 0x20 && byte != '\t') || byte == 0x7F) {
      return false;
    }
  }
  return true;
}

}  // namespace

bool equal_without_case(std::string_view left, std::string_view right) {
  if (left.size() != right.size()) {
    return false;
  }
  for (std::size_t i = 0; i < left.size(); ++i) {
    if (lower(left[i]) != lower(right[i])) {
      return false;
    }
  }
  return true;
}

bool is_token(std::string_view text) {
  for (const char c : text) {
    if (!is_token_char(c)) {
      return false;
    }
  }
  return !text.empty();
}

Headers::Headers(std::initializer_list<std::pair<std::string_view, std::string_view>> fields) {
  for (const auto& [name, value] : fields) {
    add(name, value);
  }
}

void Headers::add(std::string_view name, std::string_view value) {
  Slot slot{};
  slot.name_at = static_cast<std::uint32_t>(text_.size());
  slot.name_size = static_cast<std::uint32_t>(name.size());
  slot.value_at = slot.name_at + slot.name_size;
  slot.value_size = static_cast<std::uint32_t>(value.size());
  text_.append(name).append(value);
  fields_.push_back(slot);
}

void Headers::set(std::string_view name, std::string_view value) {
  remove(name);
  add(name, value);
}

void Headers::remove(std::string_view name) {
  // The text block keeps the removed bytes; header lists are short-lived and small.
  std::erase_if(fields_, [&](const Slot& slot) {
    return equal_without_case(std::string_view(text_).substr(slot.name_at, slot.name_size), name);
  });
}

void Headers::clear() {
  text_.clear();
  fields_.clear();
}

Headers::Field Headers::at(std::size_t index) const {
  const Slot& slot = fields_[index];
  const std::string_view text = text_;
  return {text.substr(slot.name_at, slot.name_size), text.substr(slot.value_at, slot.value_size)};
}

std::string_view Headers::get(std::string_view name) const {
  for (std::size_t i = 0; i < fields_.size(); ++i) {
    const Field field = at(i);
    if (equal_without_case(field.name, name)) {
      return field.value;
    }
  }
  return {};
}

bool Headers::has(std::string_view name) const {
  return count(name) != 0;
}

std::size_t Headers::count(std::string_view name) const {
  std::size_t found = 0;
  for (std::size_t i = 0; i < fields_.size(); ++i) {
    found += equal_without_case(at(i).name, name) ? 1 : 0;
  }
  return found;
}

bool Headers::has_token(std::string_view name, std::string_view token) const {
  for (std::size_t i = 0; i < fields_.size(); ++i) {
    const Field field = at(i);
    if (!equal_without_case(field.name, name)) {
      continue;
    }
    std::string_view rest = field.value;
    while (!rest.empty()) {
      const std::size_t comma = rest.find(',');
      if (equal_without_case(trim(rest.substr(0, comma)), token)) {
        return true;
      }
      rest.remove_prefix(comma == std::string_view::npos ? rest.size() : comma + 1);
    }
  }
  return false;
}

bool Headers::sendable() const {
  for (std::size_t i = 0; i < fields_.size(); ++i) {
    const Field field = at(i);
    if (!is_token(field.name) || !value_sendable(field.value)) {
      return false;
    }
  }
  return true;
}

std::string RemoteAddress::text() const {
  if (host.empty()) {
    return "unix";
  }
  const bool ipv6 = host.find(':') != std::string::npos;
  return (ipv6 ? "[" + host + "]" : host) + ":" + std::to_string(port);
}

std::string_view status_reason(int status) {
  struct Reason {
    int status;
    std::string_view text;
  };
  static constexpr std::array kReasons{
      Reason{100, "Continue"},
      Reason{101, "Switching Protocols"},
      Reason{200, "OK"},
      Reason{201, "Created"},
      Reason{202, "Accepted"},
      Reason{204, "No Content"},
      Reason{206, "Partial Content"},
      Reason{301, "Moved Permanently"},
      Reason{302, "Found"},
      Reason{303, "See Other"},
      Reason{304, "Not Modified"},
      Reason{307, "Temporary Redirect"},
      Reason{308, "Permanent Redirect"},
      Reason{400, "Bad Request"},
      Reason{401, "Unauthorized"},
      Reason{402, "Payment Required"},
      Reason{403, "Forbidden"},
      Reason{404, "Not Found"},
      Reason{405, "Method Not Allowed"},
      Reason{406, "Not Acceptable"},
      Reason{408, "Request Timeout"},
      Reason{409, "Conflict"},
      Reason{410, "Gone"},
      Reason{411, "Length Required"},
      Reason{412, "Precondition Failed"},
      Reason{413, "Content Too Large"},
      Reason{414, "URI Too Long"},
      Reason{415, "Unsupported Media Type"},
      Reason{416, "Range Not Satisfiable"},
      Reason{417, "Expectation Failed"},
      Reason{422, "Unprocessable Content"},
      Reason{423, "Locked"},
      Reason{425, "Too Early"},
      Reason{426, "Upgrade Required"},
      Reason{428, "Precondition Required"},
      Reason{429, "Too Many Requests"},
      Reason{431, "Request Header Fields Too Large"},
      Reason{500, "Internal Server Error"},
      Reason{501, "Not Implemented"},
      Reason{502, "Bad Gateway"},
      Reason{503, "Service Unavailable"},
      Reason{504, "Gateway Timeout"},
      Reason{505, "HTTP Version Not Supported"},
      Reason{507, "Insufficient Storage"},
  };
  for (const Reason& reason : kReasons) {
    if (reason.status == status) {
      return reason.text;
    }
  }
  return "Unknown";
}

std::string http_date(std::int64_t unix_seconds) {
  static constexpr std::array<const char*, 7> kDays{"Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"};
  static constexpr std::array<const char*, 12> kMonths{"Jan", "Feb", "Mar", "Apr", "May", "Jun",
                                                       "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"};
  const auto seconds = static_cast<std::time_t>(unix_seconds);
  std::tm parts{};
  gmtime_r(&seconds, &parts);
  std::array<char, 64> text{};
  const int size = std::snprintf(text.data(), text.size(), "%s, %02d %s %04d %02d:%02d:%02d GMT",
                                 kDays[static_cast<std::size_t>(parts.tm_wday)], parts.tm_mday,
                                 kMonths[static_cast<std::size_t>(parts.tm_mon)], parts.tm_year + 1900, parts.tm_hour,
                                 parts.tm_min, parts.tm_sec);
  return std::string(text.data(), size > 0 ? static_cast<std::size_t>(size) : 0);
}

}  // namespace cm::net
