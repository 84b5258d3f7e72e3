// cm.broker.messages/1 and cm.broker.delivery/1 as C++: functions instead of callbacks with `user`, answers as objects.
#pragma once

#include <claudemesh/ext/broker.h>

#include <cstdint>
#include <functional>
#include <initializer_list>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <claudemesh/cpp/host.hpp>
#include <claudemesh/cpp/http.hpp>
#include <claudemesh/cpp/storage.hpp>

namespace cm {

// The broker that a feature plugin extends. Keep it in the instance: what was registered calls into this object until
// release, or the instance's stop, which ends it on the broker's side. All functions [loop].
class BrokerMessages {
 public:
  // A request of a client; kept as a value until it is answered, now or later.
  class Request {
   public:
    Request(const BrokerMessages* broker, cm_handle handle) : broker_(broker), handle_(handle) {}
    // One JSON object with "type"; the broker adds "_reqId". [loop]
    cm_status reply(std::string_view json) const {
      return broker_->table()->reply(broker_->instance(), broker_->self(), handle_, to_pview(json));
    }
    // For a request that the protocol does not answer. [loop]
    cm_status no_reply() const { return broker_->table()->no_reply(broker_->instance(), broker_->self(), handle_); }
    // Of a `send`: its refusal. [loop]
    cm_status error(std::string_view code, std::string_view message) const {
      return broker_->table()->error(broker_->instance(), broker_->self(), handle_, to_pview(code), to_pview(message));
    }
    // For the C functions. [loop]
    cm_handle handle() const noexcept { return handle_; }

   protected:
    const BrokerMessages* broker_;
    cm_handle handle_;
  };

  // A `send` that waits for its recipients.
  class Send : public Request {
   public:
    // Made by BrokerMessages for a handler.
    using Request::Request;
    // Accepts it for these members. `work` (may be null) runs in the transaction that stores the message and must not
    // touch what the loop touches; `done` gets what became of both, on the loop, and is dropped when the instance has
    // stopped before. [loop]
    cm_status route(const std::vector<std::string>& member_ids, std::string_view topic, SqlWork work,
                    std::function<void(Status)> done) const {
      std::vector<cm_text_pview> members;
      members.reserve(member_ids.size());
      for (const std::string& id : member_ids) {
        members.push_back(to_pview(id));
      }
      auto job = std::make_unique<Job>(Job{broker_->host_->boundary(), std::move(work), std::move(done), {}});
      cm_broker_audience audience = {};
      audience.size = sizeof(audience);
      audience.member_ids = members.data();
      audience.member_count = members.size();
      audience.topic = to_pview(topic);
      audience.work = job->work ? &Send::run : nullptr;
      audience.work_user = job.get();
      audience.done = &Send::finish;
      const cm_status status = broker_->table()->route(broker_->instance(), broker_->self(), handle_, &audience);
      if (status == CM_OK) {
        static_cast<void>(job.release());
      }
      return status;
    }

   private:
    struct Job {
      detail::Boundary boundary;
      SqlWork work;
      std::function<void(Status)> done;
      std::string error;
    };
    static cm_status run(void* user, cm_storage_transaction* transaction, const cm_storage_sql_v1* sql) noexcept {
      auto* job = static_cast<Job*>(user);
      return detail::run_sql_work(job->boundary, "broker_work", job->work, transaction, sql, &job->error);
    }
    static void finish(void* user, cm_status status, cm_text_hview error) noexcept {
      const std::unique_ptr<Job> job(static_cast<Job*>(user));
      if (status == CM_GONE || !job->done) {
        return;
      }
      job->boundary.guarded("broker_done", [&] {
        job->done(status == CM_OK ? Status()
                                  : Status(error_from_status(
                                        status, job->error.empty() ? std::string(to_view(error)) : job->error)));
      });
    }
  };

