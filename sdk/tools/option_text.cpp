// Reading and writing of the small texts: durations, sizes, addresses, names.
#include <algorithm>
#include <array>
#include <charconv>
#include <limits>
#include <numeric>

#include "sdk/tools/options.hpp"

namespace cm::options {
namespace {

struct Unit {
  std::string_view name;
  std::int64_t factor;
};

// Largest first: format picks the first that divides, and a duration must list its parts in this order.
constexpr std::array<Unit, 5> kDurationUnits{
    {{"d", 86'400'000}, {"h", 3'600'000}, {"m", 60'000}, {"s", 1'000}, {"ms", 1}}};
constexpr std::array<Unit, 5> kSizeUnits{
    {{"TiB", 1LL << 40}, {"GiB", 1LL << 30}, {"MiB", 1LL << 20}, {"KiB", 1LL << 10}, {"B", 1}}};

constexpr std::string_view kDurationExpected = R"(expected a duration such as "250ms", "30s", "5m", "2h" or "7d")";
constexpr std::string_view kSizeExpected = R"(expected a size such as "64KiB", "1MiB" or "512")";
constexpr std::string_view kAddressExpected = R"(expected "host:port", "[v6 address]:port" or "unix:/path")";
constexpr std::size_t kQuotedBytesMax = 80;

constexpr std::array<std::string_view, 12> kTypeNames{"bool", "int",     "float",  "string", "duration", "size",
                                                      "path", "address", "secret", "choice", "list",     "plugin"};
constexpr std::array<std::string_view, 6> kReserved{"use", "file", "sha256", "permissions", "loop", "enabled"};

bool is_lower(char c) noexcept {
  return c >= 'a' && c <= 'z';
}
bool is_digit(char c) noexcept {
  return c >= '0' && c <= '9';
}

// Quoted, shortened, with control bytes escaped: bad input must not write to somebody's terminal.
std::string quoted(std::string_view text) {
  const bool shortened = text.size() > kQuotedBytesMax;
  std::string out = json_quote(text.substr(0, kQuotedBytesMax));
  return shortened ? out + "... (" + std::to_string(text.size()) + " bytes)" : out;
}

Error mismatch(std::string_view found, std::string_view expected) {
  return make_error(ErrorCode::kInvalid, "found " + quoted(found) + ", " + std::string(expected));
}

// Takes leading digits off `text`. False: no digit, or more than 63 bits.
bool take_number(std::string_view& text, std::int64_t& out) noexcept {
  if (text.empty() || !is_digit(text.front())) {
    return false;
  }
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), out);
  if (error != std::errc()) {
    return false;
  }
  text.remove_prefix(static_cast<std::size_t>(end - text.data()));
  return true;
}

std::string_view take_word(std::string_view& text) noexcept {
  const auto end = std::find_if(text.begin(), text.end(), is_digit);
  const std::string_view word = text.substr(0, static_cast<std::size_t>(end - text.begin()));
  text.remove_prefix(word.size());
  return word;
}

// number * factor + total, or false on overflow.
bool add_scaled(std::int64_t number, std::int64_t factor, std::int64_t& total) noexcept {
  std::int64_t scaled = 0;
  return !__builtin_mul_overflow(number, factor, &scaled) && !__builtin_add_overflow(total, scaled, &total);
}

bool is_host(std::string_view host) noexcept {
  return !host.empty() && host.size() <= 253 && std::all_of(host.begin(), host.end(), [](char c) {
    return is_lower(c) || is_digit(c) || (c >= 'A' && c <= 'Z') || c == '.' || c == '-' || c == '_';
  });
}

bool is_v6(std::string_view host) noexcept {
  if (host.size() < 2 || host.size() > 64 || std::count(host.begin(), host.end(), ':') < 2) {
    return false;
  }
  const std::string_view digits = host.substr(0, host.find('%'));  // behind '%' stands the name of an interface
  return std::all_of(digits.begin(), digits.end(), [](char c) {
    return is_digit(c) || (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F') || c == ':' || c == '.';
  });
}

bool parse_port(std::string_view text, std::uint16_t& out) noexcept {
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), out);
  return !text.empty() && error == std::errc() && end == text.data() + text.size();
}

