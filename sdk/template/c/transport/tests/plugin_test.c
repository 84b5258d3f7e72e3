/* Loads the plugin and carries a message out and one in, as the daemon would. */
#include <claudemesh/ext/transport.h>
#include <claudemesh/testing/mini_host.h>

static uint32_t state_now, outcome;
static char received[256];

static void on_state(void* user, cm_handle link, uint32_t state, cm_text_hview detail) {
  (void)user;
  (void)link;
  (void)detail;
  state_now = state;
}
static void on_inbound(void* user, cm_handle link, const cm_inbound* messages, uint64_t count) {
  (void)user;
  (void)link;
  CM_TEST(count == 1);
  cm_test_copy(received, sizeof received, messages->ciphertext.data, messages->ciphertext.size);
}
static void on_sent(void* user, cm_handle link, const cm_send_result* results, uint64_t count) {
  (void)user;
  (void)link;
  CM_TEST(count == 1);
  outcome = results->outcome;
}

int main(int argc, char** argv) {
  const cm_link_callbacks callbacks = {sizeof callbacks, 0, on_state, on_inbound, on_sent, NULL};
  cm_link_identity identity;
  cm_outbound message;
  cm_handle link = CM_NO_HANDLE;
  uint64_t taken = 0;
  (void)argc;
  cm_test_open(argv[1]);
  cm_test_option("listen", "127.0.0.1:0");
  cm_test_option("peer_url", "http://peer.example");
  CM_TEST(cm_test_begin() == CM_OK);
  const cm_transport_v1* transport = cm_test_extension(CM_TRANSPORT_ID);

  memset(&identity, 0, sizeof identity);
  identity.size = sizeof identity;
  identity.kind = CM_LINK_MEMBER;
  identity.mesh_id = cm_test_pview("mesh");
  identity.member_pubkey = cm_test_pview("aa");
  CM_TEST(transport->open(cm_test.instance, &identity, &callbacks, NULL, &link) == CM_OK);
  CM_TEST(state_now == 0); /* never from inside the call */
  cm_test_run();
  CM_TEST(state_now == CM_LINK_OPEN);

  memset(&message, 0, sizeof message);
  message.size = sizeof message;
  message.client_message_id = cm_test_pview("one");
  message.target = cm_test_pview("bb");
  message.ciphertext = cm_test_pview("sealed");
  CM_TEST(transport->send(cm_test.instance, link, &message, 1, &taken) == CM_OK && taken == 1);
  cm_test_http_call* call = cm_test_http_waiting();
  CM_TEST(call != NULL && strcmp(call->url, "http://peer.example/message") == 0);
  CM_TEST(strstr(call->body, "ciphertext sealed\n") != NULL);
  cm_test_http_answer(call, 200, "");
  CM_TEST(outcome == CM_SEND_ACCEPTED);
  CM_TEST(transport->send(cm_test.instance, link, &message, 1, &taken) == CM_OK);
  cm_test_http_answer(cm_test_http_waiting(), 0, "");
  CM_TEST(outcome == CM_SEND_RETRY);

  CM_TEST(cm_test_http_request("POST", "/message", "mesh mesh\nto aa\nid two\nciphertext hidden\n"));
  CM_TEST(strcmp(received, "hidden") == 0);
  CM_TEST(cm_test.response_status == 0); /* not before it is stored */
  CM_TEST(transport->acknowledge(cm_test.instance, link, cm_test_pview("two"), cm_test_pview("two")) == CM_OK);
  CM_TEST(cm_test.response_status == 200);
  CM_TEST(cm_test_http_request("POST", "/message", "mesh mesh\nto cc\nid three\nciphertext x\n"));
  CM_TEST(cm_test.response_status == 404);
  CM_TEST(cm_test_http_request("POST", "/message", "mesh mesh\nto aa\nid four\nciphertext x\n"));
  cm_test_advance_us(60000000);
  CM_TEST(cm_test.response_status == 503);
  CM_TEST(transport->send(cm_test.instance, link, &message, 1, &taken) == CM_OK); /* on its way when we stop */
  transport->close(cm_test.instance, link);
  return cm_test_end();
}
