// Feature negotiation: parse, answer, evaluate and the close reason never crash, and the reason always fits.
#include <cstdint>
#include <cstdlib>

#include "protocol/close_codes.hpp"
#include "protocol/features.hpp"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace cm::protocol;
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  static_cast<void>(parse_close_reason(text));
  const auto frame = parse_json(text);
  if (!frame.ok()) {
    return 0;
  }
  FeatureNegotiationRequest request;
  request.require = {std::string(kFeatureDedupe), std::string(kFeatureMaxPayload)};
  request.optional = {std::string(kFeatureKeyEpoch), std::string(kFeatureConcurrentPolicy)};
  const auto parsed_request = parse_feature_request(*frame);
  if (parsed_request.ok()) {
    request = *parsed_request;
  }
  const auto response = parse_feature_response(*frame);
  if (!response.ok()) {
    return 0;
  }
  const auto evaluation = evaluate_features(request, *response);
  if (evaluation.problem && close_reason_json(*evaluation.problem).size() > kCloseReasonMaxBytes) {
    std::abort();
  }
  std::string out;
  write_feature_response(out, answer_features(request, response->supported));
  if (!parse_feature_response(parse_json(out).value()).ok()) {
    std::abort();
  }
  return 0;
}
