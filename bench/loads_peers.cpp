// What stands beside: NATS (its text protocol, spoken directly) and a plain file.
#include <fcntl.h>
#include <unistd.h>

#include <charconv>
#include <cstdio>
#include <string>
#include <vector>

#include "bench/histogram.hpp"
#include "bench/loads.hpp"
#include "bench/socket.hpp"

namespace cm::bench {
namespace {

constexpr int kTimeoutMs = 10'000;

// A NATS connection: https://docs.nats.io/reference/reference-protocols/nats-protocol
class NatsClient {
 public:
  explicit NatsClient(const std::string& address) : socket_(Socket::connect(address)) {
    socket_.queue("CONNECT {\"verbose\":false,\"pedantic\":false,\"headers\":true,\"no_responders\":true}\r\nPING\r\n");
    socket_.flush_blocking();
    bool ready = false;
    while (!ready) {
      if (!socket_.fill_blocking(kTimeoutMs)) {
        fail("the NATS server did not answer");
      }
      const std::string_view text(reinterpret_cast<const char*>(socket_.input_data()), socket_.input_size());
      ready = text.find("PONG\r\n") != std::string_view::npos;
    }
    socket_.consume(socket_.input_size());
  }

  Socket& socket() { return socket_; }
  void subscribe(std::string_view subject, int id) {
    socket_.queue("SUB " + std::string(subject) + " " + std::to_string(id) + "\r\n");
  }
  void publish(std::string_view subject, std::string_view reply, std::string_view payload) {
    std::string head = "PUB " + std::string(subject) + " ";
    if (!reply.empty()) {
      head += std::string(reply) + " ";
    }
    socket_.queue(head + std::to_string(payload.size()) + "\r\n");
    socket_.queue(payload);
    socket_.queue("\r\n");
  }
  // Calls on_message(subject, payload) for each complete MSG of the input; answers PING.
  template <typename OnMessage>
  void dispatch(OnMessage&& on_message) {
    std::string_view text(reinterpret_cast<const char*>(socket_.input_data()), socket_.input_size());
    std::size_t consumed = 0;
    for (;;) {
      const auto end = text.find("\r\n");
      if (end == std::string_view::npos) {
        break;
      }
      const std::string_view line = text.substr(0, end);
      std::size_t used = end + 2;
      if (line.starts_with("MSG ") || line.starts_with("HMSG ")) {
        std::size_t size = 0;
        const auto last = line.rfind(' ');
        std::from_chars(line.data() + last + 1, line.data() + line.size(), size);
        if (text.size() < used + size + 2) {
          break;
        }
        const auto subject_start = line.find(' ') + 1;
        on_message(line.substr(subject_start, line.find(' ', subject_start) - subject_start), text.substr(used, size));
        used += size + 2;
      } else if (line.starts_with("PING")) {
        socket_.queue("PONG\r\n");
      } else if (line.starts_with("-ERR")) {
        fail("NATS: " + std::string(line));
      }
      text.remove_prefix(used);
      consumed += used;
    }
    socket_.consume(consumed);
  }

