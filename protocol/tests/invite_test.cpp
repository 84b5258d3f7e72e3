#include "protocol/invite.hpp"

#include <gtest/gtest.h>

#include "protocol/tests/support.hpp"

namespace cm::protocol {
namespace {

using test::load_vectors;
using test::text_of;

class Invite : public ::testing::Test {
 protected:
  std::string text(std::string_view name) const { return text_of(vectors_, name); }
  InvitePayload payload() const { return parse_invite_token(text("invite_token")).value(); }
  static std::string token_of(std::string_view json) { return base64url_encode(as_bytes(json)); }
  std::string error_of(std::string_view input) const { return read_invite(input, now_).error().message; }

  JsonValue vectors_ = load_vectors("signed.json");
  std::int64_t now_ = static_cast<std::int64_t>(*vectors_.find("now_ms")->as_number());
};

TEST_F(Invite, TokenAgreesWithKnownAnswer) {
  const InvitePayload parsed = payload();
  EXPECT_EQ(parsed.canonical(), text("invite_v1"));
  EXPECT_EQ(parsed.role, "member");
  EXPECT_TRUE(verify_invite(parsed, now_).ok());
  InvitePayload built = parsed;
  sign_invite(built, test::secret_of(vectors_, "owner_secret"));
  EXPECT_EQ(built.signature, text("invite_v1_signature"));
  EXPECT_EQ(build_invite_token(built), text("invite_token"));
}

TEST_F(Invite, EveryLinkFormReachesTheToken) {
  const std::string token = text("invite_token");
  for (const std::string& link :
       {token, "ic://join/" + token, "ic://join/" + token + "/", "https://claudemesh.com/join/" + token,
        "http://localhost:3000/de/join/" + token, "https://x.example/en/join/" + token + "/",
        "claudemesh://join/" + token, "  " + token + "\n", invite_join_link("https://claudemesh.com/", token),
        invite_ic_link(token)}) {
    const auto read = read_invite(link, now_);
    ASSERT_TRUE(read.ok()) << link << ": " << read.error().message;
    EXPECT_EQ(read->mesh_slug, "demo");
  }
}

TEST_F(Invite, ShortCodesAreOnlyClassified) {
  for (const char* link : {"https://claudemesh.com/i/AbC23456", "http://claudemesh.com/en/i/AbC23456",
                           "claudemesh://i/AbC23456", "claudemesh://AbC23456", "https://claudemesh.com/i/AbC23456/"}) {
    const auto input = classify_invite(link);
    ASSERT_TRUE(input.ok()) << link;
    const auto* code = std::get_if<InviteShortCode>(&*input);
    ASSERT_NE(code, nullptr) << link;
    EXPECT_EQ(code->code, "AbC23456");
    EXPECT_EQ(code->resolve_url, "https://claudemesh.com/api/public/invite-code/AbC23456");
    EXPECT_EQ(read_invite(link, now_).error().code, ErrorCode::kUnsupported);
  }
  EXPECT_EQ(std::get<InviteShortCode>(*classify_invite("https://h.example:8443/i/zz")).host, "h.example:8443");
}

TEST_F(Invite, CodeFormsOfVersionTwo) {
  for (const char* good : {"https://h.example/i/AbC234", "h.example/i/AbC234", "h.example/de/i/AbC234", "AbC234",
                           "https://h.example/i/AbC234/"}) {
    const auto code = parse_invite_code(good);
    ASSERT_TRUE(code) << good;
    EXPECT_EQ(code->code, "AbC234");
  }
  for (const char* bad : {"AbC23", "AbC23456789012345", "h.example/j/AbC234", "https://h.example/i/",
                          "ftp://h/i/AbC234", "https://h.example/i/a-b", "", "/i/AbC234", "ic://join/AbC234"}) {
    EXPECT_FALSE(parse_invite_code(bad)) << bad;
  }
}

TEST_F(Invite, ErrorTextsAreThoseOfTheOriginal) {
  EXPECT_EQ(error_of("ic://join/"), "invite link has no payload");
  EXPECT_EQ(error_of("https://claudemesh.com/join/"), "invite link has no payload");
  EXPECT_TRUE(error_of("hello").starts_with("invalid invite format. "));
  EXPECT_TRUE(error_of("ic://other/abc").starts_with("invalid invite format. "));
  EXPECT_TRUE(error_of("https://user@evil/join/abc").starts_with("invalid invite format. "));
  EXPECT_TRUE(error_of(std::string(20, 'a')).starts_with("invalid invite format. "));
  EXPECT_TRUE(error_of(std::string(20'000, 'a')).starts_with("invalid invite format. "));
  EXPECT_TRUE(error_of("ic://join/abcde").starts_with("invite link base64 decode failed: "));
  EXPECT_TRUE(error_of("ic://join/" + token_of("{nonsense")).starts_with("invite link JSON parse failed: "));
  EXPECT_EQ(error_of("ic://join/" + token_of("[]")), "invite payload: not an object");
  EXPECT_TRUE(error_of("ic://join/" + token_of("{\"v\":2}")).starts_with("invite payload: unsupported version"));
  EXPECT_TRUE(error_of("ic://join/" + token_of("{\"v\":1}")).starts_with("invite payload: mesh_id"));
}

TEST_F(Invite, EachFieldIsChecked) {
  const auto broken = [&](auto&& change) {
    InvitePayload changed = payload();
    change(changed);
    return parse_invite_token(build_invite_token(changed));
  };
  EXPECT_FALSE(broken([](InvitePayload& p) { p.mesh_slug.clear(); }).ok());
  EXPECT_FALSE(broken([](InvitePayload& p) { p.broker_url.clear(); }).ok());
  EXPECT_FALSE(broken([](InvitePayload& p) { p.expires_at_s = 0; }).ok());
  EXPECT_FALSE(broken([](InvitePayload& p) { p.expires_at_s = -5; }).ok());
  EXPECT_FALSE(broken([](InvitePayload& p) { p.role = "owner"; }).ok());
  EXPECT_FALSE(broken([](InvitePayload& p) { p.owner_pubkey.pop_back(); }).ok());
  EXPECT_FALSE(broken([](InvitePayload& p) { p.signature[0] = 'g'; }).ok());
  EXPECT_FALSE(broken([](InvitePayload& p) { p.v = 2; }).ok());
  EXPECT_TRUE(broken([](InvitePayload&) {}).ok());
}

TEST_F(Invite, ExpiryAndTampering) {
  InvitePayload good = payload();
  const auto expires_ms = static_cast<std::int64_t>(good.expires_at_s) * 1000;
  EXPECT_TRUE(verify_invite(good, expires_ms + 999).ok());
  const Status expired = verify_invite(good, expires_ms + 1000);
  ASSERT_FALSE(expired.ok());
  EXPECT_EQ(expired.error().code, ErrorCode::kGone);
  EXPECT_EQ(expired.error().message, "invite expired: expires_at=1717545600, now=1717545601");

  for (std::string InvitePayload::* field :
       {&InvitePayload::mesh_id, &InvitePayload::mesh_slug, &InvitePayload::broker_url, &InvitePayload::mesh_root_key,
        &InvitePayload::role}) {
    InvitePayload tampered = payload();
    tampered.*field += "x";
    EXPECT_EQ(verify_invite(tampered, now_).error().message, "invite signature invalid (link tampered?)");
  }
  good.owner_pubkey = text("member");
  EXPECT_EQ(verify_invite(good, now_).error().code, ErrorCode::kDenied);
}

TEST_F(Invite, UrlTestAndRewriting) {
  for (const char* yes : {"https://h/i/x", "http://h/de/join/x", "ic://x", "claudemesh://x", "https://h/join/"}) {
    EXPECT_TRUE(is_invite_url(yes)) << yes;
  }
  for (const char* no : {"https://h/other", "peers", "https://h/deu/i/x", "h/i/x", "https:///i/x"}) {
    EXPECT_FALSE(is_invite_url(no)) << no;
  }
  EXPECT_EQ(normalise_invite_url("claudemesh://abc"), "https://claudemesh.com/i/abc");
  EXPECT_EQ(normalise_invite_url("claudemesh://join/t"), "https://claudemesh.com/join/t");
  EXPECT_EQ(normalise_invite_url("https://x/i/y"), "https://x/i/y");
  EXPECT_EQ(invite_short_link("https://claudemesh.com", "abc"), "https://claudemesh.com/i/abc");
}

TEST_F(Invite, BrokerHttpBase) {
  EXPECT_EQ(*broker_http_base("wss://ic.claudemesh.com/ws"), "https://ic.claudemesh.com");
  EXPECT_EQ(*broker_http_base("ws://localhost:7900/ws"), "http://localhost:7900");
  EXPECT_FALSE(broker_http_base("ftp://x").ok());
  EXPECT_FALSE(broker_http_base("wss:///ws").ok());
}

TEST_F(Invite, CapabilityOfVersionTwo) {
  const SecretKey owner = test::secret_of(vectors_, "owner_secret");
  const double expires = *vectors_.find("expires_at_s")->as_number();
  const std::string capability = build_invite_capability(text("mesh_id"), text("invite_id"), expires, "admin", owner);
  EXPECT_EQ(capability,
            "{\"canonical\":\"" + text("invite_v2") + "\",\"signature\":\"" + text("invite_v2_signature") + "\"}");
  const auto verify = [&](std::string_view json, std::string_view role) {
    return verify_invite_capability(json, text("mesh_id"), text("invite_id"), expires, role, text("owner"));
  };
  EXPECT_TRUE(verify(capability, "admin").ok());
  EXPECT_EQ(verify(capability, "member").error().message, "bad_signature");
  EXPECT_EQ(verify("{}", "admin").error().message, "malformed");
  EXPECT_EQ(verify("x", "admin").error().message, "malformed");
  EXPECT_EQ(verify("{\"canonical\":\"" + text("invite_v2") + "\",\"signature\":\"00\"}", "admin").error().message,
            "bad_signature");
}

}  // namespace
}  // namespace cm::protocol
