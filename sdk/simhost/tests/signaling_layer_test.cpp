// claudemesh/cpp/signaling.hpp over a provider that the test plays: what is called when, and what no longer is.
#include <gtest/gtest.h>
#include <claudemesh/cpp/signaling.hpp>

#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace {

// The provider of cm.signaling/1 and the host that leads to it. One at a time.
struct Provider {
  cm_signaling_callbacks callbacks = {};
  void* user = nullptr;
  std::vector<std::pair<cm_signal_sent, void*>> sends;
  std::string last_payload;
  int attached = 0;
  int released = 0;
  cm_status answer = CM_OK;
};
Provider* provider = nullptr;

cm_status attach(void*, cm_handle, const cm_signaling_identity*, const cm_signaling_callbacks* callbacks, void* user,
                 cm_handle* out) noexcept {
  provider->callbacks = *callbacks;
  provider->user = user;
  *out = 7;
  provider->attached += provider->answer == CM_OK ? 1 : 0;
  return provider->answer;
}
void detach(void*, cm_handle) noexcept {
  --provider->attached;
}
cm_status send(void*, cm_handle, const cm_signal* signal, cm_signal_sent sent, void* user) noexcept {
  if (provider->answer == CM_OK) {
    provider->sends.emplace_back(sent, user);
    provider->last_payload = cm::to_view(signal->payload);
  }
  return provider->answer;
}
constexpr cm_signaling_v1 kTable = {sizeof(cm_signaling_v1), 0, attach, detach, send};

cm_status acquire(cm_handle, cm_text_pview, cm_text_pview, cm_callback, void*, cm_extension* out) noexcept {
  *out = cm_extension{nullptr, &kTable, 2, 3};
  return CM_OK;
}
void release(cm_handle, cm_handle) noexcept {
  ++provider->released;
}
constexpr cm_registry_v1 kRegistry = {sizeof(cm_registry_v1), 0, acquire, release};

const void* get(cm_handle, const char* id) noexcept {
  return std::string_view(id) == CM_REGISTRY_ID ? &kRegistry : nullptr;
}
void set_error(cm_handle, cm_text_pview) noexcept {}
cm_status complete(cm_handle, cm_handle, cm_status, cm_text_pview) noexcept {
  return CM_OK;
}

class SignalingLayerTest : public ::testing::Test {
 protected:
  SignalingLayerTest() { provider = &own; }
  void SetUp() override {
    signaling = std::make_unique<cm::Signaling>();
    ASSERT_TRUE(signaling->open(host, "link"));
  }
  cm_status send_one() {
    return signaling->send(CM_SIGNAL_OFFER, "key", "call", "sdp",
                           [this](std::uint32_t outcome, std::string_view) { outcomes.push_back(outcome); });
  }
  void answer(std::size_t number, std::uint32_t outcome) {
    own.sends.at(number).first(own.sends.at(number).second, 7, outcome, cm::to_hview("words"));
  }

  Provider own;
  cm_host raw = {sizeof(cm_host), CM_ABI_VERSION_CURRENT, 1, &get, &set_error, &complete};
  cm::HostApi host{&raw};
  std::unique_ptr<cm::Signaling> signaling;
  std::vector<std::uint32_t> outcomes;
};

TEST_F(SignalingLayerTest, TellsStatesAndSignals) {
  std::vector<std::uint32_t> states;
  std::string heard;
  signaling->on_state = [&](std::uint32_t state) { states.push_back(state); };
  signaling->on_signal = [&](const cm::ReceivedSignal& signal) {
    heard = std::string(signal.from) + " " + std::string(signal.call) + " " + std::string(signal.payload);
  };
  ASSERT_TRUE(signaling->attach({"wss://b", "m", "k"}));
  own.callbacks.state(own.user, 7, CM_SIGNALING_UP);
  cm_signal_received signal = {};
  signal.size = sizeof(signal);
  signal.kind = CM_SIGNAL_ANSWER;
  signal.from = cm::to_hview("peer");
  signal.call = cm::to_hview("c1");
  signal.payload = {reinterpret_cast<const std::uint8_t*>("sdp"), 3};
  own.callbacks.signal(own.user, 7, &signal);
  EXPECT_EQ(states, std::vector<std::uint32_t>{CM_SIGNALING_UP});
  EXPECT_EQ(signaling->state(), CM_SIGNALING_UP);
  EXPECT_EQ(heard, "peer c1 sdp");
}

TEST_F(SignalingLayerTest, AnswersEachSendOnceInAnyOrder) {
  EXPECT_EQ(send_one(), CM_GONE);  // not attached
  ASSERT_TRUE(signaling->attach({"wss://b", "m", "k"}));
  EXPECT_EQ(send_one(), CM_OK);
  EXPECT_EQ(send_one(), CM_OK);
  EXPECT_EQ(own.last_payload, "sdp");
  answer(1, CM_SIGNAL_NO_PEER);
  answer(0, CM_SIGNAL_PASSED);
  EXPECT_EQ(outcomes, (std::vector<std::uint32_t>{CM_SIGNAL_NO_PEER, CM_SIGNAL_PASSED}));
  own.answer = CM_BUSY;
  EXPECT_EQ(send_one(), CM_BUSY);
  EXPECT_EQ(outcomes.size(), 2u);
}

TEST_F(SignalingLayerTest, AFunctionMayDestroyItsOwner) {
  ASSERT_TRUE(signaling->attach({"wss://b", "m", "k"}));
  ASSERT_EQ(signaling->send(CM_SIGNAL_CLOSE, "key", "call", "",
                            [this](std::uint32_t, std::string_view) { signaling.reset(); }),
            CM_OK);
  answer(0, CM_SIGNAL_PASSED);
  EXPECT_EQ(own.attached, 0);
  EXPECT_EQ(own.released, 1);
}

TEST_F(SignalingLayerTest, SaysWhyItCannotListen) {
  own.answer = CM_BUSY;
  const cm::Status refused = signaling->attach({"wss://b", "m", "k"});
  ASSERT_FALSE(refused);
  EXPECT_NE(refused.error().message.find("listener"), std::string::npos);
  signaling.reset();
  EXPECT_EQ(own.attached, 0);
}

}  // namespace
