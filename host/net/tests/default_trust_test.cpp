// Goal: reading the system's CA bundle holds up no loop. Method: the bundle is a pipe that the test fills when it
// likes; the whole program is one test, because the bundle is read once per process.
#include <fcntl.h>
#include <sys/stat.h>

#include <cstdlib>
#include <fstream>
#include <functional>
#include <iterator>
#include <optional>

#include "host/net/http_client.hpp"
#include "host/net/tests/make_certificate.hpp"
#include "host/net/tests/net_test_support.hpp"

namespace cm::net {
namespace {

using test::run_until;

constexpr unsigned kBlockedSeconds = 45;  // a loop that waits for the pipe waits for ever: the program is then ended

TEST(NetDefaultTrust, LoopTurnsWhileTheBundleIsReadAndTheCallsUseItAfterwards) {
  ::alarm(kBlockedSeconds);
  const test::CertificateFolder folder;
  const std::string bundle = folder.file("bundle.pem");
  ASSERT_EQ(::mkfifo(bundle.c_str(), 0600), 0);
  ASSERT_EQ(::setenv("SSL_CERT_FILE", bundle.c_str(), 1), 0);

  Loop loop;
  HttpServer server(
      loop, {}, [](std::shared_ptr<HttpRequest> request) { static_cast<void>(request->respond(200, {}, "trusted")); });
  TcpListenerOptions listener;
  listener.tls = *TlsServerContext::load(folder.certificate(), folder.key());
  const auto opened = server.listen_tcp(listener);
  ASSERT_TRUE(opened.ok());

  HttpClient client(loop, {.tls = nullptr, .proxy = {}});
  std::vector<Result<HttpClientResponse>> answers;
  const auto send = [&] {
    HttpClientRequest request;
    request.url = "https://localhost:" + std::to_string(opened->port) + "/";
    client.send(std::move(request), [&](Result<HttpClientResponse> answer) { answers.push_back(std::move(answer)); });
  };
  send();
  send();
  // Somebody reads, and it is not this thread: the pipe can be opened for writing only then.
  int pipe = -1;
  ASSERT_TRUE(run_until(loop, [&] { return (pipe = ::open(bundle.c_str(), O_WRONLY | O_NONBLOCK)) >= 0; }));
  int ticks = 0;
  const std::function<void()> tick = [&] {
    if (++ticks < 20) {
      loop.start_timer_after_ms(1, [&tick] { tick(); });
    }
  };
  tick();
  ASSERT_TRUE(run_until(loop, [&] { return ticks >= 20; })) << "the loop stands still";
  EXPECT_TRUE(answers.empty());

  std::ifstream file(folder.certificate());
  const std::string pem{std::istreambuf_iterator<char>(file), {}};
  ASSERT_EQ(::write(pipe, pem.data(), pem.size()), static_cast<ssize_t>(pem.size()));
  ::close(pipe);
  ASSERT_TRUE(run_until(loop, [&] { return answers.size() == 2; }));
  for (const auto& answer : answers) {
    ASSERT_TRUE(answer.ok()) << answer.error().message;
    EXPECT_EQ(answer->body.view(), "trusted");
  }
  // Nobody opens the pipe again: what was read is shared.
  send();
  ASSERT_TRUE(run_until(loop, [&] { return answers.size() == 3; }));
  EXPECT_TRUE(answers[2].ok());
  ::alarm(0);
}

}  // namespace
}  // namespace cm::net
