// A host in the test's process whose isolated plugins run in real children.
#pragma once

#include <signal.h>

#include <functional>
#include <thread>

#include "host/isolation/spawner.hpp"
#include "host/services/tests/host_fixture.hpp"

namespace cm::host {

class IsolationFixture : public HostFixture {
 protected:
  IsolationFixture() { isolation::set_runner_program(CM_TEST_RUNNER); }

  // Text of one instance with `file`; `isolated`: in a process of its own, quick to notice and to restart.
  static std::string plugin(const std::string& name, const std::string& file, bool isolated,
                            const std::string& more = {}) {
    std::string text = "[plugins." + name + "]\nfile = \"" CM_TEST_PLUGIN_DIR "/" + file + ".so\"\n" + more;
    return text + (isolated ? "isolation = \"process\"\nisolation_restart_delay = \"1ms\"\n" : "");
  }
  std::string asker(const std::string& more, bool isolated = false, const std::string& name = "asker") const {
    return plugin(name, "iso_asker", isolated,
                  "listen = \"unix:" + (folder_ / (name + ".sock")).string() + "\"\n" + more);
  }
  // The usual pair: a rogue hook in a process of its own, and an asker in the host.
  std::string rogue(const std::string& more = {}) const {
    return plugin("rogue", "iso_rogue", true, more) + asker("hook = \"rogue\"\n");
  }
  static std::string ops_table() { return "[ops]\nlisten = \"127.0.0.1:0\"\n"; }

  std::string ask(const std::string& payload, const std::string& name = "asker") {
    return request(url("/ask", name), "POST", payload).body;
  }
  std::string post(const std::string& target, const std::string& body, const std::string& name = "asker") {
    return request(url(target, name), "POST", body).body;
  }
  std::string get(const std::string& target, const std::string& name = "asker") {
    return request(url(target, name)).body;
  }

  isolation::IsolationStatus isolation_of(const std::string& name) const {
    for (const InstanceStatus& instance : host_->instances()) {
      if (instance.name == name && instance.isolation.has_value()) {
        return *instance.isolation;
      }
    }
    ADD_FAILURE() << name << " is not isolated";
    return {};
  }
  bool running(const std::string& name = "rogue") const {
    return isolation_of(name).phase == isolation::Phase::kRunning;
  }

  // Looks until the condition holds; false at the deadline.
  static bool eventually(const std::function<bool()>& condition) {
    const auto deadline = std::chrono::steady_clock::now() + kTestDeadline;
    while (!condition()) {
      if (std::chrono::steady_clock::now() > deadline) {
        return false;
      }
      std::this_thread::sleep_for(std::chrono::milliseconds(2));
    }
    return true;
  }
  static bool process_exists(pid_t pid) { return ::kill(pid, 0) == 0; }
  static int open_descriptors() {
    int count = 0;
    for (const auto& entry : std::filesystem::directory_iterator("/proc/self/fd")) {
      static_cast<void>(entry);
      ++count;
    }
    return count;
  }
};

}  // namespace cm::host