 private:
  Socket socket_;
};

}  // namespace

int run_jetstream(const LoadOptions& options) {
  NatsClient client(options.address);
  client.subscribe("_INBOX.bench.>", 1);
  // The stream may be there from an earlier window; the answer is only waited for.
  client.publish("$JS.API.STREAM.CREATE.BENCH", "_INBOX.bench.create",
                 "{\"name\":\"BENCH\",\"subjects\":[\"bench.in\"],\"storage\":\"file\",\"num_replicas\":1}");
  client.socket().flush_blocking();
  bool created = false;
  while (!created) {
    if (!client.socket().fill_blocking(kTimeoutMs)) {
      fail("JetStream did not answer; is it enabled?");
    }
    client.dispatch([&created](std::string_view, std::string_view) { created = true; });
  }
  const std::string payload(options.bytes, 'x');
  std::vector<std::uint64_t> sent_at_us;
  Histogram latency;
  const std::uint64_t start_us = now_us();
  const std::uint64_t end_us = start_us + static_cast<std::uint64_t>(options.seconds * 1e6);
  const auto on_ack = [&](std::string_view subject, std::string_view answer) {
    if (answer.find("\"error\"") != std::string_view::npos) {
      fail("JetStream: " + std::string(answer));
    }
    std::uint64_t number = 0;
    std::from_chars(subject.data() + subject.rfind('.') + 1, subject.data() + subject.size(), number);
    latency.add(now_us() - sent_at_us[number]);
  };
  while (now_us() < end_us) {
    while (sent_at_us.size() - latency.count() < options.window) {
      client.publish("bench.in", "_INBOX.bench." + std::to_string(sent_at_us.size()), payload);
      sent_at_us.push_back(now_us());
    }
    client.socket().flush();
    wait_for({&client.socket()}, 100'000);
    if (!client.socket().fill()) {
      fail("the NATS server closed the connection");
    }
    client.dispatch(on_ack);
  }
  print_rate("jetstream", options, latency.count(), now_us() - start_us, latency);
  return 0;
}

int run_nats_end_to_end(const LoadOptions& options) {
  NatsClient sender(options.address);
  NatsClient recipient(options.address);
  recipient.subscribe("bench.direct", 1);
  recipient.socket().queue("PING\r\n");
  recipient.socket().flush_blocking();
  if (!recipient.socket().fill_blocking(kTimeoutMs)) {
    fail("the NATS server did not confirm the subscription");
  }
  recipient.dispatch([](std::string_view, std::string_view) {});
  const auto total = static_cast<std::uint64_t>(options.rate * options.seconds);
  const double gap_us = 1e6 / options.rate;
  std::uint64_t sent = 0;
  Histogram latency;
  std::string payload(options.bytes, 'x');
  const std::uint64_t start_us = now_us();
  while (latency.count() < total &&
         now_us() - start_us < static_cast<std::uint64_t>(options.seconds * 1e6) + 10'000'000) {
    const std::uint64_t elapsed_us = now_us() - start_us;
    while (sent < total && static_cast<double>(sent) * gap_us <= static_cast<double>(elapsed_us)) {
      const std::string stamp = std::to_string(now_us()) + " ";
      payload.replace(0, stamp.size(), stamp);
      sender.publish("bench.direct", "", payload);
      ++sent;
    }
    sender.socket().flush();
    wait_for({&sender.socket(), &recipient.socket()}, 200);
    if (!sender.socket().fill() || !recipient.socket().fill()) {
      fail("the NATS server closed the connection");
    }
    sender.dispatch([](std::string_view, std::string_view) {});
    recipient.dispatch([&latency](std::string_view, std::string_view text) {
      std::uint64_t sent_us = 0;
      std::from_chars(text.data(), text.data() + text.size(), sent_us);
      latency.add(now_us() - sent_us);
    });
  }
  print_rate("nats_end_to_end", options, latency.count(), now_us() - start_us, latency);
  return 0;
}

int run_append(const LoadOptions& options) {
  const int fd = ::open(options.file.c_str(), O_CREAT | O_WRONLY | O_TRUNC | O_APPEND | O_CLOEXEC, 0600);
  if (fd < 0) {
    fail("cannot write " + options.file);
  }
  const std::string records(static_cast<std::size_t>(options.bytes) * options.window, 'x');
  Histogram latency;
  std::uint64_t done = 0;
  const std::uint64_t start_us = now_us();
  const std::uint64_t end_us = start_us + static_cast<std::uint64_t>(options.seconds * 1e6);
  while (now_us() < end_us) {
    const std::uint64_t began_us = now_us();
    if (::write(fd, records.data(), records.size()) != static_cast<ssize_t>(records.size()) || ::fdatasync(fd) != 0) {
      fail("cannot append to " + options.file);
    }
    latency.add(now_us() - began_us);
    done += options.window;
  }
  ::close(fd);
  print_rate("append", options, done, now_us() - start_us, latency);
  return 0;
}

}  // namespace cm::bench
