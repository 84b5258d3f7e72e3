#include "protocol/keys.hpp"

#include <gtest/gtest.h>

#include <algorithm>

#include "protocol/tests/support.hpp"

namespace cm::protocol {
namespace {

using test::load_vectors;
using test::text_of;

TEST(Keys, AgreeWithKnownAnswers) {
  const JsonValue vectors = load_vectors("keys.json");
  for (const JsonValue& vector : test::list_of(vectors, "keys")) {
    const Bytes seed = test::bytes_of(vector, "seed");
    const KeyPair pair = KeyPair::from_seed(std::span<const std::uint8_t, kSeedBytes>(seed.data(), kSeedBytes));
    const std::string message = text_of(vector, "message");
    EXPECT_EQ(pair.public_key.hex(), text_of(vector, "public"));
    EXPECT_EQ(pair.secret_key.hex(), text_of(vector, "secret"));
    EXPECT_EQ(sign_hex(pair.secret_key, message), text_of(vector, "signature"));
    EXPECT_TRUE(verify_hex(text_of(vector, "public"), message, text_of(vector, "signature")));
    EXPECT_EQ(hex_encode(*to_x25519(pair.public_key)), text_of(vector, "x25519_public"));
    const X25519Secret curve_secret = to_x25519(pair.secret_key);
    EXPECT_EQ(hex_encode(curve_secret.span()), text_of(vector, "x25519_secret"));
  }
}

TEST(Keys, SafetyNumbersAgreeAndAreSymmetric) {
  const JsonValue vectors = load_vectors("keys.json");
  for (const JsonValue& vector : test::list_of(vectors, "safety_numbers")) {
    const PublicKey a = test::public_of(vector, "a");
    const PublicKey b = test::public_of(vector, "b");
    EXPECT_EQ(safety_number(a, b), text_of(vector, "number"));
    EXPECT_EQ(safety_number(b, a), text_of(vector, "number"));
  }
}

TEST(Keys, SeededGenerationRepeatsAndSystemGenerationDoesNot) {
  EXPECT_EQ(KeyPair::generate(test::seeded_random(1)).public_key, KeyPair::generate(test::seeded_random(1)).public_key);
  EXPECT_NE(KeyPair::generate(system_random()).public_key, KeyPair::generate(system_random()).public_key);
}

TEST(Keys, SignaturesFailForEveryAlteration) {
  const KeyPair pair = KeyPair::generate(test::seeded_random(2));
  const Signature good = sign(pair.secret_key, "text");
  EXPECT_TRUE(verify(pair.public_key, "text", good));
  EXPECT_FALSE(verify(pair.public_key, "texT", good));
  for (std::size_t i = 0; i < good.size(); ++i) {
    Signature bad = good;
    bad[i] ^= 1;
    EXPECT_FALSE(verify(pair.public_key, "text", bad)) << i;
  }
  EXPECT_FALSE(verify(KeyPair::generate(test::seeded_random(3)).public_key, "text", good));
}

TEST(Keys, VerifyHexTakesEitherCase) {
  const KeyPair pair = KeyPair::generate(test::seeded_random(2));
  std::string key = pair.public_key.hex();
  std::string signature = sign_hex(pair.secret_key, "text");
  const auto upper = [](std::string& text) { std::transform(text.begin(), text.end(), text.begin(), ::toupper); };
  upper(key);
  upper(signature);
  EXPECT_TRUE(verify_hex(key, "text", signature));
  EXPECT_FALSE(PublicKey::from_hex(key).ok());
  EXPECT_FALSE(verify_hex(key.substr(1), "text", signature));
  EXPECT_FALSE(verify_hex(key, "text", signature.substr(2)));
}

TEST(Keys, SecretWithForeignPublicHalfIsRefused) {
  const KeyPair one = KeyPair::generate(test::seeded_random(1));
  const KeyPair two = KeyPair::generate(test::seeded_random(2));
  const std::string mixed = one.secret_key.hex().substr(0, 64) + two.public_key.hex();
  const auto refused = SecretKey::from_hex(mixed);
  ASSERT_FALSE(refused.ok());
  EXPECT_EQ(refused.error().code, ErrorCode::kInvalid);
  EXPECT_EQ(refused.error().message.find(mixed.substr(0, 16)), std::string::npos) << "a secret in an error text";
  EXPECT_FALSE(SecretKey::from_hex("ab").ok());
  EXPECT_FALSE(SecretKey::from_bytes(Bytes(63)).ok());
  EXPECT_TRUE(SecretKey::from_hex(one.secret_key.hex()).ok());
}

TEST(Keys, SecretBytesAreWipedWhenMovedAndWhenDestroyed) {
  static_assert(!std::is_copy_constructible_v<SecretKey> && !std::is_copy_assignable_v<SecretKey>);
  static_assert(std::is_nothrow_move_constructible_v<SecretKey>);
  SecretBytes<32> from;
  std::fill_n(from.data(), 32, std::uint8_t{0xAA});
  const SecretBytes<32> to = std::move(from);
  EXPECT_EQ(to.data()[31], 0xAA);
  // NOLINTNEXTLINE(bugprone-use-after-move): that the source is empty is what is tested.
  EXPECT_TRUE(std::all_of(from.data(), from.data() + 32, [](std::uint8_t byte) { return byte == 0; }));

  // The bytes are looked at where they lay, after the end; the volatile pointer keeps the compiler from reasoning about
  // it.
  alignas(SecretBytes<32>) unsigned char storage[sizeof(SecretBytes<32>)] = {};
  auto* secret = new (storage) SecretBytes<32>();
  std::fill_n(secret->data(), 32, std::uint8_t{0xBB});
  secret->~SecretBytes<32>();
  const unsigned char* volatile remains = storage;
  EXPECT_EQ(std::count(remains, remains + sizeof(storage), static_cast<unsigned char>(0xBB)), 0);
}

TEST(Keys, ConversionRefusesWhatIsNoPoint) {
  EXPECT_FALSE(to_x25519(PublicKey()).ok());  // small order
  std::array<std::uint8_t, 32> bytes{};
  bytes.fill(0xFF);
  EXPECT_FALSE(to_x25519(PublicKey(bytes)).ok());
}

TEST(Keys, Sha256OfAbc) {
  EXPECT_EQ(hex_encode(sha256(as_bytes("abc"))), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
}

}  // namespace
}  // namespace cm::protocol
