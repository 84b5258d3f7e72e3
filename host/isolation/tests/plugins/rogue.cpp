// A hook that does what the payload says: crash, spin, leak, flood, lie. For the tests of containment.
#include <claudemesh/ext/hook.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>
#include <claudemesh/cpp/plugin.hpp>

#include <atomic>
#include <cerrno>
#include <cstring>
#include <thread>

#include "host/isolation/methods.hpp"

namespace {

void crash() {
  ::raise(SIGSEGV);
}

class Rogue final : public cm::PluginInstance {
 public:
  explicit Rogue(const cm_host* host) : PluginInstance(host) {}

  cm::Status configure() override {
    hook_.kind = host().option_text("kind") == "guard" ? CM_HOOK_GUARD : CM_HOOK_OBSERVER;
    at_ = host().option_text("at");
    note_ = host().option_text("note");
    asked_ = host().counter("rogue_asked_total", "", "Questions");
    if (at_ == "configure") {
      crash();
    }
    return {};
  }
  void start(Done started) override {
    if (at_ == "start") {
      crash();
    }
    started({});
  }
  void stop() override {
    if (at_ == "stop") {
      crash();
    }
  }
  cm::Status reload_prepare() override {
    const std::string note = host().option_text("note", CM_CONFIG_CANDIDATE);
    if (note.starts_with("wait:")) {
      ::close(::open(note.substr(5).c_str(), O_RDONLY));  // of a FIFO: returns when somebody writes to it
    }
    if (note == "refuse") {
      return cm::make_error(cm::ErrorCode::kInvalid, "this note is not to my taste");
    }
    return {};
  }
  void reload_finish(bool commit) override {
    if (commit) {
      note_ = host().option_text("note", CM_CONFIG_CANDIDATE);
    }
  }
  const void* extension(std::string_view id) override { return id == CM_HOOK_ID ? &hook_ : nullptr; }

 private:
  static std::uint32_t invoke(void* instance, const cm_hook_event* event, const cm_hook_reply* reply) noexcept {
    return static_cast<Rogue*>(static_cast<cm::PluginInstance*>(instance))->decide(*event, *reply);
  }

  std::uint32_t replace(const cm_hook_event& event, const cm_hook_reply& reply, std::string_view text) {
    reply.set_payload(reply.context, event.ticket, cm::to_bytes_pview(text));
    return CM_HOOK_REPLACE;
  }

  std::uint32_t decide(const cm_hook_event& event, const cm_hook_reply& reply) {
    asked_.add();
    const std::string what(cm::to_view(event.payload));
    if (what == "pid") {
      return replace(event, reply, std::to_string(::getpid()));
    }
    if (what == "note") {
      return replace(event, reply, note_);
    }
    if (what.starts_with("double ")) {
      return replace(event, reply, what.substr(7) + what.substr(7));
    }
    if (what == "later") {
      auto timer = std::make_shared<cm::Timer>(host());
      const auto finish = reply.finish;
      void* context = reply.context;
      const cm_handle ticket = event.ticket;
      timer->start_ms(1, [timer, finish, context, ticket] {
        finish(context, ticket, CM_HOOK_REPLACE, cm::to_bytes_pview(std::string_view("in time")));
      });
      return CM_HOOK_DEFER;
    }
    if (what == "never") {
      return CM_HOOK_DEFER;
    }
    if (what == "descriptors") {
      int open = 0;
      for (int fd = 0; fd < 256; ++fd) {
        open += ::fcntl(fd, F_GETFD) >= 0 ? 1 : 0;
      }
      return replace(event, reply, std::to_string(open));
    }
    misbehave(what);
    return what.starts_with("try ") ? replace(event, reply, tried_) : CM_HOOK_CONTINUE;
  }

