#include "protocol/wire_types.hpp"

#include <gtest/gtest.h>

namespace cm::protocol {
namespace {

TEST(WireTypes, EveryNameFindsItsType) {
  std::size_t client = 0;
  std::size_t server = 0;
  for (std::size_t i = 0; i < kWireTypeCount; ++i) {
    const auto type = static_cast<WireType>(i);
    EXPECT_EQ(wire_type(to_string(type)), type) << to_string(type);
    EXPECT_NE(is_client_type(type), is_server_type(type)) << to_string(type);
    client += is_client_type(type) ? 1 : 0;
    server += is_server_type(type) ? 1 : 0;
  }
  EXPECT_EQ(client, 102u);
  EXPECT_EQ(server, 74u);
}

TEST(WireTypes, SpotChecksAgainstTheDescription) {
  EXPECT_EQ(wire_type("send"), WireType::kSend);
  EXPECT_EQ(wire_type("session_hello"), WireType::kSessionHello);
  EXPECT_EQ(wire_type("list_bans"), WireType::kListBans);
  EXPECT_EQ(wire_type("peer_dir_response_forward"), WireType::kPeerDirResponseForward);
  EXPECT_TRUE(is_client_type(WireType::kFeatureNegotiationRequest));
  EXPECT_TRUE(is_server_type(WireType::kFeatureNegotiationResponse));
}

TEST(WireTypes, ForeignNamesAreUnknown) {
  for (const char* name : {"", "Send", "sen", "sendx", "unknown", "zzz", "\xFF"}) {
    EXPECT_EQ(wire_type(name), WireType::kUnknown) << name;
  }
  EXPECT_EQ(to_string(WireType::kUnknown), "unknown");
  EXPECT_FALSE(is_client_type(WireType::kUnknown));
  EXPECT_FALSE(is_server_type(WireType::kUnknown));
}

}  // namespace
}  // namespace cm::protocol
