// Shared by the tests of this room: known answers from files, and randomness that repeats.
#pragma once

#include <cassert>
#include <cstdint>
#include <fstream>
#include <iterator>
#include <memory>
#include <random>
#include <string>

#include "protocol/encoding.hpp"
#include "protocol/json.hpp"
#include "protocol/keys.hpp"
#include "protocol/random.hpp"

namespace cm::protocol::test {

inline JsonValue load_vectors(const std::string& name) {
  std::ifstream in(std::string(CM_PROTOCOL_VECTORS) + "/" + name, std::ios::binary);
  const std::string text((std::istreambuf_iterator<char>(in)), std::istreambuf_iterator<char>());
  JsonLimits limits;
  limits.lone_surrogates = LoneSurrogates::kKeep;
  auto value = parse_json(text, limits);
  if (!value.ok()) {
    throw std::runtime_error(name + ": " + value.error().message);
  }
  return std::move(value).value();
}

inline std::string text_of(const JsonValue& object, std::string_view name) {
  const JsonValue* value = object.find(name);
  if (value == nullptr || value->as_string() == nullptr) {
    throw std::runtime_error("known answers lack " + std::string(name));
  }
  return *value->as_string();
}

inline Bytes bytes_of(const JsonValue& object, std::string_view name) {
  return hex_decode(text_of(object, name), HexCase::kLowerOnly).value();
}

inline const JsonValue::Array& list_of(const JsonValue& object, std::string_view name) {
  return *object.find(name)->as_array();
}
const JsonValue::Array& list_of(JsonValue&& object, std::string_view name) = delete;  // would dangle

inline SecretKey secret_of(const JsonValue& object, std::string_view name) {
  return SecretKey::from_hex(text_of(object, name)).value();
}

inline PublicKey public_of(const JsonValue& object, std::string_view name) {
  return PublicKey::from_hex(text_of(object, name)).value();
}

// Repeats for equal seeds.
inline RandomSource seeded_random(std::uint64_t seed) {
  auto engine = std::make_shared<std::mt19937_64>(seed);
  return [engine](std::span<std::uint8_t> out) {
    for (std::uint8_t& byte : out) {
      byte = static_cast<std::uint8_t>((*engine)());
    }
  };
}

// Gives exactly these bytes, in order; asking for more is a defect of the test.
inline RandomSource fixed_random(Bytes bytes) {
  auto rest = std::make_shared<Bytes>(std::move(bytes));
  return [rest](std::span<std::uint8_t> out) {
    if (rest->size() < out.size()) {
      throw std::runtime_error("fixed_random has no more bytes");
    }
    std::copy_n(rest->begin(), out.size(), out.begin());
    rest->erase(rest->begin(), rest->begin() + static_cast<std::ptrdiff_t>(out.size()));
  };
}

}  // namespace cm::protocol::test
