#include "plugins/peer_daemon/src/host_fingerprint.hpp"

#include <ifaddrs.h>
#include <net/if.h>
#include <netpacket/packet.h>

#include <algorithm>
#include <array>
#include <cctype>
#include <cstdio>
#include <fstream>

#include "plugins/peer_daemon/src/iso_time.hpp"
#include "plugins/peer_daemon/src/json_out.hpp"
#include "protocol/encoding.hpp"
#include "protocol/json.hpp"
#include "protocol/keys.hpp"

namespace cm::daemon {
namespace {

constexpr int kSchemaVersion = 2;
constexpr std::array<std::string_view, 17> kVirtualPrefixes = {"lo",    "docker",    "br-", "bridge", "veth", "tap",
                                                               "tun",   "tailscale", "wg",  "utun",   "ppp",  "vboxnet",
                                                               "vmnet", "awdl",      "llw", "anpi",   "ap"};

bool is_virtual(std::string_view name) {
  std::string lower(name);
  std::transform(lower.begin(), lower.end(), lower.begin(),
                 [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  return std::any_of(kVirtualPrefixes.begin(), kVirtualPrefixes.end(), [&lower](std::string_view prefix) {
    if (!lower.starts_with(prefix)) {
      return false;
    }
    // "ap0" is an access point, "apple" is not.
    return prefix != "ap" || (lower.size() > 2 && std::isdigit(static_cast<unsigned char>(lower[2])) != 0);
  });
}

bool is_locally_administered(const std::string& mac) {
  const std::optional<protocol::Bytes> first = protocol::hex_decode(mac.substr(0, 2), protocol::HexCase::kAny);
  return first.has_value() && !first->empty() && ((*first)[0] & 0x02) != 0;
}

std::string trimmed_file(const char* path) {
  std::ifstream file(path);
  std::string line;
  std::getline(file, line);
  while (!line.empty() && std::isspace(static_cast<unsigned char>(line.back())) != 0) {
    line.pop_back();
  }
  return line;
}

std::vector<Interface> read_interfaces() {
  std::vector<Interface> interfaces;
  ifaddrs* list = nullptr;
  if (getifaddrs(&list) != 0) {
    return interfaces;
  }
  for (const ifaddrs* entry = list; entry != nullptr; entry = entry->ifa_next) {
    if (entry->ifa_addr == nullptr || entry->ifa_addr->sa_family != AF_PACKET) {
      continue;
    }
    const auto* link = reinterpret_cast<const sockaddr_ll*>(entry->ifa_addr);
    if (link->sll_halen != 6) {
      continue;
    }
    std::array<char, 18> text{};
    std::snprintf(text.data(), text.size(), "%02x:%02x:%02x:%02x:%02x:%02x", link->sll_addr[0], link->sll_addr[1],
                  link->sll_addr[2], link->sll_addr[3], link->sll_addr[4], link->sll_addr[5]);
    interfaces.push_back(Interface{entry->ifa_name, text.data(), (entry->ifa_flags & IFF_LOOPBACK) != 0});
  }
  freeifaddrs(list);
  return interfaces;
}

std::string hash_facts(std::string_view text) {
  return protocol::hex_encode(protocol::sha256(protocol::as_bytes(text)));
}

// The older form, without the version word. Only its host_id half can be recomputed reliably.
std::string fingerprint_v1(const HostFacts& facts) {
  std::string text = facts.host_id;
  text += '\0';
  text += facts.stable_mac;
  return hash_facts(text);
}

}  // namespace

std::string pick_stable_mac(const std::vector<Interface>& interfaces) {
  std::vector<Interface> universal;
  std::vector<Interface> local;
  for (const Interface& candidate : interfaces) {
    if (candidate.internal || is_virtual(candidate.name) || candidate.mac.empty() ||
        candidate.mac == "00:00:00:00:00:00") {
      continue;
    }
    (is_locally_administered(candidate.mac) ? local : universal).push_back(candidate);
  }
  std::vector<Interface>& pool = universal.empty() ? local : universal;
  const auto first = std::min_element(pool.begin(), pool.end(),
                                      [](const Interface& a, const Interface& b) { return a.name < b.name; });
  return first == pool.end() ? std::string() : first->mac;
}

HostFacts read_host_facts() {
  HostFacts facts;
  std::string id = trimmed_file("/etc/machine-id");
  if (id.empty()) {
    id = trimmed_file("/var/lib/dbus/machine-id");
  }
  facts.host_id = id.empty() ? std::string() : "linux:" + id;
  facts.stable_mac = pick_stable_mac(read_interfaces());
  return facts;
}

std::string host_fingerprint(const HostFacts& facts) {
  std::string text = "v2";
  text += '\0';
  text += facts.host_id;
  text += '\0';
  text += facts.stable_mac;
  return hash_facts(text);
}

FingerprintCheck check_fingerprint(const std::optional<std::string>& stored, const HostFacts& facts) {
  FingerprintCheck check;
  if (!stored.has_value()) {
    check.outcome = FingerprintOutcome::kFirstRun;
    return check;
  }
  const Result<protocol::JsonValue> tree = protocol::parse_json(*stored);
  if (!tree) {
    return check;
  }
  const protocol::JsonValue* version = tree->find("schema_version");
  const protocol::JsonValue* fingerprint = tree->find("fingerprint");
  const protocol::JsonValue* host_id = tree->find("host_id");
  if (version == nullptr || version->as_number() == nullptr || fingerprint == nullptr ||
      fingerprint->as_string() == nullptr) {
    return check;
  }
  check.stored_host_id = host_id != nullptr && host_id->as_string() != nullptr ? *host_id->as_string() : std::string();
  const double number = *version->as_number();
  if (number == 1) {
    check.outcome = *fingerprint->as_string() == fingerprint_v1(facts) ? FingerprintOutcome::kRewrite
                                                                       : FingerprintOutcome::kMismatch;
    return check;
  }
  if (number != kSchemaVersion) {
    return check;
  }
  if (*fingerprint->as_string() == host_fingerprint(facts)) {
    check.outcome = FingerprintOutcome::kMatch;
  } else {
    const bool same_host = !facts.host_id.empty() && check.stored_host_id == facts.host_id;
    check.outcome = same_host ? FingerprintOutcome::kRewrite : FingerprintOutcome::kMismatch;
  }
  return check;
}

std::string format_fingerprint(const HostFacts& facts, std::int64_t unix_ms) {
  const auto line = [](std::string_view key, std::string_view value) {
    std::string out = "  ";
    protocol::append_json_string(out, key);
    out += ": ";
    out += value;
    return out;
  };
  const auto quoted = [](std::string_view text) {
    std::string out;
    protocol::append_json_string(out, text);
    return out;
  };
  return "{\n" + line("schema_version", std::to_string(kSchemaVersion)) + ",\n" +
         line("fingerprint", quoted(host_fingerprint(facts))) + ",\n" + line("host_id", quoted(facts.host_id)) + ",\n" +
         line("stable_mac", quoted(facts.stable_mac)) + ",\n" + line("written_at", quoted(format_iso_ms(unix_ms))) +
         "\n}\n";
}

}  // namespace cm::daemon
