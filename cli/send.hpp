// `claudemesh send`: one message through the daemon (wire/07 section 6.4).
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "cli/local_api.hpp"

namespace cm::cli {

inline constexpr std::size_t kMessageBytesMax = 256 * 1024;  // the daemon's bound of one request (wire/06 section 7)
inline constexpr double kWaitSecondsDefault = 10;
inline constexpr double kWaitSecondsMax = 3600;

struct SendArguments {
  std::string to;
  std::vector<std::string> words;  // joined by one space; exactly "-": the text is read from standard input
  std::string priority = "next";
  std::string mesh;
  std::string id;    // idempotency key; empty: a fresh one
  std::string wait;  // empty: do not wait; "true": the default time; otherwise seconds
  bool self = false;
  bool json = false;
  DaemonOptions daemon;
};
int run_send(const SendArguments& arguments, const Context& context);

struct StatusArguments {
  std::string id;
  std::string mesh;
  bool json = false;
  DaemonOptions daemon;
};
// `claudemesh message status`.
int run_message_status(const StatusArguments& arguments, const Context& context);

// --- pure parts ---
// {to, message, priority, client_message_id, mesh?}.
protocol::JsonValue send_body(std::string_view to, std::string_view message, std::string_view priority,
                              std::string_view client_message_id, std::string_view mesh);
// Seconds: 0 for an empty text, kWaitSecondsDefault for "true"; nullopt unless above 0 and at most kWaitSecondsMax.
std::optional<double> parse_wait(std::string_view text);
// The failure of a send that the daemon refused.
Failure send_refused(const ApiReply& reply);
// Why `id` cannot be a message id (missing, too_short, too_long, bad_charset); nullopt when it can.
std::optional<std::string> message_id_problem(std::string_view id);

}  // namespace cm::cli
