// Sends to a target that a feature plugin serves: what the way of a send needs to know of cm.broker.messages/1.
#pragma once

#include <claudemesh/ext/storage.h>
#include <claudemesh/cpp/host.hpp>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace cm::broker {

struct Member;
struct SendRequest;

// What a feature writes in the transaction of a message. It tells the feature the outcome exactly once: whoever drops
// it untold (the broker stops, the message was refused on its way) tells CM_GONE.
class FeatureWork {
 public:
  using Alive = std::function<bool()>;

  FeatureWork(cm_storage_work work, void* user, cm_storage_done done, Alive alive)
      : work_(work), user_(user), done_(done), alive_(std::move(alive)) {}
  FeatureWork(const FeatureWork&) = delete;
  FeatureWork& operator=(const FeatureWork&) = delete;
  ~FeatureWork() { give(CM_GONE, "the message was given up"); }

  bool writes() const noexcept { return work_ != nullptr; }
  // [worker]
  cm_status run(cm_storage_transaction* transaction, const cm_storage_sql_v1* sql) const noexcept {
    return work_(user_, transaction, sql);
  }
  // CM_GONE when the feature has stopped meanwhile. [loop]
  void tell(cm_status status, std::string_view error) { give(alive_() ? status : CM_GONE, error); }

 private:
  void give(cm_status status, std::string_view error) noexcept {
    if (const cm_storage_done done = std::exchange(done_, nullptr)) {
      done(user_, status, to_hview(error));
    }
  }

  cm_storage_work work_;
  void* user_;
  cm_storage_done done_;
  Alive alive_;
};

// Either the recipients, or why the message is refused.
struct TargetAnswer {
  std::vector<Member*> members;  // active ones of the sender's mesh, each once
  std::string topic;
  std::shared_ptr<FeatureWork> work;

  std::string error_code;  // not empty: refused
  std::string error_text;
};

class TargetFeatures {
 public:
  virtual bool serves_target(std::string_view target_spec) const = 0;
  // `done` is called once, at the latest after CM_BROKER_REPLY_TIMEOUT_MS; perhaps before the return. [loop]
  virtual void ask_target(const SendRequest& request, std::function<void(TargetAnswer)> done) = 0;

 protected:
  ~TargetFeatures() = default;
};

}  // namespace cm::broker
