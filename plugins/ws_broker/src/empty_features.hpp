// What is added to the replies of features that this broker does not serve (handlers.hpp has the replies themselves).
#pragma once

#include <string>
#include <string_view>

#include "protocol/json.hpp"

namespace cm::broker {

// A second reply after empty_feature_reply(), in the words of the 1.37.0 daemon: it waits for other types than its own
// broker sends (wire/06 section 3.2), and would wait until its time-out. Its other clients pass over types that they do
// not know. "": none. Pure; any thread.
std::string empty_feature_daemon_reply(std::string_view type, const protocol::JsonValue& frame);

}  // namespace cm::broker
