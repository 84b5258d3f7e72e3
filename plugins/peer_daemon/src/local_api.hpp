// The local HTTP API over the Unix socket and, when asked for, TCP (wire/06 section 7).
#pragma once

#include <claudemesh/cpp/http.hpp>

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "plugins/peer_daemon/src/caller.hpp"
#include "plugins/peer_daemon/src/drain.hpp"
#include "plugins/peer_daemon/src/event_hub.hpp"
#include "plugins/peer_daemon/src/home_files.hpp"
#include "plugins/peer_daemon/src/inbox_store.hpp"
#include "plugins/peer_daemon/src/membership.hpp"
#include "plugins/peer_daemon/src/send_pipeline.hpp"

namespace cm::daemon {

inline constexpr std::size_t kSessionBodyMax = 64 * 1024;
inline constexpr std::size_t kDataBodyMax = 256 * 1024;
inline constexpr std::size_t kProfileBodyMax = 16 * 1024;
inline constexpr std::size_t kRequeueBodyMax = 4 * 1024;

// What the handlers work with; all outlive the API.
struct ApiParts {
  const HostApi* host = nullptr;
  const DaemonOptions* options = nullptr;
  Membership* membership = nullptr;
  SendPipeline* pipeline = nullptr;
  OutboxStore* outbox = nullptr;
  InboxStore* inbox = nullptr;
  Drain* drain = nullptr;
  EventHub* events = nullptr;
  std::function<void(ReloadDone done)> reload;
};

// A request on its way through a handler. Copyable: handlers that answer later keep a copy; they must not read views of
// the request then, only answer.
struct ApiCall {
  HttpRequest request;
  Caller caller;

  void answer(const ApiAnswer& answer) const { request.respond_json(answer.status, answer.json); }
  std::string query(std::string_view name) const { return std::string(request.query_parameter(name)); }
};

// Lives on the daemon's loop.
class LocalApi {
 public:
  // kIo, kBusy: what the host said about the address. `local_token` guards TCP.
  Status open(ApiParts parts, SecretText local_token);
  void close();

  // GET /v1/health, also for tests and the log.
  std::string health_json() const;

 private:
  using Handler = void (LocalApi::*)(const ApiCall& call);
  // A session token that nobody has is no caller: routes that act or read as somebody refuse it, rather than take the
  // caller for the member. Those about the daemon itself serve anybody.
  enum class Access : std::uint8_t { kIdentity, kAnybody };

  Status listen(const std::string& address);
  void add_routes(HttpListener& listener);
  void add(HttpListener& listener, std::string_view method, std::string_view pattern, std::size_t body_max,
           Handler handler, Access access = Access::kIdentity);
  void dispatch(const HttpRequest& request, std::size_t body_max, Handler handler, Access access);
  Caller caller_of(std::string_view authorization) const;

  // api_messages.cpp
  void send(const ApiCall& call);
  void list_inbox(const ApiCall& call);
  void list_inbox_rows(const ApiCall& call, InboxQuery query);
  void mark_inbox_seen(const ApiCall& call);
  void delete_inbox_row(const ApiCall& call);
  void flush_inbox(const ApiCall& call);
  void list_outbox(const ApiCall& call);
  void requeue(const ApiCall& call);
  void stream_events(const ApiCall& call);

  // api_daemon.cpp
  void version(const ApiCall& call);
  void health(const ApiCall& call);
  void reload_meshes(const ApiCall& call);
  void register_session(const ApiCall& call);
  void delete_session(const ApiCall& call);
  void list_sessions(const ApiCall& call);
  void own_session(const ApiCall& call);

  // api_mesh.cpp
  void list_peers(const ApiCall& call);
  void message_status(const ApiCall& call);
  void ask_status(const ApiCall& call, Mesh& mesh, const std::string& message_id);
  ApiAnswer unsent_status(const SentMessage& sent) const;
  void read_state(const ApiCall& call);
  void write_state(const ApiCall& call);
  void recall(const ApiCall& call);
  void remember(const ApiCall& call);
  void forget(const ApiCall& call);
  void list_skills(const ApiCall& call);
  void get_skill(const ApiCall& call);
  void set_profile(const ApiCall& call);

  // The meshes that a reading request is about: the named one, the session's, or all. Empty after a refusal was sent.
  std::vector<std::string> context_meshes(const ApiCall& call);
  // The mesh of a writing request; null after a refusal was sent.
  Mesh* chosen_mesh(const ApiCall& call, std::string_view asked);
  // Asks every mesh; `collect` gets each answer's frame and returns JSON items; `done` all items, or nothing when no
  // mesh answered.
  using Collect = std::function<std::vector<std::string>(const std::string& mesh, const std::string& frame)>;
  void ask_all(const ApiCall& call, const std::vector<std::string>& meshes, std::string frame, std::string list_name,
               Collect collect);
  void ask_list(const ApiCall& call, std::string frame, std::string list_name, std::vector<std::string_view> names);
  // Asks one mesh. `unreachable_word` is the error when no reply comes; it must be a literal.
  using Answered = std::function<ApiAnswer(const protocol::JsonValue& reply)>;
  void ask_one(const ApiCall& call, Mesh& mesh, std::string frame, Answered answered,
               std::string_view unreachable_word = "broker_unreachable");
  // The object in the body; nothing after a refusal was sent.
  static std::optional<protocol::JsonValue> body_of(const ApiCall& call);

  ApiParts parts_;
  SecretText local_token_;
  std::vector<std::unique_ptr<HttpListener>> listeners_;
};

}  // namespace cm::daemon
