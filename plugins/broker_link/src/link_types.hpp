// What a link is made of: its options, the identity it speaks for, and what its owner offers.
#pragma once

#include <claudemesh/ext/transport.h>
#include <claudemesh/cpp/host.hpp>

#include <cstdint>
#include <string>
#include <vector>

#include "protocol/features.hpp"
#include "protocol/wire_messages.hpp"

namespace cm::broker_link {

// From plugin.toml; durations in milliseconds, sizes in bytes.
struct LinkOptions {
  std::uint64_t window = 256;
  std::uint64_t ack_timeout_ms = 15'000;
  std::uint64_t hello_timeout_ms = 5'000;
  std::uint64_t negotiation_timeout_ms = 3'000;
  std::uint64_t refused_retry_ms = 900'000;
  std::uint64_t frame_bytes_max = 65'536;
  std::uint64_t receive_bytes_max = 16 * 1024 * 1024;
  std::uint64_t requests_max = 1'024;
  std::string hostname;
};

// An owned copy of cm_link_identity. Holds no secret.
struct Identity {
  bool session = false;
  std::string url;
  std::string mesh_id;
  std::string member_id;
  std::string member_pubkey;
  std::string session_pubkey;
  std::string session_id;
  std::string display_name;
  std::string cwd;
  std::string role;
  std::int64_t pid = 0;
  std::vector<protocol::GroupMembership> groups;
  protocol::FeatureNegotiationRequest features;

  bool negotiates() const noexcept { return !features.require.empty() || !features.optional.empty(); }
};

// kInvalid names the member that is missing or malformed.
Result<Identity> copy_identity(const cm_link_identity& raw);

// Shared by all links of one instance.
struct LinkMetrics {
  Metric accepted;
  Metric duplicates;
  Metric retries;
  Metric rejected;
  Metric ack_timeouts;
  Metric pushes;
  Metric connects;
  Metric closes;
  Metric bad_frames;
};

}  // namespace cm::broker_link
