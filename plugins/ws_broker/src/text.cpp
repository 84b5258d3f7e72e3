#include "plugins/ws_broker/src/text.hpp"

#include <algorithm>
#include <array>
#include <chrono>
#include <cstdio>

#include "protocol/encoding.hpp"
#include "protocol/ids.hpp"

namespace cm::broker {

namespace {

constexpr std::string_view kBase62 = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
constexpr std::size_t kTimeCharacters = 8;
constexpr std::uint64_t kSlotsPerMs = 62;

}  // namespace

std::string iso_time(std::int64_t unix_ms) {
  using std::chrono::days;
  using std::chrono::milliseconds;
  const std::chrono::sys_time<milliseconds> time{milliseconds(unix_ms)};
  const auto day = std::chrono::floor<days>(time);
  const std::chrono::year_month_day date{day};
  const std::chrono::hh_mm_ss clock{time - day};
  std::array<char, 40> text{};
  const int size =
      std::snprintf(text.data(), text.size(), "%04d-%02u-%02uT%02d:%02d:%02d.%03dZ", static_cast<int>(date.year()),
                    static_cast<unsigned>(date.month()), static_cast<unsigned>(date.day()),
                    static_cast<int>(clock.hours().count()), static_cast<int>(clock.minutes().count()),
                    static_cast<int>(clock.seconds().count()), static_cast<int>(clock.subseconds().count()));
  return std::string(text.data(), static_cast<std::size_t>(size));
}

std::string SortableIds::next(std::int64_t now_ms, const protocol::RandomSource& random) {
  const std::uint64_t from_clock = static_cast<std::uint64_t>(std::max<std::int64_t>(now_ms, 0)) * kSlotsPerMs;
  last_ = std::max(last_ + 1, from_clock);
  std::string id(kTimeCharacters, '0');
  std::uint64_t rest = last_;
  for (std::size_t i = kTimeCharacters; i > 0; --i) {
    id[i - 1] = kBase62[rest % kBase62.size()];
    rest /= kBase62.size();
  }
  return id + protocol::generate_base62(random, protocol::kRowIdLength - kTimeCharacters);
}

std::string_view text_member(const protocol::JsonValue& object, std::string_view name) {
  const protocol::JsonValue* value = object.find(name);
  const std::string* text = value == nullptr ? nullptr : value->as_string();
  return text == nullptr ? std::string_view() : std::string_view(*text);
}

std::optional<std::string> text_if_set(const protocol::JsonValue& object, std::string_view name) {
  const std::string_view text = text_member(object, name);
  return text.empty() ? std::nullopt : std::optional<std::string>(text);
}

bool is_wildcard_address(std::string_view address) {
  const std::string_view host = address.substr(0, address.rfind(':'));
  return host.empty() || host == "0.0.0.0" || host == "[::]" || host == "*";
}

}  // namespace cm::broker
