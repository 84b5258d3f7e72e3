#include "sim/scenario.hpp"

#include <memory>
#include <optional>
#include <set>
#include <utility>

#include "protocol/json.hpp"
#include "sim/checker.hpp"
#include "sim/mesh_world.hpp"

namespace cm::sim {
namespace {

using protocol::JsonValue;

constexpr std::uint64_t kPauseMsMax = 4'000;
constexpr std::uint64_t kHealTimeoutMs = 45 * 60 * 1000;
constexpr std::uint64_t kSettleMs = 120'000;  // redeliveries and late duplicates show up in this time
constexpr std::uint64_t kDownMsMax = 60'000;
constexpr std::uint64_t kPartitionMsMax = 200'000;
constexpr std::uint64_t kCrashStepsMax = 400;
constexpr std::uint64_t kClockJumpMsMax = 180'000;
constexpr int kAttemptsMax = 400;
constexpr std::uint64_t kRetryMs = 2'000;

class Scenario {
 public:
  explicit Scenario(const ScenarioOptions& options)
      : options_(options),
        mesh_(MeshWorldOptions{options.seed, options.members, options.broker_plugin, options.daemon_plugin,
                               options.trace}),
        random_(mesh_.world().fault_random().fork()) {
    report_.seed = options.seed;
  }

  ScenarioReport run() {
    if (Status ready = mesh_.set_up(); !ready.ok()) {
      report_.violations.push_back("set-up: " + ready.error().message);
      return finish();
    }
    for (std::uint32_t i = 0; i < options_.steps; ++i) {
      act();
      mesh_.world().run_for_ms(random_.below(kPauseMsMax));
    }
    heal();
    check();
    return finish();
  }

 private:
  ScenarioReport finish() {
    report_.messages_accepted = checker_.accepted_count();
    report_.events = mesh_.world().scheduler().events_run();
    report_.virtual_ms = mesh_.world().scheduler().now_us() / 1000;
    return std::move(report_);
  }

  // --- what the members do ---------------------------------------------------------------------------------------
  void note(const std::string& text) {
    if (options_.trace) {
      options_.trace(mesh_.world().clock_text() + " scenario: " + text);
    }
  }

  void act() {
    const std::uint64_t dice = random_.below(100);
    if (dice < 62) {
      send(random_.chance(0.12));
    } else if (dice < 66) {
      repeat_a_send();
    } else if (dice < 69) {
      requeue();
    } else if (dice < 83) {
      crash_someone();
    } else if (dice < 90) {
      partition_someone();
    } else if (dice < 94) {
      mesh_.world().network().reset_connections(random_node().name());
    } else if (dice < 97) {
      fill_a_disk();
    } else {
      jump_a_clock();
    }
  }

  Member& random_member() { return mesh_.members()[random_.below(mesh_.members().size())]; }
  Node& random_node() {
    const std::uint64_t index = random_.below(mesh_.members().size() + 1);
    return index == mesh_.members().size() ? mesh_.broker() : *mesh_.members()[index].node;
  }

  void send(bool to_all) {
    Member& sender = random_member();
    Member* recipient = &random_member();
    while (recipient == &sender) {
      recipient = &random_member();
    }
    SentMessage message;
    message.client_message_id = "sim-" + std::to_string(options_.seed) + "-" + std::to_string(++sends_);
    message.sender = sender.name;
    message.text = "text " + std::to_string(random_.next()) + " of " + message.client_message_id;
    JsonValue body{JsonValue::Object()};
    body.set("to", JsonValue(to_all ? std::string("*") : recipient->pubkey));
    body.set("message", JsonValue(message.text));
    body.set("client_message_id", JsonValue(message.client_message_id));
    body.set("priority", JsonValue(random_.chance(0.3) ? "now" : "next"));
    for (const Member& member : mesh_.members()) {
      if (to_all ? &member != &sender : &member == recipient) {
        message.recipients.insert(member.name);
      }
    }
    bodies_[message.client_message_id] = protocol::to_json(body);
    std::string audience;
    for (const std::string& name : message.recipients) {
      audience += " " + name;
    }
    note(message.sender + " sends " + message.client_message_id + " to" + audience);
    const std::string id = checker_.expect(std::move(message)).client_message_id;
    queue_post(sender, id);
  }

  // A caller posts one message after the other: the next only when the last one was answered, so that the order of
  // acceptance is the order of the posts.
  void queue_post(Member& sender, const std::string& id) {
    auto& queue = waiting_[sender.name];
    queue.push_back(id);
    if (queue.size() == 1) {
      post_next(sender, 0);
    }
  }

