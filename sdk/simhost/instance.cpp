#include "sdk/simhost/instance.hpp"

#include <algorithm>
#include <cctype>
#include <utility>

#include "host/config/host_config.hpp"
#include "sdk/simhost/world.hpp"

namespace cm::sim {
namespace {

constexpr std::uint64_t kPostDelayUsMax = 40;
constexpr std::uint64_t kJobDelayUsMin = 20;
constexpr std::uint64_t kJobDelayUsMax = 3'000;

const void* host_get(cm_handle self, const char* id) noexcept {
  Instance* instance = World::instance_of(self);
  return instance == nullptr || !instance->wanted().granted(id) ? nullptr : instance->probe().table(id);
}

void host_set_error(cm_handle self, cm_text_pview text) noexcept {
  if (Instance* instance = World::instance_of(self)) {
    instance->set_error({text.data, text.size});
  }
}

cm_status host_complete(cm_handle self, cm_handle ticket, cm_status status, cm_text_pview text) noexcept {
  Instance* instance = World::instance_of(self);
  return instance == nullptr ? CM_GONE : instance->complete(ticket, status, {text.data, text.size});
}

}  // namespace

Instance::Instance(Node& node, const config::InstanceConfig& wanted, const cm_factory_v1& factory, cm_handle self)
    : node_(node), wanted_(wanted), factory_(factory), name_(wanted.name) {
  option_sets_.push_back(std::make_unique<const config::ValidatedOptions>(wanted.options));
  host_ = cm_host{sizeof(cm_host), CM_ABI_VERSION_CURRENT, self, &host_get, &host_set_error, &host_complete};
}

Instance::~Instance() = default;

bool Instance::alive() const noexcept {
  return !cut_off_ && !silenced_ && node_.alive();
}

cm_handle Instance::next_handle() {
  return node_.world().next_handle();
}

cm_status Instance::create() {
  cm_status status = factory_.create(&host_, &instance_, &table_);
  // As the real host: without these nothing could be ended.
  const bool complete = instance_ != nullptr && table_ != nullptr &&
                        CM_HAS_FUNCTION(table_, cm_instance_table_v1, destroy) && table_->stop != nullptr &&
                        table_->destroy != nullptr;
  if (status == CM_OK && !complete) {
    error_ = "create answered CM_OK without an object and a table whose size covers at least stop and destroy";
    instance_ = nullptr;
    status = CM_INTERNAL;
  }
  phase_ = status == CM_OK ? Phase::kCreated : Phase::kMade;
  return status;
}

cm_status Instance::configure() {
  const cm_status status = table_->configure(instance_);
  if (status != CM_OK) {
    node_.trace("configure of " + name_ + " failed: " + error_);
    node_.last_error = name_ + ": " + error_;
  } else {
    phase_ = Phase::kConfigured;
  }
  return status;
}

void Instance::begin_step(StepDone done) {
  step_ticket_ = next_handle();
  step_abandoned_ = false;
  step_done_ = std::move(done);
}

void Instance::finish_step(cm_status status) {
  if (status != CM_DEFER && step_done_) {
    auto answered = std::exchange(step_done_, {});
    answered(status, error_);
  }
}

void Instance::start(StepDone done) {
  started_ = true;
  phase_ = Phase::kStarted;
  begin_step(std::move(done));
  finish_step(table_->start(instance_, step_ticket_));
}

void Instance::drain(std::uint64_t deadline_ms, StepDone done) {
  phase_ = Phase::kDraining;
  begin_step(std::move(done));
  finish_step(table_->drain(instance_, step_ticket_, deadline_ms));
}

cm_status Instance::complete(cm_handle ticket, cm_status status, std::string_view text) {
  if (!alive()) {
    return CM_GONE;
  }
  if (step_abandoned_ && ticket == step_ticket_) {
    return CM_GONE;
  }
  if (ticket != step_ticket_ || !step_done_) {
    probe_.note(Breach::kCompletion, ticket == step_ticket_ ? "it completed a step that had its answer already"
                                                            : "it completed a step with a ticket that was not given");
    return CM_GONE;
  }
  auto done = std::exchange(step_done_, {});
  node_.world().scheduler().after(1, [done = std::move(done), status, message = std::string(text),
                                      incarnation = node_.incarnation(), &node = node_] {
    if (node.alive() && node.incarnation() == incarnation) {
      done(status, message);
    }
  });
  return CM_OK;
}

void Instance::stop() {
  if (started_ && instance_ != nullptr) {
    table_->stop(instance_);
    started_ = false;
    step_done_ = nullptr;
    phase_ = Phase::kStopped;
  }
}

void Instance::destroy() {
  if (cm_instance* instance = std::exchange(instance_, nullptr)) {
    in_destroy_ = true;
    table_->destroy(instance);
    in_destroy_ = false;
    phase_ = Phase::kDestroyed;
  }
}

const void* Instance::extension(const char* id) const {
  return instance_ == nullptr ? nullptr : table_->get_extension(instance_, id);
}

void Instance::cut_off(Random& random, double half_open) {
  cut_off_ = true;
  step_done_ = nullptr;
  for (auto& [handle, timer] : timers_) {
    node_.world().scheduler().cancel(timer.event);
  }
  timers_.clear();
  processes.silence();
  for (auto& [handle, listener] : listeners) {
    node_.world().network().close_listener(listener->address);
  }
  for (auto& [handle, socket] : sockets) {
    if (socket->connection != nullptr) {
      socket->connection->abandon(socket->side, random.chance(half_open));
    }
  }
  give_back_posts_and_jobs();
}

// --- posts -----------------------------------------------------------------------------------------------------------

cm_status Instance::post(cm_callback function, cm_callback dropped, void* user) {
  if (!alive()) {
    return CM_GONE;
  }
  posts_.push_back(PostedCall{function, dropped, user});
  Scheduler& scheduler = node_.world().scheduler();
  const std::uint64_t due = scheduler.now_us() + node_.world().random().below(kPostDelayUsMax);
  last_post_us_ = std::max(last_post_us_, due);
  node_.schedule_at(last_post_us_, [this] { run_next_post(); });
  return CM_OK;
}

void Instance::run_next_post() {
  if (posts_.empty()) {
    return;
  }
  const PostedCall call = posts_.front();
  posts_.pop_front();
  call.function(call.user);
}

// --- timers ----------------------------------------------------------------------------------------------------------

cm_status Instance::start_timer(std::uint64_t delay_us, std::uint64_t period_us, cm_callback function, void* user,
                                cm_handle* out_timer) {
  if (!alive()) {
    return CM_GONE;
  }
  const cm_handle timer = next_handle();
  timers_.emplace(timer, TimerState{EventId(), period_us, function, user});
  arm_timer(timer, delay_us);
  *out_timer = timer;
  return CM_OK;
}

void Instance::arm_timer(cm_handle timer, std::uint64_t delay_us) {
  // Real timers are late by a little, never early.
  const std::uint64_t late_us = node_.world().random().below(200);
  timers_.at(timer).event = node_.schedule_after(delay_us + late_us, [this, timer] { fire_timer(timer); });
}

void Instance::fire_timer(cm_handle timer) {
  const auto found = timers_.find(timer);
  if (found == timers_.end()) {
    return;
  }
  if (silenced_) {
    return;
  }
  const TimerState state = found->second;
  if (state.period_us == 0) {
    timers_.erase(found);
  } else {
    arm_timer(timer, state.period_us);
  }
  state.function(state.user);
}

cm_status Instance::cancel_timer(cm_handle timer) {
  const auto found = timers_.find(timer);
  if (found == timers_.end()) {
    return CM_GONE;
  }
  node_.world().scheduler().cancel(found->second.event);
  timers_.erase(found);
  return CM_OK;
}

// --- jobs ------------------------------------------------------------------------------------------------------------

cm_status Instance::submit_job(cm_handle queue, cm_callback job, void* user) {
  if (!alive()) {
    return CM_GONE;
  }
  jobs_[queue].push_back(Job{job, user});
  Scheduler& scheduler = node_.world().scheduler();
  const std::uint64_t due = scheduler.now_us() + node_.world().random().between(kJobDelayUsMin, kJobDelayUsMax);
  std::uint64_t& last = last_job_us_[queue];
  last = std::max(last, due);
  node_.schedule_at(last, [this, queue] { run_next_job(queue); });
  return CM_OK;
}

void Instance::run_next_job(cm_handle queue) {
  auto& jobs = jobs_[queue];
  if (jobs.empty()) {
    return;
  }
  const Job job = jobs.front();
  jobs.pop_front();
  run_job(job);
}

void Instance::retire_socket(cm_handle socket) {
  const auto found = sockets.find(socket);
  if (found == sockets.end()) {
    return;
  }
  // The socket may be on the stack right now: free it after this event.
  node_.world().bury(std::move(found->second));
  sockets.erase(found);
}

// --- inbound HTTP and WebSocket
// ----------------------------------------------------------------------------------------

namespace {

std::map<std::string, std::string> parse_query(std::string_view query) {
  std::map<std::string, std::string> result;
  while (!query.empty()) {
    const std::string_view pair = query.substr(0, query.find('&'));
    query.remove_prefix(std::min(query.size(), pair.size() + 1));
    const auto equals = pair.find('=');
    const std::string_view value = equals == std::string_view::npos ? std::string_view() : pair.substr(equals + 1);
    result.emplace(std::string(pair.substr(0, equals)), std::string(value));
  }
  return result;
}

std::string lower(std::string text) {
  std::transform(text.begin(), text.end(), text.begin(),
                 [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  return text;
}

cm_text_hview view(const std::string& text) {
  return cm_text_hview{text.data(), text.size()};
}

}  // namespace

void Listener::deliver_request(HttpExchange exchange, const NodeName& from, std::function<void(HttpAnswer)> answer,
                               std::shared_ptr<Connection> upgrade) {
  if (!instance_.alive()) {
    answer(HttpAnswer());
    return;
  }
  auto request = std::make_unique<PendingRequest>();
  request->handle = instance_.next_handle();
  request->exchange = std::move(exchange);
  const std::string& target = request->exchange.target;
  const auto question = target.find('?');
  request->path = target.substr(0, question);
  request->query = question == std::string::npos ? std::string() : target.substr(question + 1);
  request->decoded_query = parse_query(request->query);
  request->remote = from.empty() ? "127.0.0.1:1" : from + ":1";
  for (const auto& [name, value] : request->exchange.headers) {
    request->lower_headers.emplace(lower(name), value);
  }
  request->answer = std::move(answer);
  request->upgrade = std::move(upgrade);

  const net::RouteMatch match = router.match(request->exchange.method, target);
  Route route = fallback;
  if (match.outcome == net::RouteMatch::Outcome::kFound) {
    route = routes[match.route];
    request->parameters = match.parameters;
  }
  if (route.handler == nullptr) {
    HttpAnswer refused;
    refused.reached = true;
    refused.status = match.outcome == net::RouteMatch::Outcome::kMethodNotAllowed ? 405 : 404;
    request->answer(refused);
    return;
  }
  cm_http_request_info info = {};
  info.size = sizeof(info);
  info.flags = address.starts_with("unix:") ? CM_HTTP_UNIX : 0;
  info.method = view(request->exchange.method);
  info.target = view(request->exchange.target);
  info.path = view(request->path);
  info.query = view(request->query);
  info.body = cm_bytes_hview{reinterpret_cast<const std::uint8_t*>(request->exchange.body.data()),
                             request->exchange.body.size()};
  info.remote_address = view(request->remote);
  // The outside world is the operator himself.
  info.peer_uid = (info.flags & CM_HTTP_UNIX) != 0 ? instance_.node().world().user_id() : -1;
  info.peer_gid = info.peer_uid;
  info.peer_pid = -1;
  const cm_handle handle = request->handle;
  instance_.requests.emplace(handle, std::move(request));
  route.handler(route.user, handle, &info);
}

void Socket::give_up(const std::string& reason) {
  if (connection != nullptr) {
    connection->abandon(side, false);
    deliver_closed(1006, reason, false);
  }
}

void Socket::deliver_open() {
  opened = true;
  if (instance_.alive() && callbacks_.opened != nullptr) {
    callbacks_.opened(user_, handle_);
  }
}

void Socket::deliver_messages(std::vector<std::pair<std::uint32_t, std::string>> messages) {
  if (!instance_.alive()) {
    return;
  }
  std::vector<cm_websocket_message> views;
  for (auto& [kind, text] : messages) {
    const std::size_t size = text.size();
    text.append(CM_WEBSOCKET_PADDING_BYTES, '\0');
    views.push_back(cm_websocket_message{reinterpret_cast<const std::uint8_t*>(text.data()), size, kind, 0});
  }
  if (callbacks_.messages != nullptr) {
    callbacks_.messages(user_, handle_, views.data(), views.size());
  }
}

void Socket::deliver_pong() {
  if (instance_.alive() && callbacks_.pong != nullptr) {
    callbacks_.pong(user_, handle_);
  }
}

void Socket::deliver_closed(std::uint32_t code, const std::string& reason, bool clean) {
  connection.reset();
  if (!instance_.alive()) {
    return;
  }
  const cm_websocket_callbacks callbacks = callbacks_;
  void* user = user_;
  const cm_handle handle = handle_;
  instance_.retire_socket(handle);
  if (callbacks.closed != nullptr) {
    callbacks.closed(user, handle, code, cm_text_hview{reason.data(), reason.size()}, clean);
  }
}

}  // namespace cm::sim
