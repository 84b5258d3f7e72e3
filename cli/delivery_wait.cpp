#include "cli/delivery_wait.hpp"

#include <algorithm>

#include "cli/files.hpp"
#include "cli/stop_signals.hpp"

namespace cm::cli {

namespace {

// Grows, because most messages are accepted within milliseconds and the others take as long as a reconnect.
constexpr std::uint64_t kPollFirstMs = 10;
constexpr std::uint64_t kPollMaxMs = 500;

class Pacer {
 public:
  explicit Pacer(double seconds) : deadline_(steady_ms() + static_cast<std::int64_t>(seconds * 1000)) {}
  // False when the time is over, or the user does not want to wait any longer.
  bool wait() {
    const std::int64_t left = deadline_ - steady_ms();
    if (left <= 0 || stop_requested().load()) {
      return false;
    }
    pause_ms(std::min<std::uint64_t>(step_, static_cast<std::uint64_t>(left)));
    step_ = std::min(step_ * 2, kPollMaxMs);
    return true;
  }
  void restart() { step_ = kPollFirstMs; }

 private:
  std::int64_t deadline_;
  std::uint64_t step_ = kPollFirstMs;
};

Failure rejected(const JsonValue& row) {
  return {ExitCode::kFailed, "the message was refused for good: " + printable(text_of(row, "last_error")),
          "that the broker accepts it", "see `claudemesh daemon outbox list --failed`"};
}

Failure not_accepted(std::string_view client_message_id, double seconds) {
  return {ExitCode::kNetwork,
          "the broker did not accept the message within " + duration_text(seconds * 1000) + " (id " +
              std::string(client_message_id) + ")",
          "a connection to the broker",
          "nothing is lost: the daemon goes on trying; look at `claudemesh daemon outbox list` and `claudemesh daemon "
          "status`"};
}

// Whoever presses Ctrl-C must know that the message goes out all the same.
Failure stopped(std::string_view client_message_id) {
  return {ExitCode::kFailed, "stopped waiting for message " + std::string(client_message_id),
          "the broker's or the recipient's word on it",
          "nothing is lost: the daemon sends it; ask with `claudemesh message status " +
              std::string(client_message_id) + "`"};
}

bool is_delivered(ApiClient& client, const std::string& message_id, const std::string& mesh) {
  const Result<ApiReply> reply =
      client.call("GET", "/v1/messages/" + message_id + "/status" + query_of({{"mesh", mesh}}));
  return reply && reply->ok() && flag_of(reply->body, "delivered");
}

}  // namespace

std::string_view delivery_name(Delivery delivery) {
  switch (delivery) {
    case Delivery::kAccepted:
      return "accepted";
    case Delivery::kDelivered:
      return "delivered";
    case Delivery::kNotAwaited:
      break;
  }
  return "queued";
}

const JsonValue* find_outbox_row(const JsonValue& body, std::string_view client_message_id) {
  for (const JsonValue& row : array_of(body, "items")) {
    if (text_of(row, "client_message_id") == client_message_id) {
      return &row;
    }
  }
  return nullptr;
}

Outcome<AwaitedMessage> await_delivery(ApiClient& client, const Context& context, const std::string& client_message_id,
                                       std::string broker_message_id, const Recipient& recipient, double seconds) {
  Pacer pacer(seconds);
  while (broker_message_id.empty()) {
    const Result<ApiReply> reply = client.call("GET", "/v1/outbox?limit=500");
    if (!reply) {
      return no_answer(context, reply.error());
    }
    const JsonValue* row = find_outbox_row(reply->body, client_message_id);
    const std::string status = row != nullptr ? text_of(*row, "status") : std::string();
    if (status == "dead" || status == "aborted") {
      return rejected(*row);
    }
    broker_message_id = row != nullptr ? text_of(*row, "broker_message_id") : std::string();
    if (broker_message_id.empty() && !pacer.wait()) {
      return stop_requested().load() ? stopped(client_message_id) : not_accepted(client_message_id, seconds);
    }
  }
  AwaitedMessage message{Delivery::kAccepted, broker_message_id};
  if (!recipient.online.value_or(false)) {
    return message;
  }
  pacer.restart();
  do {
    if (is_delivered(client, broker_message_id, recipient.mesh)) {
      message.delivery = Delivery::kDelivered;
      return message;
    }
  } while (pacer.wait());
  if (stop_requested().load()) {
    return stopped(client_message_id);
  }
  return message;
}

}  // namespace cm::cli
