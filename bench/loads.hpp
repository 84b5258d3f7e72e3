// The measurements, one function each; each prints one JSON object on standard output.
#pragma once

#include <cstdint>
#include <string>

#include "bench/histogram.hpp"

namespace cm::bench {

struct LoadOptions {
  std::string address;   // of the broker, the daemon's socket or the NATS server
  std::string identity;  // file of the sender
  std::string recipient_identity;
  std::string target;  // key that messages are addressed to
  std::string file;    // of the append measurement
  std::uint32_t window = 64;
  std::uint32_t bytes = 256;
  std::uint32_t connections = 100;
  double seconds = 5;
  double rate = 20'000;
};

// The result of a load, as one JSON object on standard output.
void print_rate(const char* name, const LoadOptions& options, std::uint64_t done, std::uint64_t elapsed_us,
                Histogram& latency);

// Messages that are durable when acknowledged, `window` of them unacknowledged at any time.
int run_accept(const LoadOptions& options);
// One sender at a fixed rate, one recipient that confirms; time from the send to the push.
int run_end_to_end(const LoadOptions& options);
// Connect, upgrade, signed hello, hello_ack, close; `connections` one after the other.
int run_joins(const LoadOptions& options);
// Opens `connections` idle peers, prints a line, waits for a line on standard input, closes.
int run_idle(const LoadOptions& options);
// POST /v1/send on the daemon's socket, one after the other.
int run_local_send(const LoadOptions& options);
// Publishes to a JetStream stream with acknowledgement, `window` of them unacknowledged.
int run_jetstream(const LoadOptions& options);
// One sender, one subscriber of core NATS at a fixed rate.
int run_nats_end_to_end(const LoadOptions& options);
// Appends `window` records, then fdatasync, and so on: what the disk can do.
int run_append(const LoadOptions& options);

}  // namespace cm::bench
