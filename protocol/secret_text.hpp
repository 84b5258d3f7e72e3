// A secret that is text: a key in hexadecimal, a token, a file that holds some.
#pragma once

#include <string>
#include <utility>

namespace cm::protocol {

// A text that is overwritten when it dies or is moved from. Move-only.
class SecretText {
 public:
  SecretText() = default;
  explicit SecretText(std::string text) : text_(std::move(text)) {}
  SecretText(const SecretText&) = delete;
  SecretText& operator=(const SecretText&) = delete;
  SecretText(SecretText&& other) noexcept;
  SecretText& operator=(SecretText&& other) noexcept;
  ~SecretText() { wipe(); }

  const std::string& text() const noexcept { return text_; }
  bool empty() const noexcept { return text_.empty(); }
  void wipe() noexcept;

 private:
  std::string text_;
};

}  // namespace cm::protocol
