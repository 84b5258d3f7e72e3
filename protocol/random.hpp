// Where random bytes come from: passed in by the caller, so that a simulation can seed every key, nonce and id.
#pragma once

#include <cstdint>
#include <functional>
#include <span>

namespace cm::protocol {

// Fills the whole span with random bytes. Must not fail; called on the caller's thread, synchronously.
// Production uses system_random(); a simulation passes a seeded generator (and must never do so outside of tests).
using RandomSource = std::function<void(std::span<std::uint8_t>)>;

// libsodium's randombytes_buf: cryptographic, usable from any thread.
RandomSource system_random();

// Initialises libsodium once (idempotent, thread-safe). Every function of this room that needs it calls it itself;
// calling it early only moves the cost. Ends the process when the operating system has no entropy source.
void ensure_crypto();

// An unbiased number in [0, bound); bound must be > 0. Rejection sampling over 64-bit draws.
std::uint64_t random_below(const RandomSource& random, std::uint64_t bound);

}  // namespace cm::protocol
