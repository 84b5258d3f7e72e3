#include "host/isolation/runner/runner.hpp"

#include <signal.h>
#include <sodium.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cstring>

#include "host/isolation/runner/hook_server.hpp"
#include "host/isolation/runner/runtime.hpp"
#include "host/isolation/sandbox.hpp"
#include "host/isolation/spawner.hpp"
#include "host/loader/library.hpp"
#include "host/loader/manifest.hpp"

namespace cm::isolation {

namespace {

constexpr int kNotStartedByHost = 2;
constexpr int kBadSetup = 3;
constexpr std::uint32_t kFileGrantBytesMin = 5;

// What `kCreate` says.
struct Setup {
  std::string name;
  cm_handle self = CM_NO_HANDLE;
  pid_t host_pid = 0;
  std::uint32_t log_level = 0;
  std::string file;
  std::string plugin_id;
  std::string sha256;
  SandboxLimits limits;
  std::set<std::string, std::less<>> tables;
  std::vector<std::string> provides;
  RemoteOptions options;
};

bool read_setup(const Frame& frame, Setup& setup) {
  FrameReader reader(frame);
  setup.name = reader.text();
  setup.self = reader.u64();
  setup.host_pid = static_cast<pid_t>(reader.u32());
  setup.log_level = reader.u32();
  setup.file = reader.bytes();
  setup.plugin_id = reader.text();
  setup.sha256 = reader.text();
  setup.limits.memory_bytes = reader.u64();
  setup.limits.file_bytes = reader.u64();
  setup.limits.descriptors = reader.u32();
  setup.limits.network = reader.boolean();
  setup.limits.landlock_version = static_cast<int>(reader.u32());
  const std::uint32_t files = reader.count(kFileGrantBytesMin);
  for (std::uint32_t i = 0; i < files; ++i) {
    const std::string_view path = reader.bytes();
    setup.limits.files.push_back({path, reader.boolean(), {}});
  }
  const std::uint32_t tables = reader.count(4);
  for (std::uint32_t i = 0; i < tables; ++i) {
    setup.tables.emplace(reader.text());
  }
  const std::uint32_t provides = reader.count(4);
  for (std::uint32_t i = 0; i < provides; ++i) {
    setup.provides.emplace_back(reader.text());
  }
  setup.options = read_options(reader);
  return reader.done() && frame.method == Method::kCreate;
}

// The plugin and its life in this process. [loop]
class Runner {
 public:
  explicit Runner(std::unique_ptr<Channel> channel) : runtime_(std::move(channel)) {}

  int run() {
    OwnedFrame owned = runtime_.wait_frame();
    const Frame frame = std::move(owned).view();
    if (!read_setup(frame, setup_)) {
      return kBadSetup;
    }
    if (::getppid() != setup_.host_pid) {
      return kNotStartedByHost;  // the host ended before the kernel was told to tie us to it
    }
    runtime_.active_options = std::move(setup_.options);
    Status ready = runtime_.enter(Callback::kLoad, [this] { return load(); });
    if (ready) {
      runtime_.send(Method::kReady);
      runtime_.flush();
      ready = create();
    }
    ready = ready ? configure() : ready;
    tell_created(ready);
    runtime_.run([this](OwnedFrame&& next) { handle(std::move(next)); });
    return 0;
  }

 private:
  Result<config::Manifest> find_manifest() const {
    if (!setup_.file.empty()) {
      return loader::read_manifest(setup_.file);
    }
    for (const auto& manifest : loader::builtin_manifests()) {
      if (manifest->id == setup_.plugin_id) {
        return *manifest;
      }
    }
    return make_error(ErrorCode::kGone, "the plugin " + setup_.plugin_id + " is not built into the runner");
  }

  Status load() {
    // Nothing of the plugin has run yet; from here on nothing can be taken back.
    if (Status sealed = enter_sandbox(setup_.limits); !sealed) {
      return sealed;
    }
    Result<config::Manifest> manifest = find_manifest();
    if (!manifest) {
      return std::move(manifest).error();
    }
    auto library = libraries_.load(*manifest, setup_.sha256);
    if (!library) {
      return std::move(library).error();
    }
    library_ = std::move(library).value();
    runtime_.describe(setup_.name, setup_.self, library_->abi_version(), setup_.log_level, std::move(setup_.tables));
    return {};
  }

