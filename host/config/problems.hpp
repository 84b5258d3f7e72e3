// What is wrong with a configuration, collected so that a person fixes it in one round.
#pragma once

#include <string>
#include <vector>

#include "host/config/host_config.hpp"

namespace cm::config {

class Problems {
 public:
  void add(const SourceLocation& where, std::string text) { errors_.push_back({where, std::move(text)}); }
  void warn(const SourceLocation& where, std::string text) { warnings_.push_back({where, std::move(text)}); }
  bool none() const noexcept { return errors_.empty(); }
  std::size_t count() const noexcept { return errors_.size(); }

  // Sorted by file and position, without doubles.
  std::vector<Problem> take_errors();
  std::vector<Problem> take_warnings();

 private:
  std::vector<Problem> errors_;
  std::vector<Problem> warnings_;
};

// `; did you mean "x"?`, or `otherwise` when nothing is near.
std::string suggestion(std::string_view name, const std::vector<std::string>& candidates, std::string otherwise);

}  // namespace cm::config
