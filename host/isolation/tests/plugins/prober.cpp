// Tries what the payload of a hook says, and answers what came of it. For the tests of limits and of what crosses.
#include <claudemesh/ext/hook.h>
#include <claudemesh/ext/peer.h>
#include <claudemesh/ext/transport.h>
#include <dlfcn.h>
#include <fcntl.h>
#include <pthread.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>
#include <claudemesh/cpp/http.hpp>
#include <claudemesh/cpp/plugin.hpp>

#include <atomic>
#include <cerrno>
#include <condition_variable>
#include <cstring>
#include <list>
#include <mutex>
#include <set>
#include <sstream>

namespace {

// What a call on files came to.
std::string outcome(long result) {
  return result < 0 ? ::strerrorname_np(errno) : "ok";
}

std::string try_open(const std::string& path, int flags) {
  const int fd = ::open(path.c_str(), flags | O_CLOEXEC, 0600);
  const std::string result = outcome(fd);
  if (fd >= 0) {
    ::close(fd);
  }
  return result;
}

std::string try_file(const std::string& verb, const std::string& path, const std::string& other) {
  if (verb == "read") {
    return try_open(path, O_RDONLY);
  }
  if (verb == "list") {
    return try_open(path, O_RDONLY | O_DIRECTORY);
  }
  if (verb == "write") {
    return try_open(path, O_WRONLY | O_CREAT | O_TRUNC);
  }
  if (verb == "cut") {
    return try_open(path, O_RDONLY | O_TRUNC);
  }
  if (verb == "truncate") {
    return outcome(::truncate(path.c_str(), 0));
  }
  if (verb == "remove") {
    return outcome(::unlink(path.c_str()));
  }
  if (verb == "make") {
    return outcome(::mkdir(path.c_str(), 0700));
  }
  if (verb == "move") {
    return outcome(::rename(path.c_str(), other.c_str()));
  }
  if (verb == "link") {
    return outcome(::link(path.c_str(), other.c_str()));
  }
  if (verb == "mode") {
    return outcome(::chmod(path.c_str(), 0777));
  }
  return verb == "touch" ? outcome(::utimensat(AT_FDCWD, path.c_str(), nullptr, 0)) : "no such verb";
}

// Memory of its own until there is none, or 64 MiB, and what the runner of the tests has in reserve. Returns MiB.
std::size_t hoard() {
  constexpr std::size_t kStep = 256u << 10;
  std::size_t steps = 0;
  if (void* ballast = ::dlsym(RTLD_DEFAULT, "cm_test_ballast"); ballast != nullptr) {
    std::memset(ballast, 1, 8u << 20);
  }
  for (; steps < 256; ++steps) {
    void* block = ::mmap(nullptr, kStep, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (block == MAP_FAILED) {
      break;
    }
    std::memset(block, 1, kStep);
  }
  return steps / 4;
}

class Prober final : public cm::PluginInstance {
 public:
  explicit Prober(const cm_host* host) : PluginInstance(host) {}

  cm::Status configure() override {
    folder_ = host().option_text("folder");
    return {};
  }
  void start(Done started) override {
    if (const std::string peer = option("peer"); !peer.empty()) {
      auto acquired = cm::Extension<cm_peer_v1>::acquire(host(), peer, CM_PEER_ID);
      if (!acquired) {
        started(acquired.error());
        return;
      }
      peer_ = std::move(*acquired);
    }
    started(listen());
  }
  void stop() override {
    {
      const std::lock_guard lock(mutex_);
      stopping_ = true;
    }
    changed_.notify_all();
    listener_.close();
    peer_ = {};
  }
  ~Prober() override {
    if (!at_end_.empty()) {
      append(at_end_, "destroyed\n");
    }
  }
  const void* extension(std::string_view id) override { return id == CM_HOOK_ID ? &hook_ : nullptr; }

 private:
  struct Reply {
    cm_status (*finish)(void*, cm_handle, std::uint32_t, cm_bytes_pview) CM_NOEXCEPT;
    void* context;
    cm_handle ticket;
    void operator()(std::string_view text) const { finish(context, ticket, CM_HOOK_REPLACE, cm::to_bytes_pview(text)); }
  };

  static std::uint32_t invoke(void* instance, const cm_hook_event* event, const cm_hook_reply* reply) noexcept {
    return static_cast<Prober*>(static_cast<cm::PluginInstance*>(instance))->decide(*event, *reply);
  }

  std::uint32_t decide(const cm_hook_event& event, const cm_hook_reply& reply) {
    std::istringstream words{std::string(cm::to_view(event.payload))};
    std::string verb;
    std::string first;
    std::string second;
    words >> verb >> first >> second;
    const Reply later{reply.finish, reply.context, event.ticket};
    if (verb == "queue") {
      run_in_order(later);
    } else if (verb == "pool") {
      meet(later);
    } else if (verb == "closed-queue") {
      close_full_queue(later);
    } else if (verb == "send") {
      send(first, second, later);
    } else {
      const std::string text = at_once(verb, first, second);
      reply.set_payload(reply.context, event.ticket, cm::to_bytes_pview(std::string_view(text)));
      return CM_HOOK_REPLACE;
    }
    return CM_HOOK_DEFER;
  }

  std::string at_once(const std::string& verb, const std::string& first, const std::string& second) {
    if (verb == "burn") {
      submit(CM_WORKER_POOL, [this] {
        while (!never_.load(std::memory_order_relaxed)) {
        }
      });
      return "burning";
    }
    if (verb == "hoard") {
      return std::to_string(hoard());
    }
    if (verb == "unanswered") {
      return std::to_string(unanswered_);
    }
    if (verb == "jobs-at-end") {
      leave_jobs(first);
      return "left";
    }
    if (verb == "subscribe" || verb == "unsubscribe") {
      return change_subscription(verb == "subscribe");
    }
    if (verb == "events") {
      return events_;
    }
    return verb == "folder" ? try_file(first, folder_ + "/" + second, "") : try_file(verb, first, second);
  }

  std::string option(const char* name) {
    try {
      return host().option_text(name);
    } catch (const std::exception&) {
      return {};
    }
  }

  // --- workers ---

  void submit(cm_handle queue, std::function<void()> job) {
    auto owned = std::make_unique<std::function<void()>>(std::move(job));
    const cm_status status = host().worker_table()->submit(
        host().self(), queue,
        [](void* user) noexcept {
          const std::unique_ptr<std::function<void()>> taken(static_cast<std::function<void()>*>(user));
          (*taken)();
        },
        owned.get());
    last_submit_ = status;
    if (status == CM_OK) {
      static_cast<void>(owned.release());
    }
  }
  cm_handle make_queue() {
    cm_handle queue = CM_NO_HANDLE;
    host().worker_table()->create_queue(host().self(), cm::to_pview("prober"), &queue);
    return queue;
  }

  // A thousand jobs; the last one tells in which order, and on how many threads, they ran.
  void run_in_order(Reply later) {
    struct State {
      std::vector<int> order;
      std::set<pthread_t> threads;
    };
    const auto state = std::make_shared<State>();
    const cm_handle queue = make_queue();
    const pthread_t loop = ::pthread_self();
    for (int i = 0; i < 1'000; ++i) {
      submit(queue, [this, state, i, later, loop] {
        state->order.push_back(i);
        state->threads.insert(::pthread_self());
        if (i != 999) {
          return;
        }
        host().post([state, later, loop] {
          bool sorted = true;
          for (std::size_t at = 0; at < state->order.size(); ++at) {
            sorted = sorted && state->order[at] == static_cast<int>(at);
          }
          later(std::to_string(state->order.size()) + (sorted ? " in order on " : " mixed up on ") +
                std::to_string(state->threads.size()) + " thread" +
                (state->threads.contains(loop) ? ", the loop's" : "") +
                (::pthread_self() == loop ? ", back on the loop" : ", on a foreign thread"));
        });
      });
    }
    host().worker_table()->close_queue(host().self(), queue);
  }

  // Two jobs of the pool, each of which waits for the other.
  void meet(Reply later) {
    const auto here = std::make_shared<int>(0);
    for (int i = 0; i < 2; ++i) {
      submit(CM_WORKER_POOL, [this, here, later, i] {
        bool met = false;
        {
          std::unique_lock lock(mutex_);
          ++*here;
          changed_.notify_all();
          met = changed_.wait_for(lock, std::chrono::seconds(20), [&] { return *here == 2; });
        }
        if (i == 0) {
          host().post([later, met] { later(met ? "met" : "alone"); });
        }
      });
    }
  }

  // What was accepted runs, what comes after the close is refused.
  void close_full_queue(Reply later) {
    const cm_handle queue = make_queue();
    const auto ran = std::make_shared<int>(0);
    for (int i = 0; i < 100; ++i) {
      submit(queue, [ran] { ++*ran; });
    }
    const auto refused = std::make_shared<cm_status>(CM_OK);
    submit(queue, [this, ran, later, refused] {
      host().post([ran, later, refused] {
        later(std::to_string(*ran) + " ran, then " + (*refused == CM_GONE ? "gone" : std::to_string(*refused)));
      });
    });
    const cm_status closed = host().worker_table()->close_queue(host().self(), queue);
    submit(queue, [] {});
    *refused = closed == CM_OK ? last_submit_ : closed;
  }

  // Jobs that wait until stop has been called, and write down that they ran.
  void leave_jobs(const std::string& file) {
    at_end_ = file;
    const cm_handle queue = make_queue();
    for (int i = 0; i < 3; ++i) {
      submit(queue, [this, file, i] {
        std::unique_lock lock(mutex_);
        changed_.wait(lock, [this] { return stopping_; });
        append(file, "job " + std::to_string(i) + "\n");
      });
    }
  }
  static void append(const std::string& file, const std::string& line) {
    const int fd = ::open(file.c_str(), O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0600);
    static_cast<void>(!::write(fd, line.data(), line.size()));
    ::close(fd);
  }

  // --- a peer ---

  void send(const std::string& to, const std::string& text, Reply later) {
    cm_peer_message message = {};
    message.size = sizeof(message);
    message.priority = CM_PRIORITY_NEXT;
    message.mesh = cm::to_pview("lab");
    message.to = cm::to_pview(to);
    message.text = cm::to_pview(text);
    message.client_message_id = cm::to_pview("id-1");
    auto owned = std::make_unique<Reply>(later);
    const cm_status status = peer_->send(
        peer_.instance(), &message,
        [](void* user, std::uint32_t http_status, cm_text_hview json) noexcept {
          const std::unique_ptr<Reply> reply(static_cast<Reply*>(user));
          (*reply)(std::to_string(http_status) + " " + std::string(cm::to_view(json)));
        },
        owned.get());
    if (status == CM_OK) {
      static_cast<void>(owned.release());
    } else {
      later("status " + std::to_string(status));
    }
  }
  std::string change_subscription(bool on) {
    if (!on) {
      peer_->unsubscribe(peer_.instance(), subscription_);
      return "ended";
    }
    const cm_status status = peer_->subscribe(
        peer_.instance(),
        [](void* user, cm_text_hview kind, cm_text_hview json) noexcept {
          static_cast<Prober*>(user)->events_ +=
              std::string(cm::to_view(kind)) + " " + std::string(cm::to_view(json)) + "\n";
        },
        this, &subscription_);
    return std::to_string(status);
  }

  // --- streams ---

  struct Stream {
    Prober* owner;
    cm::HttpRequest request;
    std::uint64_t left = 0;  // bytes
    bool events = false;
  };

  cm::Status listen() {
    const std::string address = option("listen");
    if (address.empty()) {
      return {};
    }
    cm_http_listen_options options = {};
    options.size = sizeof(options);
    options.address = cm::to_pview(address);
    if (cm::Status status = listener_.listen(host(), options); !status.ok()) {
      return status;
    }
    listener_.route("GET", "/bytes/:count", [this](const cm::HttpRequest& request) { begin_bytes(request); });
    listener_.route("GET", "/events", [this](const cm::HttpRequest& request) { begin_events(request); });
    listener_.route("POST", "/push", [this](const cm::HttpRequest& request) { push(request); });
    listener_.route("GET", "/counts", [this](const cm::HttpRequest& request) {
      request.respond(200, {}, "busy " + std::to_string(busy_) + " closed " + std::to_string(closed_));
    });
    listener_.route("GET", "/never", [this](const cm::HttpRequest&) { ++unanswered_; });
    return {};
  }

  void begin_bytes(const cm::HttpRequest& request) {
    streams_.push_back(Stream{this, request, std::stoull(std::string(request.path_parameter("count"))), false});
    if (request.stream_begin(200, {{"content-type", "application/octet-stream"}}, &on_stream, &streams_.back()) ==
        CM_OK) {
      write_bytes(streams_.back());
    }
  }
  void write_bytes(Stream& stream) {
    static const std::string block(64u << 10, 's');
    while (stream.left > 0) {
      const std::size_t size = std::min<std::size_t>(block.size(), stream.left);
      if (stream.request.stream_write(std::string_view(block).substr(0, size)) != CM_OK) {
        ++busy_;
        return;  // the rest follows when it is drained
      }
      stream.left -= size;
    }
    stream.request.stream_end();
    forget(stream);
  }
  void begin_events(const cm::HttpRequest& request) {
    streams_.push_back(Stream{this, request, 0, true});
    request.stream_begin(200, {{"content-type", "text/event-stream"}}, &on_stream, &streams_.back());
    request.stream_write("data: first\n\n");
  }
  // The body to every reader of events; "end" ends them.
  void push(const cm::HttpRequest& request) {
    const std::string text(request.body());
    for (auto stream = streams_.begin(); stream != streams_.end();) {
      Stream& current = *stream++;
      if (!current.events) {
        continue;
      }
      if (text == "end") {
        current.request.stream_end();
        forget(current);
      } else {
        current.request.stream_write("data: " + text + "\n\n");
      }
    }
    request.respond(200, {}, "pushed");
  }
  void forget(const Stream& stream) {
    streams_.remove_if([&stream](const Stream& other) { return &other == &stream; });
  }
  static void on_stream(void* user, cm_handle, std::uint32_t what) noexcept {
    auto* stream = static_cast<Stream*>(user);
    Prober* self = stream->owner;
    if (what == CM_HTTP_STREAM_CLOSED) {
      ++self->closed_;
      self->forget(*stream);
    } else {
      self->write_bytes(*stream);
    }
  }

  cm_hook_v1 hook_ = {sizeof(cm_hook_v1), CM_HOOK_GUARD, 10, 15'000, &invoke};
  std::string folder_;
  std::string at_end_;
  cm_status last_submit_ = CM_OK;
  std::mutex mutex_;
  std::condition_variable changed_;
  bool stopping_ = false;  // guarded by mutex_
  std::atomic<bool> never_{false};
  cm::Extension<cm_peer_v1> peer_;
  cm_handle subscription_ = CM_NO_HANDLE;
  std::string events_;
  cm::HttpListener listener_;
  std::list<Stream> streams_;
  int unanswered_ = 0;
  int busy_ = 0;
  int closed_ = 0;
};

}  // namespace

CM_DEFINE_PLUGIN(Prober);
