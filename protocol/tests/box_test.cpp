#include "protocol/box.hpp"

#include <gtest/gtest.h>

#include "protocol/tests/support.hpp"

namespace cm::protocol {
namespace {

using test::load_vectors;
using test::text_of;

SymmetricKey symmetric_of(const JsonValue& object, std::string_view name) {
  SymmetricKey key;
  const Bytes bytes = test::bytes_of(object, name);
  std::copy(bytes.begin(), bytes.end(), key.data());
  return key;
}

TEST(Box, AgreesWithKnownAnswersInBothDirections) {
  const JsonValue vectors = load_vectors("box.json");
  for (const JsonValue& vector : test::list_of(vectors, "boxes")) {
    const SecretKey sender = test::secret_of(vector, "sender_secret");
    const SecretKey recipient = test::secret_of(vector, "recipient_secret");
    const auto nonce = [&] { return test::fixed_random(test::bytes_of(vector, "nonce_hex")); };
    const auto sealed = encrypt_for(text_of(vector, "text"), recipient.public_key(), sender, nonce());
    ASSERT_TRUE(sealed.ok());
    EXPECT_EQ(sealed->nonce, text_of(vector, "nonce"));
    EXPECT_EQ(sealed->ciphertext, text_of(vector, "ciphertext"));

    BoxSealer sealer(sender);
    EXPECT_EQ(sealer.seal(text_of(vector, "text"), recipient.public_key(), nonce())->ciphertext, sealed->ciphertext);
    const auto plain = decrypt_from(sealed->nonce, sealed->ciphertext, sender.public_key(), recipient);
    ASSERT_TRUE(plain.ok());
    EXPECT_EQ(*plain, text_of(vector, "text"));
  }
}

TEST(Box, EveryFlippedBitIsRefused) {
  const KeyPair alice = KeyPair::generate(test::seeded_random(1));
  const KeyPair bob = KeyPair::generate(test::seeded_random(2));
  const auto sealed = encrypt_for("hello", bob.public_key, alice.secret_key, test::seeded_random(3));
  ASSERT_TRUE(sealed.ok());
  const Bytes ciphertext = *base64_decode(sealed->ciphertext);
  BoxOpener opener(bob.secret_key);
  for (std::size_t bit = 0; bit < ciphertext.size() * 8; ++bit) {
    Bytes altered = ciphertext;
    altered[bit / 8] ^= static_cast<std::uint8_t>(1u << (bit % 8));
    const auto opened = opener.open(sealed->nonce, base64_encode(altered), alice.public_key);
    ASSERT_FALSE(opened.ok());
    EXPECT_EQ(opened.error().code, ErrorCode::kDenied);
  }
  EXPECT_EQ(*opener.open(sealed->nonce, sealed->ciphertext, alice.public_key), "hello");
}

TEST(Box, WrongKeyAndMalformedInputAreRefused) {
  const KeyPair alice = KeyPair::generate(test::seeded_random(1));
  const KeyPair bob = KeyPair::generate(test::seeded_random(2));
  const KeyPair eve = KeyPair::generate(test::seeded_random(4));
  const auto sealed = encrypt_for("hello", bob.public_key, alice.secret_key, test::seeded_random(3));
  EXPECT_EQ(decrypt_from(sealed->nonce, sealed->ciphertext, alice.public_key, eve.secret_key).error().code,
            ErrorCode::kDenied);
  EXPECT_EQ(decrypt_from(sealed->nonce, sealed->ciphertext, eve.public_key, bob.secret_key).error().code,
            ErrorCode::kDenied);
  EXPECT_EQ(decrypt_from("", sealed->ciphertext, alice.public_key, bob.secret_key).error().code, ErrorCode::kInvalid);
  EXPECT_EQ(decrypt_from("AAAA", sealed->ciphertext, alice.public_key, bob.secret_key).error().code,
            ErrorCode::kInvalid);
  EXPECT_EQ(decrypt_from(sealed->nonce, "AAAA", alice.public_key, bob.secret_key).error().code, ErrorCode::kInvalid);
  EXPECT_EQ(decrypt_from(sealed->nonce, "%", alice.public_key, bob.secret_key).error().code, ErrorCode::kInvalid);
  EXPECT_FALSE(encrypt_for("hello", PublicKey(), alice.secret_key, test::seeded_random(1)).ok());
}

TEST(Box, PlaintextThatIsNotUtf8IsNotShown) {
  const KeyPair alice = KeyPair::generate(test::seeded_random(1));
  const KeyPair bob = KeyPair::generate(test::seeded_random(2));
  const auto sealed = encrypt_for("\xFF\xFE", bob.public_key, alice.secret_key, test::seeded_random(3));
  EXPECT_EQ(decrypt_from(sealed->nonce, sealed->ciphertext, alice.public_key, bob.secret_key).error().code,
            ErrorCode::kDenied);
  EXPECT_EQ(decode_plain("//4=").error().code, ErrorCode::kInvalid);
  EXPECT_EQ(decode_plain("!").error().code, ErrorCode::kInvalid);
  EXPECT_EQ(*decode_plain(encode_plain("gr\xC3\xBC\xC3\x9F", test::seeded_random(1)).ciphertext), "gr\xC3\xBC\xC3\x9F");
  EXPECT_EQ(encode_plain("x", test::seeded_random(1)).nonce.size(), 32u);
}

TEST(Box, CacheIsBoundedAndTransparent) {
  const KeyPair own = KeyPair::generate(test::seeded_random(1));
  BoxOpener opener(own.secret_key, 4);
  std::vector<KeyPair> senders;
  for (std::uint64_t i = 0; i < 10; ++i) {
    senders.push_back(KeyPair::generate(test::seeded_random(100 + i)));
  }
  for (int round = 0; round < 3; ++round) {
    for (const KeyPair& sender : senders) {
      BoxSealer sealer(sender.secret_key, 1);
      const auto sealed = sealer.seal("text", own.public_key, test::seeded_random(9));
      const auto opened = opener.open(sealed->nonce, sealed->ciphertext, sender.public_key);
      ASSERT_TRUE(opened.ok());
      EXPECT_EQ(*opened, "text");
      EXPECT_LE(opener.cached(), 4u);
      EXPECT_EQ(sealer.cached(), 1u);
    }
  }
  BoxOpener moved = std::move(opener);
  EXPECT_EQ(moved.cached(), 4u);
}

TEST(Seal, AgreesWithKnownAnswersInBothDirections) {
  const JsonValue vectors = load_vectors("box.json");
  for (const JsonValue& vector : test::list_of(vectors, "seals")) {
    const SecretKey own = test::secret_of(vector, "secret");
    const Bytes plain = test::bytes_of(vector, "plain");
    const auto opened = open_sealed(text_of(vector, "sealed"), own);
    ASSERT_TRUE(opened.ok());
    EXPECT_EQ(*opened, plain);
    const auto sealed =
        seal_for(plain, own.public_key(), test::fixed_random(test::bytes_of(vector, "ephemeral_secret")));
    ASSERT_TRUE(sealed.ok());
    EXPECT_EQ(*sealed, text_of(vector, "sealed"));
    EXPECT_FALSE(open_sealed(text_of(vector, "sealed"), KeyPair::generate(test::seeded_random(1)).secret_key).ok());
  }
  EXPECT_FALSE(open_sealed("AAAA", KeyPair::generate(test::seeded_random(1)).secret_key).ok());
}

TEST(SecretBox, AgreesWithKnownAnswers) {
  const JsonValue vectors = load_vectors("box.json");
  for (const JsonValue& vector : test::list_of(vectors, "secretboxes")) {
    const SymmetricKey key = symmetric_of(vector, "key");
    const Envelope sealed =
        secretbox_seal(text_of(vector, "text"), key, test::fixed_random(test::bytes_of(vector, "nonce_hex")));
    EXPECT_EQ(sealed.nonce, text_of(vector, "nonce"));
    EXPECT_EQ(sealed.ciphertext, text_of(vector, "ciphertext"));
    EXPECT_EQ(*secretbox_open(sealed.nonce, sealed.ciphertext, key), text_of(vector, "text"));
    const SymmetricKey other = generate_symmetric_key(test::seeded_random(8));
    EXPECT_FALSE(secretbox_open(sealed.nonce, sealed.ciphertext, other).ok());
    EXPECT_FALSE(secretbox_open("", sealed.ciphertext, key).ok());
  }
}

TEST(SecretBox, FileLayoutIsNonceThenCiphertext) {
  const SymmetricKey key = generate_symmetric_key(test::seeded_random(8));
  const Bytes content = {1, 2, 3, 255};
  const Bytes object = file_seal(content, key, test::fixed_random(Bytes(24, 7)));
  ASSERT_EQ(object.size(), 24 + 16 + content.size());
  EXPECT_EQ(Bytes(object.begin(), object.begin() + 24), Bytes(24, 7));
  EXPECT_EQ(*file_open(object, key), content);
  EXPECT_FALSE(file_open(ByteSpan(object).first(39), key).ok());
  EXPECT_FALSE(file_open(ByteSpan(object).first(43), key).ok());
}

TEST(TopicKey, AgreesWithKnownAnswers) {
  const JsonValue vectors = load_vectors("box.json");
  for (const JsonValue& vector : test::list_of(vectors, "topic_keys")) {
    const SecretKey member = test::secret_of(vector, "member_secret");
    const SealedTopicKey sealed{text_of(vector, "encrypted_key"), text_of(vector, "nonce")};
    const auto opened = open_topic_key(sealed, member);
    ASSERT_TRUE(opened.ok());
    EXPECT_EQ(hex_encode(opened->span()), text_of(vector, "topic_key"));
    const auto sender = X25519KeyPair::generate(test::fixed_random(test::bytes_of(vector, "sender_secret")));
    const auto again =
        seal_topic_key(*opened, member.public_key(), sender, test::fixed_random(test::bytes_of(vector, "nonce_hex")));
    ASSERT_TRUE(again.ok());
    EXPECT_EQ(again->encrypted_key, sealed.encrypted_key);
  }
}

TEST(TopicKey, MemberCanResealForAnother) {
  const KeyPair holder = KeyPair::generate(test::seeded_random(1));
  const KeyPair other = KeyPair::generate(test::seeded_random(2));
  const SymmetricKey key = generate_symmetric_key(test::seeded_random(3));
  const auto sealed = seal_topic_key(key, other.public_key, holder.secret_key, test::seeded_random(4));
  ASSERT_TRUE(sealed.ok());
  EXPECT_EQ(hex_encode(open_topic_key(*sealed, other.secret_key)->span()), hex_encode(key.span()));
  EXPECT_EQ(open_topic_key(*sealed, holder.secret_key).error().code, ErrorCode::kDenied);
  EXPECT_EQ(open_topic_key({"AAAA", sealed->nonce}, other.secret_key).error().code, ErrorCode::kInvalid);
}

}  // namespace
}  // namespace cm::protocol
