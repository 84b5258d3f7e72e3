// `claudemesh plugin list --running ADDRESS`: what a running host tells of its instances.
#pragma once

#include <iosfwd>
#include <string>

namespace cm::host {

// Asks /plugins of the monitoring listener at `address` ([ops] listen: "127.0.0.1:9100", "unix:/path") and prints a
// table, or the answer itself as JSON. The process' exit code: 0 fine, 1 not. Blocks.
int list_running(const std::string& address, bool json, std::ostream& out, std::ostream& err);

}  // namespace cm::host
