// Feature negotiation (specification v4/v5 section 15.2, parameters of v0.9.0 section 15.1, close payload of 15.5).
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include <claudemesh/cpp/result.hpp>

#include "protocol/json.hpp"

namespace cm::protocol {

inline constexpr std::string_view kFeatureDedupe = "client_message_id_dedupe";
inline constexpr std::string_view kFeatureConcurrentPolicy = "concurrent_connection_policy";
inline constexpr std::string_view kFeatureKeypairRotated = "member_keypair_rotated_event";
inline constexpr std::string_view kFeatureKeyEpoch = "key_epoch";
inline constexpr std::string_view kFeatureMaxPayload = "max_payload";

inline constexpr std::int64_t kFeatureParamsVersion = 1;
inline constexpr std::int64_t kDedupeRetentionDaysFloor = 3;
inline constexpr std::int64_t kMaxPayloadBytesFloor = 1'024;
inline constexpr std::size_t kFeaturesMax = 64;  // names in one list of a request or response
inline constexpr std::size_t kFeatureNameMaxBytes = 64;

// Daemon -> broker, after hello and before normal traffic.
struct FeatureNegotiationRequest {
  std::vector<std::string> require;
  std::vector<std::string> optional;
  std::optional<std::string> req_id;
};

// One entry of `supported`: {"params": {...}}, or `true` / `false` / a bare parameter object (the older v4 shape).
struct FeatureOffer {
  std::string name;
  bool enabled = true;
  JsonValue params;  // an object, or null when the offer carried none
};

// Broker -> daemon.
struct FeatureNegotiationResponse {
  std::vector<FeatureOffer> supported;
  std::vector<std::string> missing_required;
  std::optional<std::string> req_id;

  const FeatureOffer* find(std::string_view name) const;
};

// --- validated parameters ---
enum class DedupeMode : std::uint8_t { kRetentionScoped, kPermanent };
enum class ConnectionPolicy : std::uint8_t { kPreferNewest, kPreferOldest, kAllowConcurrent };

struct DedupeFeature {
  DedupeMode mode = DedupeMode::kPermanent;
  std::int64_t dedupe_retention_days = 0;  // 0 in permanent mode
  std::optional<std::int64_t> tombstone_history_pruned_window_days;
};
struct MaxPayloadFeature {
  std::int64_t inline_bytes = 0;
  std::int64_t blob_bytes = 0;
};
// What both sides agreed on; an absent member means the feature is not in force.
struct NegotiatedFeatures {
  std::optional<DedupeFeature> dedupe;
  std::optional<ConnectionPolicy> concurrent_policy;  // prefer_newest when the broker named none
  bool keypair_rotated_event = false;
  std::optional<std::int64_t> max_concurrent_epochs;
  std::optional<MaxPayloadFeature> max_payload;
  std::vector<std::string> others;  // supported features without known parameters (mesh_skill_share, ...)
};

enum class FeatureFault : std::uint8_t { kUnavailable, kParamInvalid, kParamBelowFloor };
std::string_view to_string(FeatureFault fault);  // the `kind` words

// Why a connection must be closed with 4010.
struct FeatureProblem {
  FeatureFault fault = FeatureFault::kUnavailable;
  std::string feature;
  std::string detail;
};

// Hard floors of the daemon; the defaults are those of the specification.
struct FeatureFloors {
  std::int64_t dedupe_retention_days = kDedupeRetentionDaysFloor;
  std::int64_t max_payload_bytes = kMaxPayloadBytesFloor;
};

struct FeatureEvaluation {
  NegotiatedFeatures features;
  std::optional<FeatureProblem> problem;  // set: close with 4010; the first problem among the required ones
};
// The daemon's judgement of a response. A required feature that is missing, invalid or below a floor is a problem; an
// optional one with bad parameters is left out. Dedupe without request_fingerprint: true counts as missing.
FeatureEvaluation evaluate_features(const FeatureNegotiationRequest& request,
                                    const FeatureNegotiationResponse& response, const FeatureFloors& floors = {});

// The broker's side: of what it offers, the answer to a request (missing_required computed; everything offered that was
// asked for is listed).
FeatureNegotiationResponse answer_features(const FeatureNegotiationRequest& request,
                                           const std::vector<FeatureOffer>& offered);

// Offers with version 1 parameters.
FeatureOffer offer_dedupe(const DedupeFeature& feature);
FeatureOffer offer_concurrent_policy(ConnectionPolicy policy);
FeatureOffer offer_keypair_rotated_event();
FeatureOffer offer_key_epoch(std::int64_t max_concurrent_epochs);
FeatureOffer offer_max_payload(const MaxPayloadFeature& feature);

// --- wire ---
// Input is the parsed frame (see wire_parse.hpp for text). kInvalid names the field.
Result<FeatureNegotiationRequest> parse_feature_request(const JsonValue& frame);
Result<FeatureNegotiationResponse> parse_feature_response(const JsonValue& frame);
void write_feature_request(std::string& out, const FeatureNegotiationRequest& request);
void write_feature_response(std::string& out, const FeatureNegotiationResponse& response);

// {"kind","feature","detail"}, the detail cut so that the text fits a close frame (123 bytes).
std::string close_reason_json(const FeatureProblem& problem);
// Also takes the wrapped form {"close_reason":{...}}. kInvalid for anything else.
Result<FeatureProblem> parse_close_reason(std::string_view text);

}  // namespace cm::protocol
