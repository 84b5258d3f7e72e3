// The options of one instance as its plugin sees them (cm.config/1). [loop]
#pragma once

#include <cstdint>
#include <memory>
#include <optional>

#include "host/config/values.hpp"

namespace cm::host {

// Options are kept until destroy, because plugins keep views into their text; a committed reload adds a set.
class ConfigAccess {
 public:
  explicit ConfigAccess(config::ValidatedOptions options)
      : active_(std::make_unique<const config::ValidatedOptions>(std::move(options))) {}

  // `which` as cm.config/1 counts; null when there is no candidate now.
  const config::ValidatedOptions* options(std::uint32_t which) const noexcept;

  void set_candidate(config::ValidatedOptions options) {
    candidate_ = std::make_unique<const config::ValidatedOptions>(std::move(options));
  }
  // The candidate becomes the active set (commit) or is forgotten.
  void finish(bool commit);

 private:
  std::unique_ptr<const config::ValidatedOptions> active_;
  std::unique_ptr<const config::ValidatedOptions> candidate_;
  std::vector<std::unique_ptr<const config::ValidatedOptions>> former_;
};

}  // namespace cm::host
