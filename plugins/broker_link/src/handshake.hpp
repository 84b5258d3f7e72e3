// The first frame of a connection: hello of a member, session_hello of a session (wire/02 section 2).
#pragma once

#include <claudemesh/abi.h>

#include <functional>
#include <string>
#include <string_view>

#include <claudemesh/cpp/result.hpp>

#include "plugins/broker_link/src/link_types.hpp"

namespace cm::broker_link {

// Signs a text with the key CM_SIGN_MEMBER or CM_SIGN_SESSION: 128 hex characters.
using Signer = std::function<Result<std::string>(std::uint32_t key, std::string_view text)>;

// The frame as text. A session's attestation is minted anew at every connect (12 h), so that a session that lives
// longer than one attestation can still come back. Errors are those of the signer.
Result<std::string> build_hello(const Identity& identity, const std::string& hostname, std::int64_t unix_ms,
                                const Signer& sign);

}  // namespace cm::broker_link
