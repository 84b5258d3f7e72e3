// Feature negotiation (specification v0.9.0 section 15): what this broker promises, with its parameters.
#include "protocol/features.hpp"

#include "plugins/ws_broker/src/handlers.hpp"

namespace cm::broker {

namespace {

std::vector<protocol::FeatureOffer> offers(const Options& options) {
  protocol::DedupeFeature dedupe;
  dedupe.mode = options.dedupe_permanent ? protocol::DedupeMode::kPermanent : protocol::DedupeMode::kRetentionScoped;
  dedupe.dedupe_retention_days = options.dedupe_permanent ? 0 : options.dedupe_retention_days;
  protocol::MaxPayloadFeature payload;
  payload.inline_bytes = static_cast<std::int64_t>(options.max_message_bytes);
  payload.blob_bytes = payload.inline_bytes;  // there is no other way for larger content
  return {protocol::offer_dedupe(dedupe),
          // Connections with different session ids live side by side.
          protocol::offer_concurrent_policy(protocol::ConnectionPolicy::kAllowConcurrent),
          protocol::offer_max_payload(payload)};
}

// {"name": 1, ...}: the features have no other version than the first.
std::string negotiated_json(const protocol::FeatureNegotiationResponse& response) {
  protocol::JsonValue names;
  for (const protocol::FeatureOffer& offer : response.supported) {
    if (offer.enabled) {
      names.set(offer.name, protocol::JsonValue(1.0));
    }
  }
  return names.is_object() ? protocol::to_json(names) : std::string();
}

}  // namespace

void handle_feature_negotiation(Broker& broker, Connection& connection, const protocol::JsonValue& frame) {
  const auto request = protocol::parse_feature_request(frame);
  if (!request.ok()) {
    connection.reply(error_frame("invalid_argument", request.error().message, request_id(frame)));
    return;
  }
  std::string out;
  const auto response = protocol::answer_features(*request, offers(broker.context().options));
  protocol::write_feature_response(out, response);
  connection.presence->features_json = negotiated_json(response);
  connection.reply(std::move(out));
}

}  // namespace cm::broker
