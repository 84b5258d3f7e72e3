// Goal: a transport works the same in both tiers, and its child's death costs its users an attempt, nothing else.
#include "host/isolation/tests/isolation_fixture.hpp"

namespace cm::host {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

class IsolatedTransport : public IsolationFixture {
 protected:
  void start(bool isolated) {
    start_host(plugin("courier", "iso_courier", isolated) + asker("transport = \"courier\"\n"));
    EXPECT_EQ(post("/open", ""), "0 courier");
    ASSERT_TRUE(log_line("signed"));
  }
  // What the asker's callbacks have noted.
  bool log_line(const std::string& text) {
    return eventually([&] { return get("/log").find(text) != std::string::npos; });
  }
};

TEST_F(IsolatedTransport, DoesTheSameInBothTiers) {
  for (const bool isolated : {false, true}) {
    start(isolated);
    EXPECT_TRUE(log_line("state 2 {\"reason\":\"the asker signed\"}")) << get("/log");
    EXPECT_EQ(post("/send", "one\ntwo\nthree"), "0 3");
    EXPECT_TRUE(log_line("inbound three")) << get("/log");
    const std::string log = get("/log");
    for (const char* line : {"sent 1 one ", "sent 1 two ", "sent 1 three ", "inbound one", "inbound two"}) {
      EXPECT_THAT(log, HasSubstr(line));
    }
    EXPECT_TRUE(log_->wait_for("acknowledged in-three"));
    EXPECT_EQ(post("/request", "{\"type\":\"x\"}"), "0 echo of {\"type\":\"x\"}");
    stop_host();
    host_.reset();
  }
}

TEST_F(IsolatedTransport, EveryMessageGetsItsResultAlsoBeyondThePluginsWindow) {
  start(true);
  std::string lines;
  for (int i = 0; i < 150; ++i) {
    lines += "m" + std::to_string(i) + "-" + std::string(6'000, 'z') + "\n";
  }
  EXPECT_EQ(post("/send", lines), "0 150");
  EXPECT_TRUE(log_line("inbound m149-")) << get("/log").size();
  const std::string log = get("/log");
  for (int i = 0; i < 150; ++i) {
    EXPECT_THAT(log, HasSubstr("sent 1 m" + std::to_string(i) + "-"));
  }
}

TEST_F(IsolatedTransport, WhatWasInFlightIsTriedAgainAndTheLinkComesBack) {
  start(true);
  EXPECT_EQ(post("/send", "swallow\ndie"), "0 2");
  EXPECT_TRUE(log_line("sent 3 swallow closed")) << get("/log");
  EXPECT_TRUE(log_line("sent 3 die closed")) << get("/log");
  EXPECT_TRUE(log_line("state 3 {\"reason\":\"the process of the transport plugin has ended\"}"));
  // The next child opens the same link, and signs again.
  EXPECT_TRUE(eventually([this] {
    const std::string log = get("/log");
    return log.rfind("state 2 ") > log.rfind("state 3 ");
  })) << get("/log");
  EXPECT_EQ(post("/send", "again"), "0 1");
  EXPECT_TRUE(log_line("sent 1 again ")) << get("/log");
}

TEST_F(IsolatedTransport, AResultForAMessageThatWasNeverGivenIsNotPassedOn) {
  start(true);
  EXPECT_EQ(post("/send", "lie\nhonest"), "0 2");
  EXPECT_TRUE(log_line("sent 1 honest "));
  EXPECT_THAT(get("/log"), Not(HasSubstr("made up")));
}

class IsolatedBridge : public IsolationFixture {};

TEST_F(IsolatedBridge, DoesTheSameInBothTiersAndComesBackWithItsMappings) {
  for (const bool isolated : {false, true}) {
    start_host(plugin("bridge", "iso_bridge", isolated) + asker("bridge = \"bridge\"\n"));
    const auto status_is = [this](const std::string& text) {
      return eventually([&] { return get("/bridge") == text; });
    };
    const auto noted = [this](const std::string& text) {
      return eventually([&] { return get("/log").find(text) != std::string::npos; });
    };
    EXPECT_TRUE(status_is("nowhere 2 nowhere:test 0 first")) << get("/bridge");
    EXPECT_EQ(post("/map", "second"), "0");
    EXPECT_TRUE(status_is("nowhere 2 nowhere:test 0 first second")) << get("/bridge");
    EXPECT_EQ(post("/deliver", "second"), "0");
    EXPECT_TRUE(noted("crossed 1 a text")) << get("/log");
    EXPECT_TRUE(noted("observed 1")) << get("/log");
    EXPECT_EQ(post("/deliver", "elsewhere"), "0");
    EXPECT_TRUE(noted("crossed 3 ")) << get("/log");
    EXPECT_TRUE(status_is("nowhere 2 nowhere:test 1 first second")) << get("/bridge");
    if (isolated) {
      EXPECT_EQ(post("/map", "not an id"), "1");
      EXPECT_EQ(post("/deliver", "die"), "0");
      EXPECT_TRUE(noted("crossed 8 ")) << get("/log");
      EXPECT_TRUE(status_is("nowhere 2 nowhere:test 0 first second")) << get("/bridge");
    }
    stop_host();
    host_.reset();
  }
}

}  // namespace
}  // namespace cm::host
