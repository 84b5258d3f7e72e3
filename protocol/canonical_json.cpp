#include "protocol/canonical_json.hpp"

#include <algorithm>
#include <cmath>
#include <optional>

#include "protocol/encoding.hpp"

namespace cm::protocol {
namespace {

enum class Flavour { kRfc8785, kJavaScript };

constexpr std::uint64_t kArrayIndexEnd = 4'294'967'295;  // 2^32 - 1: no array index itself

// The UTF-16 code units of a WTF-8 text, one after the other.
class Utf16Reader {
 public:
  explicit Utf16Reader(std::string_view text) : text_(text) {}

  // -1 at the end, which sorts before every unit.
  int next() {
    if (pending_ != 0) {
      const int unit = pending_;
      pending_ = 0;
      return unit;
    }
    if (position_ >= text_.size()) {
      return -1;
    }
    const unsigned lead = byte(position_);
    const std::size_t length = lead < 0x80 ? 1 : lead < 0xE0 ? 2 : lead < 0xF0 ? 3 : 4;
    unsigned code = length == 1 ? lead : lead & (0xFFu >> (length + 1));
    for (std::size_t i = 1; i < length && position_ + i < text_.size(); ++i) {
      code = (code << 6) | (byte(position_ + i) & 0x3F);
    }
    position_ += length;
    if (code < 0x10000) {
      return static_cast<int>(code);
    }
    code -= 0x10000;
    pending_ = static_cast<int>(0xDC00 + (code & 0x3FF));
    return static_cast<int>(0xD800 + (code >> 10));
  }

 private:
  unsigned byte(std::size_t i) const { return static_cast<unsigned char>(text_[i]); }
  std::string_view text_;
  std::size_t position_ = 0;
  int pending_ = 0;
};

// The number of an integer-like name: no leading zeros, below 2^32 - 1.
std::optional<std::uint64_t> array_index(std::string_view name) {
  if (name.empty() || name.size() > 10 || (name.size() > 1 && name[0] == '0')) {
    return std::nullopt;
  }
  std::uint64_t value = 0;
  for (const char c : name) {
    if (c < '0' || c > '9') {
      return std::nullopt;
    }
    value = value * 10 + static_cast<std::uint64_t>(c - '0');
  }
  return value < kArrayIndexEnd ? std::optional(value) : std::nullopt;
}

bool name_before(Flavour flavour, const std::string& a, const std::string& b) {
  if (flavour == Flavour::kJavaScript) {
    const auto index_a = array_index(a);
    const auto index_b = array_index(b);
    if (index_a || index_b) {
      return index_a && (!index_b || *index_a < *index_b);
    }
  }
  return compare_utf16(a, b) < 0;
}

class Writer {
 public:
  explicit Writer(Flavour flavour) : flavour_(flavour) {}

  Result<std::string> write(const JsonValue& value) {
    if (!append(value, 0)) {
      return make_error(ErrorCode::kInvalid, "canonical JSON: " + problem_);
    }
    return std::move(out_);
  }

 private:
  bool fail(const char* problem) {
    problem_ = problem;
    return false;
  }

  bool append_text(const std::string& text) {
    if (flavour_ == Flavour::kRfc8785 && !is_valid_utf8(text)) {
      return fail("a lone surrogate or bytes that are not UTF-8; RFC 8785 has no form for them");
    }
    append_json_string(out_, text);
    return true;
  }

  bool append(const JsonValue& value, std::size_t depth) {
    if (depth > kJsonMaxDepth) {
      return fail("nested too deeply; at most 64 levels are accepted");
    }
    if (const double* number = value.as_number()) {
      if (!std::isfinite(*number)) {
        return fail("NaN and infinity have no JSON form");
      }
      append_json_number(out_, *number);
      return true;
    }
    if (const std::string* text = value.as_string()) {
      return append_text(*text);
    }
    if (const JsonValue::Array* array = value.as_array()) {
      return append_array(*array, depth);
    }
    if (const JsonValue::Object* object = value.as_object()) {
      return append_object(*object, depth);
    }
    write_json(out_, value);
    return true;
  }

  bool append_array(const JsonValue::Array& array, std::size_t depth) {
    out_.push_back('[');
    for (std::size_t i = 0; i < array.size(); ++i) {
      if (i != 0) {
        out_.push_back(',');
      }
      if (!append(array[i], depth + 1)) {
        return false;
      }
    }
    out_.push_back(']');
    return true;
  }

  bool append_object(const JsonValue::Object& object, std::size_t depth) {
    std::vector<const JsonMember*> sorted;
    sorted.reserve(object.size());
    for (const JsonMember& member : object) {
      sorted.push_back(&member);
    }
    std::sort(sorted.begin(), sorted.end(),
              [this](const JsonMember* a, const JsonMember* b) { return name_before(flavour_, a->key, b->key); });
    out_.push_back('{');
    for (std::size_t i = 0; i < sorted.size(); ++i) {
      if (i != 0) {
        out_.push_back(',');
      }
      if (!append_text(sorted[i]->key)) {
        return false;
      }
      out_.push_back(':');
      if (!append(sorted[i]->value, depth + 1)) {
        return false;
      }
    }
    out_.push_back('}');
    return true;
  }

  Flavour flavour_;
  std::string out_;
  std::string problem_;
};

Result<std::string> parse_and_write(std::string_view text, Flavour flavour) {
  JsonLimits limits;
  limits.lone_surrogates = flavour == Flavour::kRfc8785 ? LoneSurrogates::kReject : LoneSurrogates::kKeep;
  const auto value = parse_json(text, limits);
  if (!value.ok()) {
    return value.error();
  }
  return Writer(flavour).write(*value);
}

}  // namespace

int compare_utf16(std::string_view a, std::string_view b) {
  const auto [in_a, in_b] = std::mismatch(a.begin(), a.end(), b.begin(), b.end());
  std::size_t start = static_cast<std::size_t>(in_a - a.begin());
  // Back to the first byte of the character in which they differ; the bytes before are common to both.
  while (start > 0 && ((start < a.size() && (static_cast<unsigned char>(a[start]) & 0xC0) == 0x80) ||
                       (start < b.size() && (static_cast<unsigned char>(b[start]) & 0xC0) == 0x80))) {
    --start;
  }
  Utf16Reader reader_a(a.substr(start));
  Utf16Reader reader_b(b.substr(start));
  while (true) {
    const int unit_a = reader_a.next();
    const int unit_b = reader_b.next();
    if (unit_a != unit_b) {
      return unit_a < unit_b ? -1 : 1;
    }
    if (unit_a == -1) {
      return 0;
    }
  }
}

Result<std::string> canonical_json(const JsonValue& value) {
  return Writer(Flavour::kRfc8785).write(value);
}
Result<std::string> canonical_json(std::string_view text) {
  return parse_and_write(text, Flavour::kRfc8785);
}
Result<std::string> canonical_json_js(const JsonValue& value) {
  return Writer(Flavour::kJavaScript).write(value);
}
Result<std::string> canonical_json_js(std::string_view text) {
  return parse_and_write(text, Flavour::kJavaScript);
}

}  // namespace cm::protocol
