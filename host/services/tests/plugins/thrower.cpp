// A plugin of the C++ layer that throws in the callback which the option `where` names.
#include <claudemesh/cpp/http.hpp>
#include <claudemesh/cpp/plugin.hpp>
#include <claudemesh/cpp/process.hpp>
#include <claudemesh/cpp/storage.hpp>

#include <memory>
#include <stdexcept>
#include <string>

CM_PLUGIN_MANIFEST(
    "{\"id\":\"org.claudemesh.test.thrower\",\"name\":\"test_thrower\",\"version\":\"1.0.0\","
    "\"abi\":{\"min\":\"1.0\",\"built\":\"1.0\"},\"platform\":\"linux-x86_64\","
    "\"requires\":[\"cm.config/1\",\"cm.timer/1\",\"cm.worker/1\",\"cm.loop/1\",\"cm.log/1\",\"cm.http.server/1\","
    "\"cm.http.client/1\",\"cm.process/1\",\"cm.registry/1\"],"
    "\"options\":["
    "{\"name\":\"where\",\"type\":\"string\",\"default\":\"\",\"doc\":\"The callback that throws.\"},"
    "{\"name\":\"listen\",\"type\":\"address\",\"default\":\"127.0.0.1:0\",\"doc\":\"Where it listens.\"},"
    "{\"name\":\"store\",\"type\":\"plugin\",\"default\":\"\",\"doc\":\"Where it writes, if anywhere.\"},"
    "{\"name\":\"journal\",\"type\":\"string\",\"default\":\"\",\"doc\":\"Not used.\"}]}");

namespace {

class Thrower final : public cm::PluginInstance {
 public:
  using PluginInstance::PluginInstance;

  cm::Status configure() override {
    where_ = host().option_text("where");
    listen_ = host().option_text("listen");
    throw_at("configure");
    const std::string store = host().option_text("store");
    if (store.empty()) {
      return {};
    }
    auto storage = cm::StorageClient::acquire(host(), store);
    if (!storage) {
      return std::move(storage).error();
    }
    storage_ = std::move(*storage);
    return {};
  }
  void start(Done started) override {
    throw_at("start");
    timer_ = std::make_unique<cm::Timer>(host());
    timer_->start_ms(0, [this] { throw_at("timer"); });
    host().post([this] { throw_at("post"); });
    const cm::Status submitted = cm::run_on_worker(host(), CM_WORKER_POOL, [this] { throw_at("job"); }, {});
    if (where_ != "drain") {  // a drain that throws is over at once and waits for nobody
      cm::spawn(sleep_and_throw(gate_.enter()));
    }
    ask();
    if (storage_) {
      write();
    }
    cm_http_listen_options options = {};
    options.address = cm::to_pview(listen_);
    listener_ = std::make_unique<cm::HttpListener>();
    const cm::Status status = listener_->listen(host(), options);
    listener_->fallback([this](const cm::HttpRequest& request) {
      throw_at("http_request");
      request.respond(200, {}, "well");
    });
    started(submitted.ok() ? status : submitted);
  }
  void drain(std::uint64_t, Done drained) override {
    gate_.close([drained = std::move(drained)] { drained({}); });
    throw_at("drain");
  }
  void stop() override {
    timer_.reset();
    listener_.reset();
    child_.abandon();
    storage_.release();
    throw_at("stop");
  }

 private:
  void ask() {
    child_.on_output = [this](std::uint32_t, std::string_view bytes) {
      throw_at(bytes.empty() ? "the end" : "process_output");
    };
    child_.on_input_drained = [this] { throw_at("process_drained"); };
    child_.on_exit = [this](const cm::ProcessExit& end) {
      host().log(cm::LogLevel::kInfo, end.succeeded() ? "the child succeeded" : "the child failed");
      throw_at("process_exited");
    };
    const cm::ProcessCommand command = {.program = "/bin/echo", .arguments = {"hello"}};
    static_cast<void>(child_.start(host(), command));
    cm::HttpCall call;
    call.url = "http://127.0.0.1:1/";  // nobody listens there, which is an answer too
    cm::http_send(host(), call, [this](cm::Result<cm::HttpResponse>) { throw_at("http_result"); });
  }

  // A work that throws is rolled back and its submitter is told; the next one goes on.
  void write() {
    const cm_statement insert = storage_.statement("INSERT INTO notes (text) VALUES (?1)");
    const cm_statement select = storage_.statement("SELECT count(*) FROM notes");
    storage_.migrate("thrower", {{1, "notes", "CREATE TABLE notes (text TEXT NOT NULL) STRICT"}}, tell("migrate"));
    storage_.submit(
        [this, insert, select](cm::SqlTransaction& transaction) -> cm::Status {
          const auto inserted = transaction.execute(insert, {"one"});
          throw_at("storage_work");
          return transaction.query(select, {}, [this](const cm::SqlRow&) { throw_at("storage_row"); });
        },
        tell("submit"));
  }
  void count() {
    storage_.read(
        [this, select = storage_.statement("SELECT count(*) FROM notes")](cm::SqlTransaction& transaction) {
          return transaction.query(select, {}, [this](const cm::SqlRow& row) {
            host().log(cm::LogLevel::kInfo, "notes", {{"count", row.integer(0)}});
          });
        },
        tell("read"));
  }
  cm::StorageClient::Done tell(const std::string& what) {
    return [this, what](const cm::Status& status) {
      host().log(cm::LogLevel::kInfo, what + (status.ok() ? " went well" : " failed: " + status.error().message));
      if (what == "submit") {
        count();
        throw_at("storage_done");
      }
    };
  }
  // Keeps the gate until its end, so that no frame is left behind when the instance goes.
  cm::Task<void> sleep_and_throw(cm::Gate::Pass) {
    co_await cm::sleep_ms(host(), 1);
    throw_at("task");
  }

  void throw_at(const std::string& place) const {
    if (where_ == place) {
      throw std::runtime_error("thrown on purpose in " + place);
    }
  }

  std::string where_;
  std::string listen_;
  std::unique_ptr<cm::Timer> timer_;
  std::unique_ptr<cm::HttpListener> listener_;
  cm::Process child_;
  cm::StorageClient storage_;
  cm::Gate gate_;
};

}  // namespace

CM_DEFINE_PLUGIN(Thrower);