  void post_next(Member& sender, int attempt) {
    auto& queue = waiting_[sender.name];
    if (queue.empty()) {
      return;
    }
    const std::string id = queue.front();
    HttpExchange exchange;
    exchange.method = "POST";
    exchange.target = "/v1/send";
    exchange.headers = {{"Content-Type", "application/json"}, {"Host", "localhost"}};
    exchange.body = bodies_[id];
    // Whichever comes first counts: the answer, or the time-out of a caller whose daemon died.
    auto answered = std::make_shared<bool>(false);
    mesh_.world().http(sender.socket, std::move(exchange), [this, &sender, id, attempt, answered](HttpAnswer answer) {
      if (!std::exchange(*answered, true)) {
        handle_answer(sender, id, attempt, answer);
      }
    });
    mesh_.world().scheduler().after(30'000'000, [this, &sender, id, attempt, answered] {
      if (!std::exchange(*answered, true)) {
        handle_answer(sender, id, attempt, HttpAnswer());
      }
    });
  }

  void handle_answer(Member& sender, const std::string& id, int attempt, const HttpAnswer& answer) {
    SentMessage& message = *checker_.find(id);
    const bool accepted = answer.status == 200 || answer.status == 202;
    if (accepted) {
      note(id + " accepted by " + sender.name + " with " + std::to_string(answer.status));
      message.accepted = true;
      message.order = ++accepted_order_;
    }
    const bool final_refusal =
        answer.status >= 400 && answer.status < 500 && answer.status != 429 && answer.status != 404;
    if (final_refusal && attempt == 0) {
      message.refused = true;
      ++report_.messages_refused;
    }
    auto& queue = waiting_[sender.name];
    if (accepted || final_refusal || attempt >= kAttemptsMax) {
      queue.pop_front();
      post_next(sender, 0);
      return;
    }
    mesh_.world().scheduler().after(kRetryMs * 1000, [this, &sender, attempt] { post_next(sender, attempt + 1); });
  }

  // The same id once more, with the same or with another text: never a second message.
  void repeat_a_send() {
    const auto all = checker_.messages();
    if (all.empty()) {
      return;
    }
    const SentMessage& message = *all[random_.below(all.size())];
    if (!message.accepted) {
      return;
    }
    std::string body = bodies_[message.client_message_id];
    if (random_.chance(0.5)) {
      auto json = protocol::parse_json(body);
      json->set("message", JsonValue("another text under the id " + message.client_message_id));
      body = protocol::to_json(*json);
    }
    HttpExchange exchange;
    exchange.method = "POST";
    exchange.target = "/v1/send";
    exchange.headers = {{"Content-Type", "application/json"}, {"Host", "localhost"}};
    exchange.body = std::move(body);
    mesh_.world().http(member_named(message.sender).socket, std::move(exchange), [](const HttpAnswer&) {});
  }

  Member& member_named(const std::string& name) {
    for (Member& member : mesh_.members()) {
      if (member.name == name) {
        return member;
      }
    }
    return mesh_.members().front();
  }

