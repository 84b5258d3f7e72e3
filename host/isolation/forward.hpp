// Carries out, in the host, what a child asks for: by the ordinary tables of its instance, so that permissions, limits
// and counters are those of a plugin in process. One object of each class per child; [loop] throughout.
#pragma once

#include <claudemesh/ext/hook.h>
#include <claudemesh/ext/host.h>
#include <claudemesh/ext/http.h>
#include <claudemesh/ext/websocket.h>
#include <claudemesh/plugin.h>

#include <atomic>
#include <cstdint>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <unordered_map>

#include "host/isolation/session.hpp"

namespace cm::isolation {

inline constexpr std::uint32_t kLogLinesPerSecondMax = 200;  // of one child; more are dropped and counted
inline constexpr std::size_t kRoutesMax = 4096;
inline constexpr std::size_t kHeadersMax = 1024;
inline constexpr std::size_t kUnansweredMax = 65'536;  // requests remembered; the host ends others by its own deadline
inline constexpr std::size_t kAsksMax = 4096;          // hooks that a child may wait for at once

// Counters over all children of one instance. Written by the loop, read by any thread.
struct IsolationCounters {
  std::atomic<std::uint64_t> restarts{0};
  std::atomic<std::uint64_t> crashes{0};  // ended by itself or by a signal that was not ours
  std::atomic<std::uint64_t> hangs{0};
  std::atomic<std::uint64_t> overuses{0};  // ended because of memory or processor time
  std::atomic<std::uint64_t> garbage{0};   // ended because of what it sent
  std::atomic<std::uint64_t> quarantines{0};
  std::atomic<std::uint64_t> throttled{0};
  std::atomic<std::uint64_t> log_lines_dropped{0};
};

// The metrics of the instance, which outlive its children: defined by the first, found again by the next.
using MetricMemory = std::map<std::string, std::uint32_t>;

class ForwardHttp;

// What a stream of the host calls back. It outlives the children: a stream may end after the child that began it.
// [loop]
struct StreamRelay {
  ForwardHttp* current = nullptr;  // of the child that lives now
};

struct ForwardContext {
  Session& session;
  HostSide& host_side;
  const cm_host* host;
  IsolationCounters& counters;
  MetricMemory& metrics;
  StreamRelay& streams;

  template <typename Table>
  const Table* table(const char* id) const {
    return static_cast<const Table*>(host->get(host->self, id));
  }
  cm_handle self() const noexcept { return host->self; }
};

// cm.log/1, cm.metrics/1, cm.events/1
class ForwardBasic {
 public:
  explicit ForwardBasic(ForwardContext& context) : context_(context) {}
  // False: not one of ours.
  bool handle(const Frame& frame);
  void release_all();
  // Tells how many lines were dropped. Called about every second.
  void each_second();

 private:
  struct Subscription {
    ForwardBasic* owner;
    std::uint64_t id;
    cm_handle handle;
  };
  void log(const Frame& frame);
  void metrics(const Frame& frame);
  void publish(const Frame& frame);
  void define(const Frame& frame);
  void subscribe(const Frame& frame);
  void unsubscribe(const Frame& frame);
  static void on_event(void* user, cm_text_hview topic, cm_text_hview json) noexcept;

  ForwardContext& context_;
  std::map<std::uint64_t, std::unique_ptr<Subscription>> subscriptions_;
  std::uint32_t lines_this_second_ = 0;
  std::uint64_t lines_dropped_told_ = 0;
};

// cm.http.server/1, cm.http.client/1
class ForwardHttp {
 public:
  explicit ForwardHttp(ForwardContext& context) : context_(context) { context_.streams.current = this; }
  ~ForwardHttp() { context_.streams.current = nullptr; }
  ForwardHttp(const ForwardHttp&) = delete;
  ForwardHttp& operator=(const ForwardHttp&) = delete;
  bool handle(const Frame& frame);
  void release_all();

 private:
  struct Route {
    ForwardHttp* owner;
    std::uint64_t id;
  };
  bool handle_stream(const Frame& frame);
  void listen(const Frame& frame);
  void route(const Frame& frame);
  void close(const Frame& frame);
  void lookup(const Frame& frame);
  void respond(const Frame& frame);
  void stream_begin(const Frame& frame);
  void stream_write(const Frame& frame);
  void stream_end(const Frame& frame);
  void send(const Frame& frame);
  void cancel(const Frame& frame);
  void on_request(std::uint64_t route, cm_handle request, const cm_http_request_info& info);
  void refuse_request(cm_handle request, std::uint32_t status, std::string_view text);
  static void request_callback(void* user, cm_handle request, const cm_http_request_info* info) noexcept;
  static void stream_callback(void* user, cm_handle request, std::uint32_t what) noexcept;
  static void result_callback(void* user, cm_handle call, const cm_http_result* result) noexcept;

  ForwardContext& context_;
  std::set<cm_handle> listeners_;
  std::set<cm_handle> calls_;
  // What the child has not answered yet. It may hold some that the host has given up meanwhile.
  std::set<cm_handle> unanswered_;
  std::vector<std::unique_ptr<Route>> routes_;
};

// cm.websocket/1
class ForwardSockets {
 public:
  explicit ForwardSockets(ForwardContext& context) : context_(context) {}
  bool handle(const Frame& frame);
  void release_all();

 private:
  void open(const Frame& frame);
  void send(const Frame& frame);
  void control(const Frame& frame);
  void buffered(const Frame& frame);
  void on_messages(cm_handle socket, const cm_websocket_message* messages, std::uint64_t count);
  static const cm_websocket_callbacks& callbacks();

  ForwardContext& context_;
  std::set<cm_handle> sockets_;
};

// cm.registry/1, and the extensions that the child may use of others: cm.hook/1 here, cm.peer/1 in extensions/.
class ForwardPeer;
class ForwardRegistry {
 public:
  explicit ForwardRegistry(ForwardContext& context);
  ~ForwardRegistry();
  bool handle(const Frame& frame);
  void release_all();
  // What the child holds under this number, or null. `hook`: cm.hook/1, otherwise cm.peer/1.
  const cm_extension* find(std::uint64_t id, bool hook) const;

 private:
  struct Reference {
    ForwardRegistry* owner;
    std::uint64_t id;
    cm_extension extension;
    bool hook;
  };
  struct Ask {
    std::string payload;
    bool deferred = false;
  };
  void acquire(const Frame& frame);
  void release(const Frame& frame);
  void ask(const Frame& frame);
  void answer(std::uint64_t call, std::uint32_t result, std::string_view payload);
  static void going_away(void* user) noexcept;
  static void set_payload(void* context, cm_handle ticket, cm_bytes_pview payload) noexcept;
  static cm_status finish(void* context, cm_handle ticket, std::uint32_t result, cm_bytes_pview payload) noexcept;

  ForwardContext& context_;
  std::map<std::uint64_t, std::unique_ptr<Reference>> references_;
  std::unordered_map<std::uint64_t, Ask> asks_;  // by the child's call number, which is the ticket
  std::unique_ptr<ForwardPeer> peer_;
};

}  // namespace cm::isolation