  Status failed(const char* step, cm_status status) {
    const std::string text = runtime_.take_error();
    return error_from_status(status,
                             std::string(step) + " failed: " + (text.empty() ? "the plugin gave no reason" : text));
  }

  Status create() {
    const cm_status status = runtime_.enter(
        Callback::kCreate, [this] { return library_->factory().create(runtime_.host(), &object_, &table_); });
    if (status != CM_OK) {
      return failed("create", status);
    }
    if (object_ == nullptr || table_ == nullptr || !CM_HAS_FUNCTION(table_, cm_instance_table_v1, destroy) ||
        table_->stop == nullptr || table_->destroy == nullptr) {
      return make_error(ErrorCode::kInternal,
                        "create answered OK without an object and a table that has at least stop and destroy");
    }
    return {};
  }

  Status configure() {
    if (table_->configure != nullptr) {
      const cm_status status = runtime_.enter(Callback::kConfigure, [this] { return table_->configure(object_); });
      if (status != CM_OK) {
        return failed("configure", status);
      }
    }
    for (const std::string& id : setup_.provides) {
      if (!CM_HAS_FUNCTION(table_, cm_instance_table_v1, get_extension) || table_->get_extension == nullptr) {
        break;
      }
      const void* extension =
          runtime_.enter(Callback::kGetExtension, [this, &id] { return table_->get_extension(object_, id.c_str()); });
      if (extension != nullptr && id == CM_HOOK_ID) {
        hook_ = static_cast<const cm_hook_v1*>(extension);
        serve_hook(object_, hook_);
      } else if (extension != nullptr && id == CM_TRANSPORT_ID) {
        transport_ = static_cast<const cm_transport_v1*>(extension);
        serve_transport(object_, transport_);
      } else if (extension != nullptr && id == CM_BRIDGE_ID) {
        bridge_ = static_cast<const cm_bridge_v1*>(extension);
        serve_bridge(object_, bridge_);
      }
    }
    return {};
  }

  bool can_reload() const {
    return table_ != nullptr && CM_HAS_FUNCTION(table_, cm_instance_table_v1, reload_finish) &&
           table_->reload_prepare != nullptr && table_->reload_finish != nullptr;
  }

  void tell_created(const Status& ready) {
    runtime_.send(Method::kCreated, 0, [&](FrameWriter& writer) {
      writer.u32(ready ? CM_OK : status_from_error(ready.error()));
      writer.text(ready ? std::string_view() : std::string_view(ready.error().message));
      writer.boolean(can_reload());
      writer.boolean(hook_ != nullptr);
      writer.u32(hook_ == nullptr ? 0 : hook_->kind);
      writer.u32(hook_ == nullptr ? 0 : static_cast<std::uint32_t>(hook_->order));
      writer.u32(hook_ == nullptr ? 0 : hook_->timeout_ms);
      writer.boolean(transport_ != nullptr);
      writer.text(transport_ == nullptr ? std::string_view() : to_view(transport_->name(object_)));
      writer.boolean(bridge_ != nullptr);
      writer.text(bridge_ == nullptr ? std::string_view() : to_view(bridge_->network(object_)));
    });
    runtime_.flush();
  }

  void handle(OwnedFrame&& frame) {
    if (handle_step(frame)) {
      return;
    }
    static_cast<void>(hook_frame(frame) || transport_frame(frame) || bridge_frame(frame) || http_frame(frame) ||
                      websocket_frame(frame) || shared_frame(frame) || hook_result_frame(frame) || peer_frame(frame));
  }

  bool handle_step(OwnedFrame& frame) {
    switch (frame.method) {
      case Method::kPing:
        runtime_.send(Method::kPong);
        return true;
      case Method::kStart:
        begin(Callback::kStart, step_ticket(Step::kStart, 0),
              [this](cm_handle ticket) { return table_->start == nullptr ? CM_OK : table_->start(object_, ticket); });
        start_bridge();
        return true;
      case Method::kDrain: {
        const Frame view = std::move(frame).view();
        const std::uint64_t deadline_ms = FrameReader(view).u64();
        begin(Callback::kDrain, step_ticket(Step::kDrain, 0), [this, deadline_ms](cm_handle ticket) {
          return table_->drain == nullptr ? CM_OK : table_->drain(object_, ticket, deadline_ms);
        });
        return true;
      }
      case Method::kReloadPrepare:
        reload_prepare(std::move(frame).view());
        return true;
      case Method::kReloadFinish: {
        const Frame view = std::move(frame).view();
        reload_finish(FrameReader(view).boolean());
        return true;
      }
      case Method::kStop:
        stop();
        return true;
      default:
        return false;
    }
  }