  // A request on the broker's port.
  class Http : public Request {
   public:
    // Made by BrokerMessages for a handler.
    using Request::Request;
    // The whole answer. [loop]
    cm_status respond(std::uint32_t status, std::initializer_list<HttpHeader> headers, std::string_view body) const {
      std::vector<cm_http_header> raw;
      for (const HttpHeader& header : headers) {
        raw.push_back(cm_http_header{to_pview(header.name), to_pview(header.value)});
      }
      return broker_->table()->http_respond(broker_->instance(), broker_->self(), handle_, status, raw.data(),
                                            raw.size(), to_bytes_pview(body));
    }
    // Empty when there is none; valid until the answer. [loop]
    std::string_view header(std::string_view name) const {
      return to_view(broker_->table()->http_header(broker_->instance(), broker_->self(), handle_, to_pview(name)));
    }
    // What ":name" or "*name" took, decoded; valid until the answer. [loop]
    std::string_view path_parameter(std::string_view name) const {
      return to_view(
          broker_->table()->http_path_parameter(broker_->instance(), broker_->self(), handle_, to_pview(name)));
    }
  };

  // Views of `sender` and `json` are valid until the function returns. When it throws, the request gets the error
  // `internal`, unless it was answered before; so does a send, and an HTTP request gets 500. [loop]
  using RequestFunction = std::function<void(Request, const cm_broker_sender& sender, std::string_view json)>;
  // A send to a target that this plugin serves; views as above. It is answered with `route` or `error`. [loop]
  using TargetFunction = std::function<void(Send, const cm_broker_sender& sender, const cm_broker_send& send)>;
  // A request on the broker's port; views as above. It is answered with `respond`. [loop]
  using HttpFunction = std::function<void(Http, const cm_http_request_info& info)>;

  BrokerMessages() = default;
  BrokerMessages(const BrokerMessages&) = delete;
  BrokerMessages& operator=(const BrokerMessages&) = delete;

  // `instance_name` empty: the only broker there is. [loop]
  Status acquire(const HostApi& host, std::string_view instance_name) {
    auto extension = Extension<cm_broker_messages_v1>::acquire(host, instance_name, CM_BROKER_MESSAGES_ID);
    if (!extension) {
      return std::move(extension).error();
    }
    host_ = &host;
    extension_ = std::move(*extension);
    return {};
  }
  explicit operator bool() const noexcept { return static_cast<bool>(extension_); }
  // Gives the extension back; the destructor does it too. [loop]
  void release() noexcept { extension_.release(); }

  // Serves requests of a type. [loop]
  Status serve_type(std::string_view type, RequestFunction function) {
    return judged(table()->serve_type(instance(), self(), to_pview(type), &BrokerMessages::on_request,
                                      keep(requests_, std::move(function))),
                  type);
  }
  // Adds members to the broker's reply "mesh_info" or "hello_ack"; `function` replies at once. [loop]
  Status contribute(std::string_view type, RequestFunction function) {
    return judged(table()->contribute(instance(), self(), to_pview(type), &BrokerMessages::on_request,
                                      keep(requests_, std::move(function))),
                  type);
  }
  // Routes messages whose target begins with `prefix`. [loop]
  Status serve_target(std::string_view prefix, TargetFunction function) {
    return judged(table()->serve_target(instance(), self(), to_pview(prefix), &BrokerMessages::on_target,
                                        keep(targets_, std::move(function))),
                  prefix);
  }
  // Serves a path on the broker's port. [loop]
  Status serve_http(std::string_view method, std::string_view pattern, HttpFunction function) {
    return judged(table()->serve_http(instance(), self(), to_pview(method), to_pview(pattern), &BrokerMessages::on_http,
                                      keep(https_, std::move(function))),
                  pattern);
  }

