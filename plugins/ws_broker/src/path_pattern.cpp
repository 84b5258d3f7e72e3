#include "plugins/ws_broker/src/path_pattern.hpp"

#include <algorithm>

namespace cm::broker {

namespace {

int hex_digit(char c) {
  if (c >= '0' && c <= '9') {
    return c - '0';
  }
  const char lower = static_cast<char>(c | 0x20);
  return lower >= 'a' && lower <= 'f' ? lower - 'a' + 10 : -1;
}

// Takes the next segment off `path`, which begins with '/'.
std::string_view take_segment(std::string_view& path) {
  path.remove_prefix(1);
  const std::string_view segment = path.substr(0, path.find('/'));
  path.remove_prefix(segment.size());
  return segment;
}

}  // namespace

std::string percent_decode(std::string_view text) {
  std::string out;
  out.reserve(text.size());
  for (std::size_t i = 0; i < text.size(); ++i) {
    const int high = text[i] == '%' && i + 2 < text.size() ? hex_digit(text[i + 1]) : -1;
    const int low = high >= 0 ? hex_digit(text[i + 2]) : -1;
    if (low < 0) {
      out.push_back(text[i]);
      continue;
    }
    out.push_back(static_cast<char>(high * 16 + low));
    i += 2;
  }
  return out;
}

std::optional<PathPattern> PathPattern::parse(std::string_view text) {
  if (!text.starts_with('/') || text.size() > kBytesMax) {
    return std::nullopt;
  }
  PathPattern pattern;
  pattern.text_ = text;
  std::string_view rest = text;
  while (!rest.empty()) {
    const std::string_view segment = take_segment(rest);
    const bool named = segment.starts_with(':') || segment.starts_with('*');
    if (named && (segment.size() == 1 || (segment.front() == '*' && !rest.empty()))) {
      return std::nullopt;
    }
    const Kind kind = !named ? Kind::kLiteral : segment.front() == ':' ? Kind::kName : Kind::kRest;
    pattern.segments_.push_back(Segment{kind, std::string(named ? segment.substr(1) : segment)});
  }
  return pattern;
}

std::optional<PathPattern::Parameters> PathPattern::match(std::string_view path) const {
  Parameters parameters;
  for (const Segment& segment : segments_) {
    if (!path.starts_with('/')) {
      return std::nullopt;
    }
    if (segment.kind == Kind::kRest) {
      parameters.emplace_back(segment.text, percent_decode(path.substr(1)));
      return parameters;
    }
    const std::string_view part = take_segment(path);
    if (segment.kind == Kind::kName) {
      if (part.empty()) {
        return std::nullopt;
      }
      parameters.emplace_back(segment.text, percent_decode(part));
    } else if (part != segment.text) {
      return std::nullopt;
    }
  }
  return path.empty() ? std::optional(std::move(parameters)) : std::nullopt;
}

bool PathPattern::more_literal_than(const PathPattern& other) const {
  const std::size_t common = std::min(segments_.size(), other.segments_.size());
  for (std::size_t i = 0; i < common; ++i) {
    if (segments_[i].kind != other.segments_[i].kind) {
      return segments_[i].kind < other.segments_[i].kind;
    }
  }
  return segments_.size() > other.segments_.size();
}

}  // namespace cm::broker
