// The way to the daemon: its socket, this session's token, and starting it when it does not run (wire/06 section 9).
#pragma once

#include <string>
#include <string_view>

#include "cli/config_file.hpp"
#include "cli/context.hpp"
#include "cli/http_api.hpp"

namespace cm::cli {

// Flags that every verb of the daemon has.
struct DaemonOptions {
  bool no_daemon = false;  // --no-daemon: never start one
  bool strict = false;     // --strict: no line about an automatic start
};

// "ClaudeMesh-Session <64 hex>" from CLAUDEMESH_IPC_TOKEN or the file in CLAUDEMESH_IPC_TOKEN_FILE; empty without one.
std::string session_authorization(const Environment& environment);

// A client of the daemon's socket that asks nobody yet.
ApiClient local_client(const Context& context);

enum class DaemonState { kUp, kAbsent, kSilent };
// One GET /v1/version within 2.5 s. kSilent: there is a socket, but nobody answers on it.
DaemonState probe_daemon(ApiClient& client, const Paths& paths);

// A client of a daemon that answers. Starts one unless told not to, prints at most one line about that.
Outcome<ApiClient> reach_daemon(const Context& context, const DaemonOptions& options);

// What a verb needs that asks about a joined mesh.
struct MeshAccess {
  ConfigFile config;
  ApiClient client;
};
// require_mesh, then reach_daemon: a mesh that is not joined is named before a daemon is started for it.
Outcome<MeshAccess> reach_mesh(const Context& context, std::string_view mesh, const DaemonOptions& options);

// The failure of a call that got no answer.
Failure no_answer(const Context& context, const Error& error);
// The failure of a call that was refused.
Failure refused(const ApiReply& reply, std::string_view what);

}  // namespace cm::cli
