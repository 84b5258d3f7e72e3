#include "host/isolation/extensions/bridge_codec.hpp"

#include <algorithm>
#include <cstring>

namespace cm::isolation {

namespace {

std::array<cm_text_pview*, 8> texts_of(cm_bridge_message& message) {
  return {&message.channel,     &message.mesh, &message.message_id, &message.author_id,
          &message.author_name, &message.text, &message.trail,      &message.reply_to};
}

std::array<cm_text_hview*, 9> texts_of(cm_bridge_crossing& crossing) {
  return {&crossing.mapping_id,  &crossing.message_id, &crossing.reason, &crossing.channel, &crossing.mesh,
          &crossing.author_name, &crossing.text,       &crossing.trail,  &crossing.new_id};
}

// The other side's struct may be older and shorter than ours.
template <typename T>
T known_part(const T& given) {
  T result = {};
  std::memcpy(&result, &given, std::min<std::size_t>(given.size, sizeof(T)));
  result.size = sizeof(T);
  return result;
}

}  // namespace

BridgeMapping copy_mapping(const cm_bridge_mapping& given) {
  const cm_bridge_mapping mapping = known_part(given);
  const auto text = [](cm_text_pview view) { return std::string(to_view(view)); };
  return {
      mapping.directions,
      {text(mapping.id), text(mapping.remote), text(mapping.mesh), text(mapping.target), text(mapping.options_json)}};
}

void write_mapping(FrameWriter& writer, const BridgeMapping& mapping) {
  writer.u32(mapping.directions);
  for (const std::string& text : mapping.texts) {
    writer.text(text);
  }
}

BridgeMapping read_mapping(FrameReader& reader) {
  BridgeMapping mapping;
  mapping.directions = reader.u32();
  for (std::string& text : mapping.texts) {
    text = std::string(reader.text());
  }
  return mapping;
}

void write_state(FrameWriter& writer, const BridgeState& state) {
  writer.u32(state.state);
  writer.text(state.mark);
  writer.text(state.detail);
  for (const std::uint64_t count : state.counts) {
    writer.u64(count);
  }
  writer.u32(static_cast<std::uint32_t>(state.mappings.size()));
  for (const BridgeMapping& mapping : state.mappings) {
    write_mapping(writer, mapping);
  }
}

BridgeState read_state(FrameReader& reader) {
  BridgeState state;
  state.state = reader.u32();
  state.mark = std::string(reader.text());
  state.detail = std::string(reader.text());
  for (std::uint64_t& count : state.counts) {
    count = reader.u64();
  }
  const std::uint32_t count = reader.count(kMappingBytesMin);
  for (std::uint32_t i = 0; i < count && reader.good(); ++i) {
    state.mappings.push_back(read_mapping(reader));
  }
  return state;
}

void write_message(FrameWriter& writer, const cm_bridge_message& given) {
  cm_bridge_message message = known_part(given);
  writer.u32(message.flags);
  writer.i64(message.unix_ms);
  for (const cm_text_pview* text : texts_of(message)) {
    writer.text(to_view(*text));
  }
}

cm_bridge_message read_message(FrameReader& reader) {
  cm_bridge_message message = {};
  message.size = sizeof(message);
  message.flags = reader.u32();
  message.unix_ms = reader.i64();
  for (cm_text_pview* text : texts_of(message)) {
    *text = to_pview(reader.text());
  }
  return message;
}

void write_crossing(FrameWriter& writer, const cm_bridge_crossing& given) {
  cm_bridge_crossing crossing = known_part(given);
  writer.u32(crossing.outcome);
  writer.u32(crossing.direction);
  writer.u32(crossing.flags);
  for (const cm_text_hview* text : texts_of(crossing)) {
    writer.text(to_view(*text));
  }
}

cm_bridge_crossing read_crossing(FrameReader& reader) {
  cm_bridge_crossing crossing = {};
  crossing.size = sizeof(crossing);
  crossing.outcome = reader.u32();
  crossing.direction = reader.u32();
  crossing.flags = reader.u32();
  for (cm_text_hview* text : texts_of(crossing)) {
    *text = to_hview(reader.text());
  }
  return crossing;
}

}  // namespace cm::isolation
