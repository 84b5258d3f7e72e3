// The options of one instance as its plugin sees them (cm.config/1). [loop]
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string_view>

#include "host/config/values.hpp"

namespace cm::host {

// Plugins keep views into texts that they were given, so each different one is kept until destroy, whatever a reload
// commits; as a secret, because some are.
class ConfigAccess {
 public:
  explicit ConfigAccess(config::ValidatedOptions options)
      : active_(std::make_unique<const config::ValidatedOptions>(std::move(options))) {}

  // `which` as cm.config/1 counts; null when there is no candidate now.
  const config::ValidatedOptions* options(std::uint32_t which) const noexcept;

  void set_candidate(config::ValidatedOptions options) {
    candidate_ = std::make_unique<const config::ValidatedOptions>(std::move(options));
  }
  // The same text, valid until destroy.
  std::string_view keep(std::string_view text);
  // The candidate becomes the active set (commit) or is forgotten.
  void finish(bool commit);

 private:
  std::unique_ptr<const config::ValidatedOptions> active_;
  std::unique_ptr<const config::ValidatedOptions> candidate_;
  std::map<std::string_view, config::SecretText> kept_;  // the keys are views into the values
};

}  // namespace cm::host
