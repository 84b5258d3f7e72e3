// Ed25519 identity keys and their X25519 counterparts (libsodium). Pure; usable from any thread.
#pragma once

#include <array>
#include <compare>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <functional>
#include <optional>
#include <string>
#include <string_view>

#include <claudemesh/cpp/result.hpp>

#include "protocol/encoding.hpp"
#include "protocol/random.hpp"

namespace cm::protocol {

inline constexpr std::size_t kPublicKeyBytes = 32;
inline constexpr std::size_t kSecretKeyBytes = 64;  // libsodium: seed (32) followed by public key (32)
inline constexpr std::size_t kSeedBytes = 32;
inline constexpr std::size_t kSignatureBytes = 64;
inline constexpr std::size_t kPublicKeyHexLength = 64;
inline constexpr std::size_t kSecretKeyHexLength = 128;
inline constexpr std::size_t kSignatureHexLength = 128;

// Bytes that are overwritten when the object dies or is moved from. Move-only, so that no copy stays behind.
template <std::size_t Size>
class SecretBytes {
 public:
  SecretBytes() = default;
  SecretBytes(const SecretBytes&) = delete;
  SecretBytes& operator=(const SecretBytes&) = delete;
  SecretBytes(SecretBytes&& other) noexcept { take(other); }
  SecretBytes& operator=(SecretBytes&& other) noexcept {
    if (this != &other) {
      take(other);
    }
    return *this;
  }
  ~SecretBytes() { wipe(); }

  std::uint8_t* data() noexcept { return bytes_.data(); }
  const std::uint8_t* data() const noexcept { return bytes_.data(); }
  static constexpr std::size_t size() noexcept { return Size; }
  std::span<std::uint8_t, Size> span() noexcept { return bytes_; }
  std::span<const std::uint8_t, Size> span() const noexcept { return bytes_; }
  void wipe() noexcept;

 private:
  void take(SecretBytes& other) noexcept {
    std::memcpy(bytes_.data(), other.bytes_.data(), Size);
    other.wipe();
  }
  std::array<std::uint8_t, Size> bytes_{};
};

// sodium_memzero behind a plain function, so that this header needs no libsodium.
void secure_zero(void* data, std::size_t size) noexcept;

template <std::size_t Size>
void SecretBytes<Size>::wipe() noexcept {
  secure_zero(bytes_.data(), Size);
}

// An Ed25519 public key: 32 bytes; on the wire 64 lower-case hex characters.
class PublicKey {
 public:
  PublicKey() = default;  // all zero: equal to no real key
  explicit PublicKey(const std::array<std::uint8_t, kPublicKeyBytes>& bytes) : bytes_(bytes) {}

  // Strict: exactly 64 lower-case hex characters (kInvalid otherwise). Does not test whether it is a point on the
  // curve; conversion to X25519 and verification do.
  static Result<PublicKey> from_hex(std::string_view text, HexCase hex_case = HexCase::kLowerOnly);

  std::string hex() const;
  const std::array<std::uint8_t, kPublicKeyBytes>& bytes() const noexcept { return bytes_; }
  const std::uint8_t* data() const noexcept { return bytes_.data(); }
  bool is_zero() const noexcept;

  friend bool operator==(const PublicKey&, const PublicKey&) = default;
  friend auto operator<=>(const PublicKey&, const PublicKey&) = default;

 private:
  std::array<std::uint8_t, kPublicKeyBytes> bytes_{};
};

// A public key in one role. A routing key of a presence is a session key if there is one, else the member key; the two
// must not be mixed up by accident.
template <typename Tag>
struct KeyInRole {
  PublicKey key;

  std::string hex() const { return key.hex(); }
  friend bool operator==(const KeyInRole&, const KeyInRole&) = default;
  friend auto operator<=>(const KeyInRole&, const KeyInRole&) = default;
};
using MemberPubkey = KeyInRole<struct MemberPubkeyTag>;
using SessionPubkey = KeyInRole<struct SessionPubkeyTag>;
using OwnerPubkey = KeyInRole<struct OwnerPubkeyTag>;

using Signature = std::array<std::uint8_t, kSignatureBytes>;

// An Ed25519 secret key in libsodium's 64-byte form. Move-only, zeroed on destruction. Never log it.
class SecretKey {
 public:
  // 128 lower-case hex characters whose second half is the public key of the first (kInvalid otherwise): a pair that
  // does not belong together would leak the secret with the first signature.
  static Result<SecretKey> from_hex(std::string_view text);
  static Result<SecretKey> from_bytes(ByteSpan bytes);

  // For the identity files only (mode 0600); the returned text is not wiped by itself.
  std::string hex() const;
  PublicKey public_key() const;
  const std::uint8_t* data() const noexcept { return bytes_.data(); }
  // A second owner of the same secret, on purpose a named call.
  SecretKey clone() const;

 private:
  friend struct KeyPair;
  SecretKey() = default;
  SecretBytes<kSecretKeyBytes> bytes_;
};

// A matching pair.
struct KeyPair {
  PublicKey public_key;
  SecretKey secret_key;

  static KeyPair generate(const RandomSource& random);
  // Deterministic; the seed must be exactly 32 bytes.
  static KeyPair from_seed(std::span<const std::uint8_t, kSeedBytes> seed);
  static KeyPair from_secret(SecretKey secret);
};

// Detached signature over the bytes of `message` (RFC 8032, deterministic).
Signature sign(const SecretKey& key, std::string_view message);
std::string sign_hex(const SecretKey& key, std::string_view message);
bool verify(const PublicKey& key, std::string_view message, const Signature& signature);
// Decodes in either case, as the broker's checks do; false for any malformed part.
bool verify_hex(std::string_view public_key_hex, std::string_view message, std::string_view signature_hex);

// --- X25519 ---
using X25519Public = std::array<std::uint8_t, 32>;
using X25519Secret = SecretBytes<32>;

// kInvalid when the key is no valid curve point (or of small order).
Result<X25519Public> to_x25519(const PublicKey& key);
X25519Secret to_x25519(const SecretKey& key);

struct X25519KeyPair {
  X25519Public public_key{};
  X25519Secret secret_key;
  static X25519KeyPair generate(const RandomSource& random);
};

// The six groups of five digits that two people compare (wire/01 section 16); symmetric in its arguments.
std::string safety_number(const PublicKey& a, const PublicKey& b);

// SHA-256 (FIPS 180-4) of the bytes.
std::array<std::uint8_t, 32> sha256(ByteSpan bytes);

}  // namespace cm::protocol

template <>
struct std::hash<cm::protocol::PublicKey> {
  std::size_t operator()(const cm::protocol::PublicKey& key) const noexcept {
    // Public keys are uniformly distributed; their first word is hash enough. Tables that an adversary may fill with
    // keys of his choice must bound their size (all of ours do).
    std::size_t value = 0;
    std::memcpy(&value, key.data(), sizeof(value));
    return value;
  }
};
template <typename Tag>
struct std::hash<cm::protocol::KeyInRole<Tag>> {
  std::size_t operator()(const cm::protocol::KeyInRole<Tag>& key) const noexcept {
    return std::hash<cm::protocol::PublicKey>{}(key.key);
  }
};
