// Goal: workers, streams of HTTP and cm.peer/1 work from a process of its own as they do in the host, and a child that
// dies with them open leaves nothing behind that could harm the host.
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "host/isolation/tests/isolation_fixture.hpp"

namespace cm::host {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

class Crossing : public IsolationFixture {
 protected:
  std::string address(const std::string& name) const { return "unix:" + (folder_ / (name + ".sock")).string(); }
  std::string prober(bool isolated, const std::string& more = {}) const {
    return plugin("prober", "iso_prober", isolated, "listen = \"" + address("prober") + "\"\n" + more) +
           asker("hook = \"prober\"\n");
  }
  std::string with_peer(bool isolated) const {
    return plugin("peer", "iso_peer", false, "listen = \"" + address("peer") + "\"\n") +
           prober(isolated, "peer = \"peer\"\n");
  }
  bool peer_says(const std::string& state) {
    return eventually([&] { return get("/state", "peer") == state; });
  }
};

class InBothTiers : public Crossing, public testing::WithParamInterface<bool> {};
INSTANTIATE_TEST_SUITE_P(All, InBothTiers, testing::Bool(),
                         [](const auto& isolated) { return isolated.param ? "OwnProcess" : "InProcess"; });

// --- workers ---

TEST_P(InBothTiers, AQueueRunsItsJobsInOrderOnOneThreadOfItsOwn) {
  start_host(prober(GetParam()));
  EXPECT_EQ(ask("queue"), "replace:1000 in order on 1 thread, back on the loop");
}

TEST_P(InBothTiers, ThePoolRunsJobsAtTheSameTime) {
  start_host(prober(GetParam()));
  EXPECT_EQ(ask("pool"), "replace:met");
}

TEST_P(InBothTiers, AClosedQueueRunsWhatItHoldsAndTakesNoMore) {
  start_host(prober(GetParam()));
  EXPECT_EQ(ask("closed-queue"), "replace:100 ran, then gone");
}

TEST_P(InBothTiers, JobsThatWereTakenRunBeforeTheEnd) {
  const std::filesystem::path written = folder_ / "written";
  std::filesystem::create_directory(written);
  start_host(prober(GetParam(), "folder = \"" + written.string() + "\"\n"));
  EXPECT_EQ(ask("jobs-at-end " + (written / "jobs").string()), "replace:left");
  stop_host();
  std::ifstream file(written / "jobs");
  std::vector<std::string> lines;
  for (std::string line; std::getline(file, line);) {
    lines.push_back(line);
  }
  EXPECT_THAT(lines, ElementsAre("job 0", "job 1", "job 2", "destroyed"));
}

// --- streams ---

TEST_P(InBothTiers, AStreamOfManyPiecesArrivesWhole) {
  start_host(prober(GetParam()));
  for (const std::size_t size : {0u, 1u, 5'000u, 6'000'000u}) {
    const Answer answer = request(url("/bytes/" + std::to_string(size), "prober"));
    EXPECT_EQ(answer.status, 200);
    EXPECT_TRUE(answer.body == std::string(size, 's')) << answer.body.size() << " of " << size;
  }
}

// Reads nothing until it is told to; then everything.
class SlowReader {
 public:
  explicit SlowReader(const std::filesystem::path& socket, const std::string& target)
      : fd_(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
    sockaddr_un name{};
    name.sun_family = AF_UNIX;
    socket.string().copy(name.sun_path, sizeof(name.sun_path) - 1);
    EXPECT_EQ(::connect(fd_, reinterpret_cast<const sockaddr*>(&name), sizeof(name)), 0);
    const std::string text = "GET " + target + " HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
    EXPECT_EQ(::send(fd_, text.data(), text.size(), MSG_NOSIGNAL), static_cast<ssize_t>(text.size()));
  }
  ~SlowReader() { ::close(fd_); }
  SlowReader(const SlowReader&) = delete;
  SlowReader& operator=(const SlowReader&) = delete;

  std::string read_all() const {
    std::string all;
    std::string buffer(1u << 16, '\0');
    for (ssize_t count = 0; (count = ::recv(fd_, buffer.data(), buffer.size(), 0)) > 0;) {
      all.append(buffer.data(), static_cast<std::size_t>(count));
    }
    return all;
  }

 private:
  int fd_;
};

TEST_P(InBothTiers, ASlowReaderHoldsTheStreamBackAndStillGetsAllOfIt) {
  start_host(prober(GetParam()));
  const SlowReader reader(folder_ / "prober.sock", "/bytes/30000000");
  ASSERT_TRUE(eventually([this] { return !get("/counts", "prober").starts_with("busy 0"); }));
  const std::string all = reader.read_all();
  EXPECT_TRUE(all.starts_with("HTTP/1.1 200"));
  EXPECT_TRUE(all.ends_with("0\r\n\r\n")) << "the last chunk";
  EXPECT_EQ(std::count(all.begin() + static_cast<std::ptrdiff_t>(all.find("\r\n\r\n")), all.end(), 's'), 30'000'000);
}

TEST_P(InBothTiers, EventsComeWhenTheyAreSentAndEndWhenThePluginEndsThem) {
  start_host(prober(GetParam()));
  std::vector<std::string> seen;
  net::HttpClientRequest events;
  events.method = "GET";
  events.url = url("/events", "prober");
  net::HttpClientSync reader;
  // What is pushed is pushed because of what came: nothing is held back until the end.
  const Status ended = reader.read_events(std::move(events), [&](const net::SseEvent& event) {
    seen.push_back(event.data);
    post("/push", seen.size() < 3 ? "number " + std::to_string(seen.size()) : "end", "prober");
    return true;
  });
  EXPECT_TRUE(ended.ok());
  EXPECT_THAT(seen, ElementsAre("first", "number 1", "number 2"));
}

TEST_P(InBothTiers, AReaderThatGoesAwayIsTold) {
  start_host(prober(GetParam()));
  net::HttpClientRequest events;
  events.method = "GET";
  events.url = url("/events", "prober");
  net::HttpClientSync reader;
  EXPECT_TRUE(reader.read_events(std::move(events), [](const net::SseEvent&) { return false; }).ok());
  EXPECT_TRUE(eventually([this] { return get("/counts", "prober") == "busy 0 closed 1"; })) << get("/counts", "prober");
}

TEST_F(Crossing, AChildThatDiesCutsItsStreamsOffAndRefusesItsRequests) {
  start_host(prober(true));
  net::HttpClientRequest events;
  events.method = "GET";
  events.url = url("/events", "prober");
  events.idle_timeout_ms = 15'000;
  net::HttpClientSync reader;
  std::thread waiting([this] {
    net::HttpClientSync other;
    net::HttpClientRequest never;
    never.method = "GET";
    never.url = url("/never", "prober");
    const Result<net::HttpClientResponse> answer = other.send(std::move(never));
    ASSERT_TRUE(answer.ok()) << answer.error().message;
    EXPECT_EQ(answer->status, 503);
  });
  EXPECT_TRUE(eventually([this] { return ask("unanswered") == "replace:1"; }));
  const pid_t first = isolation_of("prober").pid;
  // The stream is open and its reader here when the process dies. What was cut off must not look complete.
  const Status ended = reader.read_events(std::move(events), [&](const net::SseEvent& event) {
    EXPECT_EQ(event.data, "first");
    ::kill(first, SIGKILL);
    return true;
  });
  waiting.join();
  ASSERT_FALSE(ended.ok());
  EXPECT_THAT(ended.error().message, HasSubstr("before its answer was complete"));
  ASSERT_TRUE(eventually([this] { return isolation_of("prober").restarts == 1 && running("prober"); }));
  // What was the old child's is no business of the new one's, and the host is well.
  EXPECT_EQ(get("/counts", "prober"), "busy 0 closed 0");
  EXPECT_TRUE(host_->ready());
  EXPECT_THAT(log_->accusations(), testing::IsEmpty());
}

// Its reader leaves when nothing of the child is left, and no other has taken its place.
TEST_F(Crossing, AStreamThatOutlivesItsChildDoesNoHarm) {
  start_host(prober(true, "isolation_failures_max = 1\n"));
  net::HttpClientRequest events;
  events.method = "GET";
  events.url = url("/events", "prober");
  net::HttpClientSync reader;
  const Status ended = reader.read_events(std::move(events), [this](const net::SseEvent&) {
    ::kill(isolation_of("prober").pid, SIGKILL);
    EXPECT_TRUE(eventually([this] { return isolation_of("prober").phase == isolation::Phase::kQuarantined; }));
    return false;
  });
  EXPECT_TRUE(ended.ok());
  ASSERT_TRUE(host_->reload().ok());
  ASSERT_TRUE(eventually([this] { return running("prober"); }));
  EXPECT_EQ(get("/counts", "prober"), "busy 0 closed 0");
}

// --- cm.peer/1 ---

TEST_P(InBothTiers, APeerGetsTheMessageAndTheAnswerComesBack) {
  start_host(with_peer(GetParam()));
  const std::string json = R"({"mesh":"lab","to":"ada","text":"hello","id":"id-1","priority":2})";
  EXPECT_EQ(ask("send ada hello"), "replace:202 " + json);
  EXPECT_EQ(ask("send nobody hello"), "replace:status " + std::to_string(CM_INVALID));
}

TEST_P(InBothTiers, AnAnswerMayComeLater) {
  start_host(with_peer(GetParam()));
  std::thread asking([this] {
    net::HttpClientSync other;
    net::HttpClientRequest question;
    question.method = "POST";
    question.url = url("/ask", "asker");
    question.body = net::SharedBuffer::copy(std::string_view("send later hello"));
    const Result<net::HttpClientResponse> answer = other.send(std::move(question));
    ASSERT_TRUE(answer.ok()) << answer.error().message;
    EXPECT_THAT(answer->body.to_string(), HasSubstr("\"to\":\"later\",\"text\":\"hello\""));
  });
  EXPECT_TRUE(peer_says("waiting 1 subscribed 0"));
  EXPECT_EQ(post("/answer", "", "peer"), "answered");
  asking.join();
}

TEST_P(InBothTiers, EventsOfThePeerReachItsSubscriberUntilItHasEnough) {
  start_host(with_peer(GetParam()));
  EXPECT_EQ(ask("subscribe"), "replace:0");
  EXPECT_EQ(post("/event", "{\"n\":1}", "peer"), "1");
  EXPECT_EQ(post("/event", "{\"n\":2}", "peer"), "1");
  EXPECT_TRUE(eventually([this] { return ask("events") == "replace:message {\"n\":1}\nmessage {\"n\":2}\n"; }))
      << ask("events");
  EXPECT_EQ(ask("unsubscribe"), "replace:ended");
  EXPECT_TRUE(peer_says("waiting 0 subscribed 0"));
  EXPECT_EQ(post("/event", "{\"n\":3}", "peer"), "0");
}

TEST_F(Crossing, AChildThatDiesIsNoLongerASubscriberAndLateAnswersReachNobody) {
  start_host(with_peer(true));
  EXPECT_EQ(ask("subscribe"), "replace:0");
  std::thread asking([this] {
    net::HttpClientSync other;
    net::HttpClientRequest question;
    question.method = "POST";
    question.url = url("/ask", "asker");
    question.body = net::SharedBuffer::copy(std::string_view("send later hello"));
    const Result<net::HttpClientResponse> answer = other.send(std::move(question));
    ASSERT_TRUE(answer.ok()) << answer.error().message;
    EXPECT_THAT(answer->body.to_string(), testing::StartsWith("deny:"));
  });
  EXPECT_TRUE(peer_says("waiting 1 subscribed 1"));
  ::kill(isolation_of("prober").pid, SIGKILL);
  asking.join();
  EXPECT_TRUE(peer_says("waiting 1 subscribed 0"));
  ASSERT_TRUE(eventually([this] { return isolation_of("prober").restarts == 1 && running("prober"); }));
  EXPECT_EQ(post("/answer", "", "peer"), "answered");
  EXPECT_EQ(ask("events"), "replace:");
  EXPECT_EQ(ask("send ada again").substr(0, 11), "replace:202");
}

}  // namespace
}  // namespace cm::host
