#include "protocol/wire_reader.hpp"

#include <simdjson.h>

#include <array>
#include <cmath>
#include <cstring>
#include <limits>
#include <string>

#include "protocol/hot_fields.hpp"

namespace cm::protocol {
namespace {

static_assert(kParsePadding >= simdjson::SIMDJSON_PADDING);

bool is_space(char c) {
  return c == ' ' || c == '\t' || c == '\n' || c == '\r';
}

// What was found under one name.
struct Slot {
  JsonValue::Kind kind = JsonValue::Kind::kNull;
  bool boolean = false;
  double number = 0;
  std::string_view text;  // of a string its content, of an array or object its JSON
};

Error wrong_field(std::string_view what, Field field, const Slot* found, std::string_view expected) {
  return make_error(ErrorCode::kInvalid, std::string(what) + ": \"" + std::string(name_of(field)) + "\" is " +
                                             (found == nullptr ? "missing" : std::string(describe(found->kind))) +
                                             ", expected " + std::string(expected));
}

}  // namespace

struct FrameReader::Impl {
  std::size_t max_bytes = kMaxMessageBytes;
  simdjson::ondemand::parser parser;
  std::string copy;
  std::string_view text;
  WireType type = WireType::kUnknown;
  std::uint64_t present = 0;  // bit per Field
  std::array<Slot, kFieldCount> slots{};
  std::vector<std::string_view> mentions;

  void reset() {
    text = {};
    type = WireType::kUnknown;
    present = 0;
    mentions.clear();
  }

  const Slot* slot(Field field) const {
    const auto index = static_cast<std::size_t>(field);
    return (present >> index) & 1 ? &slots[index] : nullptr;
  }
  // Null counts as absent.
  const Slot* given(Field field) const {
    const Slot* found = slot(field);
    return found == nullptr || found->kind == JsonValue::Kind::kNull ? nullptr : found;
  }
  std::string_view text_or_empty(Field field) const {
    const Slot* found = slot(field);
    return found != nullptr && found->kind == JsonValue::Kind::kString ? found->text : std::string_view();
  }

  // The raw text reaches up to the next token: the white space between does not belong to the value.
  static simdjson::error_code read_raw(simdjson::simdjson_result<std::string_view> raw, std::string_view& out) {
    if (const auto error = std::move(raw).get(out)) {
      return error;
    }
    while (!out.empty() && out.back() != '}' && out.back() != ']') {
      out.remove_suffix(1);
    }
    return simdjson::SUCCESS;
  }

  // A string without escapes (nearly all are) is a view into the frame: the token's end is known, and one memchr tells
  // that there is no backslash. Only the others are unescaped into the parser's buffer.
  static simdjson::error_code read_string(simdjson::ondemand::value& value, std::string_view& out) {
    std::string_view token = value.raw_json_token();
    while (!token.empty() && is_space(token.back())) {
      token.remove_suffix(1);
    }
    const bool whole = token.size() >= 2 && token.front() == '"' && token.back() == '"';
    if (!whole || std::memchr(token.data(), '\\', token.size()) != nullptr) {
      return value.get_string().get(out);
    }
    out = token.substr(1, token.size() - 2);
    return simdjson::SUCCESS;
  }

  static simdjson::error_code read_name(simdjson::ondemand::field& member, std::string_view& out) {
    const char* const start = member.key().raw();
    for (std::size_t length = 0; length <= kLongestName; ++length) {
      if (start[length] == '"') {
        out = std::string_view(start, length);
        return simdjson::SUCCESS;
      }
      if (start[length] == '\\') {
        return member.unescaped_key().get(out);
      }
    }
    out = {};  // longer than any name of ours
    return simdjson::SUCCESS;
  }

  simdjson::error_code read_mentions(simdjson::ondemand::value value) {
    mentions.clear();
    simdjson::ondemand::array array;
    if (const auto error = value.get_array().get(array)) {
      return error;
    }
    for (auto element : array) {
      simdjson::ondemand::value item;
      if (const auto error = element.get(item)) {
        return error;
      }
      simdjson::ondemand::json_type kind{};
      if (const auto error = item.type().get(kind)) {
        return error;
      }
      std::string_view text_of_item;
      if (kind == simdjson::ondemand::json_type::string) {
        if (const auto error = read_string(item, text_of_item)) {
          return error;
        }
        mentions.push_back(text_of_item);
      }
    }
    return simdjson::SUCCESS;
  }

