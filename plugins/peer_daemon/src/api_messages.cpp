// Handlers of the local API: messages.
#include <algorithm>
#include <charconv>

#include "plugins/peer_daemon/src/iso_time.hpp"
#include "plugins/peer_daemon/src/json_out.hpp"
#include "plugins/peer_daemon/src/local_api.hpp"
#include "protocol/ids.hpp"

namespace cm::daemon {
namespace {

constexpr std::int64_t kInboxLimitDefault = 100;
constexpr std::int64_t kInboxLimitMax = 1'000;
constexpr std::int64_t kOutboxLimitDefault = 50;
constexpr std::int64_t kOutboxLimitMax = 500;

std::int64_t limit_of(const std::string& text, std::int64_t fallback, std::int64_t maximum) {
  std::int64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (text.empty() || error != std::errc() || end != text.data() + text.size()) {
    return fallback;
  }
  return std::clamp<std::int64_t>(value, 1, maximum);
}

ApiAnswer unavailable(const Error& error) {
  return api_error(503, "storage_unavailable", error.message + "; try again later");
}

// True and a value, or true and nothing when absent; false after a refusal.
bool read_time(const ApiCall& call, std::string_view name, std::optional<std::int64_t>& out) {
  const std::string text = call.query(name);
  if (text.empty()) {
    return true;
  }
  out = parse_iso_ms(text);
  if (!out.has_value()) {
    call.answer(api_error(400, "invalid '" + std::string(name) + "'",
                          "found \"" + text + "\"; expected an ISO 8601 time such as 2026-01-31T12:00:00Z"));
    return false;
  }
  return true;
}

}  // namespace

void LocalApi::send(const ApiCall& call) {
  ParsedOr<SendRequest> parsed = parse_send_request(call.request.body(), call.request.header("Idempotency-Key"));
  if (!parsed.value.has_value()) {
    call.answer(parsed.refusal);
    return;
  }
  parts_.pipeline->send(std::move(*parsed.value), call.caller,
                        [call](const ApiAnswer& answer) { call.answer(answer); });
}

void LocalApi::list_inbox(const ApiCall& call) {
  InboxQuery query;
  if (!read_time(call, "since", query.since_ms)) {
    return;
  }
  query.topic = call.query("topic");
  query.from = call.query("from");
  query.mesh = call.query("mesh");
  query.limit = limit_of(call.query("limit"), kInboxLimitDefault, kInboxLimitMax);
  query.unread_only = call.query("unread_only") == "true";
  query.mark_seen = call.query("mark_seen") != "false";
  list_inbox_rows(call, std::move(query));
}

// A disk that takes no writes is no reason to keep the messages from their reader: then they are read without a mark.
void LocalApi::list_inbox_rows(const ApiCall& call, InboxQuery query) {
  const InboxQuery asked = query;
  parts_.inbox->list(
      std::move(query), call.caller.inbox_scope(), parts_.host->unix_ms(),
      [this, call, asked](const Result<InboxListing>& listing) {
        if (!listing && asked.mark_seen) {
          InboxQuery again = asked;
          again.mark_seen = false;
          list_inbox_rows(call, std::move(again));
          return;
        }
        if (!listing) {
          call.answer(unavailable(listing.error()));
          return;
        }
        call.answer(
            {200, JsonObject().raw("items", listing->items_json).number("marked_seen", listing->marked_seen).finish()});
      });
}

void LocalApi::mark_inbox_seen(const ApiCall& call) {
  const Result<protocol::JsonValue> body = protocol::parse_json(call.request.body());
  const protocol::JsonValue* list = body ? body->find("ids") : nullptr;
  if (list == nullptr || list->as_array() == nullptr) {
    call.answer(api_error(400, body ? "missing 'ids' (string[])" : "Error: invalid_json"));
    return;
  }
  std::vector<std::string> ids;
  for (const protocol::JsonValue& id : *list->as_array()) {
    if (id.as_string() != nullptr) {
      ids.push_back(*id.as_string());
    }
  }
  parts_.inbox->mark_seen(std::move(ids), call.caller.inbox_scope(), parts_.host->unix_ms(),
                          [call](const Result<std::int64_t>& marked) {
                            if (!marked) {
                              call.answer(unavailable(marked.error()));
                              return;
                            }
                            call.answer({200, JsonObject().number("marked_seen", *marked).finish()});
                          });
}

void LocalApi::delete_inbox_row(const ApiCall& call) {
  const std::string id(call.request.path_parameter("id"));
  parts_.inbox->remove(id, call.caller.inbox_scope(), [call, id](const Result<std::int64_t>& removed) {
    if (!removed) {
      call.answer(unavailable(removed.error()));
    } else if (*removed == 0) {
      call.answer({404, JsonObject().text("error", "not found").text("id", id).finish()});
    } else {
      call.answer({200, JsonObject().number("removed", 1).text("id", id).finish()});
    }
  });
}

void LocalApi::flush_inbox(const ApiCall& call) {
  std::optional<std::int64_t> before_ms;
  if (!read_time(call, "before", before_ms)) {
    return;
  }
  parts_.inbox->flush(call.query("mesh"), before_ms, call.caller.inbox_scope(),
                      [call](const Result<std::int64_t>& removed) {
                        if (!removed) {
                          call.answer(unavailable(removed.error()));
                          return;
                        }
                        call.answer({200, JsonObject().number("removed", *removed).finish()});
                      });
}

void LocalApi::list_outbox(const ApiCall& call) {
  const std::string word = call.query("status");
  const std::optional<OutboxStatus> status = parse_outbox_status(word);
  if (!word.empty() && !status.has_value()) {
    call.answer(api_error(400, "invalid 'status'",
                          "found \"" + word + "\"; expected pending, inflight, done, dead or aborted"));
    return;
  }
  parts_.outbox->list(
      status, limit_of(call.query("limit"), kOutboxLimitDefault, kOutboxLimitMax),
      [this](std::string_view id) { return parts_.drain->is_inflight(id); },
      [call](const Result<std::string>& items) {
        if (!items) {
          call.answer(unavailable(items.error()));
          return;
        }
        call.answer({200, JsonObject().raw("items", *items).finish()});
      });
}

void LocalApi::requeue(const ApiCall& call) {
  const Result<protocol::JsonValue> body = protocol::parse_json(call.request.body());
  const auto text = [&body](std::string_view key) {
    const protocol::JsonValue* value = body ? body->find(key) : nullptr;
    return value != nullptr && value->as_string() != nullptr ? *value->as_string() : std::string();
  };
  if (text("id").empty()) {
    call.answer(api_error(400, body ? "missing 'id'" : "Error: invalid_json"));
    return;
  }
  const auto random = [this](std::span<std::uint8_t> bytes) { parts_.host->fill_random(bytes.data(), bytes.size()); };
  RequeueInput input;
  input.id = text("id");
  input.new_client_message_id = text("new_client_message_id");
  if (input.new_client_message_id.empty()) {
    input.new_client_message_id = protocol::generate_uuid_v4(random);
  }
  if (!protocol::is_client_message_id(input.new_client_message_id)) {
    call.answer(api_error(400, "invalid 'new_client_message_id'",
                          "expected 1 to 256 bytes of UTF-8 without control characters; leave it out to get one"));
    return;
  }
  input.new_row_id = protocol::generate_uuid_v4(random);
  input.new_seq = parts_.pipeline->next_seq();
  input.aborted_by = text("aborted_by").empty() ? "operator" : text("aborted_by");
  input.now_ms = parts_.host->unix_ms();
  const std::string new_client_id = input.new_client_message_id;
  const std::string new_row_id = input.new_row_id;
  const std::string old_id = input.id;
  parts_.drain->requeue(
      std::move(input), [call, old_id, new_row_id, new_client_id](const Result<RequeueOutcome>& outcome) {
        if (!outcome) {
          call.answer(unavailable(outcome.error()));
          return;
        }
        if (outcome->kind == RequeueOutcome::Kind::kIdTaken) {
          call.answer(api_error(409, "idempotency_key_reused", "the new client message id was used before"));
          return;
        }
        if (outcome->kind == RequeueOutcome::Kind::kInFlight) {
          call.answer(api_error(409, "row is in flight", "a link has it at this moment; wait for its answer"));
          return;
        }
        if (outcome->kind == RequeueOutcome::Kind::kNotFound) {
          call.answer(api_error(409, "row not found, already aborted, or already done"));
          return;
        }
        call.answer({200, JsonObject()
                              .text("aborted_row_id", old_id)
                              .text("new_row_id", new_row_id)
                              .text("new_client_message_id", new_client_id)
                              .finish()});
      });
}

void LocalApi::stream_events(const ApiCall& call) {
  EventScope scope;
  if (call.caller.is_session()) {
    const Mesh* mesh = parts_.membership->find(call.caller.mesh);
    scope.session = true;
    scope.mesh = call.caller.mesh;
    scope.session_pubkey = call.caller.session_pubkey;
    scope.member_pubkey = mesh == nullptr ? std::string() : mesh->record().pubkey;
  }
  if (!parts_.events->open_stream(call.request, std::move(scope))) {
    call.answer(api_error(503, "too many event streams",
                          std::to_string(kStreamsMax) + " are open, which is the limit; close some"));
  }
}

}  // namespace cm::daemon
