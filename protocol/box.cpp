// Direct-message boxes: wire/01 section 6.
#include "protocol/box.hpp"

#include <sodium.h>

#include <list>
#include <unordered_map>

namespace cm::protocol {
namespace {

static_assert(kBoxNonceBytes == crypto_box_NONCEBYTES);
static_assert(kBoxNonceBytes == crypto_secretbox_NONCEBYTES);
static_assert(kBoxMacBytes == crypto_box_MACBYTES);
static_assert(crypto_box_BEFORENMBYTES == 32);

using SharedKey = SecretBytes<crypto_box_BEFORENMBYTES>;
using Nonce = std::array<std::uint8_t, kBoxNonceBytes>;

Result<SharedKey> precompute(const PublicKey& peer, const X25519Secret& own) {
  auto peer_x = to_x25519(peer);
  if (!peer_x.ok()) {
    return std::move(peer_x).error();
  }
  SharedKey shared;
  if (crypto_box_beforenm(shared.data(), peer_x->data(), own.data()) != 0) {
    return make_error(ErrorCode::kInvalid, "public key " + peer.hex() + " has small order and cannot be used");
  }
  return shared;
}

Envelope seal_with(std::string_view plaintext, const SharedKey& shared, const RandomSource& random) {
  Nonce nonce{};
  random(nonce);
  Bytes sealed(plaintext.size() + kBoxMacBytes);
  const ByteSpan plain = as_bytes(plaintext);
  crypto_box_easy_afternm(sealed.data(), plain.data(), plain.size(), nonce.data(), shared.data());
  return Envelope{base64_encode(nonce), base64_encode(sealed)};
}

Result<std::string> open_with(std::string_view nonce_text, std::string_view ciphertext, const SharedKey& shared) {
  const auto nonce = base64_decode(nonce_text);
  const auto sealed = base64_decode(ciphertext);
  if (!nonce || nonce->size() != kBoxNonceBytes) {
    return make_error(ErrorCode::kInvalid, "envelope nonce: expected 24 bytes in base64; the sender must send again");
  }
  if (!sealed || sealed->size() < kBoxMacBytes) {
    return make_error(ErrorCode::kInvalid,
                      "envelope ciphertext: expected at least 16 bytes in base64; the sender must send again");
  }
  std::string plain(sealed->size() - kBoxMacBytes, '\0');
  if (crypto_box_open_easy_afternm(reinterpret_cast<std::uint8_t*>(plain.data()), sealed->data(), sealed->size(),
                                   nonce->data(), shared.data()) != 0) {
    return make_error(ErrorCode::kDenied,
                      "envelope does not open with this key: it was sealed to another key, or altered on the way");
  }
  if (!is_valid_utf8(plain)) {
    return make_error(ErrorCode::kDenied, "envelope opened, but its content is not UTF-8 text");
  }
  return plain;
}

// Precomputed keys per peer, the least recently used one leaves first.
class SharedKeyCache {
 public:
  SharedKeyCache(const SecretKey& own, std::size_t cache_max)
      : own_(to_x25519(own)), cache_max_(std::max<std::size_t>(cache_max, 1)) {}

  // The pointer is valid until the next call.
  Result<const SharedKey*> get(const PublicKey& peer) {
    const auto found = index_.find(peer);
    if (found != index_.end()) {
      order_.splice(order_.begin(), order_, found->second);
      return &order_.front().second;
    }
    auto shared = precompute(peer, own_);
    if (!shared.ok()) {
      return std::move(shared).error();
    }
    if (order_.size() >= cache_max_) {
      index_.erase(order_.back().first);
      order_.pop_back();
    }
    order_.emplace_front(peer, std::move(shared).value());
    index_.emplace(peer, order_.begin());
    return &order_.front().second;
  }

  std::size_t size() const { return order_.size(); }

 private:
  using Order = std::list<std::pair<PublicKey, SharedKey>>;
  X25519Secret own_;
  std::size_t cache_max_;
  Order order_;
  std::unordered_map<PublicKey, Order::iterator> index_;
};

}  // namespace

struct BoxSealer::Impl {
  SharedKeyCache cache;
};
struct BoxOpener::Impl {
  SharedKeyCache cache;
};

BoxSealer::BoxSealer(const SecretKey& sender, std::size_t cache_max)
    : impl_(std::make_unique<Impl>(Impl{SharedKeyCache(sender, cache_max)})) {}
BoxSealer::BoxSealer(BoxSealer&&) noexcept = default;
BoxSealer& BoxSealer::operator=(BoxSealer&&) noexcept = default;
BoxSealer::~BoxSealer() = default;

Result<Envelope> BoxSealer::seal(std::string_view plaintext, const PublicKey& recipient, const RandomSource& random) {
  const auto shared = impl_->cache.get(recipient);
  if (!shared.ok()) {
    return shared.error();
  }
  return seal_with(plaintext, **shared, random);
}

std::size_t BoxSealer::cached() const noexcept {
  return impl_->cache.size();
}

BoxOpener::BoxOpener(const SecretKey& own, std::size_t cache_max)
    : impl_(std::make_unique<Impl>(Impl{SharedKeyCache(own, cache_max)})) {}
BoxOpener::BoxOpener(BoxOpener&&) noexcept = default;
BoxOpener& BoxOpener::operator=(BoxOpener&&) noexcept = default;
BoxOpener::~BoxOpener() = default;

Result<std::string> BoxOpener::open(std::string_view nonce, std::string_view ciphertext, const PublicKey& sender) {
  const auto shared = impl_->cache.get(sender);
  if (!shared.ok()) {
    return shared.error();
  }
  return open_with(nonce, ciphertext, **shared);
}

std::size_t BoxOpener::cached() const noexcept {
  return impl_->cache.size();
}

Result<Envelope> encrypt_for(std::string_view plaintext, const PublicKey& recipient, const SecretKey& sender,
                             const RandomSource& random) {
  const auto shared = precompute(recipient, to_x25519(sender));
  if (!shared.ok()) {
    return shared.error();
  }
  return seal_with(plaintext, *shared, random);
}

Result<std::string> decrypt_from(std::string_view nonce, std::string_view ciphertext, const PublicKey& sender,
                                 const SecretKey& own) {
  const auto shared = precompute(sender, to_x25519(own));
  if (!shared.ok()) {
    return shared.error();
  }
  return open_with(nonce, ciphertext, *shared);
}

Envelope encode_plain(std::string_view plaintext, const RandomSource& random) {
  Nonce nonce{};
  random(nonce);
  return Envelope{base64_encode(nonce), base64_encode(as_bytes(plaintext))};
}

Result<std::string> decode_plain(std::string_view ciphertext) {
  const auto bytes = base64_decode(ciphertext);
  if (!bytes) {
    return make_error(ErrorCode::kInvalid, "message body: expected base64; the sender must send again");
  }
  if (!is_valid_utf8(as_text(*bytes))) {
    return make_error(ErrorCode::kInvalid, "message body: its content is not UTF-8 text");
  }
  return std::string(as_text(*bytes));
}

}  // namespace cm::protocol
