// The answers of features to requests: frames, sends, HTTP.
#include <algorithm>

#include "plugins/ws_broker/src/ext_facts.hpp"
#include "plugins/ws_broker/src/ext_messages.hpp"
#include "plugins/ws_broker/src/handlers.hpp"

namespace cm::broker {

namespace {

constexpr std::size_t kErrorTextMax = 1'024;

// Puts a request id into the text of an object that has none.
std::string with_request_id(std::string_view json, const std::optional<std::string>& req_id, bool has_one) {
  std::string out(json.substr(0, json.rfind('}')));
  if (req_id && !has_one) {
    out += ",\"_reqId\":";
    protocol::append_json_string(out, *req_id);
  }
  out.push_back('}');
  return out;
}

}  // namespace

// --- frames ---------------------------------------------------------------------------------------------------------

cm_status MessagesExtension::reply(cm_handle caller, cm_handle handle, std::string_view json) {
  Request* request = find_request(caller, handle, {Kind::kFrame, Kind::kContribution});
  if (request == nullptr) {
    return CM_GONE;
  }
  if (json.size() > CM_BROKER_FRAME_BYTES_MAX) {
    return CM_INVALID;
  }
  const auto tree = protocol::parse_json(json);
  if (!tree.ok() || !tree->is_object()) {
    return CM_INVALID;
  }
  if (request->kind == Kind::kContribution) {
    request->contribution = json;
    return CM_OK;
  }
  const protocol::JsonValue* type = tree->find("type");
  if (type == nullptr || type->as_string() == nullptr) {
    return CM_INVALID;
  }
  const bool connected = broker_.find_connection(request->connection) != nullptr;
  const auto done = requests_.extract(handle);
  answer_frame(done.mapped(), with_request_id(json, done.mapped().req_id, tree->find("_reqId") != nullptr));
  return connected ? CM_OK : CM_GONE;
}

cm_status MessagesExtension::no_reply(cm_handle caller, cm_handle handle) {
  if (find_request(caller, handle, {Kind::kFrame, Kind::kContribution}) == nullptr) {
    return CM_GONE;
  }
  const auto done = requests_.extract(handle);
  if (done.mapped().kind == Kind::kFrame) {
    answer_frame(done.mapped(), {});
  }
  return CM_OK;
}

cm_status MessagesExtension::error(cm_handle caller, cm_handle handle, std::string_view code,
                                   std::string_view message) {
  if (find_request(caller, handle, {Kind::kFrame, Kind::kSend}) == nullptr) {
    return CM_GONE;
  }
  if (code.empty() || code.size() > CM_BROKER_TYPE_BYTES_MAX) {
    return CM_INVALID;
  }
  auto done = requests_.extract(handle);
  fail(std::move(done.mapped()), code, message.substr(0, kErrorTextMax));
  return CM_OK;
}

// --- sends ----------------------------------------------------------------------------------------------------------

cm_status MessagesExtension::route(cm_handle caller, cm_handle handle, const cm_broker_audience& audience) {
  Request* request = find_request(caller, handle, {Kind::kSend});
  if (request == nullptr) {
    return CM_GONE;
  }
  const bool members_missing = audience.member_count != 0 && audience.member_ids == nullptr;
  const bool work_alone = audience.work != nullptr && audience.done == nullptr && audience.work_user != nullptr;
  if (members_missing || work_alone || audience.member_count > request->mesh->members.size()) {
    return CM_INVALID;  // a work with a user that nobody would free
  }
  TargetAnswer answer;
  for (std::uint64_t i = 0; i < audience.member_count; ++i) {
    const auto member = request->mesh->members.find(to_view(audience.member_ids[i]));
    if (member != request->mesh->members.end() && member->second->active()) {
      answer.members.push_back(member->second.get());
    }
  }
  std::sort(answer.members.begin(), answer.members.end(),
            [](const Member* a, const Member* b) { return a->id < b->id; });
  answer.members.erase(std::unique(answer.members.begin(), answer.members.end()), answer.members.end());
  answer.topic = to_view(audience.topic);
  if (audience.work != nullptr || audience.done != nullptr) {
    answer.work = std::make_shared<FeatureWork>(audience.work, audience.work_user, audience.done,
                                                [this, caller] { return is_alive(broker_.context().host, caller); });
  }
  auto done = requests_.extract(handle);
  // The send goes on from a later turn, so that nothing of the feature is called from in here.
  broker_.context().host.post([routed = std::move(done.mapped().routed),
                               answer = std::make_shared<TargetAnswer>(std::move(answer))] { routed(*answer); });
  return CM_OK;
}

// --- HTTP -----------------------------------------------------------------------------------------------------------

bool MessagesExtension::handle_http(const HttpRequest& request) {
  const HttpRoute* best = nullptr;
  PathPattern::Parameters parameters;
  bool known_path = false;
  for (const HttpRoute& route : routes_) {
    auto matched = route.pattern.match(request.path());
    known_path = known_path || matched.has_value();
    const bool wanted = matched && (route.method == "*" || route.method == request.method());
    if (wanted && (best == nullptr || route.pattern.more_literal_than(best->pattern))) {
      best = &route;
      parameters = std::move(*matched);
    }
  }
  if (best == nullptr) {
    if (known_path) {
      respond_cors(request, 405, "method not allowed");
    }
    return known_path;
  }
  const auto handler = best->handler;
  if (!check_caller(handler.caller)) {
    return false;
  }
  if (requests_.size() >= CM_BROKER_REQUESTS_WAITING_MAX) {
    respond_cors(request, 503, "too many requests wait for features");
    return true;
  }
  Request open;
  open.kind = Kind::kHttp;
  open.caller = handler.caller;
  open.http = request;
  open.parameters = std::move(parameters);
  const cm_handle handle = open_request(std::move(open));
  cm_http_request_info info = {};
  info.size = sizeof(info);
  info.flags = broker_.context().options.tls_cert_file.empty() ? 0 : CM_HTTP_TLS;
  info.method = to_hview(request.method());
  info.target = to_hview(request.target());
  info.path = to_hview(request.path());
  info.query = to_hview(request.query());
  info.body = cm_bytes_hview{reinterpret_cast<const std::uint8_t*>(request.body().data()), request.body().size()};
  info.remote_address = to_hview(request.remote_address());
  info.peer_uid = info.peer_gid = info.peer_pid = -1;
  handler.handler(handler.user, handle, &info);
  return true;
}

cm_status MessagesExtension::http_respond(cm_handle caller, cm_handle handle, std::uint32_t status,
                                          const cm_http_header* headers, std::uint64_t header_count,
                                          cm_bytes_pview body) {
  const Request* request = find_request(caller, handle, {Kind::kHttp});
  if (request == nullptr) {
    return CM_GONE;
  }
  const HostApi& host = broker_.context().host;
  const auto* table = host.find<cm_http_server_v1>(CM_HTTP_SERVER_ID);
  const cm_status result = table->respond(host.self(), request->http->handle(), status, headers, header_count, body);
  if (result != CM_INVALID) {
    requests_.erase(handle);
  }
  return result;
}

cm_text_hview MessagesExtension::http_header(cm_handle caller, cm_handle handle, std::string_view name) {
  const Request* request = find_request(caller, handle, {Kind::kHttp});
  return to_hview(request == nullptr ? std::string_view() : request->http->header(name));
}

cm_text_hview MessagesExtension::http_path_parameter(cm_handle caller, cm_handle handle, std::string_view name) {
  const Request* request = find_request(caller, handle, {Kind::kHttp});
  if (request != nullptr) {
    for (const auto& [key, value] : request->parameters) {
      if (key == name) {
        return to_hview(value);
      }
    }
  }
  return to_hview(std::string_view());
}

}  // namespace cm::broker
