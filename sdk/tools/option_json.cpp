// Options as canonical JSON, and the hash of it.
#include <sodium.h>

#include <array>

#include "sdk/tools/options.hpp"

namespace cm::options {
namespace {

// Writes an object whose members are added in sorted order by the caller.
class ObjectWriter {
 public:
  void raw(std::string_view key, std::string_view json) {
    out_ += (out_.size() > 1 ? ",\"" : "\"") + std::string(key) + "\":" + std::string(json);
  }
  void text(std::string_view key, std::string_view value) {
    if (!value.empty()) {
      raw(key, json_quote(value));
    }
  }
  void flag(std::string_view key, bool value) {
    if (value) {
      raw(key, "true");
    }
  }
  void list(std::string_view key, const std::vector<std::string>& values);
  std::string finish() && { return std::move(out_) + "}"; }

 private:
  std::string out_ = "{";
};

std::string json_list(const std::vector<std::string>& values) {
  std::string json = "[";
  for (const std::string& value : values) {
    json += (json.size() > 1 ? "," : "") + json_quote(value);
  }
  return json + "]";
}

void ObjectWriter::list(std::string_view key, const std::vector<std::string>& values) {
  if (!values.empty()) {
    raw(key, json_list(values));
  }
}

std::string json_value(const RawValue& value) {
  const auto* list = std::get_if<std::vector<std::string>>(&value);
  return list != nullptr ? json_list(*list) : spell_raw(value);
}

// Durations are written as a person spells them, everything else as a number.
void write_bound(ObjectWriter& out, std::string_view key, const OptionSpec& spec, std::optional<std::int64_t> whole,
                 std::optional<double> real) {
  if (whole && spec.type == OptionType::kDuration) {
    out.text(key, format_duration_ms(*whole));
  } else if (whole) {
    out.raw(key, std::to_string(*whole));
  } else if (real) {
    out.raw(key, spell_raw(*real));
  }
}

std::string option_to_json(const OptionSpec& spec) {
  ObjectWriter out;
  out.list("alias", spec.aliases);
  out.list("choices", spec.choices);
  if (spec.default_value) {
    out.raw("default", json_value(*spec.default_value));
  }
  out.text("deprecated", spec.deprecated);
  out.text("doc", spec.doc);
  out.text("extension", spec.extension);
  if (spec.type == OptionType::kList) {
    out.text("list_of", type_name(spec.list_of));
  }
  write_bound(out, "max", spec, spec.max_int, spec.max_real);
  write_bound(out, "min", spec, spec.min_int, spec.min_real);
  out.text("name", spec.name);
  out.flag("reloadable", spec.reloadable);
  out.flag("required", spec.required);
  out.flag("same_loop", spec.same_loop);
  out.flag("secret", spec.secret);
  out.text("type", type_name(spec.type));
  out.text("unit", spec.unit);
  return std::move(out).finish();
}

}  // namespace

std::string options_to_json(std::span<const OptionSpec> specs) {
  std::string json = "[";
  for (const OptionSpec& spec : specs) {
    json += (json.size() > 1 ? "," : "") + option_to_json(spec);
  }
  return json + "]";
}

std::string json_quote(std::string_view text) {
  constexpr std::string_view kHex = "0123456789abcdef";
  std::string out = "\"";
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if (c == '"' || c == '\\') {
      out += '\\';
      out += c;
    } else if (c == '\n') {
      out += "\\n";
    } else if (c == '\t') {
      out += "\\t";
    } else if (byte < 0x20 || byte == 0x7f) {
      out += "\\u00";
      out += kHex[byte >> 4];
      out += kHex[byte & 15];
    } else {
      out += c;
    }
  }
  return out + "\"";
}

std::string sha256_hex(std::string_view bytes) {
  std::array<unsigned char, crypto_hash_sha256_BYTES> hash{};
  crypto_hash_sha256(hash.data(), reinterpret_cast<const unsigned char*>(bytes.data()), bytes.size());
  std::array<char, crypto_hash_sha256_BYTES * 2 + 1> hex{};
  sodium_bin2hex(hex.data(), hex.size(), hash.data(), hash.size());
  return hex.data();
}

}  // namespace cm::options
