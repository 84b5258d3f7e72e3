// Detects that a daemon directory was copied to another machine (wire/01 section 15).
#pragma once

#include <claudemesh/cpp/result.hpp>

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace cm::daemon {

// What identifies this machine; either may be empty, and then stays so at every start.
struct HostFacts {
  std::string host_id;     // "linux:<machine-id>"
  std::string stable_mac;  // "aa:bb:cc:dd:ee:ff"
};

struct Interface {
  std::string name;
  std::string mac;
  bool internal = false;
};
// The MAC of the first real interface by name, universally administered ones first; empty when there is none. Pure.
std::string pick_stable_mac(const std::vector<Interface>& interfaces);
// Reads /etc/machine-id and the interfaces.
HostFacts read_host_facts();

// hex sha256("v2" NUL host_id NUL stable_mac). Pure.
std::string host_fingerprint(const HostFacts& facts);

enum class FingerprintOutcome : std::uint8_t { kFirstRun, kMatch, kRewrite, kMismatch, kUnavailable };

struct FingerprintCheck {
  FingerprintOutcome outcome = FingerprintOutcome::kUnavailable;
  std::string stored_host_id;
};
// `stored` is the content of host_fingerprint.json, nullopt when it does not exist. kRewrite: the same machine with
// another network card, or an older schema. Pure.
FingerprintCheck check_fingerprint(const std::optional<std::string>& stored, const HostFacts& facts);

// The file's new content.
std::string format_fingerprint(const HostFacts& facts, std::int64_t unix_ms);

}  // namespace cm::daemon
