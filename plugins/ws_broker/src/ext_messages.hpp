// cm.broker.messages/1: features of other plugins. What is registered here belongs to an instance ("caller"); it is
// forgotten when that instance was found stopped, which is looked at before each call into it and once a tick.
#pragma once

#include <claudemesh/ext/broker.h>
#include <claudemesh/cpp/http.hpp>
#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "plugins/ws_broker/src/connection.hpp"
#include "plugins/ws_broker/src/context.hpp"
#include "plugins/ws_broker/src/path_pattern.hpp"
#include "plugins/ws_broker/src/target_feature.hpp"
#include "protocol/json.hpp"
#include "protocol/wire_reader.hpp"

namespace cm::broker {

class Broker;

class MessagesExtension final : public TargetFeatures {
 public:
  static constexpr std::int64_t kHttpTimeoutMs = 110'000;  // the host itself gives up after 120 s
  static constexpr std::size_t kWatchesMax = 1'024;
  static constexpr std::size_t kHttpRoutesMax = 1'024;

  explicit MessagesExtension(Broker& broker) : broker_(broker) {}

  // --- for the broker ---
  bool serves(std::string_view type) const { return types_.find(type) != types_.end(); }
  // A frame of a type that is served; `frame` is the text that `reader` holds.
  void handle(Connection& connection, const protocol::FrameReader& reader);
  // Adds what features contribute to a reply of the broker: `reply` is a JSON object.
  void contribute(std::string_view type, const Presence& presence, std::string_view frame, std::string& reply);
  bool has_contributors(std::string_view type) const;
  bool serves_target(std::string_view target_spec) const override;
  void ask_target(const SendRequest& request, std::function<void(TargetAnswer)> done) override;
  // False when no feature has the path; the request is then still open.
  bool handle_http(const HttpRequest& request);
  void presence_joined(const Presence& presence);
  void presence_left(const Presence& presence);
  void member_joined(const Member& member);
  void member_removed(const Member& member);
  void mesh_created(const Mesh& mesh);
  void tick(std::int64_t now_ms);
  void stop();

  // --- functions of the table ---
  cm_status serve_type(cm_handle caller, std::string_view type, cm_broker_request_handler handler, void* user);
  cm_status add_contributor(cm_handle caller, std::string_view type, cm_broker_request_handler handler, void* user);
  cm_status serve_prefix(cm_handle caller, std::string_view prefix, cm_broker_target_handler handler, void* user);
  cm_status serve_http(cm_handle caller, std::string_view method, std::string_view pattern,
                       cm_broker_http_handler handler, void* user);
  cm_status reply(cm_handle caller, cm_handle request, std::string_view json);
  cm_status no_reply(cm_handle caller, cm_handle request);
  cm_status error(cm_handle caller, cm_handle request, std::string_view code, std::string_view message);
  cm_status route(cm_handle caller, cm_handle request, const cm_broker_audience& audience);
  cm_status http_respond(cm_handle caller, cm_handle request, std::uint32_t status, const cm_http_header* headers,
                         std::uint64_t header_count, cm_bytes_pview body);
  cm_text_hview http_header(cm_handle caller, cm_handle request, std::string_view name);
  cm_text_hview http_path_parameter(cm_handle caller, cm_handle request, std::string_view name);
  cm_status push(const cm_broker_to& to, std::string_view json, std::uint64_t* out_count);
  cm_status push_event(const cm_broker_to& to, const cm_broker_event& event, std::uint64_t* out_count);
  cm_status meshes(cm_broker_mesh_row row, void* user);
  cm_status members(std::string_view mesh_id, cm_broker_member_row row, void* user);
  cm_status presences(std::string_view mesh_id, cm_broker_presence_row row, void* user);
  cm_status presence(cm_handle presence, cm_broker_presence_row row, void* user);
  cm_status watch(cm_handle caller, const cm_broker_watch& callbacks, void* user, cm_handle* out_watch);
  void unwatch(cm_handle caller, cm_handle watch);
  cm_status audit(std::string_view mesh_id, std::string_view event_type, std::string_view actor_member_id,
                  std::string_view payload_json);

 private:
  template <typename Function>
  struct Registration {
    cm_handle caller = CM_NO_HANDLE;
    Function handler = nullptr;
    void* user = nullptr;
  };
  using Handler = Registration<cm_broker_request_handler>;
  struct HttpRoute {
    std::string method;
    PathPattern pattern;
    Registration<cm_broker_http_handler> handler;
  };
  struct Watch {
    cm_handle caller = CM_NO_HANDLE;
    cm_broker_watch callbacks = {};
    void* user = nullptr;
  };
  enum class Kind : std::uint8_t { kFrame, kContribution, kSend, kHttp };
  // A request that a feature has not answered yet.
  struct Request {
    Kind kind = Kind::kFrame;
    cm_handle caller = CM_NO_HANDLE;
    std::uint64_t connection = 0;
    Connection::Ticket ticket = 0;
    std::optional<std::string> req_id;
    std::string contribution;
    Mesh* mesh = nullptr;
    std::function<void(TargetAnswer)> routed;
    std::optional<HttpRequest> http;
    PathPattern::Parameters parameters;
  };

  // True when it still runs; otherwise everything of it is forgotten.
  bool check_caller(cm_handle caller);
  void forget(cm_handle caller);
  std::size_t registrations() const noexcept;
  cm_handle open_request(Request request);
  // The open request of that caller, or null; counts who answers twice.
  Request* find_request(cm_handle caller, cm_handle handle, std::initializer_list<Kind> kinds);
  void misbehaves(std::string_view what, cm_handle caller);
  void answer_frame(const Request& request, std::string frame);
  void fail(Request request, std::string_view code, std::string_view message);
  void expire_requests(std::deque<std::pair<std::int64_t, cm_handle>>& deadlines, std::int64_t now_ms);
  template <typename Call>
  void notify(Call&& call);
  cm_status find_receivers(const cm_broker_to& to, std::vector<Presence*>& out);
  cm_status send_to(const std::vector<Presence*>& receivers, std::string frame, std::uint64_t* out_count);

  Broker& broker_;
  std::map<std::string, Handler, std::less<>> types_;
  std::multimap<std::string, Handler, std::less<>> contributors_;
  std::map<char, Registration<cm_broker_target_handler>> prefixes_;
  std::vector<HttpRoute> routes_;
  std::map<cm_handle, Watch> watches_;
  std::unordered_map<cm_handle, Request> requests_;
  std::deque<std::pair<std::int64_t, cm_handle>> deadlines_;  // of frames and sends
  std::deque<std::pair<std::int64_t, cm_handle>> http_deadlines_;
  cm_handle next_handle_ = 1;  // of requests and watches; never used twice
  int notifying_ = 0;          // inside a notice: what is sent now leaves after it
};

}  // namespace cm::broker
