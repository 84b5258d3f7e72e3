// The outcome of a feature negotiation as the link reports it.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "protocol/features.hpp"
#include "protocol/json.hpp"

namespace cm::broker_link {

struct LinkFeatures {
  protocol::JsonValue in_force = protocol::JsonValue(protocol::JsonValue::Object());  // name -> parameters or true
  std::vector<std::string> degraded;  // asked for, but not in force; sorted as asked
  std::size_t inline_bytes_max = 0;   // of max_payload; 0 when it is not in force
};

// What holds after `response` to `request`. The features with bad parameters count as missing.
LinkFeatures summarise_features(const protocol::FeatureNegotiationRequest& request,
                                const protocol::FeatureNegotiationResponse& response);
// Nobody answered: everything that was asked for is missing.
LinkFeatures unanswered_features(const protocol::FeatureNegotiationRequest& request);

// The problem of a broker that knows no negotiation, when something is required; an empty feature name otherwise.
protocol::FeatureProblem unanswered_problem(const protocol::FeatureNegotiationRequest& request);

// {"reason"?, "code"?, "attempt"?, "retry_in_ms"?, "features"?, "degraded"?} of cm.transport/1's state callback.
struct StateDetail {
  std::string reason;
  std::string code;
  std::uint32_t attempt = 0;
  std::uint64_t retry_in_ms = 0;
  const LinkFeatures* features = nullptr;
};
std::string state_detail_json(const StateDetail& detail);

}  // namespace cm::broker_link