  // Reads one value into its slot; containers are skipped except where the messages have them.
  simdjson::error_code read_value(Field field, simdjson::ondemand::value value) {
    using simdjson::ondemand::json_type;
    Slot& to = slots[static_cast<std::size_t>(field)];
    present |= std::uint64_t{1} << static_cast<std::size_t>(field);
    json_type kind{};
    if (const auto error = value.type().get(kind)) {
      return error;
    }
    switch (kind) {
      case json_type::string:
        to.kind = JsonValue::Kind::kString;
        return read_string(value, to.text);
      case json_type::number:
        to.kind = JsonValue::Kind::kNumber;
        return value.get_double().get(to.number);
      case json_type::boolean:
        to.kind = JsonValue::Kind::kBool;
        return value.get_bool().get(to.boolean);
      case json_type::null: {
        to.kind = JsonValue::Kind::kNull;
        bool is_null = false;
        if (const auto error = value.is_null().get(is_null)) {
          return error;
        }
        return is_null ? simdjson::SUCCESS : simdjson::N_ATOM_ERROR;
      }
      case json_type::array: {
        to.kind = JsonValue::Kind::kArray;
        if (field == Field::kMentions) {
          return read_mentions(value);
        }
        simdjson::ondemand::array array;
        if (const auto error = value.get_array().get(array)) {
          return error;
        }
        return read_raw(array.raw_json(), to.text);
      }
      case json_type::object: {
        to.kind = JsonValue::Kind::kObject;
        simdjson::ondemand::object object;
        if (const auto error = value.get_object().get(object)) {
          return error;
        }
        return read_raw(object.raw_json(), to.text);
      }
    }
    return simdjson::TAPE_ERROR;
  }

  simdjson::error_code read_all() {
    const simdjson::padded_string_view padded(text.data(), text.size(), text.size() + kParsePadding);
    simdjson::ondemand::document document;
    if (const auto error = parser.iterate(padded).get(document)) {
      return error;
    }
    simdjson::ondemand::object object;
    if (const auto error = document.get_object().get(object)) {
      return error;
    }
    for (auto entry : object) {
      simdjson::ondemand::field member;
      if (const auto error = std::move(entry).get(member)) {
        return error;
      }
      std::string_view name;
      if (const auto error = read_name(member, name)) {
        return error;
      }
      const Field field = find_field(name);
      if (field == Field::kCount) {
        continue;
      }
      if (const auto error = read_value(field, member.value())) {
        return error;
      }
    }
    const char* behind = nullptr;
    return document.current_location().get(behind) ? simdjson::SUCCESS : simdjson::TRAILING_CONTENT;
  }

  Result<WireType> open(std::string_view frame) {
    reset();
    if (frame.size() > max_bytes) {
      return make_error(ErrorCode::kInvalid, "frame: found " + std::to_string(frame.size()) + " bytes, at most " +
                                                 std::to_string(max_bytes) + " are accepted; send less at once");
    }
    text = frame;
    if (const auto error = read_all()) {
      reset();
      return make_error(ErrorCode::kInvalid, std::string("frame is no JSON object: ") + simdjson::error_message(error));
    }
    const Slot* name = slot(Field::kType);
    if (name == nullptr || name->kind != JsonValue::Kind::kString) {
      return wrong_field("frame", Field::kType, name, "a string");
    }
    type = wire_type(name->text);
    return type;
  }
};

namespace {

// Takes fields out of the slots for one message and remembers the first problem.
template <typename Impl>
class Take {
 public:
  Take(const Impl& impl, std::string_view what, WireType wanted) : impl_(impl), what_(what) {
    if (impl.type != wanted) {
      error_ = make_error(ErrorCode::kInvalid,
                          "the frame is a " + std::string(to_string(impl.type)) + ", expected a " + std::string(what));
      failed_ = true;
    }
  }

