#include "plugins/broker_link/src/features_json.hpp"

#include <algorithm>
#include <cstdint>

namespace cm::broker_link {
namespace {

using protocol::JsonValue;

bool in_force(const protocol::NegotiatedFeatures& features, std::string_view name) {
  if (name == protocol::kFeatureDedupe) {
    return features.dedupe.has_value();
  }
  if (name == protocol::kFeatureConcurrentPolicy) {
    return features.concurrent_policy.has_value();
  }
  if (name == protocol::kFeatureKeypairRotated) {
    return features.keypair_rotated_event;
  }
  if (name == protocol::kFeatureKeyEpoch) {
    return features.max_concurrent_epochs.has_value();
  }
  if (name == protocol::kFeatureMaxPayload) {
    return features.max_payload.has_value();
  }
  return std::find(features.others.begin(), features.others.end(), name) != features.others.end();
}

void add_feature(LinkFeatures& result, const protocol::NegotiatedFeatures& features,
                 const protocol::FeatureNegotiationResponse& response, const std::string& name) {
  if (!in_force(features, name)) {
    result.degraded.push_back(name);
    return;
  }
  const protocol::FeatureOffer* offer = response.find(name);
  const bool has_params = offer != nullptr && offer->params.is_object();
  result.in_force.set(name, has_params ? offer->params : JsonValue(true));
}

}  // namespace

LinkFeatures summarise_features(const protocol::FeatureNegotiationRequest& request,
                                const protocol::FeatureNegotiationResponse& response) {
  const protocol::FeatureEvaluation evaluation = protocol::evaluate_features(request, response);
  LinkFeatures result;
  for (const std::string& name : request.require) {
    add_feature(result, evaluation.features, response, name);
  }
  for (const std::string& name : request.optional) {
    add_feature(result, evaluation.features, response, name);
  }
  if (evaluation.features.max_payload.has_value() && evaluation.features.max_payload->inline_bytes > 0) {
    result.inline_bytes_max = static_cast<std::size_t>(evaluation.features.max_payload->inline_bytes);
  }
  return result;
}

LinkFeatures unanswered_features(const protocol::FeatureNegotiationRequest& request) {
  LinkFeatures result;
  result.degraded = request.require;
  result.degraded.insert(result.degraded.end(), request.optional.begin(), request.optional.end());
  return result;
}

protocol::FeatureProblem unanswered_problem(const protocol::FeatureNegotiationRequest& request) {
  protocol::FeatureProblem problem;
  if (!request.require.empty()) {
    problem.feature = request.require.front();
    problem.detail = "the broker did not answer the feature negotiation";
  }
  return problem;
}

std::string state_detail_json(const StateDetail& detail) {
  JsonValue::Object members;
  if (!detail.reason.empty()) {
    members.push_back({"reason", JsonValue(detail.reason)});
  }
  if (!detail.code.empty()) {
    members.push_back({"code", JsonValue(detail.code)});
  }
  if (detail.attempt != 0) {
    members.push_back({"attempt", JsonValue(static_cast<double>(detail.attempt))});
  }
  if (detail.retry_in_ms != 0) {
    members.push_back({"retry_in_ms", JsonValue(static_cast<double>(detail.retry_in_ms))});
  }
  if (detail.features != nullptr) {
    JsonValue::Array degraded;
    for (const std::string& name : detail.features->degraded) {
      degraded.emplace_back(name);
    }
    members.push_back({"features", detail.features->in_force});
    members.push_back({"degraded", JsonValue(std::move(degraded))});
  }
  return protocol::to_json(JsonValue(std::move(members)));
}

}  // namespace cm::broker_link
