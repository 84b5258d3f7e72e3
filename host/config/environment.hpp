// The process' environment, as a value: configuration is read with the variables it is given, not with those it finds.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <string_view>

namespace cm::config {

class Environment {
 public:
  Environment() = default;
  explicit Environment(std::map<std::string, std::string, std::less<>> variables) : variables_(std::move(variables)) {}
  // A copy of the environment of this process. Not safe while another thread calls setenv.
  static Environment of_process();

  std::optional<std::string> get(std::string_view name) const;
  // HOME, or the home directory of the user database, or "/".
  std::string home() const;

 private:
  std::map<std::string, std::string, std::less<>> variables_;
};

}  // namespace cm::config