  std::string_view text(Field field) {
    const Slot* found = impl_.slot(field);
    if (found == nullptr || found->kind != JsonValue::Kind::kString) {
      complain(field, found, "a string");
      return {};
    }
    return found->text;
  }
  std::optional<std::string_view> text_if(Field field) {
    return impl_.given(field) == nullptr ? std::nullopt : std::optional(text(field));
  }
  // Empty counts as absent, as the original stores null for it.
  std::optional<std::string_view> filled_text_if(Field field) {
    const auto found = text_if(field);
    return found && found->empty() ? std::nullopt : found;
  }
  std::optional<bool> boolean_if(Field field) {
    const Slot* found = impl_.given(field);
    if (found == nullptr) {
      return std::nullopt;
    }
    if (found->kind != JsonValue::Kind::kBool) {
      complain(field, found, "a boolean");
    }
    return found->boolean;
  }
  std::optional<std::int64_t> integer_if(Field field, std::int64_t min, std::int64_t max) {
    const Slot* found = impl_.given(field);
    if (found == nullptr) {
      return std::nullopt;
    }
    const bool fits = found->kind == JsonValue::Kind::kNumber && found->number == std::floor(found->number) &&
                      found->number >= static_cast<double>(min) && found->number <= static_cast<double>(max);
    if (!fits) {
      complain(field, found, "an integer from " + std::to_string(min) + " to " + std::to_string(max));
      return std::nullopt;
    }
    return static_cast<std::int64_t>(found->number);
  }
  std::optional<std::int32_t> body_version() {
    const auto value = integer_if(Field::kBodyVersion, 0, std::numeric_limits<std::int32_t>::max());
    return value ? std::optional(static_cast<std::int32_t>(*value)) : std::nullopt;
  }
  Priority priority() {
    const std::string_view word = text(Field::kPriority);
    const auto parsed = parse_priority(word);
    if (!parsed) {
      complain(Field::kPriority, impl_.slot(Field::kPriority), "\"now\", \"next\" or \"low\"");
    }
    return parsed.value_or(Priority::kNext);
  }

  template <typename T>
  Result<T> finish(T value) {
    if (failed_) {
      return std::move(error_);
    }
    return value;
  }

  void complain(Field field, const Slot* found, std::string_view expected) {
    if (!failed_) {
      failed_ = true;
      error_ = wrong_field(what_, field, found, expected);
    }
  }

