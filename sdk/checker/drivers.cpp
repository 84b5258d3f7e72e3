#include "sdk/checker/drivers.hpp"

#include <algorithm>

namespace cm::checker {
namespace {

constexpr std::uint64_t kStoreLimitMs = 60'000;
constexpr std::uint64_t kLinkLimitMs = 60'000;

std::string copy(cm_text_hview text) {
  return text.size == 0 ? std::string() : std::string(text.data, text.size);
}
cm_text_pview pview(std::string_view text) {
  return cm_text_pview{text.data(), text.size()};
}
cm_text_hview hview(std::string_view text) {
  return cm_text_hview{text.data(), text.size()};
}

}  // namespace

// --- hooks -----------------------------------------------------------------------------------------------------------

HookDriver::HookDriver(Bench& bench)
    : bench_(bench),
      table_(bench.extension<cm_hook_v1>(CM_HOOK_ID)),
      instance_(bench.has_subject() ? bench.subject().raw() : nullptr) {}

void HookDriver::set_payload(void* context, cm_handle ticket, cm_bytes_pview payload) noexcept {
  auto* self = static_cast<HookDriver*>(context);
  if (ticket >= 1 && ticket <= self->answers_.size()) {
    HookAnswer& answer = *self->answers_[ticket - 1];
    answer.has_payload = true;
    answer.payload.assign(reinterpret_cast<const char*>(payload.data), payload.size);
  }
}

cm_status HookDriver::finish(void* context, cm_handle ticket, std::uint32_t result, cm_bytes_pview payload) noexcept {
  auto* self = static_cast<HookDriver*>(context);
  if (ticket < 1 || ticket > self->answers_.size()) {
    return CM_GONE;
  }
  HookAnswer& answer = *self->answers_[ticket - 1];
  ++answer.finishes;
  const std::uint64_t now_us = self->bench_.world().scheduler().now_us();
  if (answer.finished || now_us > answer.asked_us + self->timeout_ms() * 1000) {
    return CM_GONE;
  }
  answer.finished = true;
  answer.late_result = result;
  answer.finished_us = now_us;
  answer.payload.assign(payload.size == 0 ? "" : reinterpret_cast<const char*>(payload.data), payload.size);
  return CM_OK;
}

HookAnswer& HookDriver::ask(std::string_view point, std::string_view json, std::string_view payload) {
  answers_.push_back(std::make_unique<HookAnswer>());
  HookAnswer& answer = *answers_.back();
  if (!bench_.has_subject()) {
    return answer;  // the node has died
  }
  answer.asked_us = bench_.world().scheduler().now_us();
  // Memory of exactly this size, so that a read beyond its end can be noticed.
  const std::vector<std::uint8_t> bytes(payload.begin(), payload.end());
  const std::vector<char> name(point.begin(), point.end());
  const std::vector<char> facts(json.begin(), json.end());
  const cm_hook_event event = {sizeof(cm_hook_event),
                               0,
                               answers_.size(),
                               hview({name.data(), name.size()}),
                               hview({facts.data(), facts.size()}),
                               cm_bytes_hview{bytes.empty() ? nullptr : bytes.data(), bytes.size()}};
  const cm_hook_reply reply = {sizeof(cm_hook_reply), 0, this, &HookDriver::set_payload, &HookDriver::finish};
  bench_.timed("invoke", [&] { answer.result = table_->invoke(instance_, &event, &reply); });
  answer.wrote_into_event = !std::equal(bytes.begin(), bytes.end(), payload.begin(), payload.end(),
                                        [](std::uint8_t a, char b) { return a == static_cast<std::uint8_t>(b); }) ||
                            !std::equal(name.begin(), name.end(), point.begin(), point.end()) ||
                            !std::equal(facts.begin(), facts.end(), json.begin(), json.end());
  return answer;
}

// --- stores ----------------------------------------------------------------------------------------------------------

struct StoreDriver::Pending {
  StoreDriver* driver = nullptr;
  Work work;
  StoreCall call;
};

StoreDriver::StoreDriver(Bench& bench)
    : bench_(bench),
      table_(bench.extension<cm_storage_v1>(CM_STORAGE_ID)),
      instance_(bench.has_subject() ? bench.subject().raw() : nullptr) {}

StoreDriver::~StoreDriver() = default;

cm_status StoreDriver::run_work(void* user, cm_storage_transaction* transaction,
                                const cm_storage_sql_v1* sql) noexcept {
  auto* pending = static_cast<Pending*>(user);
  ++pending->call.runs;
  return pending->work(transaction, sql);
}

void StoreDriver::on_done(void* user, cm_status status, cm_text_hview error) noexcept {
  auto* pending = static_cast<Pending*>(user);
  StoreCall& call = pending->call;
  ++call.dones;
  call.status = status;
  call.error = copy(error);
  call.order = ++pending->driver->dones_;
  const sim::World* world = sim::World::current();
  call.done_in_job = status != CM_GONE && (world == nullptr || world->in_job());
}

StoreCall& StoreDriver::begin(Work work, bool writes) {
  pending_.push_back(std::make_unique<Pending>());
  Pending& pending = *pending_.back();
  pending.driver = this;
  pending.work = std::move(work);
  if (!bench_.has_subject()) {
    pending.call.accepted = CM_GONE;
    return pending.call;
  }
  const auto function = writes ? table_->submit : table_->read;
  bench_.timed("submit", [&] { pending.call.accepted = function(instance_, caller(), &run_work, &on_done, &pending); });
  return pending.call;
}

StoreCall& StoreDriver::submit(Work work) {
  return begin(std::move(work), true);
}

StoreCall& StoreDriver::read(Work work) {
  return begin(std::move(work), false);
}

StoreCall& StoreDriver::migrate(std::string_view schema, std::string_view sql) {
  pending_.push_back(std::make_unique<Pending>());
  Pending& pending = *pending_.back();
  pending.driver = this;
  if (!bench_.has_subject()) {
    pending.call.accepted = CM_GONE;
    return pending.call;
  }
  const cm_migration migration = {1, 0, pview("0001_items"), pview(sql)};
  pending.call.accepted = table_->migrate(instance_, caller(), pview(schema), &migration, 1, &on_done, &pending);
  return pending.call;
}

cm_status StoreDriver::execute(cm_storage_transaction* transaction, const cm_storage_sql_v1* sql,
                               cm_statement statement, std::int64_t id, std::string_view body) {
  cm_value values[2] = {};
  values[0].type = CM_VALUE_INT;
  values[0].integer = id;
  values[1].type = CM_VALUE_TEXT;
  values[1].data = reinterpret_cast<const std::uint8_t*>(body.data());
  values[1].data_size = body.size();
  return sql->execute(transaction, statement, values, 2, nullptr);
}

StoreCall& StoreDriver::insert(std::int64_t id, std::string_view body) {
  return submit(
      [this, id, text = std::string(body)](cm_storage_transaction* transaction, const cm_storage_sql_v1* sql) {
        return execute(transaction, sql, insert_statement, id, text);
      });
}

bool StoreDriver::wait(const StoreCall& call) {
  return call.accepted != CM_OK || bench_.run(kStoreLimitMs, [&call] { return call.dones != 0; });
}

bool StoreDriver::wait_all() {
  return std::all_of(pending_.begin(), pending_.end(), [this](const auto& pending) { return wait(pending->call); });
}

cm_statement StoreDriver::statement(std::string_view sql) {
  cm_statement id = 0;
  const cm_status status = !bench_.has_subject() ? CM_GONE : table_->statement(instance_, pview(sql), &id);
  if (status != CM_OK) {
    problem_ = "statement answered " + status_name(status) + " to " + std::string(sql);
  }
  return id;
}

bool StoreDriver::prepare() {
  const StoreCall& made = migrate("check", "CREATE TABLE check_items (id INTEGER PRIMARY KEY, body TEXT NOT NULL);");
  if (made.accepted != CM_OK || !wait(made) || made.status != CM_OK) {
    problem_ = "the first migration answered " +
               status_name(made.accepted != CM_OK || made.dones == 0 ? made.accepted : made.status) + " " + made.error;
    return false;
  }
  insert_statement = statement("INSERT INTO check_items (id, body) VALUES (?1, ?2)");
  select_statement = statement("SELECT id, body FROM check_items ORDER BY id");
  return problem_.empty();
}

std::optional<std::vector<StoreRow>> StoreDriver::rows() {
  auto rows = std::make_shared<std::vector<StoreRow>>();
  const StoreCall& call = read([this, rows](cm_storage_transaction* transaction, const cm_storage_sql_v1* sql) {
    rows->clear();
    const auto take = [](void* user, const cm_value* columns, std::uint32_t count) noexcept {
      if (count == 2) {
        static_cast<std::vector<StoreRow>*>(user)->push_back(StoreRow{
            columns[0].integer, std::string(reinterpret_cast<const char*>(columns[1].data), columns[1].data_size)});
      }
      return true;
    };
    return sql->query(transaction, select_statement, nullptr, 0, take, rows.get());
  });
  if (call.accepted != CM_OK || !wait(call) || call.status != CM_OK) {
    problem_ =
        "a read answered " + status_name(call.accepted != CM_OK ? call.accepted : call.status) + " " + call.error;
    return std::nullopt;
  }
  return *rows;
}

// --- links -----------------------------------------------------------------------------------------------------------

LinkDriver::LinkDriver(Bench& bench)
    : bench_(bench),
      table_(bench.extension<cm_transport_v1>(CM_TRANSPORT_ID)),
      instance_(bench.has_subject() ? bench.subject().raw() : nullptr) {}

void LinkDriver::on_state(void* user, cm_handle, std::uint32_t state, cm_text_hview) noexcept {
  auto* self = static_cast<LinkDriver*>(user);
  self->late_calls += self->closed_ ? 1 : 0;
  self->states.push_back(LinkEvent{self->bench_.world().scheduler().now_us(), state});
}

void LinkDriver::on_inbound(void* user, cm_handle, const cm_inbound* messages, std::uint64_t count) noexcept {
  auto* self = static_cast<LinkDriver*>(user);
  self->late_calls += self->closed_ ? 1 : 0;
  for (std::uint64_t i = 0; i < count; ++i) {
    self->inbound.push_back(copy(messages[i].message_id));
  }
}

void LinkDriver::on_sent(void* user, cm_handle, const cm_send_result* results, std::uint64_t count) noexcept {
  auto* self = static_cast<LinkDriver*>(user);
  self->late_calls += self->closed_ ? 1 : 0;
  for (std::uint64_t i = 0; i < count; ++i) {
    self->sent.push_back(LinkSent{copy(results[i].client_message_id), results[i].outcome});
  }
}

// The checker's peer verifies no signature.
cm_status LinkDriver::on_sign(void*, cm_handle, std::uint32_t, cm_text_hview, std::uint8_t* out) noexcept {
  std::fill(out, out + 64, std::uint8_t{7});
  return CM_OK;
}

cm_status LinkDriver::open(std::string_view url) {
  if (!bench_.has_subject()) {
    return CM_GONE;
  }
  const std::string member(64, 'a');
  const std::string session(64, 'c');
  cm_link_identity identity = {};
  identity.size = sizeof(identity);
  identity.kind = CM_LINK_MEMBER;
  identity.url = pview(url);
  identity.mesh_id = pview("mesh");
  identity.member_id = pview("member");
  identity.member_pubkey = pview(member);
  identity.session_id = pview("session");
  identity.display_name = pview("check");
  identity.cwd = pview("/");
  identity.pid = 1;
  const cm_link_callbacks callbacks = {sizeof(callbacks), 0, &on_state, &on_inbound, &on_sent, &on_sign};
  closed_ = false;
  cm_status status = CM_INTERNAL;
  bench_.timed("open", [&] { status = table_->open(instance_, &identity, &callbacks, this, &link_); });
  return status;
}

bool LinkDriver::open_and_wait() {
  return open(bench_.about().config.url) == CM_OK && wait_state(CM_LINK_OPEN, kLinkLimitMs);
}

void LinkDriver::close() {
  if (link_ != CM_NO_HANDLE && !closed_ && bench_.has_subject()) {
    bench_.timed("close", [this] { table_->close(instance_, link_); });
    closed_ = true;
  }
}

cm_status LinkDriver::send(const std::string& id, std::string_view text, std::uint64_t* taken) {
  if (!bench_.has_subject()) {
    return CM_GONE;
  }
  const std::string fingerprint(64, 'f');
  const std::string target(64, 'd');
  cm_outbound message = {};
  message.size = sizeof(message);
  message.priority = CM_PRIORITY_NEXT;
  message.client_message_id = pview(id);
  message.request_fingerprint = pview(fingerprint);
  message.target = pview(target);
  message.nonce = pview("bm9uY2U=");
  message.ciphertext = pview(text);
  std::uint64_t own = 0;
  cm_status status = CM_INTERNAL;
  bench_.timed("send", [&] { status = table_->send(instance_, link_, &message, 1, taken == nullptr ? &own : taken); });
  return status;
}

bool LinkDriver::wait_state(std::uint32_t wanted, std::uint64_t limit_ms) {
  return bench_.run(limit_ms, [this, wanted] { return state() == wanted; });
}

// --- bridges ---------------------------------------------------------------------------------------------------------

BridgeDriver::BridgeDriver(Bench& bench)
    : bench_(bench),
      table_(bench.extension<cm_bridge_v1>(CM_BRIDGE_ID)),
      instance_(bench.has_subject() ? bench.subject().raw() : nullptr) {}

cm_status BridgeDriver::map(std::string_view id, std::string_view remote, std::string_view target,
                            std::uint32_t directions) {
  if (!bench_.has_subject()) {
    return CM_GONE;
  }
  cm_bridge_mapping mapping = {};
  mapping.size = sizeof(mapping);
  mapping.directions = directions;
  mapping.id = pview(id);
  mapping.remote = pview(remote);
  mapping.target = pview(target);
  return table_->map(instance_, &mapping);
}

void BridgeDriver::on_crossed(void* user, const cm_bridge_crossing* crossing) noexcept {
  Crossing seen;
  seen.outcome = crossing->outcome;
  seen.direction = crossing->direction;
  seen.mapping_id = copy(crossing->mapping_id);
  seen.message_id = copy(crossing->message_id);
  seen.channel = copy(crossing->channel);
  seen.text = copy(crossing->text);
  seen.trail = copy(crossing->trail);
  seen.new_id = copy(crossing->new_id);
  static_cast<std::vector<Crossing>*>(user)->push_back(std::move(seen));
}

std::vector<Crossing> BridgeDriver::deliver(bool from_remote, const Message& message, cm_status* accepted) {
  // Late answers land in memory that lives as long as the bench.
  auto crossings = std::make_shared<std::vector<Crossing>>();
  if (!bench_.has_subject()) {
    return *crossings;
  }
  bench_.keep(crossings);
  cm_bridge_message raw = {};
  raw.size = sizeof(raw);
  raw.flags = message.flags;
  raw.channel = pview(message.channel);
  raw.message_id = pview(message.id);
  raw.author_id = pview(message.author);
  raw.author_name = pview(message.author);
  raw.text = pview(message.text);
  raw.trail = pview(message.trail);
  raw.unix_ms = bench_.world().unix_ms();
  cm_status status = CM_INTERNAL;
  bench_.timed("deliver", [&] {
    const auto function = from_remote ? table_->deliver_remote : table_->deliver_mesh;
    status = function(instance_, &raw, &on_crossed, crossings.get());
  });
  if (accepted != nullptr) {
    *accepted = status;
  }
  bench_.run(10'000, [&] { return status != CM_OK || !crossings->empty(); });
  bench_.run(100);
  return *crossings;
}

std::optional<cm_bridge_status> BridgeDriver::status() {
  if (!bench_.has_subject()) {
    return std::nullopt;
  }
  cm_bridge_status result = {};
  result.size = sizeof(result);
  return table_->status(instance_, &result) == CM_OK ? std::optional(result) : std::nullopt;
}

std::string BridgeDriver::mark() {
  const auto now = status();
  return now ? copy(now->mark) : std::string();
}

}  // namespace cm::checker
