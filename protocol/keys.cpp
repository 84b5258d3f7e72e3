#include "protocol/keys.hpp"

#include <sodium.h>

#include <algorithm>
#include <cassert>

namespace cm::protocol {
namespace {

static_assert(kPublicKeyBytes == crypto_sign_PUBLICKEYBYTES);
static_assert(kSecretKeyBytes == crypto_sign_SECRETKEYBYTES);
static_assert(kSeedBytes == crypto_sign_SEEDBYTES);
static_assert(kSignatureBytes == crypto_sign_BYTES);

const std::uint8_t* unsigned_data(std::string_view text) {
  return reinterpret_cast<const std::uint8_t*>(text.data());
}

}  // namespace

void secure_zero(void* data, std::size_t size) noexcept {
  sodium_memzero(data, size);
}

Result<PublicKey> PublicKey::from_hex(std::string_view text, HexCase hex_case) {
  PublicKey key;
  if (!hex_decode_into(text, hex_case, key.bytes_)) {
    const char* letters = hex_case == HexCase::kLowerOnly ? "64 lowercase hex chars" : "64 hex chars";
    return make_error(ErrorCode::kInvalid, "public key: found " + std::to_string(text.size()) +
                                               " characters, expected " + letters + "; copy the whole key");
  }
  return key;
}

std::string PublicKey::hex() const {
  return hex_encode(bytes_);
}

bool PublicKey::is_zero() const noexcept {
  return std::all_of(bytes_.begin(), bytes_.end(), [](std::uint8_t byte) { return byte == 0; });
}

Result<SecretKey> SecretKey::from_hex(std::string_view text) {
  SecretBytes<kSecretKeyBytes> bytes;
  if (!hex_decode_into(text, HexCase::kLowerOnly, bytes.span())) {
    return make_error(ErrorCode::kInvalid, "secret key: found " + std::to_string(text.size()) +
                                               " characters, expected 128 lowercase hex chars");
  }
  return from_bytes(bytes.span());
}

Result<SecretKey> SecretKey::from_bytes(ByteSpan bytes) {
  ensure_crypto();
  if (bytes.size() != kSecretKeyBytes) {
    return make_error(ErrorCode::kInvalid, "secret key: found " + std::to_string(bytes.size()) +
                                               " bytes, expected 64 (seed and public key)");
  }
  // Signing with a public half that does not belong to the seed gives away the secret scalar.
  SecretKey key;
  std::array<std::uint8_t, kPublicKeyBytes> expected{};
  crypto_sign_seed_keypair(expected.data(), key.bytes_.data(), bytes.data());
  if (sodium_memcmp(key.bytes_.data(), bytes.data(), kSecretKeyBytes) != 0) {
    return make_error(ErrorCode::kInvalid,
                      "secret key: its public half does not belong to its seed; restore the key from a backup");
  }
  return key;
}

std::string SecretKey::hex() const {
  return hex_encode(bytes_.span());
}

PublicKey SecretKey::public_key() const {
  std::array<std::uint8_t, kPublicKeyBytes> bytes{};
  std::copy_n(bytes_.data() + kSeedBytes, kPublicKeyBytes, bytes.begin());
  return PublicKey(bytes);
}

SecretKey SecretKey::clone() const {
  SecretKey copy;
  std::copy_n(bytes_.data(), kSecretKeyBytes, copy.bytes_.data());
  return copy;
}

KeyPair KeyPair::generate(const RandomSource& random) {
  SecretBytes<kSeedBytes> seed;
  random(seed.span());
  return from_seed(std::as_const(seed).span());
}

KeyPair KeyPair::from_seed(std::span<const std::uint8_t, kSeedBytes> seed) {
  ensure_crypto();
  SecretKey secret;
  std::array<std::uint8_t, kPublicKeyBytes> bytes{};
  crypto_sign_seed_keypair(bytes.data(), secret.bytes_.data(), seed.data());
  return KeyPair{PublicKey(bytes), std::move(secret)};
}

KeyPair KeyPair::from_secret(SecretKey secret) {
  const PublicKey key = secret.public_key();
  return KeyPair{key, std::move(secret)};
}

Signature sign(const SecretKey& key, std::string_view message) {
  ensure_crypto();
  Signature signature{};
  crypto_sign_detached(signature.data(), nullptr, unsigned_data(message), message.size(), key.data());
  return signature;
}

std::string sign_hex(const SecretKey& key, std::string_view message) {
  return hex_encode(sign(key, message));
}

bool verify(const PublicKey& key, std::string_view message, const Signature& signature) {
  ensure_crypto();
  return crypto_sign_verify_detached(signature.data(), unsigned_data(message), message.size(), key.data()) == 0;
}

bool verify_hex(std::string_view public_key_hex, std::string_view message, std::string_view signature_hex) {
  const auto key = PublicKey::from_hex(public_key_hex, HexCase::kAny);
  Signature signature{};
  return key.ok() && hex_decode_into(signature_hex, HexCase::kAny, signature) && verify(*key, message, signature);
}

Result<X25519Public> to_x25519(const PublicKey& key) {
  ensure_crypto();
  X25519Public out{};
  if (crypto_sign_ed25519_pk_to_curve25519(out.data(), key.data()) != 0) {
    return make_error(ErrorCode::kInvalid,
                      "public key " + key.hex() + " is no point of the curve; ask its owner for the right key");
  }
  return out;
}

X25519Secret to_x25519(const SecretKey& key) {
  ensure_crypto();
  X25519Secret out;
  crypto_sign_ed25519_sk_to_curve25519(out.data(), key.data());
  return out;
}

X25519KeyPair X25519KeyPair::generate(const RandomSource& random) {
  ensure_crypto();
  X25519KeyPair pair;
  random(pair.secret_key.span());
  crypto_scalarmult_base(pair.public_key.data(), pair.secret_key.data());
  return pair;
}

std::string safety_number(const PublicKey& a, const PublicKey& b) {
  const PublicKey& low = a < b ? a : b;
  const PublicKey& high = a < b ? b : a;
  Bytes joined(low.bytes().begin(), low.bytes().end());
  joined.insert(joined.end(), high.bytes().begin(), high.bytes().end());
  const auto digest = sha256(joined);
  std::string out;
  for (std::size_t group = 0; group < 6; ++group) {
    std::uint32_t value = 0;
    for (std::size_t bit = group * 20; bit < group * 20 + 20; ++bit) {
      value = (value << 1) | ((digest[bit / 8] >> (7 - bit % 8)) & 1u);
    }
    std::string digits = std::to_string(value % 100'000);
    digits.insert(0, 5 - digits.size(), '0');
    out += (group == 0 ? "" : " ") + digits;
  }
  return out;
}

std::array<std::uint8_t, 32> sha256(ByteSpan bytes) {
  std::array<std::uint8_t, 32> out{};
  crypto_hash_sha256(out.data(), bytes.data(), bytes.size());
  return out;
}

}  // namespace cm::protocol