  // An operator gives a stuck row of an outbox a new id.
  void requeue() {
    Member& member = random_member();
    const HttpAnswer rows = mesh_.call(member.socket, "GET", "/v1/outbox?status=pending&limit=50", {}, 5'000);
    const auto json = protocol::parse_json(rows.body);
    if (rows.status != 200 || !json || json->find("items") == nullptr || json->find("items")->as_array() == nullptr ||
        json->find("items")->as_array()->empty()) {
      return;
    }
    const auto& items = *json->find("items")->as_array();
    const JsonValue& item = items[random_.below(items.size())];
    const JsonValue* id = item.find("id");
    const JsonValue* client_id = item.find("client_message_id");
    if (id == nullptr || id->as_string() == nullptr || client_id == nullptr || client_id->as_string() == nullptr) {
      return;
    }
    if (SentMessage* message = checker_.find(*client_id->as_string())) {
      message->requeued = true;
    }
    JsonValue body{JsonValue::Object()};
    body.set("id", JsonValue(*id->as_string()));
    mesh_.call(member.socket, "POST", "/v1/outbox/requeue", protocol::to_json(body), 5'000);
  }

  // --- faults --------------------------------------------------------------------------------------------------------
  void crash_someone() {
    Node& node = random_node();
    ++report_.crashes;
    if (random_.chance(0.25)) {
      mesh_.world().crash(node);
    } else {
      node.crash_after_steps(1 + random_.below(kCrashStepsMax));
    }
    plan_boot(node);
  }

  void plan_boot(Node& node) {
    mesh_.world().scheduler().after((1 + random_.below(kDownMsMax)) * 1000, [this, &node] {
      if (!node.running()) {
        mesh_.world().crash(node);  // a boot that got stuck halfway
        mesh_.world().boot(node);
      }
    });
  }

  void partition_someone() {
    ++report_.partitions;
    const std::string member = random_member().name;
    note("partition between " + member + " and broker");
    mesh_.world().network().partition(member, "broker");
    mesh_.world().scheduler().after(random_.below(kPartitionMsMax) * 1000,
                                    [this, member] { mesh_.world().network().heal(member, "broker"); });
  }

  void fill_a_disk() {
    Node& node = random_node();
    note("the disk of " + node.name() + " is full");
    node.disk().faults.full = true;
    mesh_.world().scheduler().after(random_.below(20'000'000), [&node] { node.disk().faults.full = false; });
  }

  void jump_a_clock() {
    Node& node = random_node();
    node.clock_skew_ms =
        static_cast<std::int64_t>(random_.below(2 * kClockJumpMsMax)) - static_cast<std::int64_t>(kClockJumpMsMax);
    note("the clock of " + node.name() + " jumps by " + std::to_string(node.clock_skew_ms) + " ms");
    mesh_.world().scheduler().after(random_.below(60'000'000), [&node] { node.clock_skew_ms = 0; });
  }

  // --- the end
  // ---------------------------------------------------------------------------------------------------------
  void heal() {
    note("heals");
    mesh_.world().network().faults.reset = 0;
    for (const auto& node : mesh_.world().nodes()) {
      node->disk().faults = DiskFaults();
      node->clock_skew_ms = 0;
      node->crash_after_steps(0);
    }
    mesh_.world().network().heal_all();
    // Planned faults and boots run out, then whoever is still down comes back.
    mesh_.world().run_for_ms(kPartitionMsMax + kDownMsMax);
    mesh_.world().network().heal_all();
    for (const auto& node : mesh_.world().nodes()) {
      node->disk().faults = DiskFaults();
      node->crash_after_steps(0);
      if (!node->running()) {
        mesh_.world().crash(*node);
        if (!mesh_.world().boot(*node)) {
          report_.violations.push_back("no recovery: " + node->name() + " does not boot: " + node->last_error);
        }
      }
    }
    const std::uint64_t end_us = mesh_.world().scheduler().now_us() + kHealTimeoutMs * 1000;
    while (mesh_.world().scheduler().now_us() < end_us) {
      mesh_.world().run_for_ms(10'000);
      if (posts_done() && checker_.complete(read_inboxes())) {
        break;
      }
    }
    mesh_.world().run_for_ms(kSettleMs);
  }

  bool posts_done() const {
    for (const auto& [name, queue] : waiting_) {
      if (!queue.empty()) {
        return false;
      }
    }
    return true;
  }

  Checker::Inboxes read_inboxes() {
    Checker::Inboxes inboxes;
    for (Member& member : mesh_.members()) {
      auto inbox = mesh_.inbox(member);
      if (inbox) {
        inboxes[member.name] = std::move(*inbox);
      }
    }
    return inboxes;
  }

  void check() {
    if (!posts_done()) {
      report_.violations.push_back("stuck: a daemon that is up again does not take messages");
    }
    const Checker::Inboxes inboxes = read_inboxes();
    for (const Member& member : mesh_.members()) {
      if (!inboxes.contains(member.name)) {
        report_.violations.push_back("no recovery: the daemon of " + member.name +
                                     " does not answer: " + member.node->last_error);
      }
    }
    const auto disk = mesh_.broker().disk().contents();
    std::vector<std::string_view> broker_bytes;
    for (const auto& bytes : disk) {
      broker_bytes.emplace_back(reinterpret_cast<const char*>(bytes->data()), bytes->size());
    }
    for (std::string& violation : checker_.violations(inboxes, broker_bytes)) {
      report_.violations.push_back(std::move(violation));
    }
  }

  ScenarioOptions options_;
  ScenarioReport report_;
  Checker checker_;
  std::map<std::string, std::string> bodies_;               // by client message id
  std::map<std::string, std::deque<std::string>> waiting_;  // by sender: ids in the order of the posts
  std::uint64_t sends_ = 0;
  std::uint64_t accepted_order_ = 0;
  MeshWorld mesh_;  // before what refers to it is destroyed, its events are gone
  Random random_;
};

}  // namespace

ScenarioReport run_scenario(const ScenarioOptions& options) {
  return Scenario(options).run();
}

}  // namespace cm::sim