  // A deferred step is told by cm_host.complete, whose ticket is step_ticket().
  template <typename Call>
  void begin(Callback callback, cm_handle ticket, Call&& call) {
    const cm_status status = runtime_.enter(callback, [&] { return call(ticket); });
    if (status != CM_DEFER) {
      const std::string text = runtime_.take_error();
      runtime_.host()->complete(runtime_.self(), ticket, status, to_pview(text));
    }
  }

  void reload_prepare(const Frame& frame) {
    FrameReader reader(frame);
    runtime_.candidate_options = read_options(reader);
    runtime_.has_candidate = true;
    begin(Callback::kReloadPrepare, step_ticket(Step::kReloadPrepare, frame.call),
          [this](cm_handle) { return can_reload() ? table_->reload_prepare(object_) : CM_UNSUPPORTED; });
  }

  void reload_finish(bool commit) {
    if (!runtime_.has_candidate) {
      return;
    }
    // The candidate is what reload_finish reads; the old texts stay where the plugin may still point to.
    if (can_reload()) {
      runtime_.enter(Callback::kReloadFinish, [this, commit] { table_->reload_finish(object_, commit); });
    }
    if (commit) {
      runtime_.former_options.push_back(std::make_unique<RemoteOptions>(std::move(runtime_.active_options)));
      runtime_.active_options = std::move(runtime_.candidate_options);
    }
    runtime_.candidate_options = {};
    runtime_.has_candidate = false;
  }

  void stop() {
    runtime_.enter(Callback::kStop, [this] { table_->stop(object_); });
    runtime_.cancel_all_timers();
    runtime_.close_posts();
    finish_workers();
    runtime_.enter(Callback::kDestroy, [this] { table_->destroy(object_); });
    libraries_.deinit_all();
    flush_metrics(true);
    runtime_.flush();
    // No destructors of libraries: what the plugin left behind ends with the process.
    ::_exit(0);
  }

  Runtime runtime_;
  Setup setup_;
  loader::PluginLibraries libraries_;
  std::shared_ptr<const loader::LoadedLibrary> library_;
  cm_instance* object_ = nullptr;
  const cm_instance_table_v1* table_ = nullptr;
  const cm_hook_v1* hook_ = nullptr;
  const cm_transport_v1* transport_ = nullptr;
  const cm_bridge_v1* bridge_ = nullptr;
};

}  // namespace

bool is_runner(int argc, char** argv) noexcept {
  return argc >= 2 && std::strcmp(argv[1], kRunnerVerb) == 0;
}

int runner_main() {
  // First of all: from now on the end of the host is the end of this process, whatever the plugin does.
  ::prctl(PR_SET_PDEATHSIG, SIGKILL);
  ::signal(SIGXFSZ, SIG_IGN);  // a file at its limit is an error of that write
  int kind = 0;
  socklen_t size = sizeof(kind);
  if (::getsockopt(kRunnerSocketFd, SOL_SOCKET, SO_DOMAIN, &kind, &size) != 0 || kind != AF_UNIX) {
    static constexpr char kText[] =
        "claudemesh plugin-runner is started by the host only; see: claudemesh run --help\n";
    static_cast<void>(!::write(STDERR_FILENO, kText, sizeof(kText) - 1));
    return kNotStartedByHost;
  }
  Result<SharedMemory> memory = SharedMemory::map(kRunnerMemoryFd);
  if (!memory || ::sodium_init() < 0) {
    return kNotStartedByHost;
  }
  Runner runner(std::make_unique<Channel>(Descriptor(kRunnerSocketFd), std::move(memory).value(), Side::kChild));
  return runner.run();
}

}  // namespace cm::isolation