// Insertions, deletions, replacements and swaps of neighbours (optimal string alignment), which is how people misspell.
std::size_t edit_distance(std::string_view a, std::string_view b) {
  std::vector<std::size_t> before_last(b.size() + 1);
  std::vector<std::size_t> last(b.size() + 1);
  std::vector<std::size_t> row(b.size() + 1);
  std::iota(last.begin(), last.end(), std::size_t{0});
  for (std::size_t i = 1; i <= a.size(); ++i) {
    row[0] = i;
    for (std::size_t j = 1; j <= b.size(); ++j) {
      const std::size_t replaced = last[j - 1] + (a[i - 1] == b[j - 1] ? 0 : 1);
      row[j] = std::min({replaced, last[j] + 1, row[j - 1] + 1});
      if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1]) {
        row[j] = std::min(row[j], before_last[j - 2] + 1);
      }
    }
    std::swap(before_last, last);
    std::swap(last, row);
  }
  return last[b.size()];
}

}  // namespace

std::string_view type_name(OptionType type) noexcept {
  return kTypeNames[static_cast<std::size_t>(type)];
}

std::optional<OptionType> type_from_name(std::string_view name) noexcept {
  const auto found = std::find(kTypeNames.begin(), kTypeNames.end(), name);
  if (found == kTypeNames.end()) {
    return std::nullopt;
  }
  return static_cast<OptionType>(found - kTypeNames.begin());
}

std::span<const std::string_view> type_names() noexcept {
  return kTypeNames;
}

Result<std::int64_t> parse_duration_ms(std::string_view text) {
  if (text == "0") {
    return std::int64_t{0};
  }
  std::string_view rest = text;
  std::int64_t total_ms = 0;
  auto allowed = kDurationUnits.begin();
  do {
    std::int64_t number = 0;
    if (!take_number(rest, number)) {
      return mismatch(text, kDurationExpected);
    }
    const std::string_view word = take_word(rest);
    const auto unit =
        std::find_if(allowed, kDurationUnits.end(), [word](const Unit& entry) { return entry.name == word; });
    if (unit == kDurationUnits.end() || !add_scaled(number, unit->factor, total_ms)) {
      return mismatch(text, kDurationExpected);
    }
    allowed = unit + 1;
  } while (!rest.empty());
  return total_ms;
}

Result<std::int64_t> parse_size_bytes(std::string_view text) {
  std::string_view rest = text;
  std::int64_t number = 0;
  if (!take_number(rest, number)) {
    return mismatch(text, kSizeExpected);
  }
  if (rest.empty()) {
    return number;
  }
  const auto unit =
      std::find_if(kSizeUnits.begin(), kSizeUnits.end(), [rest](const Unit& entry) { return entry.name == rest; });
  std::int64_t size_bytes = 0;
  if (unit == kSizeUnits.end() || !add_scaled(number, unit->factor, size_bytes)) {
    return mismatch(text, kSizeExpected);
  }
  return size_bytes;
}

std::string format_duration_ms(std::int64_t duration_ms) {
  if (duration_ms <= 0) {
    return "0";
  }
  std::string out;
  for (const Unit& unit : kDurationUnits) {
    const std::int64_t count = duration_ms / unit.factor;
    duration_ms %= unit.factor;
    if (count > 0) {
      out += std::to_string(count) + std::string(unit.name);
    }
  }
  return out;
}

std::string format_size_bytes(std::int64_t size_bytes) {
  if (size_bytes < 1024) {
    return std::to_string(size_bytes);
  }
  const auto unit = std::find_if(kSizeUnits.begin(), kSizeUnits.end(),
                                 [size_bytes](const Unit& entry) { return size_bytes % entry.factor == 0; });
  return std::to_string(size_bytes / unit->factor) + (unit->factor == 1 ? "" : std::string(unit->name));
}

Result<Address> parse_address(std::string_view text) {
  Address address;
  if (text.starts_with("unix:")) {
    address.path = text.substr(5);
    if (address.path.empty() || address.path.find('\0') != std::string::npos) {
      return mismatch(text, kAddressExpected);
    }
    return address;
  }
  const std::size_t colon = text.rfind(':');
  if (colon == std::string_view::npos || !parse_port(text.substr(colon + 1), address.port)) {
    return mismatch(text, kAddressExpected);
  }
  const std::string_view host = text.substr(0, colon);
  const bool bracketed = host.size() >= 2 && host.front() == '[' && host.back() == ']';
  address.host = bracketed ? host.substr(1, host.size() - 2) : host;
  if (bracketed ? !is_v6(address.host) : !is_host(address.host)) {
    return mismatch(text, kAddressExpected);
  }
  return address;
}

