#include "protocol/features.hpp"

#include <gtest/gtest.h>

#include "protocol/close_codes.hpp"

namespace cm::protocol {
namespace {

FeatureNegotiationResponse response_of(const std::string& supported) {
  return parse_feature_response(
             parse_json(R"({"type":"feature_negotiation_response","supported":)" + supported + "}").value())
      .value();
}

FeatureEvaluation evaluate(const std::string& feature, const std::string& value, const FeatureFloors& floors = {}) {
  FeatureNegotiationRequest request;
  request.require = {feature};
  return evaluate_features(request, response_of("{\"" + feature + "\":" + value + "}"), floors);
}

std::string fault(const std::string& feature, const std::string& value, const FeatureFloors& floors = {}) {
  const auto evaluation = evaluate(feature, value, floors);
  return evaluation.problem ? std::string(to_string(evaluation.problem->fault)) : "ok";
}

constexpr const char* kDedupe = "client_message_id_dedupe";

TEST(Features, OffersAndEvaluationAgree) {
  DedupeFeature dedupe;
  dedupe.mode = DedupeMode::kRetentionScoped;
  dedupe.dedupe_retention_days = 365;
  dedupe.tombstone_history_pruned_window_days = 30;
  const std::vector<FeatureOffer> offered = {
      offer_dedupe(dedupe), offer_concurrent_policy(ConnectionPolicy::kPreferOldest), offer_keypair_rotated_event(),
      offer_key_epoch(2), offer_max_payload({65'536, 524'288'000})};
  FeatureNegotiationRequest request;
  request.require = {kDedupe, "concurrent_connection_policy"};
  request.optional = {"max_payload", "key_epoch", "member_keypair_rotated_event", "mesh_skill_share"};
  request.req_id = "f1";

  std::string request_text;
  write_feature_request(request_text, request);
  const auto request_back = parse_feature_request(parse_json(request_text).value());
  ASSERT_TRUE(request_back.ok());
  EXPECT_EQ(request_back->optional, request.optional);

  std::string text;
  write_feature_response(text, answer_features(*request_back, offered));
  const auto response = parse_feature_response(parse_json(text).value());
  ASSERT_TRUE(response.ok()) << response.error().message;
  EXPECT_EQ(response->req_id, "f1");
  EXPECT_TRUE(response->missing_required.empty());
  const auto evaluation = evaluate_features(request, *response);
  ASSERT_FALSE(evaluation.problem);
  EXPECT_EQ(evaluation.features.dedupe->dedupe_retention_days, 365);
  EXPECT_EQ(evaluation.features.dedupe->tombstone_history_pruned_window_days, 30);
  EXPECT_EQ(evaluation.features.concurrent_policy, ConnectionPolicy::kPreferOldest);
  EXPECT_TRUE(evaluation.features.keypair_rotated_event);
  EXPECT_EQ(evaluation.features.max_concurrent_epochs, 2);
  EXPECT_EQ(evaluation.features.max_payload->inline_bytes, 65'536);
}

TEST(Features, MissingIsUnavailable) {
  FeatureNegotiationRequest request;
  request.require = {kDedupe};
  const auto answer = answer_features(request, {});
  EXPECT_EQ(answer.missing_required, request.require);
  const auto evaluation = evaluate_features(request, answer);
  ASSERT_TRUE(evaluation.problem);
  EXPECT_EQ(evaluation.problem->fault, FeatureFault::kUnavailable);
  EXPECT_EQ(evaluation.problem->feature, kDedupe);
  EXPECT_EQ(fault("concurrent_connection_policy", "false"), "feature_unavailable");
}

TEST(Features, DedupeParameters) {
  const auto dedupe = [](const char* rest) { return fault(kDedupe, R"({"params":{)" + std::string(rest) + "}}"); };
  EXPECT_EQ(dedupe(R"("version":1,"mode":"permanent","request_fingerprint":true)"), "ok");
  EXPECT_EQ(dedupe(R"("version":1,"mode":"retention_scoped","dedupe_retention_days":3,"request_fingerprint":true)"),
            "ok");
  EXPECT_EQ(dedupe(R"("version":1,"mode":"permanent")"), "feature_unavailable");
  EXPECT_EQ(dedupe(R"("version":1,"mode":"permanent","request_fingerprint":false)"), "feature_unavailable");
  EXPECT_EQ(dedupe(R"("version":2,"mode":"permanent","request_fingerprint":true)"), "feature_param_invalid");
  EXPECT_EQ(dedupe(R"("mode":"permanent","request_fingerprint":true)"), "feature_param_invalid");
  EXPECT_EQ(dedupe(R"("version":1,"mode":"windowed","request_fingerprint":true)"), "feature_param_invalid");
  EXPECT_EQ(dedupe(R"("version":1,"mode":"retention_scoped","request_fingerprint":true)"), "feature_param_invalid");
  EXPECT_EQ(dedupe(R"("version":1,"mode":"retention_scoped","dedupe_retention_days":2.5,"request_fingerprint":true)"),
            "feature_param_invalid");
  EXPECT_EQ(dedupe(R"("version":1,"mode":"retention_scoped","dedupe_retention_days":2,"request_fingerprint":true)"),
            "feature_param_below_floor");
  EXPECT_EQ(dedupe(R"("version":1,"mode":"retention_scoped","dedupe_retention_days":0,"request_fingerprint":true)"),
            "feature_param_invalid");
  EXPECT_EQ(fault(kDedupe, "true"), "feature_unavailable");
}

TEST(Features, OtherParameters) {
  EXPECT_EQ(fault("concurrent_connection_policy", "true"), "ok");
  EXPECT_EQ(fault("concurrent_connection_policy", R"({"params":{"version":1}})"), "ok");
  EXPECT_EQ(fault("concurrent_connection_policy", R"({"params":{"version":9}})"), "feature_param_invalid");
  EXPECT_EQ(fault("concurrent_connection_policy", R"({"params":{"version":1,"default_policy":"x"}})"),
            "feature_param_invalid");
  EXPECT_EQ(fault("key_epoch", R"({"params":{"version":1,"max_concurrent_epochs":0}})"), "feature_param_invalid");
  EXPECT_EQ(fault("key_epoch", "true"), "feature_param_invalid");
  EXPECT_EQ(fault("max_payload", R"({"params":{"version":1,"inline_bytes":1024,"blob_bytes":1024}})"), "ok");
  EXPECT_EQ(fault("max_payload", R"({"params":{"version":1,"inline_bytes":1023,"blob_bytes":1024}})"),
            "feature_param_invalid");
  FeatureFloors floors;
  floors.max_payload_bytes = 4'096;
  EXPECT_EQ(fault("max_payload", R"({"params":{"version":1,"inline_bytes":1024,"blob_bytes":9999}})", floors),
            "feature_param_below_floor");
  EXPECT_EQ(fault("mesh_skill_share", "true"), "ok");
  // The older shape without "params".
  EXPECT_EQ(fault("max_payload", R"({"version":1,"inline_bytes":2048,"blob_bytes":2048})"), "ok");
}

TEST(Features, OptionalWithBadParametersIsNotInForce) {
  FeatureNegotiationRequest request;
  request.optional = {"max_payload"};
  const auto evaluation = evaluate_features(request, response_of(R"({"max_payload":{"params":{"version":1}}})"));
  EXPECT_FALSE(evaluation.problem);
  EXPECT_FALSE(evaluation.features.max_payload);
}

TEST(Features, ParsingIsBoundedAndNamesTheField) {
  const auto request_error = [](const std::string& text) {
    const auto parsed = parse_feature_request(parse_json(text).value());
    return parsed.ok() ? "ok" : parsed.error().message;
  };
  EXPECT_EQ(request_error("{}"), "ok");
  EXPECT_NE(request_error(R"({"require":"x"})").find("\"require\""), std::string::npos);
  EXPECT_NE(request_error(R"({"require":[5]})"), "ok");
  EXPECT_NE(request_error(R"({"require":[""]})"), "ok");
  std::string many = R"({"require":["a")";
  for (int i = 0; i < 64; ++i) {
    many += ",\"a\"";
  }
  EXPECT_NE(request_error(many + "]}").find("at most 64"), std::string::npos);
  const auto response_error = [](const std::string& text) {
    return parse_feature_response(parse_json(text).value()).ok();
  };
  EXPECT_FALSE(response_error("{}"));
  EXPECT_FALSE(response_error(R"({"supported":[]})"));
  EXPECT_FALSE(response_error(R"({"supported":{"a":5}})"));
  EXPECT_FALSE(response_error(R"({"supported":{"a":{"params":5}}})"));
  EXPECT_FALSE(response_error("[]"));
  EXPECT_TRUE(response_error(R"({"supported":{}})"));
}

TEST(Features, CloseReasonFitsItsFrameAndComesBack) {
  FeatureProblem problem{FeatureFault::kParamBelowFloor, kDedupe, "params.dedupe_retention_days is 2, needed 3"};
  const std::string text = close_reason_json(problem);
  EXPECT_LE(text.size(), kCloseReasonMaxBytes);
  const auto back = parse_close_reason(text);
  ASSERT_TRUE(back.ok()) << back.error().message;
  EXPECT_EQ(back->fault, problem.fault);
  EXPECT_EQ(back->feature, problem.feature);
  EXPECT_TRUE(problem.detail.starts_with(back->detail));

  problem.detail = std::string(500, '"') + "\xE2\x82\xAC";
  problem.feature = std::string(300, '\n');
  EXPECT_LE(close_reason_json(problem).size(), kCloseReasonMaxBytes);
  EXPECT_TRUE(parse_close_reason(close_reason_json(problem)).ok());
  EXPECT_TRUE(parse_close_reason(R"({"close_reason":{"kind":"feature_unavailable","feature":"f"}})").ok());
  EXPECT_FALSE(parse_close_reason(R"({"kind":"other","feature":"f"})").ok());
  EXPECT_FALSE(parse_close_reason("session_replaced").ok());
}

}  // namespace
}  // namespace cm::protocol
