#include "protocol/config_file.hpp"

#include <array>
#include <utility>

#include "protocol/json_fields.hpp"
#include "protocol/keys.hpp"

namespace cm::protocol {

namespace {

constexpr std::array<std::string_view, 5> kOtherKeys = {"displayName", "role", "groups", "messageMode", "accountId"};

MeshRecord read_record(const JsonValue& entry) {
  MeshRecord record;
  record.mesh_id = text_of(entry, "meshId");
  record.member_id = text_of(entry, "memberId");
  record.slug = text_of(entry, "slug");
  record.name = text_of(entry, "name");
  record.pubkey = text_of(entry, "pubkey");
  record.secret_key = SecretText(text_of(entry, "secretKey"));
  record.broker_url = text_of(entry, "brokerUrl");
  record.joined_at = text_of(entry, "joinedAt");
  record.root_key = SecretText(text_of(entry, "rootKey"));
  const std::optional<double> version = number_of(entry, "inviteVersion");
  if (version == 1.0 || version == 2.0) {
    record.invite_version = static_cast<int>(*version);
  }
  return record;
}

// The parser's copies of the secrets are not zeroed by themselves. The values belong to `value`, which is not const.
void wipe_texts(JsonValue& value) {
  if (const std::string* text = value.as_string()) {
    auto& owned = const_cast<std::string&>(*text);
    secure_zero(owned.data(), owned.size());
  }
  if (const JsonValue::Array* array = value.as_array()) {
    for (const JsonValue& entry : *array) {
      wipe_texts(const_cast<JsonValue&>(entry));
    }
  }
  if (const JsonValue::Object* object = value.as_object()) {
    for (const JsonMember& member : *object) {
      wipe_texts(const_cast<JsonValue&>(member.value));
    }
  }
}

void read_meshes(ConfigFile& config, const JsonValue& meshes) {
  if (meshes.as_array() == nullptr) {
    config.problems.push_back("\"meshes\" is " + std::string(describe(meshes.kind())) + ", not an array");
    return;
  }
  std::size_t number = 0;
  for (const JsonValue& entry : *meshes.as_array()) {
    ++number;
    MeshRecord record = entry.is_object() ? read_record(entry) : MeshRecord();
    if (record.slug.empty()) {
      config.problems.push_back("entry " + std::to_string(number) + " of \"meshes\" is no object with a slug");
    } else {
      config.meshes.push_back(std::move(record));
    }
  }
}

}  // namespace

const MeshRecord* ConfigFile::find(std::string_view slug) const {
  for (const MeshRecord& record : meshes) {
    if (record.slug == slug) {
      return &record;
    }
  }
  return nullptr;
}

std::string ConfigFile::slugs() const {
  std::string text;
  for (const MeshRecord& record : meshes) {
    text += text.empty() ? record.slug : ", " + record.slug;
  }
  return text;
}

Result<ConfigFile> parse_config(std::string_view json) {
  Result<JsonValue> tree = parse_json(json);
  if (!tree) {
    return std::move(tree).error();
  }
  if (!tree->is_object()) {
    return make_error(ErrorCode::kInvalid,
                      "found " + std::string(describe(tree->kind())) + " where an object is needed");
  }
  ConfigFile config;
  if (const JsonValue* meshes = tree->find("meshes")) {
    read_meshes(config, *meshes);
  }
  for (const JsonMember& member : *tree->as_object()) {
    for (const std::string_view key : kOtherKeys) {
      if (member.key == key) {
        config.others.set(member.key, member.value);
      }
    }
  }
  wipe_texts(*tree);
  return config;
}

}  // namespace cm::protocol
