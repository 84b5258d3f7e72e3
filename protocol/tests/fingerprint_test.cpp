#include "protocol/fingerprint.hpp"

#include <gtest/gtest.h>

#include <set>

#include "protocol/tests/support.hpp"

namespace cm::protocol {
namespace {

using test::load_vectors;
using test::text_of;

TEST(Fingerprint, AgreesWithKnownAnswers) {
  const JsonValue vectors = load_vectors("fingerprint.json");
  for (const JsonValue& vector : *vectors.as_array()) {
    const std::string ref = text_of(vector, "ref");
    const std::string reply = text_of(vector, "reply_to_id");
    const bool repeated = vector.find("body_hex")->is_null();
    const Bytes body = repeated ? Bytes(static_cast<std::size_t>(*vector.find("body_repeat_x")->as_number()), 'x')
                                : test::bytes_of(vector, "body_hex");
    FingerprintInput input;
    input.destination_kind = parse_destination_kind(text_of(vector, "kind")).value();
    input.destination_ref = ref;
    input.reply_to_id = reply;
    input.priority = parse_priority(text_of(vector, "priority")).value();
    input.meta = vector.find("meta");
    input.body = body;
    const auto fingerprint = request_fingerprint(input);
    ASSERT_TRUE(fingerprint.ok());
    EXPECT_EQ(fingerprint_hex(*fingerprint), text_of(vector, "fingerprint"));
    EXPECT_EQ(fingerprint_prefix_hex(*fingerprint), text_of(vector, "fingerprint").substr(0, 16));
    EXPECT_EQ(parse_fingerprint(text_of(vector, "fingerprint")), *fingerprint);
  }
}

TEST(Fingerprint, EveryFieldCounts) {
  const JsonValue meta = parse_json("{\"a\":1}").value();
  const JsonValue empty = parse_json("{}").value();
  FingerprintInput base;
  base.destination_ref = "general";
  base.body = as_bytes("body");
  std::vector<FingerprintInput> variants(8, base);
  variants[1].destination_kind = DestinationKind::kTopic;
  variants[2].destination_ref = "generaL";
  variants[3].reply_to_id = "x";
  variants[4].priority = Priority::kNow;
  variants[5].meta = &meta;
  variants[6].meta = &empty;
  variants[7].body = as_bytes("Body");
  std::set<Fingerprint> seen;
  for (const FingerprintInput& variant : variants) {
    EXPECT_TRUE(seen.insert(request_fingerprint(variant).value()).second);
  }
  const JsonValue null;
  base.meta = &null;
  EXPECT_FALSE(seen.insert(request_fingerprint(base).value()).second) << "null is absent";
}

TEST(Fingerprint, NulInAFieldIsRefused) {
  FingerprintInput input;
  const std::string ref("a\0b", 3);
  input.destination_ref = ref;
  EXPECT_EQ(request_fingerprint(input).error().code, ErrorCode::kInvalid);
}

TEST(Fingerprint, ParsingIsStrict) {
  EXPECT_FALSE(parse_fingerprint(""));
  EXPECT_FALSE(parse_fingerprint(std::string(63, 'a')));
  EXPECT_FALSE(parse_fingerprint(std::string(64, 'g')));
  EXPECT_TRUE(parse_fingerprint(std::string(64, 'A')));
}

}  // namespace
}  // namespace cm::protocol
