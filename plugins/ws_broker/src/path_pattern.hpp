// Paths of features on the broker's port, by the rules of cm.http.server/1: literal segments, ":name" for one segment,
// a last "*name" for the rest; the most literal pattern wins. Pure.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace cm::broker {

class PathPattern {
 public:
  static constexpr std::size_t kBytesMax = 1024;
  using Parameters = std::vector<std::pair<std::string, std::string>>;

  // Nothing when it does not begin with '/', is too long, has a name without letters, or goes on behind "*name".
  static std::optional<PathPattern> parse(std::string_view text);

  const std::string& text() const noexcept { return text_; }
  // Decoded parameters, or nothing when the path is another one.
  std::optional<Parameters> match(std::string_view path) const;
  // Whether it is preferred to `other` where both match.
  bool more_literal_than(const PathPattern& other) const;

 private:
  enum class Kind { kLiteral, kName, kRest };
  struct Segment {
    Kind kind;
    std::string text;
  };
  std::string text_;
  std::vector<Segment> segments_;
};

// %41 and the like; what is no escape stays as it is.
std::string percent_decode(std::string_view text);

}  // namespace cm::broker
