// Start, drain and stop of the broker.
#include "plugins/ws_broker/src/broker.hpp"
#include "plugins/ws_broker/src/frame_limit.hpp"
#include "plugins/ws_broker/src/handlers.hpp"
#include "plugins/ws_broker/src/text.hpp"
#include "protocol/close_codes.hpp"

namespace cm::broker {

namespace {

constexpr std::string_view kSchema = "broker";
constexpr std::uint64_t kHttpBodyMax = 1024 * 1024;  // ours are checked against max_message_bytes, with our own answer
constexpr std::uint64_t kStoreCheckMs = 30'000;
constexpr std::uint64_t kStoreRecheckMs = 5'000;  // while it fails: the recovery is to be seen soon
constexpr std::uint64_t kDrainReserveMs = 100;    // of the host's deadline, to answer in time

}  // namespace

Status Broker::configure() {
  auto options = read_options(context_.host);
  if (!options.ok()) {
    return options.error();
  }
  context_.options = std::move(*options);
  context_.metrics = Metrics(context_.host);
  accept_.set_features(&messages_);
  delivery_.set_waiting([this](Member& member) { ways_.member_waits(member); });
  reader_ = protocol::FrameReader(max_frame_bytes(context_.options));
  return {};
}

void Broker::start(std::function<void(Status)> done) {
  started_ = std::move(done);
  started_us_ = context_.host.monotonic_us();
  auto storage = StorageClient::acquire(context_.host, context_.options.store);
  if (!storage.ok()) {
    started(storage.error());
    return;
  }
  context_.storage = std::move(*storage);
  if (const Status status = hooks_.open(context_.options.hooks); !status.ok()) {
    started(status);
    return;
  }
  migrate();
}

void Broker::migrate() {
  context_.storage.migrate(kSchema, broker_migrations(), [this](Status status) {
    if (!status.ok()) {
      started(status);
      return;
    }
    context_.sql = std::make_shared<const StoreSql>(context_.storage);
    audit_.open(context_.sql);
    load();
  });
}

void Broker::load() {
  auto state = std::make_shared<LoadedState>();
  context_.storage.read([sql = context_.sql, state](SqlTransaction& tx) { return sql->load(tx, *state); },
                        [this, state](Status status) {
                          if (!status.ok()) {
                            started(status);
                            return;
                          }
                          loaded(std::move(*state));
                        });
}

void Broker::loaded(LoadedState state) {
  delivery_.set_depth(state.queue_depth);
  accept_.open(state.last_seq);
  cache_.load(std::move(state));
  const Status status = listen();
  if (status.ok()) {
    context_.health.read_ended(Status());
    wall_clock_.start(context_.wall_ms(), context_.now_ms());
    start_timers();
  }
  started(status);
}

Status Broker::listen() {
  const Options& options = context_.options;
  listener_ = std::make_unique<HttpListener>();
  cm_http_listen_options listen = {};
  listen.address = to_pview(options.listen);
  listen.tls_cert_file = to_pview(options.tls_cert_file);
  listen.tls_key_file = to_pview(options.tls_key_file);
  listen.body_bytes_max = kHttpBodyMax;
  // Idle WebSockets are watched by the lease, not by the listener.
  Status status = listener_->listen(context_.host, listen);
  if (!status.ok()) {
    return status;
  }
  // All targets are compared as they came, query included (wire/03 section 1), which a router would not do.
  listener_->fallback([this](const HttpRequest& request) { handle_http(*this, request); });
  const std::string address = listener_->local_address();
  const std::string scheme = options.tls_cert_file.empty() ? "ws://" : "wss://";
  public_url_ = options.public_url.empty() ? scheme + address + "/ws" : options.public_url;
  context_.host.log(LogLevel::kInfo, "the broker listens", {{"address", address}, {"public_url", public_url_}});
  if (options.public_url.empty() && is_wildcard_address(address)) {
    context_.host.log(LogLevel::kWarn,
                      "invites will name an address that works on this machine only; the address that members use was "
                      "expected; set public_url before the first invite",
                      {{"public_url", public_url_}});
  }
  if (options.operator_socket.empty()) {
    return {};
  }
  operator_listener_ = std::make_unique<HttpListener>();
  const std::string operator_address = "unix:" + options.operator_socket;
  cm_http_listen_options operator_listen = {};
  operator_listen.address = to_pview(operator_address);
  operator_listen.unix_mode = 0600;
  status = operator_listener_->listen(context_.host, operator_listen);
  if (status.ok()) {
    add_operator_routes(*this, *operator_listener_);
  }
  return status;
}

void Broker::started(const Status& status) {
  auto done = std::move(started_);
  done(status);
}

void Broker::drain(std::uint64_t deadline_ms, std::function<void()> drained) {
  draining_ = true;
  for (Timer* timer : {&tick_timer_, &store_timer_, &prune_timer_}) {
    timer->cancel();
  }
  auto once = std::make_shared<std::function<void()>>(std::move(drained));
  const auto finish = [this, once] {
    if (auto done = std::exchange(*once, {})) {
      drain_timer_.cancel();
      done();
    }
  };
  drain_timer_.start_ms(deadline_ms > kDrainReserveMs ? deadline_ms - kDrainReserveMs : deadline_ms, finish);
  if (!context_.sql) {
    finish();
    return;
  }
  accept_.flush();
  // The acks of accepted messages leave before the close frames do.
  accept_.when_idle([this, finish] {
    ways_.stop();  // what is open is offered again after the next start
    close_all_connections();
    writes_.flush(finish);
  });
}

// What the end of a connection writes is written here and not when its close handshake ends: the store takes nothing
// more after our drain.
void Broker::close_all_connections() {
  std::vector<Connection*> all;
  for (const auto& [number, connection] : connections_) {
    all.push_back(connection.get());
  }
  // All are closed before the first one is detached, so that nothing is pushed from one to the other.
  for (Connection* connection : all) {
    connection->close(static_cast<std::uint16_t>(protocol::CloseCode::kGoingAway), protocol::kReasonShuttingDown);
  }
  for (Connection* connection : all) {
    detach(*connection);
  }
}

void Broker::stop() {
  stopped_ = true;
  for (Timer* timer : {&tick_timer_, &store_timer_, &prune_timer_, &drain_timer_}) {
    timer->cancel();
  }
  writes_.stop();
  accept_.stop();
  delivery_.stop();
  ways_.stop();
  messages_.stop();
  hooks_.close();
  listener_.reset();
  operator_listener_.reset();
  for (const auto& [number, connection] : connections_) {
    connection->presence = nullptr;
    connection->terminate();
  }
  connections_.clear();
  graveyard_.clear();
  pending_connections_.clear();
  hello_deadlines_.clear();
  context_.storage.release();
}

std::int64_t Broker::uptime_ms() const {
  return static_cast<std::int64_t>((context_.host.monotonic_us() - started_us_) / 1000);
}

void Broker::check_store() {
  auto depth = std::make_shared<std::int64_t>(0);
  context_.storage.read([sql = context_.sql, depth](SqlTransaction& tx) { return sql->queue_depth(tx, *depth); },
                        [this, depth](Status status) {
                          context_.health.read_ended(status);
                          if (status.ok()) {
                            delivery_.set_depth(*depth);
                          }
                          probe_writes();
                        });
}

// A full disk can still be read. Where nothing was written since the last check, one row tells.
void Broker::probe_writes() {
  if (context_.health.take_written()) {
    plan_store_check();
    return;
  }
  context_.storage.submit(
      [sql = context_.sql, at_ms = context_.wall_ms()](SqlTransaction& tx) { return sql->probe(tx, at_ms); },
      [this](Status status) {
        context_.health.write_ended(status);
        context_.health.take_written();
        plan_store_check();
      });
}

void Broker::plan_store_check() {
  if (!draining_ && !stopped_) {
    store_timer_.start_ms(context_.health.ok() ? kStoreCheckMs : kStoreRecheckMs, [this] { check_store(); });
  }
}

void Broker::start_timers() {
  const protocol::LeaseTimes& lease = context_.options.lease;
  constexpr std::int64_t kTickMinMs = 20;
  constexpr std::int64_t kTickMaxMs = 1'000;
  const std::int64_t shortest_ms =
      std::min({lease.ping_interval_ms, lease.stale_after_ms, lease.grace_ms, context_.options.claim_lease_ms,
                context_.options.hello_timeout_ms, context_.options.status_ttl_ms});
  const std::int64_t tick_ms = std::clamp(shortest_ms / 8, kTickMinMs, kTickMaxMs);
  tick_timer_.every_ms(static_cast<std::uint64_t>(tick_ms), [this] { tick(); });
  plan_store_check();
  prune_timer_.start_ms(60'000, [this] { prune(); });
}

}  // namespace cm::broker
