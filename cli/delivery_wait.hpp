// Waiting for what becomes of a message: in the outbox, accepted by the broker, confirmed by the recipient.
#pragma once

#include <string>
#include <string_view>

#include "cli/local_api.hpp"
#include "cli/recipient.hpp"

namespace cm::cli {

enum class Delivery { kNotAwaited, kAccepted, kDelivered };
// "accepted", "delivered".
std::string_view delivery_name(Delivery delivery);

struct AwaitedMessage {
  Delivery delivery = Delivery::kNotAwaited;
  std::string message_id;  // the broker's
};

// Ends with kDelivered as soon as the recipient confirmed; with kAccepted when the time is over, or at once when the
// recipient is known to be offline or the message goes to many. Failures: the message was refused for good, or the
// broker did not accept it in time (it stays in the outbox and is still sent later).
Outcome<AwaitedMessage> await_delivery(ApiClient& client, const Context& context, const std::string& client_message_id,
                                       std::string broker_message_id, const Recipient& recipient, double seconds);

// The row of a message in an answer of GET /v1/outbox; nullptr when it is not there.
const JsonValue* find_outbox_row(const JsonValue& body, std::string_view client_message_id);

}  // namespace cm::cli
