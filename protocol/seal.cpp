// Sealed boxes, secret boxes and topic keys: wire/01 sections 8, 10.2 and 11.
#include <sodium.h>

#include <algorithm>

#include "protocol/box.hpp"

namespace cm::protocol {
namespace {

static_assert(kSealOverheadBytes == crypto_box_SEALBYTES);
static_assert(crypto_secretbox_KEYBYTES == 32);

using Nonce = std::array<std::uint8_t, kBoxNonceBytes>;

constexpr std::size_t kTopicKeyBlobBytes = 32 + kBoxMacBytes + 32;

// crypto_box_seal derives its nonce as BLAKE2b-192 of the ephemeral and the recipient's public key.
Nonce seal_nonce(const X25519Public& ephemeral, const X25519Public& recipient) {
  Nonce nonce{};
  crypto_generichash_state state;
  crypto_generichash_init(&state, nullptr, 0, nonce.size());
  crypto_generichash_update(&state, ephemeral.data(), ephemeral.size());
  crypto_generichash_update(&state, recipient.data(), recipient.size());
  crypto_generichash_final(&state, nonce.data(), nonce.size());
  return nonce;
}

Error cannot_open(const char* what) {
  return make_error(ErrorCode::kDenied,
                    std::string(what) + " does not open with this key: it was sealed to another one, or altered");
}

Result<SealedTopicKey> seal_topic_key_with(const SymmetricKey& topic_key, const PublicKey& recipient,
                                           const X25519Public& sender_public, const X25519Secret& sender_secret,
                                           const RandomSource& random) {
  const auto recipient_x = to_x25519(recipient);
  if (!recipient_x.ok()) {
    return recipient_x.error();
  }
  Nonce nonce{};
  random(nonce);
  std::array<std::uint8_t, kTopicKeyBlobBytes> blob{};
  std::copy(sender_public.begin(), sender_public.end(), blob.begin());
  if (crypto_box_easy(blob.data() + sender_public.size(), topic_key.data(), topic_key.size(), nonce.data(),
                      recipient_x->data(), sender_secret.data()) != 0) {
    return make_error(ErrorCode::kInvalid, "public key " + recipient.hex() + " has small order and cannot be used");
  }
  return SealedTopicKey{base64_encode(blob), base64_encode(nonce)};
}

}  // namespace

Result<Bytes> seal_anonymous(ByteSpan plaintext, const X25519Public& recipient, const RandomSource& random) {
  const auto ephemeral = X25519KeyPair::generate(random);
  const Nonce nonce = seal_nonce(ephemeral.public_key, recipient);
  Bytes out(kSealOverheadBytes + plaintext.size());
  std::copy(ephemeral.public_key.begin(), ephemeral.public_key.end(), out.begin());
  if (crypto_box_easy(out.data() + ephemeral.public_key.size(), plaintext.data(), plaintext.size(), nonce.data(),
                      recipient.data(), ephemeral.secret_key.data()) != 0) {
    return make_error(ErrorCode::kInvalid, "the recipient's X25519 key has small order and cannot be used");
  }
  return out;
}

Result<Bytes> open_anonymous(ByteSpan sealed, const X25519Public& own_public, const X25519Secret& own_secret) {
  ensure_crypto();
  if (sealed.size() < kSealOverheadBytes) {
    return make_error(ErrorCode::kInvalid, "sealed box: found " + std::to_string(sealed.size()) +
                                               " bytes, expected at least " + std::to_string(kSealOverheadBytes));
  }
  Bytes plain(sealed.size() - kSealOverheadBytes);
  if (crypto_box_seal_open(plain.data(), sealed.data(), sealed.size(), own_public.data(), own_secret.data()) != 0) {
    return cannot_open("sealed box");
  }
  return plain;
}

Result<std::string> seal_for(ByteSpan plaintext, const PublicKey& recipient, const RandomSource& random) {
  const auto recipient_x = to_x25519(recipient);
  if (!recipient_x.ok()) {
    return recipient_x.error();
  }
  const auto sealed = seal_anonymous(plaintext, *recipient_x, random);
  if (!sealed.ok()) {
    return sealed.error();
  }
  return base64_encode(*sealed);
}

Result<Bytes> open_sealed(std::string_view sealed_base64, const SecretKey& own) {
  const auto sealed = base64_decode(sealed_base64);
  if (!sealed) {
    return make_error(ErrorCode::kInvalid, "sealed box: expected base64");
  }
  const auto own_public = to_x25519(own.public_key());
  if (!own_public.ok()) {
    return own_public.error();
  }
  return open_anonymous(*sealed, *own_public, to_x25519(own));
}

SymmetricKey generate_symmetric_key(const RandomSource& random) {
  SymmetricKey key;
  random(key.span());
  return key;
}

Envelope secretbox_seal(std::string_view plaintext, const SymmetricKey& key, const RandomSource& random) {
  const Bytes object = file_seal(as_bytes(plaintext), key, random);
  const ByteSpan whole(object);
  return Envelope{base64_encode(whole.first(kBoxNonceBytes)), base64_encode(whole.subspan(kBoxNonceBytes))};
}

Result<std::string> secretbox_open(std::string_view nonce, std::string_view ciphertext, const SymmetricKey& key) {
  auto object = base64_decode(nonce);
  const auto sealed = base64_decode(ciphertext);
  if (!object || object->size() != kBoxNonceBytes || !sealed) {
    return make_error(ErrorCode::kInvalid, "secret box: expected a nonce of 24 bytes and a ciphertext, both in base64");
  }
  object->insert(object->end(), sealed->begin(), sealed->end());
  const auto plain = file_open(*object, key);
  if (!plain.ok()) {
    return plain.error();
  }
  if (!is_valid_utf8(as_text(*plain))) {
    return make_error(ErrorCode::kDenied, "secret box opened, but its content is not UTF-8 text");
  }
  return std::string(as_text(*plain));
}

Bytes file_seal(ByteSpan content, const SymmetricKey& key, const RandomSource& random) {
  ensure_crypto();
  Bytes out(kBoxNonceBytes + crypto_secretbox_MACBYTES + content.size());
  random(std::span(out).first(kBoxNonceBytes));
  crypto_secretbox_easy(out.data() + kBoxNonceBytes, content.data(), content.size(), out.data(), key.data());
  return out;
}

Result<Bytes> file_open(ByteSpan object, const SymmetricKey& key) {
  ensure_crypto();
  constexpr std::size_t kOverhead = kBoxNonceBytes + crypto_secretbox_MACBYTES;
  if (object.size() < kOverhead) {
    return make_error(ErrorCode::kInvalid, "secret box: found " + std::to_string(object.size()) +
                                               " bytes, expected at least " + std::to_string(kOverhead));
  }
  Bytes plain(object.size() - kOverhead);
  if (crypto_secretbox_open_easy(plain.data(), object.data() + kBoxNonceBytes, object.size() - kBoxNonceBytes,
                                 object.data(), key.data()) != 0) {
    return cannot_open("secret box");
  }
  return plain;
}

Result<SealedTopicKey> seal_topic_key(const SymmetricKey& topic_key, const PublicKey& recipient,
                                      const X25519KeyPair& sender, const RandomSource& random) {
  return seal_topic_key_with(topic_key, recipient, sender.public_key, sender.secret_key, random);
}

Result<SealedTopicKey> seal_topic_key(const SymmetricKey& topic_key, const PublicKey& recipient,
                                      const SecretKey& member, const RandomSource& random) {
  const auto own_public = to_x25519(member.public_key());
  if (!own_public.ok()) {
    return own_public.error();
  }
  return seal_topic_key_with(topic_key, recipient, *own_public, to_x25519(member), random);
}

Result<SymmetricKey> open_topic_key(const SealedTopicKey& sealed, const SecretKey& member) {
  const auto blob = base64_decode(sealed.encrypted_key);
  const auto nonce = base64_decode(sealed.nonce);
  if (!blob || blob->size() != kTopicKeyBlobBytes || !nonce || nonce->size() != kBoxNonceBytes) {
    return make_error(ErrorCode::kInvalid, "sealed topic key: expected 80 bytes and a nonce of 24, both in base64");
  }
  SymmetricKey key;
  const X25519Secret own = to_x25519(member);
  if (crypto_box_open_easy(key.data(), blob->data() + 32, blob->size() - 32, nonce->data(), blob->data(), own.data()) !=
      0) {
    return cannot_open("sealed topic key");
  }
  return key;
}

}  // namespace cm::protocol