bool is_name(std::string_view text) noexcept {
  return !text.empty() && text.size() <= kNameBytesMax && is_lower(text.front()) &&
         std::all_of(text.begin(), text.end(), [](char c) { return is_lower(c) || is_digit(c) || c == '_'; });
}

bool is_plugin_id(std::string_view text) noexcept {
  if (text.empty() || text.size() > 2 * kNameBytesMax || !is_lower(text.front())) {
    return false;
  }
  std::size_t words = 0;
  bool at_start = true;
  for (const char c : text) {
    if (c == '.' ? at_start : !(is_lower(c) || is_digit(c) || (!at_start && (c == '-' || c == '_')))) {
      return false;
    }
    words += at_start ? 1U : 0U;
    at_start = c == '.';
  }
  return words >= 2 && !at_start;
}

bool is_table_id(std::string_view text) noexcept {
  const std::size_t slash = text.find('/');
  if (slash == std::string_view::npos || !is_plugin_id(text.substr(0, slash))) {
    return false;
  }
  std::uint16_t revision = 0;
  return parse_port(text.substr(slash + 1), revision) && revision >= 1;
}

bool is_version(std::string_view text) noexcept {
  const std::string_view numbers = text.substr(0, text.find_first_of("-+"));
  if (text.size() > kNameBytesMax || numbers.size() + 1 == text.size()) {
    return false;
  }
  std::string_view rest = numbers;
  for (int part = 0; part < 3; ++part) {
    std::int64_t number = 0;
    if (!take_number(rest, number) || (part < 2 && !rest.starts_with('.'))) {
      return false;
    }
    rest.remove_prefix(part < 2 ? 1 : 0);
  }
  return rest.empty() && std::all_of(text.begin(), text.end(), [](char c) { return c > ' ' && c < 0x7f && c != '"'; });
}

bool is_reserved_option(std::string_view name) noexcept {
  // One prefix for all keys of process isolation: a key that is added later takes no name away from a plugin.
  return name == "isolation" || name.starts_with("isolation_") ||
         std::find(kReserved.begin(), kReserved.end(), name) != kReserved.end();
}

std::string nearest_name(std::string_view name, std::span<const std::string> candidates) {
  if (name.size() > kNameBytesMax) {
    return {};
  }
  std::string best;
  std::size_t best_distance = std::max<std::size_t>(1, name.size() / 3) + 1;
  for (const std::string& candidate : candidates) {
    if (candidate.size() > 2 * kNameBytesMax) {
      continue;
    }
    const std::size_t distance = edit_distance(name, candidate);
    if (distance < best_distance) {
      best_distance = distance;
      best = candidate;
    }
  }
  return best;
}

std::string describe_raw(const RawValue& value) {
  if (const auto* flag = std::get_if<bool>(&value)) {
    return std::string("the boolean ") + (*flag ? "true" : "false");
  }
  if (const auto* number = std::get_if<std::int64_t>(&value)) {
    return "the integer " + std::to_string(*number);
  }
  if (std::holds_alternative<double>(value)) {
    return "the number " + spell_raw(value);
  }
  if (const auto* text = std::get_if<std::string>(&value)) {
    return "the text " + quoted(*text);
  }
  if (const auto* list = std::get_if<std::vector<std::string>>(&value)) {
    return "a list of " + std::to_string(list->size());
  }
  return "a table, a date or a mixed list";
}

std::string spell_raw(const RawValue& value) {
  if (const auto* flag = std::get_if<bool>(&value)) {
    return *flag ? "true" : "false";
  }
  if (const auto* number = std::get_if<std::int64_t>(&value)) {
    return std::to_string(*number);
  }
  if (const auto* real = std::get_if<double>(&value)) {
    std::array<char, 64> buffer{};
    const auto end = std::to_chars(buffer.data(), buffer.data() + buffer.size(), *real).ptr;
    return {buffer.data(), end};
  }
  if (const auto* text = std::get_if<std::string>(&value)) {
    return json_quote(*text);
  }
  std::string out = "[";
  if (const auto* list = std::get_if<std::vector<std::string>>(&value)) {
    for (const std::string& element : *list) {
      out += (out.size() > 1 ? ", " : "") + json_quote(element);
    }
  }
  return out + "]";
}

}  // namespace cm::options
