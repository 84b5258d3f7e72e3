// `claudemesh daemon ...` and `claudemesh list`. This group has its own exit codes (wire/06 section 10): 0, 1, and 2
// for a wrong command line.
#pragma once

#include <string>

#include "cli/context.hpp"
#include "protocol/json.hpp"

namespace cm::cli {

struct DaemonArguments {
  std::string config;
  bool foreground = false;
  bool json = false;
};
int run_daemon_up(const DaemonArguments& arguments, const Context& context);
int run_daemon_down(const DaemonArguments& arguments, const Context& context);
int run_daemon_status(const DaemonArguments& arguments, const Context& context);
int run_daemon_version(const DaemonArguments& arguments, const Context& context);

struct OutboxArguments {
  bool json = false;
  std::string status;  // pending, inflight, done, dead, aborted; empty: all
  int limit = 50;
  std::string id;              // requeue
  bool new_client_id = false;  // requeue
};
int run_outbox_list(const OutboxArguments& arguments, const Context& context);
int run_outbox_requeue(const OutboxArguments& arguments, const Context& context);

struct ListArguments {
  bool json = false;
};
int run_list(const ListArguments& arguments, const Context& context);

// --- pure parts ---
// "<status padded to 8> <id>  cid=<cid>  attempts=<n>[ → <broker id>][ last_error="<60>"]".
std::string outbox_line(const protocol::JsonValue& row);
// Health as text, two spaces in front of each line: links with what is wrong with them, the outbox.
std::string health_text(const protocol::JsonValue& health, double now_ms);

}  // namespace cm::cli
