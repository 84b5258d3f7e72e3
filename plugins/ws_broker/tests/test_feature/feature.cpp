// A feature whose behaviour is spelled by what clients send. Types: t_echo, t_slow ("ms"), t_never, t_count (presences
// of the asker's mesh), t_twice, t_announce, t_notes (what it was told), t_offers (what its way was offered), t_taken.
// Target "#": one delivery per member of the mesh and one row in a table of its own; ciphertext "deny", "fail" make the
// work refuse, "error" the routing. Its way takes what it is offered: ciphertext "keep" is never confirmed, "refuse"
// and "later" are answered so, "flaky" fails the first time, "reject" always; everything else is delivered.
#include <claudemesh/cpp/broker.hpp>
#include <claudemesh/cpp/plugin.hpp>
#include <list>
#include <map>
#include <string>

#include "protocol/json.hpp"

namespace {

using cm::BrokerMessages;

std::string word_of(std::string_view json, std::string_view name) {
  const auto tree = cm::protocol::parse_json(json);
  const cm::protocol::JsonValue* value = tree.ok() ? tree->find(name) : nullptr;
  return value != nullptr && value->as_string() != nullptr ? *value->as_string() : std::string();
}

std::string list_reply(std::string_view type, const std::vector<std::string>& items) {
  cm::protocol::JsonValue::Array array;
  for (const std::string& item : items) {
    array.emplace_back(item);
  }
  cm::protocol::JsonValue reply;
  reply.set("type", cm::protocol::JsonValue(type));
  reply.set("items", cm::protocol::JsonValue(std::move(array)));
  return cm::protocol::to_json(reply);
}

class TestFeature final : public cm::PluginInstance, public cm::BrokerWay {
 public:
  explicit TestFeature(const cm_host* host) : PluginInstance(host) {}

  cm::Status configure() override { return {}; }

  void start(Done started) override {
    auto storage = cm::StorageClient::acquire(host(), host().option_text("store"));
    if (!storage.ok()) {
      started(storage.error());
      return;
    }
    storage_ = std::move(*storage);
    storage_.migrate(
        "test_feature", {{1, "0001_topic", "CREATE TABLE topic_row (message_id TEXT PRIMARY KEY)"}},
        [this, started = std::move(started)](cm::Status status) { started(status.ok() ? serve() : status); });
  }

  void stop() override {
    timers_.clear();
    close();
    broker_.release();
    storage_.release();
  }

 private:
  cm::Status serve() {
    insert_ = storage_.statement("INSERT INTO topic_row (message_id) VALUES (?1)");
    list_ = storage_.statement("SELECT message_id FROM topic_row ORDER BY message_id");
    if (cm::Status status = broker_.acquire(host(), host().option_text("broker")); !status.ok()) {
      return status;
    }
    serve_types();
    check(
        broker_.contribute("mesh_info", [](BrokerMessages::Request request, const cm_broker_sender&, std::string_view) {
          request.reply(R"({"topics":7,"mesh":"not mine"})");
        }));
    check(broker_.serve_target("#", [this](BrokerMessages::Send send, const cm_broker_sender& sender,
                                           const cm_broker_send& facts) { route(send, sender, facts); }));
    check(broker_.serve_http("POST", "/hook/:mesh/:secret", [](BrokerMessages::Http http, const cm_http_request_info&) {
      http.respond(200, {}, "mesh=" + std::string(http.path_parameter("mesh")));
    }));
    check(broker_.serve_http("POST", "/never", [](BrokerMessages::Http, const cm_http_request_info&) {}));
    watch();
    if (host().option_bool("way")) {
      return open(host(), host().option_text("broker"), "test", 10);
    }
    return {};
  }

  void serve_types() {
    on("t_echo", [](BrokerMessages::Request request, const cm_broker_sender& sender, std::string_view) {
      request.reply(R"({"type":"t_echoed","name":")" + std::string(cm::to_view(sender.display_name)) + R"("})");
    });
    on("t_slow", [this](BrokerMessages::Request request, const cm_broker_sender&, std::string_view json) {
      timers_.emplace_back(host()).start_ms(std::stoull(word_of(json, "ms")),
                                            [request] { request.reply(R"({"type":"t_slowly"})"); });
    });
    on("t_never", [](BrokerMessages::Request, const cm_broker_sender&, std::string_view) {});
    on("t_twice", [this](BrokerMessages::Request request, const cm_broker_sender&, std::string_view) {
      request.reply(R"({"type":"t_first"})");
      second_answer_ = request.reply(R"({"type":"t_second"})");
    });
    on("t_count", [this](BrokerMessages::Request request, const cm_broker_sender& sender, std::string_view) {
      int count = 0;
      broker_.for_each_presence(cm::to_view(sender.mesh_id), [&count](const cm_broker_sender&) { ++count; });
      request.reply(R"({"type":"t_counted","count":")" + std::to_string(count) + R"("})");
    });
    on("t_announce", [this](BrokerMessages::Request request, const cm_broker_sender& sender, std::string_view) {
      cm_broker_to to = {};
      to.kind = CM_BROKER_TO_MESH;
      to.mesh_id = cm::to_pview(cm::to_view(sender.mesh_id));
      to.except = sender.presence;
      const std::uint64_t count = broker_.push(to, R"({"type":"t_announced"})");
      request.reply(R"({"type":"t_announcing","count":")" + std::to_string(count) + R"("})");
    });
    on("t_notes", [this](BrokerMessages::Request request, const cm_broker_sender&, std::string_view) {
      request.reply(list_reply("t_noted", notes_));
    });
    on("t_offers", [this](BrokerMessages::Request request, const cm_broker_sender&, std::string_view) {
      request.reply(list_reply("t_offered", offers_));
    });
    on("t_rows", [this](BrokerMessages::Request request, const cm_broker_sender&, std::string_view) { rows(request); });
    on("t_reachable", [this](BrokerMessages::Request request, const cm_broker_sender& sender, std::string_view json) {
      reachable_now_ = true;
      reachable(cm::to_view(sender.mesh_id), word_of(json, "member"));
      request.no_reply();
    });
  }
  void check(const cm::Status& status) {
    if (!status.ok()) {
      notes_.push_back(status.error().message);
    }
  }
  void on(std::string_view type, BrokerMessages::RequestFunction function) {
    check(broker_.serve_type(type, std::move(function)));
  }

