// cm_bench: one load against one server, one JSON object as result. bench/bench starts the servers and prints the
// table.
#include <CLI/CLI.hpp>

#include "bench/loads.hpp"

int main(int argc, char** argv) {
  CLI::App app("Load generators of claudemesh. bench/bench runs them all and prints one table.");
  app.require_subcommand(1);
  cm::bench::LoadOptions options;
  int (*load)(const cm::bench::LoadOptions&) = nullptr;
  const auto add = [&](const char* name, const char* help, int (*function)(const cm::bench::LoadOptions&)) {
    CLI::App* verb = app.add_subcommand(name, help);
    verb->add_option("--address", options.address, "host:port or unix:/path");
    verb->add_option("--identity", options.identity, "JSON file of the sender's identity");
    verb->add_option("--recipient", options.recipient_identity, "JSON file of the recipient's identity");
    verb->add_option("--target", options.target, "Key of the recipient");
    verb->add_option("--file", options.file, "File to append to");
    verb->add_option("--window", options.window, "Messages without an answer at any time")->check(CLI::PositiveNumber);
    verb->add_option("--bytes", options.bytes, "Bytes of one message")->check(CLI::Range(32u, 48'000u));
    verb->add_option("--connections", options.connections, "Number of connections");
    verb->add_option("--seconds", options.seconds, "Length of the measurement")->check(CLI::PositiveNumber);
    verb->add_option("--rate", options.rate, "Messages per second")->check(CLI::PositiveNumber);
    verb->callback([&load, function] { load = function; });
  };
  add("accept", "Durable accepts of the broker", &cm::bench::run_accept);
  add("end-to-end", "Latency from send to push at a fixed rate", &cm::bench::run_end_to_end);
  add("joins", "Signed joins per second", &cm::bench::run_joins);
  add("idle", "Idle peers; ends with a line on standard input", &cm::bench::run_idle);
  add("local-send", "Sends through the daemon's local API", &cm::bench::run_local_send);
  add("jetstream", "Durable publishes of NATS JetStream", &cm::bench::run_jetstream);
  add("nats-end-to-end", "Latency of core NATS at a fixed rate", &cm::bench::run_nats_end_to_end);
  add("append", "Plain appends with fdatasync", &cm::bench::run_append);
  CLI11_PARSE(app, argc, argv);
  return load(options);
}
