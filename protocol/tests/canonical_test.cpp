#include "protocol/canonical.hpp"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "protocol/tests/support.hpp"

namespace cm::protocol {
namespace {

using test::load_vectors;
using test::text_of;

class Canonical : public ::testing::Test {
 protected:
  std::string text(std::string_view name) const { return text_of(vectors_, name); }
  VerifyOutcome hello(double timestamp, std::string_view pubkey, std::string_view signature) const {
    return verify_hello(text("mesh_id"), text("member_id"), pubkey, timestamp, signature, now_);
  }
  SessionAttestation attestation() const {
    SessionAttestation out;
    out.session_pubkey = text("session");
    out.parent_member_pubkey = text("member");
    out.expires_at_ms = static_cast<double>(now_ + 43'200'000);
    out.signature = text("attestation_signature");
    return out;
  }

  JsonValue vectors_ = load_vectors("signed.json");
  std::int64_t now_ = static_cast<std::int64_t>(*vectors_.find("now_ms")->as_number());
  double now_double_ = static_cast<double>(now_);
  double expires_s_ = *vectors_.find("expires_at_s")->as_number();
};

TEST_F(Canonical, TextsAgreeWithKnownAnswers) {
  EXPECT_EQ(canonical_hello(text("mesh_id"), text("member_id"), text("member"), now_double_), text("hello"));
  EXPECT_EQ(canonical_session_attestation(text("member"), text("session"), now_double_ + 43'200'000),
            text("attestation"));
  EXPECT_EQ(canonical_session_attestation_v2(text("member"), text("session"), now_double_ + 43'200'000,
                                             {"state-read", "DM", "broadcast"}),
            text("attestation_v2"));
  EXPECT_EQ(canonical_session_hello(text("mesh_id"), text("member"), text("session"), now_double_),
            text("session_hello"));
  EXPECT_EQ(canonical_invite_v1(1, text("mesh_id"), "demo", text("broker_url"), expires_s_, text("root_key"), "member",
                                text("owner")),
            text("invite_v1"));
  EXPECT_EQ(canonical_invite_v2(text("mesh_id"), text("invite_id"), expires_s_, "admin", text("owner")),
            text("invite_v2"));
}

TEST_F(Canonical, SignersAgreeWithKnownAnswers) {
  const SecretKey member = test::secret_of(vectors_, "member_secret");
  const SecretKey session = test::secret_of(vectors_, "session_secret");
  EXPECT_EQ(sign_hello(member, text("mesh_id"), text("member_id"), now_), text("hello_signature"));
  const SessionAttestation minted = sign_session_attestation(member, session.public_key(), now_ + 43'200'000);
  EXPECT_EQ(minted.signature, text("attestation_signature"));
  EXPECT_EQ(minted.parent_member_pubkey, text("member"));
  EXPECT_EQ(sign_session_hello(session, text("mesh_id"), member.public_key(), now_), text("session_hello_signature"));
}

TEST_F(Canonical, HelloReasonsComeInOrder) {
  const double nan = std::numeric_limits<double>::quiet_NaN();
  EXPECT_EQ(hello(now_double_, text("member"), text("hello_signature")), VerifyOutcome::kOk);
  // skew before shape
  EXPECT_EQ(hello(now_double_ + 60'001, "zz", "zz"), VerifyOutcome::kTimestampSkew);
  EXPECT_EQ(hello(now_double_ - 60'001, "zz", "zz"), VerifyOutcome::kTimestampSkew);
  EXPECT_EQ(hello(nan, "zz", "zz"), VerifyOutcome::kTimestampSkew);
  EXPECT_EQ(hello(HUGE_VAL, "zz", "zz"), VerifyOutcome::kTimestampSkew);
  // shape before signature; exactly 60 s is still within
  EXPECT_EQ(hello(now_double_ + 60'000, "zz", text("hello_signature")), VerifyOutcome::kMalformed);
  EXPECT_EQ(hello(now_double_, text("member"), "zz"), VerifyOutcome::kMalformed);
  EXPECT_EQ(hello(now_double_ + 60'000, text("member"), text("hello_signature")), VerifyOutcome::kBadSignature);
  EXPECT_EQ(hello(now_double_, text("session"), text("hello_signature")), VerifyOutcome::kBadSignature);
}

TEST_F(Canonical, AttestationReasonsComeInOrder) {
  EXPECT_EQ(verify_session_attestation(attestation(), now_), VerifyOutcome::kOk);
  SessionAttestation bad = attestation();
  bad.signature = "zz";
  bad.expires_at_ms = std::numeric_limits<double>::quiet_NaN();
  EXPECT_EQ(verify_session_attestation(bad, now_), VerifyOutcome::kMalformed);
  bad.expires_at_ms = now_double_;
  EXPECT_EQ(verify_session_attestation(bad, now_), VerifyOutcome::kExpired);
  bad.expires_at_ms = now_double_ + 86'400'001;
  EXPECT_EQ(verify_session_attestation(bad, now_), VerifyOutcome::kTtlTooLong);
  bad.expires_at_ms = now_double_ + 86'400'000;
  EXPECT_EQ(verify_session_attestation(bad, now_), VerifyOutcome::kMalformed);
  bad.signature = text("attestation_signature");
  EXPECT_EQ(verify_session_attestation(bad, now_), VerifyOutcome::kBadSignature);
  bad = attestation();
  bad.session_pubkey = text("owner");
  EXPECT_EQ(verify_session_attestation(bad, now_), VerifyOutcome::kBadSignature);
}

TEST_F(Canonical, AttestationV2BindsItsCapabilities) {
  SessionAttestation v2 = attestation();
  v2.version = 2;
  v2.allowed_caps = {"dm", "broadcast", "state-read"};
  v2.signature = text("attestation_v2_signature");
  EXPECT_EQ(verify_session_attestation_v2(v2, now_), VerifyOutcome::kOk);
  EXPECT_EQ(verify_session_attestation(v2, now_), VerifyOutcome::kBadSignature);
  v2.allowed_caps.push_back("ban");
  EXPECT_EQ(verify_session_attestation_v2(v2, now_), VerifyOutcome::kBadSignature);
}

TEST_F(Canonical, SessionHelloIsVerifiedWithTheSessionKey) {
  const auto check = [&](std::string_view parent, std::string_view session, double timestamp,
                         std::string_view signature) {
    return verify_session_hello(text("mesh_id"), parent, session, timestamp, signature, now_);
  };
  const std::string good = text("session_hello_signature");
  EXPECT_EQ(check(text("member"), text("session"), now_double_, good), VerifyOutcome::kOk);
  EXPECT_EQ(check("zz", "zz", now_double_ + 60'001, "zz"), VerifyOutcome::kTimestampSkew);
  EXPECT_EQ(check("zz", text("session"), now_double_, good), VerifyOutcome::kMalformed);
  EXPECT_EQ(check(text("session"), text("member"), now_double_, good), VerifyOutcome::kBadSignature);
  EXPECT_EQ(check(text("member"), text("session"), now_double_ + 1, good), VerifyOutcome::kBadSignature);
}

TEST_F(Canonical, WordsAreThoseOfTheWire) {
  EXPECT_EQ(to_string(VerifyOutcome::kTimestampSkew), "timestamp_skew");
  EXPECT_EQ(to_string(VerifyOutcome::kMalformed), "malformed");
  EXPECT_EQ(to_string(VerifyOutcome::kBadSignature), "bad_signature");
  EXPECT_EQ(to_string(VerifyOutcome::kExpired), "expired");
  EXPECT_EQ(to_string(VerifyOutcome::kTtlTooLong), "ttl_too_long");
}

}  // namespace
}  // namespace cm::protocol
