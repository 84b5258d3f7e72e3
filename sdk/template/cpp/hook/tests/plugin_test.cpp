/* Loads the plugin and asks it, as the daemon would. */
#include <claudemesh/ext/hook.h>
#include <claudemesh/testing/mini_host.h>

static char refusal[256];

static void set_payload(void* context, cm_handle ticket, cm_bytes_pview payload) CM_NOEXCEPT {
  (void)context;
  (void)ticket;
  cm_test_copy(refusal, sizeof refusal, payload.data, payload.size);
}

static uint32_t ask(const char* point, const char* payload) {
  const cm_hook_v1* hook = (const cm_hook_v1*)cm_test_extension(CM_HOOK_ID);
  cm_hook_event event;
  cm_hook_reply reply;
  memset(&event, 0, sizeof event);
  memset(&reply, 0, sizeof reply);
  event.size = sizeof event;
  event.point = cm_test_hview(point);
  event.json = cm_test_hview("{}");
  event.payload.data = (const uint8_t*)payload;
  event.payload.size = strlen(payload);
  reply.size = sizeof reply;
  reply.set_payload = set_payload;
  return hook->invoke(cm_test.instance, &event, &reply);
}

int main(int argc, char** argv) {
  (void)argc;
  cm_test_open(argv[1]);
  cm_test_option("words", "secret,hush");
  CM_TEST(cm_test_begin() == CM_OK);

  CM_TEST(ask("daemon.send", "good day") == CM_HOOK_CONTINUE);
  CM_TEST(ask("daemon.send", "the SECRET is out") == CM_HOOK_DENY);
  CM_TEST(strstr(refusal, "secret") != NULL);
  CM_TEST(ask("daemon.send", "hush") == CM_HOOK_DENY);
  CM_TEST(ask("daemon.send", "") == CM_HOOK_CONTINUE);
  CM_TEST(ask("some.other.point", "secret") == CM_HOOK_CONTINUE);

  cm_test_option("words", "late");
  CM_TEST(cm_test.table->reload_prepare(cm_test.instance) == CM_OK);
  cm_test.table->reload_finish(cm_test.instance, false);
  CM_TEST(ask("daemon.send", "late") == CM_HOOK_CONTINUE);
  CM_TEST(cm_test.table->reload_prepare(cm_test.instance) == CM_OK);
  cm_test.table->reload_finish(cm_test.instance, true);
  CM_TEST(ask("daemon.send", "late") == CM_HOOK_DENY);
  CM_TEST(ask("daemon.send", "secret") == CM_HOOK_CONTINUE);
  return cm_test_end();
}
