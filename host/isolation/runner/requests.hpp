// The HTTP requests that a child has not answered yet. [loop]
#pragma once

#include <claudemesh/abi.h>

#include "host/isolation/runner/runtime.hpp"

namespace cm::isolation {

// The views of a request live as long as it does; an answered one is kept until the end of the turn, because the
// handler that answered it may still look at them.
bool request_is_open(cm_handle request) noexcept;
void close_request(cm_handle request);

}  // namespace cm::isolation
