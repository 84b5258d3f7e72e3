#include "plugins/ws_broker/src/ways.hpp"

#include <algorithm>
#include <utility>

#include "plugins/ws_broker/src/ext_facts.hpp"
#include "protocol/priority_number.hpp"

namespace cm::broker {

namespace {

constexpr std::size_t kReasonMax = 256;

bool is_way_name(std::string_view name) {
  const auto plain = [](char c) { return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '_'; };
  return !name.empty() && name.size() <= CM_BROKER_TYPE_BYTES_MAX && name.front() >= 'a' && name.front() <= 'z' &&
         std::all_of(name.begin(), name.end(), plain);
}

bool is_online(const Member& member) {
  return std::any_of(member.presences.begin(), member.presences.end(),
                     [](const Presence* presence) { return presence->online(); });
}

}  // namespace

Ways::Ways(Context& context, WriteBehind& writes, Delivery& delivery, MeshCache& cache,
           std::function<std::int64_t()> first_unsettled_seq)
    : context_(context),
      writes_(writes),
      delivery_(delivery),
      cache_(cache),
      first_unsettled_seq_(std::move(first_unsettled_seq)) {}

// --- members that wait ----------------------------------------------------------------------------------------------

void Ways::member_waits(Member& member) {
  if (ways_.empty() || stopped_ || !member.active() || !member.may_have_rows || is_online(member)) {
    return;
  }
  wake(member, desks_[&member]);
}

void Ways::member_reached(Member& member) {
  const auto desk = desks_.find(&member);
  if (desk == desks_.end()) {
    return;
  }
  std::vector<cm_handle> open;
  for (const auto& [seq, note] : desk->second.notes) {
    if (note.offer != CM_NO_HANDLE) {
      open.push_back(note.offer);
    }
  }
  for (const cm_handle offer : open) {
    withdraw(offer);
  }
  desks_.erase(&member);
  std::erase(ready_, &member);
}

void Ways::expire(std::int64_t accepted_before_ms) {
  std::vector<cm_handle> old;
  for (const auto& [handle, offer] : offers_) {
    if (offer.created_at_ms < accepted_before_ms) {
      old.push_back(handle);
    }
  }
  for (const cm_handle handle : old) {
    withdraw(handle);
  }
}

void Ways::tick(std::int64_t now_ms) {
  std::vector<cm_handle> gone;
  for (const auto& [handle, way] : ways_) {
    gone.push_back(handle);
  }
  for (const cm_handle handle : gone) {
    check_way(handle);
  }
  std::vector<cm_handle> late;
  for (const auto& [handle, offer] : offers_) {
    if (offer.deadline_ms <= now_ms) {
      late.push_back(handle);
    }
  }
  for (const cm_handle handle : late) {
    context_.metrics.way_outcomes.add("timeout");
    withdraw(handle);
  }
  for (auto& [member, desk] : desks_) {
    if (desk.due_ms != 0 && desk.due_ms <= now_ms) {
      wake(*member, desk);
    }
  }
}

void Ways::stop() {
  stopped_ = true;
  ways_.clear();
  offers_.clear();
  desks_.clear();
  ready_.clear();
}

std::vector<cm_handle> Ways::ways_in_order() const {
  std::vector<cm_handle> handles;
  for (const auto& [handle, way] : ways_) {
    handles.push_back(handle);
  }
  std::sort(handles.begin(), handles.end(), [this](cm_handle a, cm_handle b) {
    const Way& first = ways_.at(a);
    const Way& second = ways_.at(b);
    return first.order != second.order ? first.order < second.order : first.name < second.name;
  });
  return handles;
}

bool Ways::usable(Member& member, const Desk& desk) const {
  const bool some_way =
      std::any_of(ways_.begin(), ways_.end(), [&desk](const auto& way) { return desk.refused.count(way.first) == 0; });
  return some_way && member.active() && member.may_have_rows && !is_online(member);
}

void Ways::wake(Member& member, Desk& desk) {
  desk.due_ms = 0;
  if (desk.queued) {
    desk.again = true;
    return;
  }
  desk.queued = true;
  ready_.push_back(&member);
  plan();
}

void Ways::plan() {
  if (!planned_ && !stopped_) {
    planned_ = true;
    context_.host.post([this] {
      planned_ = false;
      run_ready();
    });
  }
}

void Ways::run_ready() {
  while (!ready_.empty() && reading_ < kReadsMax && !stopped_) {
    Member& member = *ready_.front();
    ready_.pop_front();
    Desk& desk = desks_.at(&member);
    if (!usable(member, desk) || desk.open >= kOpenPerMember) {
      desk.queued = false;
      desk.again = false;
      continue;
    }
    read(member, desk);
  }
}

void Ways::read(Member& member, Desk& desk) {
  ++reading_;
  desk.again = false;
  desk.generation = next_generation_++;
  const std::uint64_t generation = desk.generation;
  // What was delivered until now is in the store before it is read; what is delivered from now on is remembered.
  desk.settled.clear();
  writes_.flush([this, &member, generation, cursor = desk.cursor] {
    const std::int64_t horizon = first_unsettled_seq_();
    auto rows = std::make_shared<std::vector<WaitingRow>>();
    context_.storage.read(
        [sql = context_.sql, member_id = member.id, cursor, horizon, rows](SqlTransaction& tx) {
          return sql->waiting_rows(tx, member_id, cursor, horizon, kPageRows, *rows);
        },
        [this, &member, generation, rows](Status status) {
          --reading_;
          if (!stopped_) {
            looked(member, generation, *rows, status);
            plan();
          }
        });
  });
}

void Ways::looked(Member& member, std::uint64_t generation, const std::vector<WaitingRow>& rows, const Status& status) {
  const auto found = desks_.find(&member);
  if (found == desks_.end() || found->second.generation != generation) {
    return;
  }
  Desk& desk = found->second;
  desk.queued = false;
  if (!status.ok()) {
    desk.due_ms = context_.now_ms() + kPauseMs;
    return;
  }
  bool go_on = true;
  for (const WaitingRow& row : rows) {
    if (!go_on || !usable(member, desk)) {
      go_on = false;
      break;
    }
    go_on = look_at(member, desk, row);
    if (go_on) {
      desk.cursor = row.message->seq;
    }
  }
  const bool page_full = rows.size() >= static_cast<std::size_t>(kPageRows);
  if (go_on && page_full) {
    wake(member, desk);
    return;
  }
  desk.cursor = 0;
  if (std::exchange(desk.again, false)) {
    wake(member, desk);
    return;
  }
  if (go_on && rows.empty() && desk.notes.empty() && desk.open == 0 && desk.refused.empty()) {
    desks_.erase(found);  // nothing waits
    return;
  }
  const std::int64_t now_ms = context_.now_ms();
  for (const auto& [seq, note] : desk.notes) {
    if (note.offer == CM_NO_HANDLE && note.not_before_ms > now_ms) {
      desk.due_ms = desk.due_ms == 0 ? note.not_before_ms : std::min(desk.due_ms, note.not_before_ms);
    }
  }
}

// --- offers ---------------------------------------------------------------------------------------------------------

bool Ways::look_at(Member& member, Desk& desk, const WaitingRow& row) {
  const std::int64_t seq = row.message->seq;
  const std::int64_t now_ms = context_.now_ms();
  if (desk.settled.count(seq) != 0) {
    return true;
  }
  if (desk.open >= kOpenPerMember) {
    return false;
  }
  const auto known = desk.notes.find(seq);
  if (known == desk.notes.end() && desk.notes.size() >= kNotesPerMember) {
    desk.due_ms = now_ms + kPauseMs;
    return false;
  }
  Note& note = known == desk.notes.end() ? desk.notes[seq] : known->second;
  if (note.offer != CM_NO_HANDLE || note.not_before_ms > now_ms) {
    return true;
  }
  bool later = false;
  for (const cm_handle way : ways_in_order()) {
    if (desk.refused.count(way) != 0 || note.rejected.count(way) != 0) {
      continue;
    }
    if (ways_.at(way).open >= CM_BROKER_OFFERS_MAX) {
      later = true;
      continue;
    }
    if (offer_to(way, member, desk, note, row)) {
      return true;
    }
    later = later || desk.refused.count(way) == 0;
  }
  if (later) {
    pause(desk, note, 0);
  } else if (note.rejected.empty() && note.attempts == 0) {
    desk.notes.erase(seq);
  }
  return true;
}

bool Ways::offer_to(cm_handle way_handle, Member& member, Desk& desk, Note& note, const WaitingRow& row) {
  if (!check_way(way_handle)) {
    return false;
  }
  Way& way = ways_.at(way_handle);
  const cm_handle handle = next_handle_++;
  const std::uint32_t answer = ask(way, handle, member, row, note.attempts + 1);
  switch (answer) {
    case CM_BROKER_TAKEN: {
      const std::int64_t deadline_ms = context_.now_ms() + CM_BROKER_CONFIRM_TIMEOUT_MS;
      offers_.emplace(handle, Offer{way_handle, &member, row.message->seq, row.message->created_at_ms, deadline_ms});
      note.offer = handle;
      ++note.attempts;
      ++way.open;
      ++desk.open;
      context_.metrics.way_outcomes.add("taken");
      return true;
    }
    case CM_BROKER_REFUSED:
      desk.refused.insert(way_handle);
      context_.metrics.way_outcomes.add("refused");
      return false;
    case CM_BROKER_LATER:
      context_.metrics.way_outcomes.add("later");
      return false;
    default:
      context_.metrics.feature_faults.add();
      context_.host.log(static_cast<LogLevel>(CM_LOG_PLUGIN_MISBEHAVING), "a way gave an unknown answer to an offer",
                        {{"way", way.name}, {"answer", answer}});
      return false;
  }
}

std::uint32_t Ways::ask(const Way& way, cm_handle handle, const Member& member, const WaitingRow& row,
                        std::uint32_t attempt) {
  const Message& message = *row.message;
  frame_.clear();
  write_queued_push(frame_, message);
  const bool multicast =
      names_no_key(message.target_spec) || protocol::classify_target(message.target_spec).is_multicast();
  cm_broker_offer facts = {};
  facts.size = sizeof(facts);
  facts.priority = protocol::priority_number(message.priority);
  facts.attempt = attempt;
  facts.flags = multicast ? CM_BROKER_OFFER_MULTICAST : 0;
  facts.mesh_id = to_hview(message.mesh_id);
  facts.message_id = to_hview(message.id);
  facts.member_id = to_hview(member.id);
  facts.member_pubkey = to_hview(member.pubkey);
  facts.session_pubkey = to_hview(row.key);
  facts.push_json = to_hview(frame_);
  facts.expires_unix_ms = message.created_at_ms + context_.options.queue_retention_ms;
  return way.offer(way.user, handle, &facts);
}

Ways::Offer Ways::take_offer(cm_handle handle) {
  const Offer offer = offers_.extract(handle).mapped();
  if (const auto way = ways_.find(offer.way); way != ways_.end()) {
    --way->second.open;
  }
  if (const auto desk = desks_.find(offer.member); desk != desks_.end()) {
    --desk->second.open;
    desk->second.notes[offer.seq].offer = CM_NO_HANDLE;
  }
  return offer;
}

// The row waits again, after a pause. The way is told last: its handle is stale when it returns.
void Ways::withdraw(cm_handle handle) {
  const Offer offer = take_offer(handle);
  if (const auto desk = desks_.find(offer.member); desk != desks_.end()) {
    pause(desk->second, desk->second.notes[offer.seq], 0);
  }
  context_.metrics.way_outcomes.add("withdrawn");
  if (check_way(offer.way)) {
    const Way& way = ways_.at(offer.way);
    if (way.withdrawn != nullptr) {
      way.withdrawn(way.user, handle);
    }
  }
}

void Ways::pause(Desk& desk, Note& note, std::int64_t at_least_ms) {
  const std::uint32_t failures = std::max<std::uint32_t>(note.attempts, 1) - 1;
  const std::int64_t pause_ms = std::max(at_least_ms, claim_duration_ms(failures, kPauseMs, kPauseMaxMs));
  note.not_before_ms = context_.now_ms() + pause_ms;
  desk.due_ms = desk.due_ms == 0 ? note.not_before_ms : std::min(desk.due_ms, note.not_before_ms);
}

// --- functions of the table -----------------------------------------------------------------------------------------

cm_status Ways::add_way(cm_handle caller, const cm_broker_way& raw, void* user, cm_handle* out_way) {
  if (!is_way_name(to_view(raw.name)) || raw.offer == nullptr) {
    return CM_INVALID;
  }
  std::vector<cm_handle> same_name;
  for (const auto& [handle, way] : ways_) {
    if (way.name == to_view(raw.name)) {
      same_name.push_back(handle);
    }
  }
  const bool taken = std::any_of(same_name.begin(), same_name.end(), [this](cm_handle way) { return check_way(way); });
  if (taken || ways_.size() >= CM_BROKER_WAYS_MAX || stopped_) {
    return CM_BUSY;
  }
  Way way;
  way.caller = caller;
  way.name = to_view(raw.name);
  way.order = raw.order;
  way.offer = raw.offer;
  way.withdrawn = CM_HAS_FUNCTION(&raw, cm_broker_way, withdrawn) ? raw.withdrawn : nullptr;
  way.user = user;
  *out_way = next_handle_++;
  ways_.emplace(*out_way, std::move(way));
  for (const auto& [id, mesh] : cache_.meshes()) {
    for (const auto& [member_id, member] : mesh->members) {
      member_waits(*member);
    }
  }
  return CM_OK;
}

void Ways::remove_way(cm_handle caller, cm_handle way) {
  const auto found = ways_.find(way);
  if (found != ways_.end() && found->second.caller == caller) {
    drop_way(way);
  }
}

bool Ways::check_way(cm_handle way) {
  const auto found = ways_.find(way);
  if (found == ways_.end()) {
    return false;
  }
  if (is_alive(context_.host, found->second.caller)) {
    return true;
  }
  drop_way(way);
  return false;
}

void Ways::drop_way(cm_handle way) {
  ways_.erase(way);
  std::vector<cm_handle> open;
  for (const auto& [handle, offer] : offers_) {
    if (offer.way == way) {
      open.push_back(handle);
    }
  }
  for (const cm_handle handle : open) {
    const Offer offer = take_offer(handle);
    const auto desk = desks_.find(offer.member);
    if (desk != desks_.end()) {
      wake(*offer.member, desk->second);
    }
  }
}

cm_status Ways::confirm(cm_handle caller, cm_handle handle, std::uint32_t outcome, std::uint64_t retry_after_ms,
                        std::string_view reason) {
  const auto found = offers_.find(handle);
  if (found == offers_.end()) {
    return CM_GONE;
  }
  const auto way = ways_.find(found->second.way);
  if (way == ways_.end() || way->second.caller != caller) {
    return CM_GONE;
  }
  if (outcome != CM_BROKER_DELIVERED && outcome != CM_BROKER_FAILED && outcome != CM_BROKER_REJECTED) {
    return CM_INVALID;
  }
  const std::string name = way->second.name;
  const Offer offer = take_offer(handle);
  Desk& desk = desks_.at(offer.member);
  if (outcome == CM_BROKER_DELIVERED) {
    context_.metrics.way_outcomes.add("delivered");
    delivered(*offer.member, offer.seq);
  } else if (outcome == CM_BROKER_REJECTED) {
    context_.metrics.way_outcomes.add("rejected");
    desk.notes[offer.seq].rejected.insert(offer.way);
  } else {
    context_.metrics.way_outcomes.add("failed");
    const auto at_least_ms = static_cast<std::int64_t>(std::min<std::uint64_t>(retry_after_ms, kPauseMaxMs));
    pause(desk, desk.notes[offer.seq], at_least_ms);
  }
  if (outcome != CM_BROKER_DELIVERED) {
    context_.host.log(LogLevel::kDebug, "a way did not deliver a message",
                      {{"way", name}, {"reason", reason.substr(0, kReasonMax)}});
  }
  const std::int64_t due_ms = desk.due_ms;
  wake(*offer.member, desk);
  desk.due_ms = due_ms;
  return CM_OK;
}

void Ways::delivered(Member& member, std::int64_t seq) {
  Desk& desk = desks_.at(&member);
  desk.notes.erase(seq);
  desk.settled.insert(seq);
  context_.metrics.deliveries.add();
  delivery_.add_depth(-1);
  writes_.add([sql = context_.sql, seq, member_id = member.id, at_ms = context_.wall_ms()](SqlTransaction& tx) {
    return sql->mark_delivered(tx, seq, member_id, at_ms);
  });
}

cm_status Ways::reachable(cm_handle caller, cm_handle way, std::string_view mesh_id, std::string_view member_id) {
  const auto known = ways_.find(way);
  Mesh* mesh = cache_.find(mesh_id);
  if (known == ways_.end() || known->second.caller != caller || mesh == nullptr) {
    return CM_GONE;
  }
  const auto found = mesh->members.find(member_id);
  if (found == mesh->members.end()) {
    return CM_GONE;
  }
  Member& member = *found->second;
  if (const auto desk = desks_.find(&member); desk != desks_.end()) {
    desk->second.refused.erase(way);
    for (auto& [seq, note] : desk->second.notes) {
      note.not_before_ms = 0;
    }
  }
  member_waits(member);
  return CM_OK;
}

}  // namespace cm::broker
