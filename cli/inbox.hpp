// `claudemesh inbox`: what arrived (wire/07 section 6.4).
#pragma once

#include <functional>
#include <map>
#include <string>

#include "cli/local_api.hpp"

namespace cm::cli {

struct InboxArguments {
  std::string mesh;
  int limit = 100;
  bool unread = false;
  bool json = false;
  bool follow = false;  // until Ctrl-C: print what arrives
  DaemonOptions daemon;
};
int run_inbox(const InboxArguments& arguments, const Context& context);

struct InboxDeleteArguments {
  std::string id;
  bool json = false;
  DaemonOptions daemon;
};
int run_inbox_delete(const InboxDeleteArguments& arguments, const Context& context);

struct InboxFlushArguments {
  std::string mesh;
  std::string before;  // ISO time
  bool all = false;    // without another filter, only on demand
  bool json = false;
  DaemonOptions daemon;
};
int run_inbox_flush(const InboxFlushArguments& arguments, const Context& context);

// --- pure parts ---
std::string inbox_target(const InboxArguments& arguments, std::string_view since);
// Names by key, for rows whose sender the broker did not name: a push that was queued carries only the key (1.37.0).
using SenderNames = std::map<std::string, std::string, std::less<>>;
bool is_nameless(const protocol::JsonValue& row);
// Of an answer of GET /v1/peers, under both keys of each row.
SenderNames names_of(const protocol::JsonValue& peers);
// One message as text: a line about it, then its body, indented.
std::string inbox_text(const protocol::JsonValue& row, const SenderNames& names, const Output& output);

}  // namespace cm::cli
