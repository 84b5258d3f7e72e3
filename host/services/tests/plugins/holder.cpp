// Holds its loop inside the callback that the option `hold` names, until the test lets go of the gate.
#include <fcntl.h>
#include <unistd.h>

#include <string>

#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wold-style-cast"  // C
#include "journal.h"
#pragma GCC diagnostic pop

CM_PLUGIN_MANIFEST(
    "{\"id\":\"org.claudemesh.test.holder\",\"name\":\"test_holder\",\"version\":\"1.0.0\","
    "\"abi\":{\"min\":\"1.0\",\"built\":\"1.0\"},\"platform\":\"linux-x86_64\","
    "\"requires\":[\"cm.config/1\",\"cm.timer/1\",\"cm.log/1\"],"
    "\"options\":["
    "{\"name\":\"hold\",\"type\":\"choice\",\"default\":\"none\",\"choices\":[\"none\",\"create\",\"configure\","
    "\"start\",\"timer\",\"drain\",\"stop\",\"prepare\",\"commit\"],\"doc\":\"The callback that holds the loop.\"},"
    "{\"name\":\"gate\",\"type\":\"string\",\"default\":\"\",\"doc\":\"A FIFO; opening it waits for a writer.\"},"
    "{\"name\":\"text\",\"type\":\"string\",\"default\":\"\",\"reloadable\":true,\"doc\":\"Changes.\"},"
    "{\"name\":\"journal\",\"type\":\"string\",\"default\":\"\",\"doc\":\"The journal of steps.\"}]}");

namespace {

class Holder {
 public:
  explicit Holder(const cm_host* host) : host_(host) {
    journal_open(&steps_, host);
    char text[512];
    option_text(host, CM_CONFIG_ACTIVE, "hold", text, sizeof text);
    hold_ = text;
    option_text(host, CM_CONFIG_ACTIVE, "gate", text, sizeof text);
    gate_ = text;
  }

  // One step of the life: told to the log before, written to the journal when it is over.
  void pass(const char* step) const {
    if (hold_ == step) {
      tell("holds in " + hold_);
      const int fd = ::open(gate_.c_str(), O_RDONLY | O_CLOEXEC);  // without the file: at once
      if (fd >= 0) {
        ::close(fd);
      }
    }
    journal_write(&steps_, step);
    tell(std::string("passed ") + step);
  }

  void start_timer() {
    const auto* timers = static_cast<const cm_timer_v1*>(host_->get(host_->self, CM_TIMER_ID));
    cm_handle timer = CM_NO_HANDLE;
    timers->start(
        host_->self, 0, 0, [](void* user) noexcept { static_cast<Holder*>(user)->pass("timer"); }, this, &timer);
  }
  bool holds(const char* step) const { return hold_ == step; }

 private:
  void tell(const std::string& text) const {
    static_cast<const cm_log_v1*>(host_->get(host_->self, CM_LOG_ID))
        ->write(host_->self, CM_LOG_INFO, pview(text.c_str()), nullptr, 0);
  }

  const cm_host* host_;
  journal steps_{};
  std::string hold_;
  std::string gate_;
};

Holder& holder_of(cm_instance* instance) {
  return *reinterpret_cast<Holder*>(instance);
}

cm_status configure(cm_instance* instance) noexcept {
  holder_of(instance).pass("configure");
  return CM_OK;
}

cm_status start(cm_instance* instance, cm_handle) noexcept {
  holder_of(instance).pass("start");
  if (holder_of(instance).holds("timer")) {
    holder_of(instance).start_timer();
  }
  return CM_OK;
}

cm_status drain(cm_instance* instance, cm_handle, uint64_t) noexcept {
  holder_of(instance).pass("drain");
  return CM_OK;
}

void stop(cm_instance* instance) noexcept {
  holder_of(instance).pass("stop");
}

void destroy(cm_instance* instance) noexcept {
  holder_of(instance).pass("destroy");
  delete &holder_of(instance);
}

cm_status reload_prepare(cm_instance* instance) noexcept {
  holder_of(instance).pass("prepare");
  return CM_OK;
}

void reload_finish(cm_instance* instance, bool commit) noexcept {
  holder_of(instance).pass(commit ? "commit" : "abort");
}

constexpr cm_instance_table_v1 kTable = {
    sizeof(cm_instance_table_v1), 0, configure, start, drain, stop, destroy, nullptr, reload_prepare, reload_finish};

cm_status create(const cm_host* host, cm_instance** out_instance, const cm_instance_table_v1** out_table) noexcept {
  auto* holder = new Holder(host);
  holder->pass("create");
  *out_instance = reinterpret_cast<cm_instance*>(holder);
  *out_table = &kTable;
  return CM_OK;
}

}  // namespace

extern "C" {
TEST_PLUGIN_ENTRY(create);
}