  // Sends one frame to the presence `presence`; true when its connection took it. [loop]
  bool push_to_presence(cm_handle presence, std::string_view json) const {
    cm_broker_to to = {};
    to.kind = CM_BROKER_TO_PRESENCE;
    to.presence = presence;
    return push(to, json) == 1;
  }
  // How many connections took the frame; `size` is set here. [loop]
  std::uint64_t push(cm_broker_to to, std::string_view json) const {
    to.size = sizeof(to);
    std::uint64_t count = 0;
    return table()->push(instance(), self(), &to, to_pview(json), &count) == CM_OK ? count : 0;
  }
  // The same for an event. [loop]
  std::uint64_t push_event(cm_broker_to to, cm_broker_event event) const {
    to.size = sizeof(to);
    event.size = sizeof(event);
    std::uint64_t count = 0;
    return table()->push_event(instance(), self(), &to, &event, &count) == CM_OK ? count : 0;
  }
  // `row(const cm_broker_sender&)` for each presence of the mesh; false when there is no such mesh. [loop]
  template <typename Row>
  bool for_each_presence(std::string_view mesh_id, Row&& row) const {
    Rows<Row> rows{row, {}};
    const cm_status status = table()->presences(instance(), self(), to_pview(mesh_id),
                                                &BrokerMessages::on_row<Row, cm_broker_sender>, &rows);
    rows.carried.rethrow();
    return status == CM_OK;
  }
  // `row(const cm_broker_member&)` for each member of the mesh, revoked ones too. [loop]
  template <typename Row>
  bool for_each_member(std::string_view mesh_id, Row&& row) const {
    Rows<Row> rows{row, {}};
    const cm_status status =
        table()->members(instance(), self(), to_pview(mesh_id), &BrokerMessages::on_row<Row, cm_broker_member>, &rows);
    rows.carried.rethrow();
    return status == CM_OK;
  }

  // For the C functions. [loop]
  const cm_broker_messages_v1* table() const noexcept { return extension_.table(); }
  // The first argument of the C functions. [loop]
  void* instance() const noexcept { return extension_.instance(); }
  // The second. [loop]
  cm_handle self() const noexcept { return host_->self(); }

 private:
  // What a client gets when the feature threw; the broker says the same of one that does not answer in time.
  static constexpr std::string_view kFailedCode = "internal";
  static constexpr std::string_view kFailedText = "the feature failed; the broker's log says why";

  template <typename Row>
  struct Rows {
    std::remove_reference_t<Row>& function;
    detail::Carried carried;
  };
  template <typename Row, typename Facts>
  static void on_row(void* user, const Facts* facts) noexcept {
    auto* rows = static_cast<Rows<Row>*>(user);
    rows->carried.run([&] { rows->function(*facts); });
  }

  template <typename Function>
  struct Kept {
    BrokerMessages* broker;
    Function function;
  };
  template <typename Function>
  using Keep = std::vector<std::unique_ptr<Kept<Function>>>;
  template <typename Function>
  Kept<Function>* keep(Keep<Function>& all, Function function) {
    all.push_back(std::make_unique<Kept<Function>>(Kept<Function>{this, std::move(function)}));
    return all.back().get();
  }
  static Status judged(cm_status status, std::string_view what) {
    switch (status) {
      case CM_OK:
        return {};
      case CM_BUSY:
        return make_error(ErrorCode::kBusy, "another plugin of this broker serves \"" + std::string(what) +
                                                "\" already; remove one of the two from the configuration");
      case CM_DENIED:
        return make_error(ErrorCode::kDenied, "the broker serves \"" + std::string(what) + "\" itself");
      default:
        return error_from_status(status, "the broker does not take \"" + std::string(what) + "\"");
    }
  }
  static void on_request(void* user, cm_handle request, const cm_broker_sender* sender, cm_text_hview,
                         cm_text_hview json) noexcept {
    auto* kept = static_cast<Kept<RequestFunction>*>(user);
    const Request view(kept->broker, request);
    if (!kept->broker->host_->guarded("broker_request", [&] { kept->function(view, *sender, to_view(json)); })) {
      view.error(kFailedCode, kFailedText);
    }
  }
  static void on_target(void* user, cm_handle request, const cm_broker_sender* sender,
                        const cm_broker_send* send) noexcept {
    auto* kept = static_cast<Kept<TargetFunction>*>(user);
    const Send view(kept->broker, request);
    if (!kept->broker->host_->guarded("broker_target", [&] { kept->function(view, *sender, *send); })) {
      view.error(kFailedCode, kFailedText);
    }
  }
  static void on_http(void* user, cm_handle request, const cm_http_request_info* info) noexcept {
    auto* kept = static_cast<Kept<HttpFunction>*>(user);
    const Http view(kept->broker, request);
    if (!kept->broker->host_->guarded("broker_http", [&] { kept->function(view, *info); })) {
      view.respond(kHttpInternalError, {}, {});
    }
  }

