#include "protocol/features.hpp"

#include <algorithm>
#include <cmath>

namespace cm::protocol {
namespace {

constexpr double kIntegerMax = 9'007'199'254'740'991;  // the largest exact integer of a JSON number in JavaScript

FeatureProblem problem_of(FeatureFault fault, std::string_view feature, std::string detail) {
  return FeatureProblem{fault, std::string(feature), std::move(detail)};
}

std::optional<std::int64_t> integer_param(const JsonValue& params, std::string_view name) {
  const JsonValue* value = params.find(name);
  const double* number = value == nullptr ? nullptr : value->as_number();
  if (number == nullptr || *number != std::floor(*number) || std::fabs(*number) > kIntegerMax) {
    return std::nullopt;
  }
  return static_cast<std::int64_t>(*number);
}

const std::string* text_param(const JsonValue& params, std::string_view name) {
  const JsonValue* value = params.find(name);
  return value == nullptr ? nullptr : value->as_string();
}

std::optional<FeatureProblem> check_version(const FeatureOffer& offer, bool has_required_params) {
  if (offer.params.is_null() && !has_required_params) {
    return std::nullopt;  // the older shape `"feature": true` says all there is to say
  }
  const auto version = integer_param(offer.params, "version");
  if (!version) {
    return problem_of(FeatureFault::kParamInvalid, offer.name, "params.version is missing, expected 1");
  }
  if (*version != kFeatureParamsVersion) {
    return problem_of(FeatureFault::kParamInvalid, offer.name,
                      "params.version is " + std::to_string(*version) + ", expected 1");
  }
  return std::nullopt;
}

// An integer that must be at least `lowest` to be valid at all, and at least `floor` for this daemon.
std::optional<FeatureProblem> read_bounded(const FeatureOffer& offer, std::string_view name, std::int64_t lowest,
                                           std::int64_t floor, std::int64_t& out) {
  const auto value = integer_param(offer.params, name);
  const std::string text(name);
  if (!value) {
    return problem_of(FeatureFault::kParamInvalid, offer.name, "params." + text + " is missing or no integer");
  }
  const std::string found = "params." + text + " is " + std::to_string(*value);
  if (*value < lowest) {
    return problem_of(FeatureFault::kParamInvalid, offer.name, found + ", at least " + std::to_string(lowest));
  }
  if (*value < floor) {
    return problem_of(FeatureFault::kParamBelowFloor, offer.name, found + ", needed " + std::to_string(floor));
  }
  out = *value;
  return std::nullopt;
}

std::optional<FeatureProblem> read_dedupe(const FeatureOffer& offer, const FeatureFloors& floors,
                                          NegotiatedFeatures& out) {
  // Without fingerprints a reused key would silently drop a message: the specification counts that as no feature.
  const JsonValue* fingerprint = offer.params.find("request_fingerprint");
  if (fingerprint == nullptr || fingerprint->as_bool() == nullptr || !*fingerprint->as_bool()) {
    return problem_of(FeatureFault::kUnavailable, offer.name, "params.request_fingerprint is not true");
  }
  if (auto problem = check_version(offer, true)) {
    return problem;
  }
  DedupeFeature feature;
  const std::string* mode = text_param(offer.params, "mode");
  if (mode == nullptr || (*mode != "retention_scoped" && *mode != "permanent")) {
    return problem_of(FeatureFault::kParamInvalid, offer.name, "params.mode is not retention_scoped or permanent");
  }
  if (*mode == "retention_scoped") {
    feature.mode = DedupeMode::kRetentionScoped;
    if (auto problem = read_bounded(offer, "dedupe_retention_days", 1, floors.dedupe_retention_days,
                                    feature.dedupe_retention_days)) {
      return problem;
    }
  }
  feature.tombstone_history_pruned_window_days = integer_param(offer.params, "tombstone_history_pruned_window_days");
  out.dedupe = feature;
  return std::nullopt;
}

std::optional<FeatureProblem> read_policy(const FeatureOffer& offer, NegotiatedFeatures& out) {
  if (auto problem = check_version(offer, false)) {
    return problem;
  }
  const std::string* word = text_param(offer.params, "default_policy");
  if (word == nullptr || *word == "prefer_newest") {
    out.concurrent_policy = ConnectionPolicy::kPreferNewest;
  } else if (*word == "prefer_oldest") {
    out.concurrent_policy = ConnectionPolicy::kPreferOldest;
  } else if (*word == "allow_concurrent") {
    out.concurrent_policy = ConnectionPolicy::kAllowConcurrent;
  } else {
    return problem_of(FeatureFault::kParamInvalid, offer.name, "params.default_policy is an unknown word");
  }
  return std::nullopt;
}

std::optional<FeatureProblem> read_epochs(const FeatureOffer& offer, NegotiatedFeatures& out) {
  if (auto problem = check_version(offer, true)) {
    return problem;
  }
  std::int64_t epochs = 0;
  if (auto problem = read_bounded(offer, "max_concurrent_epochs", 1, 1, epochs)) {
    return problem;
  }
  out.max_concurrent_epochs = epochs;
  return std::nullopt;
}

std::optional<FeatureProblem> read_payload(const FeatureOffer& offer, const FeatureFloors& floors,
                                           NegotiatedFeatures& out) {
  if (auto problem = check_version(offer, true)) {
    return problem;
  }
  MaxPayloadFeature feature;
  if (auto problem =
          read_bounded(offer, "inline_bytes", kMaxPayloadBytesFloor, floors.max_payload_bytes, feature.inline_bytes)) {
    return problem;
  }
  if (auto problem =
          read_bounded(offer, "blob_bytes", kMaxPayloadBytesFloor, floors.max_payload_bytes, feature.blob_bytes)) {
    return problem;
  }
  out.max_payload = feature;
  return std::nullopt;
}

std::optional<FeatureProblem> read_offer(const FeatureOffer& offer, const FeatureFloors& floors,
                                         NegotiatedFeatures& out) {
  if (offer.name == kFeatureDedupe) {
    return read_dedupe(offer, floors, out);
  }
  if (offer.name == kFeatureConcurrentPolicy) {
    return read_policy(offer, out);
  }
  if (offer.name == kFeatureKeypairRotated) {
    auto problem = check_version(offer, false);
    out.keypair_rotated_event = !problem.has_value();
    return problem;
  }
  if (offer.name == kFeatureKeyEpoch) {
    return read_epochs(offer, out);
  }
  if (offer.name == kFeatureMaxPayload) {
    return read_payload(offer, floors, out);
  }
  out.others.push_back(offer.name);
  return std::nullopt;
}

bool contains(const std::vector<std::string>& names, std::string_view name) {
  return std::find(names.begin(), names.end(), name) != names.end();
}

FeatureOffer make_offer(std::string_view name) {
  FeatureOffer offer;
  offer.name = name;
  offer.params.set("version", JsonValue(static_cast<double>(kFeatureParamsVersion)));
  return offer;
}

}  // namespace

const FeatureOffer* FeatureNegotiationResponse::find(std::string_view name) const {
  const auto found =
      std::find_if(supported.begin(), supported.end(), [&](const FeatureOffer& offer) { return offer.name == name; });
  return found == supported.end() ? nullptr : &*found;
}

std::string_view to_string(FeatureFault fault) {
  switch (fault) {
    case FeatureFault::kUnavailable:
      return "feature_unavailable";
    case FeatureFault::kParamInvalid:
      return "feature_param_invalid";
    case FeatureFault::kParamBelowFloor:
      return "feature_param_below_floor";
  }
  return "feature_unavailable";
}

FeatureEvaluation evaluate_features(const FeatureNegotiationRequest& request,
                                    const FeatureNegotiationResponse& response, const FeatureFloors& floors) {
  FeatureEvaluation out;
  for (const std::string& name : request.require) {
    const FeatureOffer* offer = response.find(name);
    std::optional<FeatureProblem> problem;
    if (offer == nullptr || !offer->enabled || contains(response.missing_required, name)) {
      problem = problem_of(FeatureFault::kUnavailable, name, "the broker does not offer it");
    } else {
      problem = read_offer(*offer, floors, out.features);
    }
    if (problem && !out.problem) {
      out.problem = std::move(problem);
    }
  }
  for (const std::string& name : request.optional) {
    const FeatureOffer* offer = response.find(name);
    if (offer != nullptr && offer->enabled && !contains(request.require, name)) {
      static_cast<void>(read_offer(*offer, floors, out.features));  // with bad parameters it is simply not in force
    }
  }
  return out;
}

FeatureNegotiationResponse answer_features(const FeatureNegotiationRequest& request,
                                           const std::vector<FeatureOffer>& offered) {
  FeatureNegotiationResponse out;
  out.req_id = request.req_id;
  for (const FeatureOffer& offer : offered) {
    if (offer.enabled && (contains(request.require, offer.name) || contains(request.optional, offer.name))) {
      out.supported.push_back(offer);
    }
  }
  for (const std::string& name : request.require) {
    if (out.find(name) == nullptr && !contains(out.missing_required, name)) {
      out.missing_required.push_back(name);
    }
  }
  return out;
}

FeatureOffer offer_dedupe(const DedupeFeature& feature) {
  FeatureOffer offer = make_offer(kFeatureDedupe);
  const bool scoped = feature.mode == DedupeMode::kRetentionScoped;
  offer.params.set("mode", JsonValue(scoped ? "retention_scoped" : "permanent"));
  if (scoped) {
    offer.params.set("dedupe_retention_days", JsonValue(static_cast<double>(feature.dedupe_retention_days)));
  }
  offer.params.set("request_fingerprint", JsonValue(true));
  if (feature.tombstone_history_pruned_window_days) {
    offer.params.set("tombstone_history_pruned_window_days",
                     JsonValue(static_cast<double>(*feature.tombstone_history_pruned_window_days)));
  }
  return offer;
}

FeatureOffer offer_concurrent_policy(ConnectionPolicy policy) {
  FeatureOffer offer = make_offer(kFeatureConcurrentPolicy);
  const char* word = policy == ConnectionPolicy::kPreferNewest   ? "prefer_newest"
                     : policy == ConnectionPolicy::kPreferOldest ? "prefer_oldest"
                                                                 : "allow_concurrent";
  offer.params.set("default_policy", JsonValue(word));
  return offer;
}

FeatureOffer offer_keypair_rotated_event() {
  return make_offer(kFeatureKeypairRotated);
}

FeatureOffer offer_key_epoch(std::int64_t max_concurrent_epochs) {
  FeatureOffer offer = make_offer(kFeatureKeyEpoch);
  offer.params.set("max_concurrent_epochs", JsonValue(static_cast<double>(max_concurrent_epochs)));
  return offer;
}

FeatureOffer offer_max_payload(const MaxPayloadFeature& feature) {
  FeatureOffer offer = make_offer(kFeatureMaxPayload);
  offer.params.set("inline_bytes", JsonValue(static_cast<double>(feature.inline_bytes)));
  offer.params.set("blob_bytes", JsonValue(static_cast<double>(feature.blob_bytes)));
  return offer;
}

}  // namespace cm::protocol