  void rows(const BrokerMessages::Request& request) {
    auto ids = std::make_shared<std::vector<std::string>>();
    storage_.read(
        [statement = list_, ids](cm::SqlTransaction& tx) {
          return tx.query(statement, {}, [&](const cm::SqlRow& row) { ids->emplace_back(row.text(0)); });
        },
        [request, ids](const cm::Status&) { request.reply(list_reply("t_rowed", *ids)); });
  }

  void route(const BrokerMessages::Send& send, const cm_broker_sender& sender, const cm_broker_send& facts) {
    const std::string word(cm::to_view(facts.ciphertext));
    if (word == "error") {
      send.error("forbidden", "not in this topic");
      return;
    }
    if (word == "never") {
      return;
    }
    std::vector<std::string> members;
    broker_.for_each_member(cm::to_view(sender.mesh_id), [&members](const cm_broker_member& member) {
      members.emplace_back(cm::to_view(member.member_id));
    });
    const std::string id(cm::to_view(facts.message_id));
    const auto work = [statement = insert_, id, word](cm::SqlTransaction& tx) -> cm::Status {
      if (const auto inserted = tx.execute(statement, {id}); !inserted.ok()) {
        return inserted.error();
      }
      if (word == "deny") {
        return cm::make_error(cm::ErrorCode::kDenied, "no");
      }
      return word == "fail" ? cm::Status(cm::make_error(cm::ErrorCode::kBusy, "later")) : cm::Status();
    };
    const auto go = [this, send, members, work] {
      send.route(members, "news", work,
                 [this](const cm::Status& status) { notes_.push_back(status.ok() ? "stored" : "not stored"); });
    };
    if (word == "slow") {
      timers_.emplace_back(host()).start_ms(200, go);
    } else {
      go();
    }
  }

  void watch() {
    cm_broker_watch callbacks = {};
    callbacks.size = sizeof(callbacks);
    callbacks.presence_joined = [](void* user, const cm_broker_sender* presence) noexcept {
      static_cast<TestFeature*>(user)->note("joined", presence->display_name);
    };
    callbacks.presence_left = [](void* user, const cm_broker_sender* presence) noexcept {
      static_cast<TestFeature*>(user)->note("left", presence->display_name);
    };
    callbacks.member_joined = [](void* user, const cm_broker_member* member) noexcept {
      static_cast<TestFeature*>(user)->note("member", member->name);
    };
    callbacks.member_removed = [](void* user, const cm_broker_member* member) noexcept {
      static_cast<TestFeature*>(user)->note("removed", member->name);
    };
    callbacks.mesh_created = [](void* user, const cm_broker_mesh* mesh) noexcept {
      static_cast<TestFeature*>(user)->note("mesh", mesh->slug);
    };
    cm_handle handle = CM_NO_HANDLE;
    broker_.table()->watch(broker_.instance(), broker_.self(), &callbacks, this, &handle);
  }
  void note(std::string_view what, cm_text_hview who) {
    notes_.push_back(std::string(what) + " " + std::string(cm::to_view(who)));
  }

  // --- the way ---
  std::uint32_t on_offer(cm_handle offer, const cm_broker_offer& facts) override {
    const std::string push(cm::to_view(facts.push_json));
    const std::string word = word_of(push, "ciphertext");
    offers_.push_back(std::to_string(facts.attempt) + " " + push);
    if (word == "refuse" && !reachable_now_) {
      return CM_BROKER_REFUSED;
    }
    if (word == "later" && !reachable_now_) {
      return CM_BROKER_LATER;
    }
    if (word == "keep") {
      return CM_BROKER_TAKEN;
    }
    const std::uint32_t outcome = word == "reject"                        ? CM_BROKER_REJECTED
                                  : word == "flaky" && facts.attempt == 1 ? CM_BROKER_FAILED
                                                                          : CM_BROKER_DELIVERED;
    timers_.emplace_back(host()).start_ms(100, [this, offer, outcome] { confirm(offer, outcome, 0, "as asked"); });
    return CM_BROKER_TAKEN;
  }
  void on_withdrawn(cm_handle) override { notes_.emplace_back("withdrawn"); }

  cm::StorageClient storage_;
  BrokerMessages broker_;
  cm_statement insert_ = 0;
  cm_statement list_ = 0;
  cm_status second_answer_ = CM_OK;
  bool reachable_now_ = false;
  std::vector<std::string> notes_;
  std::vector<std::string> offers_;
  std::list<cm::Timer> timers_;
};

}  // namespace

CM_DEFINE_PLUGIN(TestFeature);
