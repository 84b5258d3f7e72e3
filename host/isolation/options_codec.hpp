// The validated options of an instance as a frame carries them.
#pragma once

#include <claudemesh/abi.h>

#include <map>
#include <string>
#include <variant>
#include <vector>

#include "host/config/values.hpp"
#include "host/isolation/frame.hpp"

namespace cm::isolation {

inline constexpr std::uint32_t kOptionsMax = 1024;

void write_options(FrameWriter& writer, const config::ValidatedOptions& options);

// The child's copy. An option without a value holds std::monostate; `kind` tells what it was declared as.
enum class OptionKind : std::uint8_t { kBool = 1, kInt = 2, kFloat = 3, kText = 4, kList = 5 };
struct RemoteOption {
  OptionKind kind = OptionKind::kText;
  std::variant<std::monostate, bool, std::int64_t, double, std::string, std::vector<std::string>> value;
};
using RemoteOptions = std::map<std::string, RemoteOption, std::less<>>;

// What cannot be read makes the reader bad.
RemoteOptions read_options(FrameReader& reader);

}  // namespace cm::isolation
