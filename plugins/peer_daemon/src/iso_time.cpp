#include "plugins/peer_daemon/src/iso_time.hpp"

#include <array>
#include <chrono>
#include <cstdio>

namespace cm::daemon {
namespace {

constexpr std::int64_t kMsPerDay = 86'400'000;

// Takes exactly `digits` digits from the front of `text`.
std::optional<int> take_number(std::string_view& text, std::size_t digits) {
  if (text.size() < digits) {
    return std::nullopt;
  }
  int value = 0;
  for (std::size_t i = 0; i < digits; ++i) {
    if (text[i] < '0' || text[i] > '9') {
      return std::nullopt;
    }
    value = value * 10 + (text[i] - '0');
  }
  text.remove_prefix(digits);
  return value;
}

bool take_char(std::string_view& text, char expected) {
  if (text.empty() || text.front() != expected) {
    return false;
  }
  text.remove_prefix(1);
  return true;
}

std::optional<std::int64_t> take_date_ms(std::string_view& text) {
  const std::optional<int> year = take_number(text, 4);
  if (!year || !take_char(text, '-')) {
    return std::nullopt;
  }
  const std::optional<int> month = take_number(text, 2);
  if (!month || !take_char(text, '-')) {
    return std::nullopt;
  }
  const std::optional<int> day = take_number(text, 2);
  if (!day) {
    return std::nullopt;
  }
  const std::chrono::year_month_day date{std::chrono::year(*year), std::chrono::month(static_cast<unsigned>(*month)),
                                         std::chrono::day(static_cast<unsigned>(*day))};
  if (!date.ok()) {
    return std::nullopt;
  }
  return std::chrono::sys_days(date).time_since_epoch().count() * kMsPerDay;
}

std::int64_t take_fraction_ms(std::string_view& text) {
  std::int64_t value = 0;
  std::int64_t scale = 100;
  while (!text.empty() && text.front() >= '0' && text.front() <= '9') {
    value += (text.front() - '0') * scale;
    scale /= 10;
    text.remove_prefix(1);
  }
  return value;
}

std::optional<std::int64_t> take_clock_ms(std::string_view& text) {
  const std::optional<int> hour = take_number(text, 2);
  if (!hour || *hour > 24 || !take_char(text, ':')) {
    return std::nullopt;
  }
  const std::optional<int> minute = take_number(text, 2);
  if (!minute || *minute > 59) {
    return std::nullopt;
  }
  std::int64_t ms = (*hour * 60 + *minute) * 60'000;
  if (take_char(text, ':')) {
    const std::optional<int> second = take_number(text, 2);
    if (!second || *second > 60) {
      return std::nullopt;
    }
    ms += *second * 1'000;
    if (take_char(text, '.')) {
      ms += take_fraction_ms(text);
    }
  }
  return ms;
}

std::optional<std::int64_t> take_zone_ms(std::string_view& text) {
  if (text.empty() || take_char(text, 'Z')) {
    return 0;
  }
  const bool east = take_char(text, '+');
  if (!east && !take_char(text, '-')) {
    return std::nullopt;
  }
  const std::optional<int> hour = take_number(text, 2);
  static_cast<void>(take_char(text, ':'));
  const std::optional<int> minute = take_number(text, 2);
  if (!hour || !minute) {
    return std::nullopt;
  }
  const std::int64_t offset_ms = (*hour * 60 + *minute) * 60'000;
  return east ? offset_ms : -offset_ms;
}

}  // namespace

std::string format_iso_ms(std::int64_t unix_ms) {
  const std::chrono::sys_time<std::chrono::milliseconds> time{std::chrono::milliseconds(unix_ms)};
  const auto day = std::chrono::floor<std::chrono::days>(time);
  const std::chrono::year_month_day date(day);
  const std::chrono::hh_mm_ss<std::chrono::milliseconds> clock(time - day);
  std::array<char, 64> text{};
  std::snprintf(text.data(), text.size(), "%04d-%02u-%02uT%02d:%02d:%02d.%03dZ", static_cast<int>(date.year()),
                static_cast<unsigned>(date.month()), static_cast<unsigned>(date.day()),
                static_cast<int>(clock.hours().count()), static_cast<int>(clock.minutes().count()),
                static_cast<int>(clock.seconds().count()), static_cast<int>(clock.subseconds().count()));
  return std::string(text.data());
}

std::optional<std::int64_t> parse_iso_ms(std::string_view text) {
  const std::optional<std::int64_t> date_ms = take_date_ms(text);
  if (!date_ms) {
    return std::nullopt;
  }
  if (text.empty()) {
    return date_ms;
  }
  if (!take_char(text, 'T') && !take_char(text, ' ')) {
    return std::nullopt;
  }
  const std::optional<std::int64_t> clock_ms = take_clock_ms(text);
  if (!clock_ms) {
    return std::nullopt;
  }
  const std::optional<std::int64_t> zone_ms = take_zone_ms(text);
  if (!zone_ms || !text.empty()) {
    return std::nullopt;
  }
  return *date_ms + *clock_ms - *zone_ms;
}

}  // namespace cm::daemon