  void misbehave(const std::string& what) {
    if (what == "segv") {
      crash();
    } else if (what == "abort") {
      ::abort();
    } else if (what == "exit") {
      ::_exit(7);
    } else if (what == "throw") {
      throw std::runtime_error("thrown through the boundary");
    } else if (what == "spin") {
      while (!ended_.load(std::memory_order_relaxed)) {
      }
    } else if (what == "leak") {
      leak();
    } else if (what == "close") {
      ::close(3);
      ::pause();
    } else if (what == "garbage") {
      static constexpr char kGarbage[] = "\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff";
      ::send(3, kGarbage, sizeof(kGarbage), 0);
    } else if (what == "wrong-frame") {
      // A ping with a good header: only the host may send it.
      static constexpr unsigned char kPing[16] = {0, 0, 0, 0, static_cast<unsigned char>(cm::isolation::Method::kPing),
                                                  0};
      ::send(3, kPing, sizeof(kPing), 0);
    } else if (what == "flood-log") {
      for (int i = 0; i < 5'000; ++i) {
        host().log(cm::LogLevel::kInfo, "a line of the flood");
      }
    } else if (what.starts_with("flood-frames ")) {
      flood_frames(what.substr(13));
    } else if (what.starts_with("try ")) {
      attempt(what.substr(4));
    }
  }

  // Until the file `end` exists. Frames that are made once and written by the thousand cost the host more than the
  // child in every build, whatever the compiler made of either.
  static void flood_frames(const std::string& end) {
    static constexpr unsigned char kPong[16] = {0, 0, 0, 0, static_cast<unsigned char>(cm::isolation::Method::kPong),
                                                0};
    constexpr std::size_t kFrames = 4096;
    std::string block;
    for (std::size_t i = 0; i < kFrames; ++i) {
      block.append(reinterpret_cast<const char*>(kPong), sizeof(kPong));
    }
    while (::access(end.c_str(), F_OK) != 0) {
      // Whole frames only: what follows on the channel begins with a frame of its own.
      for (std::size_t sent = 0; sent < block.size();) {
        const ssize_t count = ::send(3, block.data() + sent, block.size() - sent, MSG_NOSIGNAL);
        if (count < 0 && errno != EINTR) {
          return;
        }
        sent += count < 0 ? 0 : static_cast<std::size_t>(count);
      }
    }
  }

  void leak() {
    constexpr std::size_t kStep = 1u << 20;
    while (true) {
      auto* block = static_cast<char*>(::malloc(kStep));
      if (block == nullptr) {
        ::abort();
      }
      for (std::size_t i = 0; i < kStep; i += 4096) {
        const_cast<volatile char*>(block)[i] = 1;
      }
    }
  }

  void note_result(const char* what, long result) {
    tried_ += std::string(what) + (result < 0 ? " refused: " + std::string(std::strerror(errno)) : " allowed") + "\n";
  }

  void attempt(const std::string& what) {
    tried_.clear();
    if (what == "socket") {
      note_result("inet", ::socket(AF_INET, SOCK_STREAM, 0));
      note_result("unix", ::socket(AF_UNIX, SOCK_STREAM, 0));
    } else if (what == "process") {
      note_result("fork", ::syscall(SYS_fork));
      note_result("execve", ::execl("/bin/true", "true", nullptr));
      note_result("ptrace", ::syscall(SYS_ptrace, 16, ::getppid(), 0, 0));
      note_result("kill", ::kill(::getppid(), 0));
      note_result("mount", ::syscall(SYS_mount, "none", "/", "tmpfs", 0, nullptr));
      note_result("memfd", ::syscall(SYS_memfd_create, "x", 0));
    } else if (what == "thread") {
      std::thread([this] { tried_ += "thread ran\n"; }).join();
    }
  }

  // A time-out that no test waits for, and that no busy machine reaches.
  cm_hook_v1 hook_ = {sizeof(cm_hook_v1), CM_HOOK_GUARD, 10, 30'000, &invoke};
  std::atomic<bool> ended_{false};  // never set
  std::string at_;
  std::string note_;
  std::string tried_;
  cm::Metric asked_;
};

}  // namespace

CM_DEFINE_PLUGIN(Rogue);
