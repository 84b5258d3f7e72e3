#include "cli/output.hpp"

#include <unistd.h>

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <ostream>

#include "protocol/encoding.hpp"

namespace cm::cli {

namespace {

constexpr std::string_view kReplacement = "\xEF\xBF\xBD";

std::string styled(bool colour, std::string_view codes, std::string_view text) {
  if (!colour) {
    return std::string(text);
  }
  return "\x1b[" + std::string(codes) + "m" + std::string(text) + "\x1b[0m";
}

// The length of the UTF-8 sequence at the start of `text`, or 0 when there is none.
std::size_t sequence_length(std::string_view text) {
  const auto first = static_cast<unsigned char>(text.front());
  const std::size_t length = first < 0x80 ? 1 : first < 0xE0 ? 2 : first < 0xF0 ? 3 : 4;
  if (length > text.size() || !protocol::is_valid_utf8(text.substr(0, length))) {
    return 0;
  }
  return length;
}

bool is_control(std::string_view sequence) {
  const auto first = static_cast<unsigned char>(sequence.front());
  if (sequence.size() == 1) {
    return first < 0x20 || first == 0x7F;
  }
  const auto second = static_cast<unsigned char>(sequence[1]);
  if (sequence.size() == 2) {
    return first == 0xC2 && second < 0xA0;  // U+0080 to U+009F: the second set of control characters
  }
  // U+202A to U+202E and U+2066 to U+2069 reorder what follows: a name could pretend to be another one.
  const auto third = static_cast<unsigned char>(sequence[2]);
  return sequence.size() == 3 && first == 0xE2 &&
         ((second == 0x80 && third >= 0xAA && third <= 0xAE) || (second == 0x81 && third >= 0xA6 && third <= 0xA9));
}

void write_pretty(std::string& out, const protocol::JsonValue& value, std::size_t depth);

void write_pretty_array(std::string& out, const protocol::JsonValue::Array& items, std::size_t depth) {
  if (items.empty()) {
    out += "[]";
    return;
  }
  out += "[\n";
  for (std::size_t i = 0; i < items.size(); ++i) {
    out.append((depth + 1) * 2, ' ');
    write_pretty(out, items[i], depth + 1);
    out += i + 1 < items.size() ? ",\n" : "\n";
  }
  out.append(depth * 2, ' ');
  out += ']';
}

void write_pretty_object(std::string& out, const protocol::JsonValue::Object& members, std::size_t depth) {
  if (members.empty()) {
    out += "{}";
    return;
  }
  out += "{\n";
  for (std::size_t i = 0; i < members.size(); ++i) {
    out.append((depth + 1) * 2, ' ');
    protocol::append_json_string(out, members[i].key);
    out += ": ";
    write_pretty(out, members[i].value, depth + 1);
    out += i + 1 < members.size() ? ",\n" : "\n";
  }
  out.append(depth * 2, ' ');
  out += '}';
}

void write_pretty(std::string& out, const protocol::JsonValue& value, std::size_t depth) {
  if (value.as_array() != nullptr) {
    write_pretty_array(out, *value.as_array(), depth);
  } else if (value.as_object() != nullptr) {
    write_pretty_object(out, *value.as_object(), depth);
  } else {
    protocol::write_json(out, value);
  }
}

}  // namespace

void Output::success(std::string_view text) const {
  out << "  " << styled(colour_out, "32", "✔") << ' ' << text << '\n';
}

void Output::hint(std::string_view text) const {
  out << "    " << styled(colour_out, "2", "→ " + std::string(text)) << '\n';
}

void Output::warning(std::string_view text) const {
  err << "  " << styled(colour_err, "33", "⚠") << ' ' << text << '\n';
}

void Output::header(std::string_view title) const {
  out << "\n— " << bold(title) << "\n\n";
}

int Output::fail(const Failure& failure) const {
  out.flush();
  err << "  " << styled(colour_err, "31", "✘") << ' ' << failure.found;
  if (!failure.expected.empty()) {
    err << "; expected " << failure.expected;
  }
  err << '\n';
  if (!failure.next.empty()) {
    err << "    " << styled(colour_err, "2", "→ " + failure.next) << '\n';
  }
  err.flush();
  return static_cast<int>(failure.code);
}

void Output::json(const protocol::JsonValue& value) const {
  out << pretty_json(value) << '\n';
}

void Output::json_line(const protocol::JsonValue& value) const {
  out << protocol::to_json(value) << '\n';
}

std::string Output::dim(std::string_view text) const {
  return styled(colour_out, "2", text);
}

std::string Output::bold(std::string_view text) const {
  return styled(colour_out, "1", text);
}

bool wants_colour(int descriptor) {
  const char* no_colour = std::getenv("NO_COLOR");
  const char* term = std::getenv("TERM");
  if ((no_colour != nullptr && *no_colour != '\0') || (term != nullptr && std::string_view(term) == "dumb")) {
    return false;
  }
  return ::isatty(descriptor) == 1;
}

std::string printable(std::string_view text, bool multi_line) {
  std::string clean;
  clean.reserve(text.size());
  while (!text.empty()) {
    const std::size_t length = sequence_length(text);
    const std::string_view sequence = text.substr(0, length == 0 ? 1 : length);
    const bool kept_break = multi_line && (sequence == "\n" || sequence == "\t");
    clean += (length == 0 || is_control(sequence)) && !kept_break ? kReplacement : sequence;
    text.remove_prefix(sequence.size());
  }
  return clean;
}

std::string brief(std::string_view message) {
  return printable(message.substr(0, std::min(message.find("; "), message.find(". "))));
}

std::string pretty_json(const protocol::JsonValue& value) {
  std::string out;
  write_pretty(out, value, 0);
  return out;
}

std::string duration_text(double milliseconds) {
  constexpr double kSecond = 1000;
  constexpr double kMinute = 60 * kSecond;
  constexpr double kHour = 60 * kMinute;
  constexpr double kDay = 24 * kHour;
  const auto whole = [](double value) { return std::to_string(static_cast<std::int64_t>(value)); };
  if (milliseconds < kSecond) {
    return whole(milliseconds) + " ms";
  }
  if (milliseconds < kMinute) {
    return whole(milliseconds / kSecond) + " s";
  }
  if (milliseconds < kHour) {
    return whole(milliseconds / kMinute) + " min";
  }
  return milliseconds < kDay ? whole(milliseconds / kHour) + " h" : whole(milliseconds / kDay) + " d";
}

}  // namespace cm::cli
