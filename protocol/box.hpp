// Direct-message envelopes: crypto_box over converted Ed25519 keys (wire/01 section 6), sealed boxes, secret boxes and
// topic keys (sections 8 and 11). Wire fields are base64 ORIGINAL.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include <claudemesh/cpp/result.hpp>

#include "protocol/encoding.hpp"
#include "protocol/keys.hpp"
#include "protocol/random.hpp"

namespace cm::protocol {

inline constexpr std::size_t kBoxNonceBytes = 24;
inline constexpr std::size_t kBoxMacBytes = 16;
inline constexpr std::size_t kSharedKeyCacheDefault = 1024;  // peers whose precomputed key is kept

// The two wire fields of an encrypted (or, for broadcasts, merely encoded) body.
struct Envelope {
  std::string nonce;       // base64 ORIGINAL of 24 bytes (32 characters); "" from bridges
  std::string ciphertext;  // base64 ORIGINAL
};

// One message, without a cache. kInvalid when the recipient's key is no curve point.
Result<Envelope> encrypt_for(std::string_view plaintext, const PublicKey& recipient, const SecretKey& sender,
                             const RandomSource& random);
// kInvalid for malformed base64 or a bad key, kDenied when authentication fails or the plaintext is not UTF-8: bytes
// that cannot be read are never shown as text. The error never contains any of the input.
Result<std::string> decrypt_from(std::string_view nonce, std::string_view ciphertext, const PublicKey& sender,
                                 const SecretKey& own);

// Group, broadcast and topic v1 bodies: base64 of the text with an unused random nonce (section 7).
Envelope encode_plain(std::string_view plaintext, const RandomSource& random);
// kInvalid unless base64 of valid UTF-8.
Result<std::string> decode_plain(std::string_view ciphertext);

// Encrypts for many recipients from one identity, and opens from many senders: the scalar multiplication and the key
// conversion (the dear part) happen once per peer, in a bounded least-recently-used cache of zeroing keys.
// One owner, not thread-safe. Keeps its own copy of the secret.
class BoxSealer {
 public:
  explicit BoxSealer(const SecretKey& sender, std::size_t cache_max = kSharedKeyCacheDefault);
  BoxSealer(BoxSealer&&) noexcept;
  BoxSealer& operator=(BoxSealer&&) noexcept;
  ~BoxSealer();

  Result<Envelope> seal(std::string_view plaintext, const PublicKey& recipient, const RandomSource& random);
  std::size_t cached() const noexcept;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

class BoxOpener {
 public:
  explicit BoxOpener(const SecretKey& own, std::size_t cache_max = kSharedKeyCacheDefault);
  BoxOpener(BoxOpener&&) noexcept;
  BoxOpener& operator=(BoxOpener&&) noexcept;
  ~BoxOpener();

  // Errors as decrypt_from.
  Result<std::string> open(std::string_view nonce, std::string_view ciphertext, const PublicKey& sender);
  std::size_t cached() const noexcept;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

// --- sealed boxes (anonymous sender): file keys, vault keys, the root key of an invite v2 ---
inline constexpr std::size_t kSealOverheadBytes = 48;

// The ephemeral key comes from `random`, so that a simulation is reproducible; the format is that of crypto_box_seal.
Result<Bytes> seal_anonymous(ByteSpan plaintext, const X25519Public& recipient, const RandomSource& random);
Result<Bytes> open_anonymous(ByteSpan sealed, const X25519Public& own_public, const X25519Secret& own_secret);
// With Ed25519 keys on both ends (file and vault keys); base64 ORIGINAL text.
Result<std::string> seal_for(ByteSpan plaintext, const PublicKey& recipient, const RandomSource& random);
Result<Bytes> open_sealed(std::string_view sealed_base64, const SecretKey& own);

// --- secret boxes: topic v2 bodies, files, vault values ---
using SymmetricKey = SecretBytes<32>;
SymmetricKey generate_symmetric_key(const RandomSource& random);

Envelope secretbox_seal(std::string_view plaintext, const SymmetricKey& key, const RandomSource& random);
Result<std::string> secretbox_open(std::string_view nonce, std::string_view ciphertext, const SymmetricKey& key);
// nonce (24 raw bytes) followed by the ciphertext: the layout of an encrypted file object.
Bytes file_seal(ByteSpan content, const SymmetricKey& key, const RandomSource& random);
Result<Bytes> file_open(ByteSpan object, const SymmetricKey& key);

// --- topic keys (section 8): base64( sender X25519 public (32) || crypto_box(topic key) ) ---
struct SealedTopicKey {
  std::string encrypted_key;  // 80 bytes in base64
  std::string nonce;          // 24 bytes in base64
};
Result<SealedTopicKey> seal_topic_key(const SymmetricKey& topic_key, const PublicKey& recipient,
                                      const X25519KeyPair& sender, const RandomSource& random);
// Re-sealing by a member who holds the key: the sender is the converted member key.
Result<SealedTopicKey> seal_topic_key(const SymmetricKey& topic_key, const PublicKey& recipient,
                                      const SecretKey& member, const RandomSource& random);
Result<SymmetricKey> open_topic_key(const SealedTopicKey& sealed, const SecretKey& member);

}  // namespace cm::protocol
