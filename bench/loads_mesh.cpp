#include <sys/resource.h>

#include <charconv>
#include <cstdio>
#include <string>
#include <unordered_map>
#include <vector>

#include "bench/histogram.hpp"
#include "bench/loads.hpp"
#include "bench/mesh_client.hpp"
#include "protocol/encoding.hpp"

namespace cm::bench {
namespace {

constexpr std::uint64_t kWaitUs = 100'000;
constexpr std::uint64_t kEndWaitUs = 10'000'000;

std::string sealed_text(std::uint32_t bytes) {
  return protocol::base64_encode(protocol::Bytes(bytes, 0xA5));
}
const std::string kNonce = protocol::base64_encode(protocol::Bytes(24, 0x11));

// The value of a text member of a flat JSON object, without parsing the whole: the generator must cost less than what
// it measures.
std::string_view text_member(std::string_view json, std::string_view quoted_key) {
  const auto at = json.find(quoted_key);
  if (at == std::string_view::npos) {
    return {};
  }
  const auto start = json.find('"', at + quoted_key.size() + 1) + 1;
  return json.substr(start, json.find('"', start) - start);
}

std::uint64_t number_after(std::string_view id, char separator) {
  std::uint64_t value = 0;
  const auto at = id.rfind(separator);
  std::from_chars(id.data() + at + 1, id.data() + id.size(), value);
  return value;
}

void raise_file_limit() {
  rlimit limit = {};
  ::getrlimit(RLIMIT_NOFILE, &limit);
  limit.rlim_cur = limit.rlim_max;
  ::setrlimit(RLIMIT_NOFILE, &limit);
}

}  // namespace

void print_rate(const char* name, const LoadOptions& options, std::uint64_t done, std::uint64_t elapsed_us,
                Histogram& latency) {
  std::printf(
      "{\"load\":\"%s\",\"window\":%u,\"bytes\":%u,\"done\":%llu,\"per_second\":%.0f,\"p50_us\":%.0f,\"p99_us\":%.0f}"
      "\n",
      name, options.window, options.bytes, static_cast<unsigned long long>(done),
      static_cast<double>(done) * 1e6 / static_cast<double>(elapsed_us), latency.percentile_us(0.5),
      latency.percentile_us(0.99));
}

int run_accept(const LoadOptions& options) {
  const Identity identity = Identity::load(options.identity);
  const std::string run = "b" + std::to_string(now_us());
  MeshClient client(options.address, identity, run);
  const std::string ciphertext = sealed_text(options.bytes);
  std::vector<std::uint64_t> sent_at_us;
  Histogram latency;
  std::uint64_t refused = 0;
  const std::uint64_t start_us = now_us();
  const std::uint64_t end_us = start_us + static_cast<std::uint64_t>(options.seconds * 1e6);
  const auto on_frame = [&](std::string_view text) {
    const std::string_view id = text_member(text, "\"id\"");
    if (!id.starts_with(run)) {
      return;
    }
    latency.add(now_us() - sent_at_us[number_after(id, '-')]);
    refused += text.find("\"queued\":true") == std::string_view::npos ? 1 : 0;
  };
  while (now_us() < end_us) {
    while (sent_at_us.size() - latency.count() < options.window) {
      const std::string id = run + "-" + std::to_string(sent_at_us.size());
      client.queue_send(id, options.target, kNonce, ciphertext);
      sent_at_us.push_back(now_us());
    }
    client.socket().flush();
    wait_for({&client.socket()}, kWaitUs);
    if (!client.socket().fill()) {
      fail("the broker closed the connection");
    }
    client.dispatch(on_frame);
  }
  const std::uint64_t elapsed_us = now_us() - start_us;
  if (refused > 0) {
    fail(std::to_string(refused) + " messages were refused; raise the broker's rate limit for a benchmark");
  }
  print_rate("accept", options, latency.count(), elapsed_us, latency);
  return 0;
}

int run_end_to_end(const LoadOptions& options) {
  const Identity sender_identity = Identity::load(options.identity);
  const Identity recipient_identity = Identity::load(options.recipient_identity);
  const std::string run = "e" + std::to_string(now_us());
  MeshClient sender(options.address, sender_identity, run + "s");
  MeshClient recipient(options.address, recipient_identity, run + "r");
  const std::string ciphertext = sealed_text(options.bytes);
  const auto total = static_cast<std::uint64_t>(options.rate * options.seconds);
  const double gap_us = 1e6 / options.rate;
  std::vector<std::uint64_t> sent_at_us;
  std::vector<bool> seen(total, false);
  Histogram latency;
  const auto on_push = [&](std::string_view text) {
    const std::string_view id = text_member(text, "\"client_message_id\"");
    if (!id.starts_with(run)) {
      return;
    }
    const std::uint64_t number = number_after(id, '-');
    if (!seen[number]) {
      seen[number] = true;
      latency.add(now_us() - sent_at_us[number]);
    }
    recipient.queue_client_ack(text_member(text, "\"messageId\""), id);
  };
  const std::uint64_t start_us = now_us();
  std::uint64_t give_up_us = start_us + static_cast<std::uint64_t>(options.seconds * 1e6) + kEndWaitUs;
  while (latency.count() < total && now_us() < give_up_us) {
    const std::uint64_t elapsed_us = now_us() - start_us;
    while (sent_at_us.size() < total &&
           static_cast<double>(sent_at_us.size()) * gap_us <= static_cast<double>(elapsed_us)) {
      const std::string id = run + "-" + std::to_string(sent_at_us.size());
      sender.queue_send(id, recipient_identity.pubkey, kNonce, ciphertext);
      sent_at_us.push_back(now_us());
    }
    sender.socket().flush();
    recipient.socket().flush();
    wait_for({&sender.socket(), &recipient.socket()}, 200);
    if (!sender.socket().fill() || !recipient.socket().fill()) {
      fail("the broker closed the connection");
    }
    sender.dispatch([](std::string_view) {});
    recipient.dispatch(on_push);
  }
  if (latency.count() < total) {
    fail(std::to_string(total - latency.count()) + " of " + std::to_string(total) + " messages did not arrive");
  }
  print_rate("end_to_end", options, latency.count(), now_us() - start_us, latency);
  return 0;
}

int run_joins(const LoadOptions& options) {
  const Identity identity = Identity::load(options.identity);
  Histogram latency;
  const std::uint64_t start_us = now_us();
  for (std::uint32_t i = 0; i < options.connections; ++i) {
    const std::uint64_t began_us = now_us();
    const MeshClient client(options.address, identity, "j" + std::to_string(start_us) + "-" + std::to_string(i));
    latency.add(now_us() - began_us);
  }
  print_rate("joins", options, latency.count(), now_us() - start_us, latency);
  return 0;
}

int run_idle(const LoadOptions& options) {
  raise_file_limit();
  const Identity identity = Identity::load(options.identity);
  std::vector<MeshClient> peers;
  peers.reserve(options.connections);
  for (std::uint32_t i = 0; i < options.connections; ++i) {
    peers.emplace_back(options.address, identity, "i" + std::to_string(now_us()) + "-" + std::to_string(i));
    peers.back().socket().input() = {};
  }
  std::printf("{\"load\":\"idle\",\"connections\":%zu}\n", peers.size());
  std::fflush(stdout);
  static_cast<void>(std::getchar());
  return 0;
}

int run_local_send(const LoadOptions& options) {
  Socket socket = Socket::connect(options.address);
  Histogram latency;
  const std::string text(options.bytes, 'x');
  const std::string run = "l" + std::to_string(now_us());
  const std::uint64_t start_us = now_us();
  const std::uint64_t end_us = start_us + static_cast<std::uint64_t>(options.seconds * 1e6);
  for (std::uint64_t i = 0; now_us() < end_us; ++i) {
    const std::string body = "{\"to\":\"" + options.target + "\",\"message\":\"" + text +
                             "\",\"client_message_id\":\"" + run + "-" + std::to_string(i) + "\"}";
    const std::uint64_t began_us = now_us();
    socket.queue("POST /v1/send HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: " +
                 std::to_string(body.size()) + "\r\n\r\n" + body);
    socket.flush_blocking();
    std::string_view answer;
    while (answer.find("\r\n\r\n") == std::string_view::npos || !answer.ends_with("}")) {
      if (!socket.fill_blocking(10'000)) {
        fail("the daemon did not answer within 10 s");
      }
      answer = {reinterpret_cast<const char*>(socket.input_data()), socket.input_size()};
    }
    if (!answer.starts_with("HTTP/1.1 202")) {
      fail("the daemon answered " + std::string(answer));
    }
    socket.consume(answer.size());
    latency.add(now_us() - began_us);
  }
  print_rate("local_send", options, latency.count(), now_us() - start_us, latency);
  return 0;
}

}  // namespace cm::bench
