#include "protocol/secret_text.hpp"

#include "protocol/keys.hpp"

namespace cm::protocol {

SecretText::SecretText(SecretText&& other) noexcept : text_(std::move(other.text_)) {
  other.wipe();
}

SecretText& SecretText::operator=(SecretText&& other) noexcept {
  if (this != &other) {
    wipe();
    text_ = std::move(other.text_);
    other.wipe();
  }
  return *this;
}

void SecretText::wipe() noexcept {
  // A short text lives inside the object: moving from it leaves a copy, which the size alone would not show.
  text_.resize(text_.capacity());
  secure_zero(text_.data(), text_.size());
  text_.clear();
}

}  // namespace cm::protocol
