// Registrations and requests of features; the table is in ext_messages_table.cpp.
#include "plugins/ws_broker/src/ext_messages.hpp"

#include <algorithm>

#include "plugins/ws_broker/src/broker.hpp"
#include "plugins/ws_broker/src/ext_facts.hpp"
#include "plugins/ws_broker/src/handlers.hpp"
#include "protocol/priority_number.hpp"
#include "protocol/wire_types.hpp"

namespace cm::broker {

namespace {

bool is_type_name(std::string_view type) {
  const auto plain = [](char c) { return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '_'; };
  return !type.empty() && type.size() <= CM_BROKER_TYPE_BYTES_MAX && type.front() >= 'a' && type.front() <= 'z' &&
         std::all_of(type.begin(), type.end(), plain);
}

// Letters, digits and what names are made of begin a key or a name; '@' and '*' are groups and everybody.
bool is_prefix(std::string_view prefix) {
  if (prefix.size() != 1) {
    return false;
  }
  const char c = prefix.front();
  const bool name =
      (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' || c == '-' || c == '.';
  return c > ' ' && c < 0x7f && !name && c != '@' && c != '*';
}

bool is_path_of_broker(std::string_view path) {
  return path == "/ws" || path == "/health" || path == "/health/ready" || path == "/join";
}

// The members of `addition` that `reply` does not have, before its closing brace.
bool merge(std::string& reply, const protocol::JsonValue& addition) {
  const auto there = protocol::parse_json(reply);
  if (!there.ok() || addition.as_object() == nullptr) {
    return false;
  }
  for (const protocol::JsonMember& member : *addition.as_object()) {
    if (there->find(member.key) != nullptr || member.key == "_reqId") {
      continue;
    }
    reply.pop_back();
    if (!reply.ends_with('{')) {
      reply.push_back(',');
    }
    protocol::append_json_string(reply, member.key);
    reply.push_back(':');
    protocol::write_json(reply, member.value);
    reply.push_back('}');
  }
  return true;
}

}  // namespace

// --- registrations --------------------------------------------------------------------------------------------------

std::size_t MessagesExtension::registrations() const noexcept {
  return types_.size() + contributors_.size();
}

cm_status MessagesExtension::serve_type(cm_handle caller, std::string_view type, cm_broker_request_handler handler,
                                        void* user) {
  if (!is_type_name(type) || handler == nullptr) {
    return CM_INVALID;
  }
  if (Broker::serves_itself(type) || protocol::is_server_type(protocol::wire_type(type))) {
    return CM_DENIED;
  }
  const auto taken = types_.find(type);
  if (taken != types_.end() && check_caller(taken->second.caller)) {
    return CM_BUSY;
  }
  if (registrations() >= CM_BROKER_TYPES_MAX) {
    return CM_BUSY;
  }
  types_.emplace(type, Handler{caller, handler, user});
  return CM_OK;
}

cm_status MessagesExtension::add_contributor(cm_handle caller, std::string_view type, cm_broker_request_handler handler,
                                             void* user) {
  if ((type != "mesh_info" && type != "hello_ack") || handler == nullptr) {
    return CM_INVALID;
  }
  if (registrations() >= CM_BROKER_TYPES_MAX) {
    return CM_BUSY;
  }
  contributors_.emplace(type, Handler{caller, handler, user});
  return CM_OK;
}

cm_status MessagesExtension::serve_prefix(cm_handle caller, std::string_view prefix, cm_broker_target_handler handler,
                                          void* user) {
  if (!is_prefix(prefix) || handler == nullptr) {
    return CM_INVALID;
  }
  const auto taken = prefixes_.find(prefix.front());
  if (taken != prefixes_.end() && check_caller(taken->second.caller)) {
    return CM_BUSY;
  }
  prefixes_[prefix.front()] = {caller, handler, user};
  return CM_OK;
}

cm_status MessagesExtension::serve_http(cm_handle caller, std::string_view method, std::string_view pattern,
                                        cm_broker_http_handler handler, void* user) {
  auto parsed = PathPattern::parse(pattern);
  if (!parsed || method.empty() || handler == nullptr) {
    return CM_INVALID;
  }
  if (is_path_of_broker(pattern)) {
    return CM_BUSY;
  }
  for (std::size_t i = 0; i < routes_.size();) {
    const bool same = routes_[i].method == method && routes_[i].pattern.text() == pattern;
    if (same && check_caller(routes_[i].handler.caller)) {
      return CM_BUSY;
    }
    i = same ? 0 : i + 1;  // a stopped caller's routes are gone now
  }
  if (routes_.size() >= kHttpRoutesMax) {
    return CM_BUSY;
  }
  routes_.push_back(HttpRoute{std::string(method), std::move(*parsed), {caller, handler, user}});
  return CM_OK;
}

bool MessagesExtension::check_caller(cm_handle caller) {
  if (is_alive(broker_.context().host, caller)) {
    return true;
  }
  forget(caller);
  return false;
}

// Its open requests are answered, so that the connections behind them go on.
void MessagesExtension::forget(cm_handle caller) {
  const auto of_caller = [caller](const auto& entry) { return entry.second.caller == caller; };
  std::erase_if(types_, of_caller);
  std::erase_if(contributors_, of_caller);
  std::erase_if(prefixes_, of_caller);
  std::erase_if(watches_, of_caller);
  std::erase_if(routes_, [caller](const HttpRoute& route) { return route.handler.caller == caller; });
  std::vector<Request> open;
  for (auto request = requests_.begin(); request != requests_.end();) {
    const auto next = std::next(request);
    if (request->second.caller == caller) {
      open.push_back(std::move(request->second));
      requests_.erase(request);
    }
    request = next;
  }
  for (Request& request : open) {
    broker_.context().metrics.feature_abandoned.add();
    fail(std::move(request), "internal", "the feature that serves this was stopped; ask again later");
  }
}

void MessagesExtension::tick(std::int64_t now_ms) {
  expire_requests(deadlines_, now_ms);
  expire_requests(http_deadlines_, now_ms);
  std::set<cm_handle> callers;
  for (const auto& [type, handler] : types_) {
    callers.insert(handler.caller);
  }
  for (const auto& [type, handler] : contributors_) {
    callers.insert(handler.caller);
  }
  for (const auto& [prefix, handler] : prefixes_) {
    callers.insert(handler.caller);
  }
  for (const HttpRoute& route : routes_) {
    callers.insert(route.handler.caller);
  }
  for (const auto& [handle, watch] : watches_) {
    callers.insert(watch.caller);
  }
  for (const cm_handle caller : callers) {
    check_caller(caller);
  }
}

void MessagesExtension::stop() {
  types_.clear();
  contributors_.clear();
  prefixes_.clear();
  routes_.clear();
  watches_.clear();
  requests_.clear();
  deadlines_.clear();
  http_deadlines_.clear();
}

// --- requests -------------------------------------------------------------------------------------------------------

cm_handle MessagesExtension::open_request(Request request) {
  const cm_handle handle = next_handle_++;
  const std::int64_t now_ms = broker_.context().now_ms();
  if (request.kind == Kind::kHttp) {
    http_deadlines_.emplace_back(now_ms + kHttpTimeoutMs, handle);
  } else if (request.kind != Kind::kContribution) {
    deadlines_.emplace_back(now_ms + CM_BROKER_REPLY_TIMEOUT_MS, handle);
  }
  requests_.emplace(handle, std::move(request));
  broker_.context().metrics.feature_requests.add();
  return handle;
}

MessagesExtension::Request* MessagesExtension::find_request(cm_handle caller, cm_handle handle,
                                                            std::initializer_list<Kind> kinds) {
  const auto found = requests_.find(handle);
  if (found == requests_.end() || found->second.caller != caller) {
    misbehaves("it answered a request that is not open: answered before, too late, or of another plugin", caller);
    return nullptr;
  }
  if (std::find(kinds.begin(), kinds.end(), found->second.kind) == kinds.end()) {
    misbehaves("it gave an answer that does not fit the kind of the request", caller);
    return nullptr;
  }
  return &found->second;
}

void MessagesExtension::misbehaves(std::string_view what, cm_handle caller) {
  Context& context = broker_.context();
  context.metrics.feature_faults.add();
  context.host.log(static_cast<LogLevel>(CM_LOG_PLUGIN_MISBEHAVING), "a feature plugin broke the contract",
                   {{"what", what}, {"caller", caller}});
}

void MessagesExtension::expire_requests(std::deque<std::pair<std::int64_t, cm_handle>>& deadlines,
                                        std::int64_t now_ms) {
  while (!deadlines.empty() && deadlines.front().first <= now_ms) {
    const cm_handle handle = deadlines.front().second;
    deadlines.pop_front();
    auto late = requests_.extract(handle);
    if (!late.empty()) {
      broker_.context().metrics.feature_timeouts.add();
      fail(std::move(late.mapped()), "internal", "the feature that serves this did not answer in time; ask again");
    }
  }
  // Answered ones in front of the first open one are of no use.
  while (!deadlines.empty() && requests_.count(deadlines.front().second) == 0) {
    deadlines.pop_front();
  }
}

void MessagesExtension::answer_frame(const Request& request, std::string frame) {
  if (Connection* connection = broker_.find_connection(request.connection)) {
    connection->answer(request.ticket, std::move(frame));
  }
}

void MessagesExtension::fail(Request request, std::string_view code, std::string_view message) {
  switch (request.kind) {
    case Kind::kFrame:
      answer_frame(request, error_frame(code, message, request.req_id));
      break;
    case Kind::kSend: {
      TargetAnswer answer;
      answer.error_code = code;
      answer.error_text = std::string(code) + ": " + std::string(message);
      request.routed(std::move(answer));
      break;
    }
    case Kind::kHttp:
      respond_cors(*request.http, 503, message);
      break;
    case Kind::kContribution:
      break;
  }
}

void MessagesExtension::handle(Connection& connection, const protocol::FrameReader& reader) {
  const Handler handler = types_.find(reader.type_name())->second;
  const std::optional<std::string> req_id =
      reader.req_id().empty() ? std::nullopt : std::optional(std::string(reader.req_id()));
  if (!check_caller(handler.caller)) {
    if (const auto frame = reader.tree(); frame.ok() && protocol::is_client_type(reader.type())) {
      connection.reply(empty_feature_reply(reader.type_name(), *frame, broker_.context().wall_ms()));
    }
    return;
  }
  if (requests_.size() >= CM_BROKER_REQUESTS_WAITING_MAX) {
    connection.reply(error_frame("internal", "too many requests wait for features; ask again later", req_id));
    broker_.context().metrics.drops.add("feature_requests");
    return;
  }
  Request request;
  request.caller = handler.caller;
  request.connection = connection.number();
  request.ticket = connection.reserve();
  request.req_id = req_id;
  const cm_handle handle = open_request(std::move(request));
  const SenderFacts sender(*connection.presence);
  handler.handler(handler.user, handle, sender.get(), to_hview(reader.type_name()), to_hview(reader.text()));
}

bool MessagesExtension::has_contributors(std::string_view type) const {
  return contributors_.find(type) != contributors_.end();
}

void MessagesExtension::contribute(std::string_view type, const Presence& presence, std::string_view frame,
                                   std::string& reply) {
  std::vector<Handler> handlers;
  const auto [begin, end] = contributors_.equal_range(type);
  for (auto entry = begin; entry != end; ++entry) {
    handlers.push_back(entry->second);
  }
  for (const Handler& handler : handlers) {
    if (!check_caller(handler.caller)) {
      continue;
    }
    Request request;
    request.kind = Kind::kContribution;
    request.caller = handler.caller;
    const cm_handle handle = open_request(std::move(request));
    const SenderFacts sender(presence);
    handler.handler(handler.user, handle, sender.get(), to_hview(type), to_hview(frame));
    auto answered = requests_.extract(handle);  // what comes later finds no request
    if (answered.empty() || answered.mapped().contribution.empty()) {
      continue;
    }
    const auto addition = protocol::parse_json(answered.mapped().contribution);
    if (!addition.ok() || !merge(reply, *addition)) {
      misbehaves("what it adds to a reply is no JSON object", handler.caller);
    }
  }
}

// --- targets --------------------------------------------------------------------------------------------------------

bool MessagesExtension::serves_target(std::string_view target_spec) const {
  return !target_spec.empty() && prefixes_.count(target_spec.front()) != 0;
}

void MessagesExtension::ask_target(const SendRequest& request, std::function<void(TargetAnswer)> done) {
  const Message& message = *request.message;
  const auto found = prefixes_.find(message.target_spec.front());
  const Presence* sender = broker_.registry().find(message.sender_presence);
  const bool served = found != prefixes_.end() && sender != nullptr && check_caller(found->second.caller);
  if (!served || requests_.size() >= CM_BROKER_REQUESTS_WAITING_MAX) {
    TargetAnswer answer;
    answer.error_code = served ? protocol::kAckStorage : protocol::kAckNotFound;
    answer.error_text = served ? "too many requests wait for features; send it again"
                               : "invalid target: this broker does not serve topics";
    done(std::move(answer));
    return;
  }
  const auto handler = found->second;
  Request open;
  open.kind = Kind::kSend;
  open.caller = handler.caller;
  open.mesh = request.mesh;
  open.routed = std::move(done);
  const cm_handle handle = open_request(std::move(open));
  protocol::JsonValue::Array mentions;
  for (const std::string& mention : request.mentions) {
    mentions.emplace_back(mention);
  }
  const std::string mentions_json =
      mentions.empty() ? std::string() : protocol::to_json(protocol::JsonValue(std::move(mentions)));
  cm_broker_send send = {};
  send.size = sizeof(send);
  send.priority = protocol::priority_number(message.priority);
  send.target = to_hview(message.target_spec);
  send.message_id = to_hview(message.id);
  send.client_message_id = to_hview(message.client_message_id);
  send.nonce = to_hview(message.nonce);
  send.ciphertext = to_hview(message.ciphertext);
  if (request.reply_to_id) {
    send.reply_to_id = to_hview(*request.reply_to_id);
  }
  send.mentions_json = to_hview(mentions_json);
  send.body_version = request.body_version;
  send.created_unix_ms = message.created_at_ms;
  const SenderFacts facts(*sender);
  handler.handler(handler.user, handle, facts.get(), &send);
}

}  // namespace cm::broker