  const HostApi* host_ = nullptr;
  Extension<cm_broker_messages_v1> extension_;
  Keep<RequestFunction> requests_;
  Keep<TargetFunction> targets_;
  Keep<HttpFunction> https_;
};

// One way of delivery. Derive from it; the object must stay where it is until close or the instance's stop. [loop]
class BrokerWay {
 public:
  BrokerWay() = default;
  BrokerWay(const BrokerWay&) = delete;
  BrokerWay& operator=(const BrokerWay&) = delete;
  virtual ~BrokerWay() { close(); }

  // Begins to take offers; they come from a later turn on. [loop]
  Status open(const HostApi& host, std::string_view broker, std::string_view name, std::int32_t order) {
    auto extension = Extension<cm_broker_delivery_v1>::acquire(host, broker, CM_BROKER_DELIVERY_ID);
    if (!extension) {
      return std::move(extension).error();
    }
    host_ = &host;
    extension_ = std::move(*extension);
    cm_broker_way way = {};
    way.size = sizeof(way);
    way.order = order;
    way.name = to_pview(name);
    way.offer = [](void* user, cm_handle handle, const cm_broker_offer* facts) noexcept {
      auto* self = static_cast<BrokerWay*>(user);
      std::uint32_t answer = CM_BROKER_LATER;
      const bool returned = self->host_->guarded("broker_offer", [&] { answer = self->on_offer(handle, *facts); });
      return returned ? answer : CM_BROKER_LATER;
    };
    way.withdrawn = [](void* user, cm_handle handle) noexcept {
      auto* self = static_cast<BrokerWay*>(user);
      self->host_->guarded("broker_withdrawn", [&] { self->on_withdrawn(handle); });
    };
    const cm_status status = extension_->add_way(extension_.instance(), host.self(), &way, this, &way_);
    if (status != CM_OK) {
      return error_from_status(status, "the broker does not take the way \"" + std::string(name) +
                                           "\": the name is in use or malformed, or there are too many ways");
    }
    return {};
  }
  // Open offers are made to others. [loop]
  void close() noexcept {
    if (extension_ && way_ != CM_NO_HANDLE) {
      extension_->remove_way(extension_.instance(), host_->self(), way_);
    }
    way_ = CM_NO_HANDLE;
    extension_.release();
  }
  // What became of a taken offer, once. CM_GONE: it was withdrawn before. [loop]
  cm_status confirm(cm_handle offer, std::uint32_t outcome, std::uint64_t retry_after_ms = 0,
                    std::string_view reason = {}) const {
    return extension_ ? extension_->confirm(extension_.instance(), host_->self(), offer, outcome, retry_after_ms,
                                            to_pview(reason))
                      : CM_GONE;
  }
  // The member can be reached now. [loop]
  cm_status reachable(std::string_view mesh_id, std::string_view member_id) const {
    return extension_ ? extension_->reachable(extension_.instance(), host_->self(), way_, to_pview(mesh_id),
                                              to_pview(member_id))
                      : CM_GONE;
  }

 protected:
  // CM_BROKER_TAKEN, REFUSED or LATER; an exception counts as LATER. [loop]
  virtual std::uint32_t on_offer(cm_handle offer, const cm_broker_offer& facts) = 0;
  // A taken offer is void. [loop]
  virtual void on_withdrawn(cm_handle offer) { static_cast<void>(offer); }

 private:
  const HostApi* host_ = nullptr;
  Extension<cm_broker_delivery_v1> extension_;
  cm_handle way_ = CM_NO_HANDLE;
};

}  // namespace cm
