#include "host/isolation/options_codec.hpp"

namespace cm::isolation {

namespace {

using config::OptionType;

OptionKind kind_of(OptionType type) {
  switch (type) {
    case OptionType::kBool:
      return OptionKind::kBool;
    case OptionType::kInt:
    case OptionType::kDuration:
    case OptionType::kSize:
      return OptionKind::kInt;
    case OptionType::kFloat:
      return OptionKind::kFloat;
    case OptionType::kList:
      return OptionKind::kList;
    default:
      return OptionKind::kText;
  }
}

void write_value(FrameWriter& writer, OptionKind kind, const config::ValidatedOptions& options,
                 const std::string& name) {
  switch (kind) {
    case OptionKind::kBool:
      writer.boolean(*options.get_bool(name));
      return;
    case OptionKind::kInt:
      writer.i64(*options.get_int(name));
      return;
    case OptionKind::kFloat:
      writer.f64(*options.get_float(name));
      return;
    case OptionKind::kText:
      writer.bytes(*options.get_text(name));
      return;
    case OptionKind::kList: {
      const auto list = *options.get_list(name);
      writer.u32(static_cast<std::uint32_t>(list.size()));
      for (const std::string& text : list) {
        writer.bytes(text);
      }
      return;
    }
  }
}

RemoteOption read_value(FrameReader& reader, OptionKind kind) {
  RemoteOption option;
  option.kind = kind;
  switch (kind) {
    case OptionKind::kBool:
      option.value = reader.boolean();
      break;
    case OptionKind::kInt:
      option.value = reader.i64();
      break;
    case OptionKind::kFloat:
      option.value = reader.f64();
      break;
    case OptionKind::kText:
      option.value = std::string(reader.bytes());
      break;
    case OptionKind::kList: {
      std::vector<std::string> list(reader.count(4));
      for (std::string& text : list) {
        text = std::string(reader.bytes());
      }
      option.value = std::move(list);
      break;
    }
  }
  return option;
}

}  // namespace

void write_options(FrameWriter& writer, const config::ValidatedOptions& options) {
  writer.u32(static_cast<std::uint32_t>(options.specs().size()));
  for (const config::OptionSpec& spec : options.specs()) {
    const OptionKind kind = kind_of(spec.type);
    const bool has_value = options.find(spec.name) != nullptr;
    writer.text(spec.name);
    writer.u8(static_cast<std::uint8_t>(kind));
    writer.boolean(has_value);
    if (has_value) {
      write_value(writer, kind, options, spec.name);
    }
  }
}

RemoteOptions read_options(FrameReader& reader) {
  RemoteOptions options;
  const std::uint32_t count = reader.count(6);
  for (std::uint32_t i = 0; i < count && reader.good(); ++i) {
    const std::string name(reader.text());
    const auto kind = static_cast<OptionKind>(reader.u8());
    const bool has_value = reader.boolean();
    if (kind < OptionKind::kBool || kind > OptionKind::kList) {
      return {};
    }
    if (has_value) {
      options[name] = read_value(reader, kind);
    } else {
      options[name].kind = kind;
    }
  }
  return options;
}

}  // namespace cm::isolation
