// Feature negotiation on the wire.
#include "protocol/close_codes.hpp"
#include "protocol/encoding.hpp"
#include "protocol/features.hpp"
#include "protocol/field_reader.hpp"
#include "protocol/object_writer.hpp"

namespace cm::protocol {
namespace {

Error too_many(std::string_view what, std::size_t found) {
  return make_error(ErrorCode::kInvalid, std::string(what) + ": found " + std::to_string(found) +
                                             " features, at most " + std::to_string(kFeaturesMax) + " are accepted");
}

Error bad_name(std::string_view what) {
  return make_error(ErrorCode::kInvalid,
                    std::string(what) + ": a feature name is no string of 1 to 64 bytes; correct the list");
}

bool is_feature_name(const std::string* name) {
  return name != nullptr && !name->empty() && name->size() <= kFeatureNameMaxBytes;
}

// A list of names; an absent one is empty.
Result<std::vector<std::string>> read_names(FieldReader& fields, std::string_view what, std::string_view name) {
  std::vector<std::string> out;
  if (fields.present(name) == nullptr) {
    return out;
  }
  const JsonValue::Array* array = fields.array(name);
  if (array == nullptr) {
    return fields.error();
  }
  if (array->size() > kFeaturesMax) {
    return too_many(what, array->size());
  }
  for (const JsonValue& entry : *array) {
    if (!is_feature_name(entry.as_string())) {
      return bad_name(what);
    }
    out.push_back(*entry.as_string());
  }
  return out;
}

Result<FeatureOffer> read_offer_value(const std::string& name, const JsonValue& value) {
  FeatureOffer offer;
  offer.name = name;
  if (value.as_bool() != nullptr) {
    offer.enabled = *value.as_bool();
    return offer;
  }
  if (!value.is_object()) {
    return make_error(ErrorCode::kInvalid, "feature_negotiation_response: \"" + name + "\" is " +
                                               std::string(describe(value.kind())) +
                                               ", expected an object with params, or a boolean");
  }
  const JsonValue* params = value.find("params");
  if (params == nullptr) {
    offer.params = value;  // the older shape: the parameters stand directly in the entry
  } else if (params->is_object()) {
    offer.params = *params;
  } else {
    return make_error(ErrorCode::kInvalid, "feature_negotiation_response: params of \"" + name + "\" is " +
                                               std::string(describe(params->kind())) + ", expected an object");
  }
  return offer;
}

std::string reason_json(const FeatureProblem& problem, std::string_view feature, std::string_view detail) {
  std::string out;
  ObjectWriter object(out);
  object.text("kind", to_string(problem.fault));
  object.text("feature", feature);
  object.text("detail", detail);
  object.close();
  return out;
}

}  // namespace

Result<FeatureNegotiationRequest> parse_feature_request(const JsonValue& frame) {
  constexpr std::string_view kWhat = "feature_negotiation_request";
  FieldReader fields(kWhat, frame);
  if (!fields.ok()) {
    return fields.error();
  }
  auto require = read_names(fields, kWhat, "require");
  if (!require.ok()) {
    return std::move(require).error();
  }
  auto optional = read_names(fields, kWhat, "optional");
  if (!optional.ok()) {
    return std::move(optional).error();
  }
  return FeatureNegotiationRequest{std::move(require).value(), std::move(optional).value(),
                                   fields.maybe_text("_reqId")};
}

Result<FeatureNegotiationResponse> parse_feature_response(const JsonValue& frame) {
  constexpr std::string_view kWhat = "feature_negotiation_response";
  FieldReader fields(kWhat, frame);
  if (!fields.ok()) {
    return fields.error();
  }
  FeatureNegotiationResponse out;
  const JsonValue* supported = fields.present("supported");
  if (supported == nullptr || !supported->is_object()) {
    fields.complain("supported", supported, "an object");
    return fields.error();
  }
  if (supported->as_object()->size() > kFeaturesMax) {
    return too_many(kWhat, supported->as_object()->size());
  }
  for (const JsonMember& member : *supported->as_object()) {
    if (!is_feature_name(&member.key)) {
      return bad_name(kWhat);
    }
    auto offer = read_offer_value(member.key, member.value);
    if (!offer.ok()) {
      return std::move(offer).error();
    }
    out.supported.push_back(std::move(offer).value());
  }
  auto missing = read_names(fields, kWhat, "missing_required");
  if (!missing.ok()) {
    return std::move(missing).error();
  }
  out.missing_required = std::move(missing).value();
  out.req_id = fields.maybe_text("_reqId");
  return out;
}

void write_feature_request(std::string& out, const FeatureNegotiationRequest& request) {
  ObjectWriter object(out, "feature_negotiation_request");
  object.texts("require", request.require);
  object.texts("optional", request.optional);
  object.text_if("_reqId", request.req_id);
  object.close();
}

void write_feature_response(std::string& out, const FeatureNegotiationResponse& response) {
  ObjectWriter object(out, "feature_negotiation_response");
  object.key("supported");
  out.push_back('{');
  bool first = true;
  for (const FeatureOffer& offer : response.supported) {
    if (!first) {
      out.push_back(',');
    }
    first = false;
    append_json_string(out, offer.name);
    out.push_back(':');
    if (offer.params.is_object()) {
      out += "{\"params\":";
      write_json(out, offer.params);
      out.push_back('}');
    } else {
      out += offer.enabled ? "true" : "false";
    }
  }
  out.push_back('}');
  object.texts("missing_required", response.missing_required);
  object.text_if("_reqId", response.req_id);
  object.close();
}

std::string close_reason_json(const FeatureProblem& problem) {
  // Escaping may lengthen a text, so the cut is found by trying: first the detail shrinks, then the name.
  std::string_view detail = problem.detail;
  std::string_view feature = problem.feature;
  std::string out = reason_json(problem, feature, detail);
  while (out.size() > kCloseReasonMaxBytes && !(detail.empty() && feature.empty())) {
    std::string_view& shrink = detail.empty() ? feature : detail;
    shrink = utf8_prefix(shrink, shrink.size() - 1);
    out = reason_json(problem, feature, detail);
  }
  return out;
}

Result<FeatureProblem> parse_close_reason(std::string_view text) {
  const auto tree = parse_json(text);
  if (!tree.ok()) {
    return tree.error();
  }
  const JsonValue* wrapped = tree->find("close_reason");
  const JsonValue& content = wrapped == nullptr ? *tree : *wrapped;
  FieldReader fields("close reason", content);
  const std::string kind = fields.text("kind");
  FeatureProblem out;
  out.feature = fields.text("feature");
  out.detail = fields.any_text("detail");
  if (!fields.ok()) {
    return fields.error();
  }
  for (const FeatureFault fault :
       {FeatureFault::kUnavailable, FeatureFault::kParamInvalid, FeatureFault::kParamBelowFloor}) {
    if (kind == to_string(fault)) {
      out.fault = fault;
      return out;
    }
  }
  return make_error(ErrorCode::kInvalid,
                    "close reason: \"kind\" is an unknown word; expected feature_unavailable, "
                    "feature_param_invalid or feature_param_below_floor");
}

}  // namespace cm::protocol
