/* Loads the plugin and lets messages cross in both directions; the daemon is played by this test. */
#include <claudemesh/ext/bridge.h>
#include <claudemesh/ext/peer.h>
#include <claudemesh/testing/mini_host.h>

static cm_peer_event event_of_the_daemon;
static void* event_user;
static char sent_to[64], sent_text[256], sent_id[128];
static uint32_t outcome;

static cm_status peer_send(void* instance, const cm_peer_message* message, cm_peer_sent sent, void* user) CM_NOEXCEPT {
  (void)instance;
  cm_test_copy(sent_to, sizeof sent_to, message->to.data, message->to.size);
  cm_test_copy(sent_text, sizeof sent_text, message->text.data, message->text.size);
  cm_test_copy(sent_id, sizeof sent_id, message->client_message_id.data, message->client_message_id.size);
  sent(user, 202, cm_test_hview("{}"));
  return CM_OK;
}
static cm_status peer_subscribe(void* instance, cm_peer_event event, void* user, cm_handle* out) CM_NOEXCEPT {
  (void)instance;
  event_of_the_daemon = event;
  event_user = user;
  *out = 5;
  return CM_OK;
}
static void peer_unsubscribe(void* instance, cm_handle subscription) CM_NOEXCEPT {
  (void)instance;
  CM_TEST(subscription == 5);
  event_of_the_daemon = NULL;
}
static void crossed(void* user, const cm_bridge_crossing* crossing) CM_NOEXCEPT {
  (void)user;
  outcome = crossing->outcome;
}
static uint32_t post(const char* body) {
  CM_TEST(cm_test_http_request("POST", "/messages", body));
  return cm_test.response_status;
}
static uint32_t rehearse(const char* channel, const char* id, const char* trail) {
  const cm_bridge_v1* bridge = (const cm_bridge_v1*)cm_test_extension(CM_BRIDGE_ID);
  cm_bridge_message message;
  memset(&message, 0, sizeof message);
  message.size = sizeof message;
  message.flags = CM_BRIDGE_REHEARSAL;
  message.channel = cm_test_pview(channel);
  message.message_id = cm_test_pview(id);
  message.author_name = cm_test_pview("eve");
  message.text = cm_test_pview("hi");
  message.trail = cm_test_pview(trail);
  outcome = 0;
  CM_TEST(bridge->deliver_remote(cm_test.instance, &message, crossed, NULL) == CM_OK);
  CM_TEST(outcome == 0); /* never from inside the call */
  cm_test_run();
  return outcome;
}

int main(int argc, char** argv) {
  static const cm_peer_v1 peer = {sizeof(cm_peer_v1), 0, peer_send, peer_subscribe, peer_unsubscribe};
  (void)argc;
  cm_test_open(argv[1]);
  cm_test_option("daemon", "daemon");
  cm_test_option("listen", "127.0.0.1:0");
  cm_test_option("remote_url", "http://remote.example/messages");
  cm_test_option("mappings", "general=alice");
  cm_test_offer(CM_PEER_ID, NULL, &peer);
  CM_TEST(cm_test_begin() == CM_OK);

  CM_TEST(post("{ \"id\" : \"1\",\n\"channel\":\"general\",\"author\":\"zoe\",\"text\":\"hello \\u00fc\"}") == 200);
  CM_TEST(strstr(cm_test.response, "\"outcome\":1") != NULL);
  CM_TEST(strcmp(sent_to, "alice") == 0);
  CM_TEST(strcmp(sent_text, "zoe: hello \xc3\xbc\n-- via http:{{name}}") == 0);
  CM_TEST(strncmp(sent_id, "brg-", 4) == 0);
  CM_TEST(post("{\"id\":\"1\",\"channel\":\"general\",\"author\":\"zoe\",\"text\":\"hello\"}") == 200);
  CM_TEST(strstr(cm_test.response, "\"outcome\":5") != NULL); /* it has crossed before */
  CM_TEST(post("{\"channel\":\"general\"}") == 400);
  CM_TEST(post("{\"id\":\"\\u") == 400);

  event_of_the_daemon(event_user, cm_test_hview("message"),
                      cm_test_hview("{\"id\":\"7\",\"sender_pubkey\":\"ab\",\"sender_name\":\"alice\","
                                    "\"recipient_pubkey\":\"cd\",\"topic\":null,\"body\":\"say \\\"yes\\\"\"}"));
  cm_test_run();
  CM_TEST(cm_test_http_waiting() != NULL);
  CM_TEST(strstr(cm_test_http_waiting()->body, "\"text\":\"alice: say \\\"yes\\\"\"") != NULL);
  CM_TEST(strstr(cm_test_http_waiting()->body, "\"trail\":\"http:{{name}}\"") != NULL);
  cm_test_http_answer(cm_test_http_waiting(), 200, "{\"id\":\"r1\"}");

  CM_TEST(rehearse("general", "2", "") == CM_BRIDGE_REHEARSED);
  CM_TEST(rehearse("general", "2", "") == CM_BRIDGE_DUPLICATE);
  CM_TEST(rehearse("attic", "3", "") == CM_BRIDGE_UNMAPPED);
  CM_TEST(rehearse("general", "4", "other:x http:{{name}}") == CM_BRIDGE_LOOP);
  return cm_test_end();
}
