// Loads the plugin and carries a message out and one in, as the daemon would.
#include <claudemesh/ext/transport.h>
#include <claudemesh/testing/mini_host.h>

namespace {

uint32_t state_now = 0;
uint32_t outcome = 0;
char received[256];

void on_state(void*, cm_handle, uint32_t state, cm_text_hview) CM_NOEXCEPT {
  state_now = state;
}
void on_inbound(void*, cm_handle, const cm_inbound* messages, uint64_t) CM_NOEXCEPT {
  cm_test_copy(received, sizeof received, messages->ciphertext.data, messages->ciphertext.size);
}
void on_sent(void*, cm_handle, const cm_send_result* results, uint64_t) CM_NOEXCEPT {
  outcome = results->outcome;
}

}  // namespace

int main(int, char** argv) {
  cm_test_open(argv[1]);
  cm_test_option("listen", "127.0.0.1:0");
  cm_test_option("peer_url", "http://peer.example");
  CM_TEST(cm_test_begin() == CM_OK);
  const auto* transport = static_cast<const cm_transport_v1*>(cm_test_extension(CM_TRANSPORT_ID));

  cm_link_identity identity = {};
  identity.size = sizeof(identity);
  identity.kind = CM_LINK_MEMBER;
  identity.mesh_id = cm_test_pview("mesh");
  identity.member_pubkey = cm_test_pview("aa");
  cm_link_callbacks callbacks = {sizeof(cm_link_callbacks), 0, on_state, on_inbound, on_sent, nullptr};
  cm_handle link = CM_NO_HANDLE;
  CM_TEST(transport->open(cm_test.instance, &identity, &callbacks, nullptr, &link) == CM_OK);
  CM_TEST(state_now == 0);  // never from inside the call
  cm_test_run();
  CM_TEST(state_now == CM_LINK_OPEN);

  cm_outbound message = {};
  message.size = sizeof(message);
  message.client_message_id = cm_test_pview("one");
  message.target = cm_test_pview("bb");
  message.ciphertext = cm_test_pview("sealed");
  uint64_t taken = 0;
  CM_TEST(transport->send(cm_test.instance, link, &message, 1, &taken) == CM_OK && taken == 1);
  cm_test_http_call* call = cm_test_http_waiting();
  CM_TEST(call != nullptr && strcmp(call->url, "http://peer.example/message") == 0);
  CM_TEST(strstr(call->body, "ciphertext sealed\n") != nullptr);
  cm_test_http_answer(call, 200, "");
  CM_TEST(outcome == CM_SEND_ACCEPTED);
  CM_TEST(transport->send(cm_test.instance, link, &message, 1, &taken) == CM_OK);
  cm_test_http_answer(cm_test_http_waiting(), 0, "");
  CM_TEST(outcome == CM_SEND_RETRY);

  CM_TEST(cm_test_http_request("POST", "/message", "mesh mesh\nto aa\nid two\nciphertext hidden\n"));
  CM_TEST(strcmp(received, "hidden") == 0);
  CM_TEST(cm_test.response_status == 0);  // not before it is stored
  transport->acknowledge(cm_test.instance, link, cm_test_pview("two"), cm_test_pview("two"));
  CM_TEST(cm_test.response_status == 200);
  CM_TEST(cm_test_http_request("POST", "/message", "mesh mesh\nto cc\nid three\nciphertext x\n"));
  CM_TEST(cm_test.response_status == 404);
  CM_TEST(cm_test_http_request("POST", "/message", "mesh mesh\nto aa\nid four\nciphertext x\n"));
  cm_test_advance_us(60'000'000);
  CM_TEST(cm_test.response_status == 503);
  transport->close(cm_test.instance, link);
  return cm_test_end();
}