 private:
  const Impl& impl_;
  std::string_view what_;
  bool failed_ = false;
  Error error_;
};

// Longest wait that an ack may ask for: one day. Anything above is a mistake, not a schedule.
constexpr std::int64_t kRetryAfterMaxMs = 86'400'000;

}  // namespace

FrameReader::FrameReader(std::size_t max_bytes) : impl_(std::make_unique<Impl>()) {
  impl_->max_bytes = max_bytes;
}
FrameReader::FrameReader(FrameReader&&) noexcept = default;
FrameReader& FrameReader::operator=(FrameReader&&) noexcept = default;
FrameReader::~FrameReader() = default;

Result<WireType> FrameReader::open(std::string_view padded_text) {
  return impl_->open(padded_text);
}

Result<WireType> FrameReader::open_copy(std::string_view text) {
  if (text.size() > impl_->max_bytes) {
    return impl_->open(text);  // refused before it is read
  }
  impl_->copy.assign(text);
  impl_->copy.append(kParsePadding, ' ');
  return impl_->open(std::string_view(impl_->copy).substr(0, text.size()));
}

WireType FrameReader::type() const noexcept {
  return impl_->type;
}
std::string_view FrameReader::type_name() const noexcept {
  return impl_->text_or_empty(Field::kType);
}
std::string_view FrameReader::text() const noexcept {
  return impl_->text;
}
std::string_view FrameReader::id() const noexcept {
  return impl_->text_or_empty(Field::kId);
}
std::string_view FrameReader::req_id() const noexcept {
  return impl_->text_or_empty(Field::kReqId);
}

Result<SendView> FrameReader::send() const {
  Take<Impl> take(*impl_, "send", WireType::kSend);
  SendView out;
  out.id = take.text_if(Field::kId).value_or(std::string_view());
  out.target_spec = take.text(Field::kTargetSpec);
  out.priority = take.priority();
  out.nonce = take.text(Field::kNonce);
  out.ciphertext = take.text(Field::kCiphertext);
  const Slot* mentions = impl_->given(Field::kMentions);
  if (mentions != nullptr && mentions->kind != JsonValue::Kind::kArray) {
    take.complain(Field::kMentions, mentions, "an array of strings");
  } else if (mentions != nullptr) {
    out.mentions = impl_->mentions;
  }
  out.reply_to_id = take.filled_text_if(Field::kReplyToId);
  out.body_version = take.body_version();
  out.client_message_id = take.filled_text_if(Field::kClientMessageId);
  out.request_fingerprint = take.filled_text_if(Field::kRequestFingerprint);
  return take.finish(std::move(out));
}

Result<AckView> FrameReader::ack() const {
  Take<Impl> take(*impl_, "ack", WireType::kAck);
  AckView out;
  out.id = take.text_if(Field::kId).value_or(std::string_view());
  out.message_id = take.text_if(Field::kMessageId).value_or(std::string_view());
  out.queued = take.boolean_if(Field::kQueued).value_or(false);
  out.error = take.filled_text_if(Field::kError);
  out.req_id = take.text_if(Field::kReqId);
  out.duplicate = take.boolean_if(Field::kDuplicate);
  out.client_message_id = take.filled_text_if(Field::kClientMessageId);
  out.history_available = take.boolean_if(Field::kHistoryAvailable);
  out.first_seen_at = take.text_if(Field::kFirstSeenAt);
  out.code = take.text_if(Field::kCode);
  out.broker_fingerprint_prefix = take.text_if(Field::kBrokerFingerprintPrefix);
  out.retryable = take.boolean_if(Field::kRetryable);
  out.retry_after_ms = take.integer_if(Field::kRetryAfterMs, 0, kRetryAfterMaxMs);
  return take.finish(std::move(out));
}

Result<PushView> FrameReader::push() const {
  Take<Impl> take(*impl_, "push", WireType::kPush);
  PushView out;
  out.message_id = take.text(Field::kMessageId);
  out.mesh_id = take.text_if(Field::kMeshId).value_or(std::string_view());
  out.sender_pubkey = take.text_if(Field::kSenderPubkey).value_or(std::string_view());
  out.sender_member_pubkey = take.text_if(Field::kSenderMemberPubkey);
  out.sender_member_id = take.text_if(Field::kSenderMemberId);
  out.sender_name = take.text_if(Field::kSenderName);
  out.topic = take.filled_text_if(Field::kTopic);
  out.reply_to_id = take.filled_text_if(Field::kReplyToId);
  out.target_spec = take.filled_text_if(Field::kTargetSpec);
  out.priority = impl_->given(Field::kPriority) == nullptr ? Priority::kNext : take.priority();
  out.nonce = take.text_if(Field::kNonce).value_or(std::string_view());
  out.ciphertext = take.text_if(Field::kCiphertext).value_or(std::string_view());
  out.created_at = take.text_if(Field::kCreatedAt).value_or(std::string_view());
  out.body_version = take.body_version();
  out.client_message_id = take.filled_text_if(Field::kClientMessageId);
  out.request_fingerprint = take.filled_text_if(Field::kRequestFingerprint);
  out.subtype = take.text_if(Field::kSubtype);
  out.event = take.text_if(Field::kEvent);
  const Slot* data = impl_->given(Field::kEventData);
  if (data != nullptr && (data->kind == JsonValue::Kind::kObject || data->kind == JsonValue::Kind::kArray)) {
    out.event_data_json = data->text;
  }
  return take.finish(std::move(out));
}

Result<ClientAckView> FrameReader::client_ack() const {
  Take<Impl> take(*impl_, "client_ack", WireType::kClientAck);
  ClientAckView out;
  out.client_message_id = take.filled_text_if(Field::kClientMessageIdCamel);
  out.broker_message_id = take.filled_text_if(Field::kBrokerMessageId);
  return take.finish(std::move(out));
}

Result<JsonValue> FrameReader::tree() const {
  JsonLimits limits;
  limits.max_bytes = impl_->max_bytes;
  return parse_json(impl_->text, limits);
}

}  // namespace cm::protocol
