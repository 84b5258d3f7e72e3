// Goal: a listening socket outlives its listener, nobody is refused between one and the next, and no accepted
// connection is cut before it could ask. Method: raw peers on the same thread that turn the loop while they wait.
#include "host/net/listening_socket.hpp"

#include <sys/stat.h>

#include <filesystem>

#include "host/net/tests/net_test_support.hpp"

namespace cm::net {
namespace {

using test::RawPeer;
using test::run_until;
using test::TemporaryFolder;

const std::string kGet = "GET / HTTP/1.1\r\nHost: h\r\n\r\n";

class NetListeningSocket : public ::testing::Test {
 protected:
  std::unique_ptr<HttpServer> serve(const std::string& name, const ListeningSocket& socket) {
    auto server = std::make_unique<HttpServer>(loop, HttpServerOptions{}, [name](std::shared_ptr<HttpRequest> request) {
      ASSERT_TRUE(request->respond(200, {}, name).ok());
    });
    const Result<int> fd = socket.duplicate();
    EXPECT_TRUE(fd.ok());
    EXPECT_TRUE(server->listen_fd(*fd, nullptr).ok());
    return server;
  }
  static bool exists(const std::string& path) {
    struct stat info{};
    return ::lstat(path.c_str(), &info) == 0;
  }

  Loop loop;
};

TEST_F(NetListeningSocket, ConnectionsWaitBetweenTwoListeners) {
  Result<ListeningSocket> socket = ListeningSocket::open(TcpListenerOptions{});
  ASSERT_TRUE(socket.ok()) << socket.error().message;
  ASSERT_NE(socket->info().port, 0);
  auto first = serve("first", *socket);
  {
    RawPeer peer(socket->info());
    peer.send(kGet);
    ASSERT_TRUE(peer.wait_for(loop, "first"));
  }
  first->close();
  RawPeer waiting(socket->info());  // connects although nobody accepts
  waiting.send(kGet);
  auto second = serve("second", *socket);
  EXPECT_TRUE(waiting.wait_for(loop, "second"));
}

TEST_F(NetListeningSocket, ASocketFileGoesWithItsOwnerUnlessItWasLeft) {
  const TemporaryFolder folder;
  const std::string path = folder.file("listening.sock");
  UnixListenerOptions options;
  options.path = path;
  {
    const Result<ListeningSocket> socket = ListeningSocket::open(options);
    ASSERT_TRUE(socket.ok()) << socket.error().message;
    EXPECT_EQ(socket->info().path, path);
    EXPECT_TRUE(exists(path));
  }
  EXPECT_FALSE(exists(path));
  int inherited = -1;
  {
    Result<ListeningSocket> socket = ListeningSocket::open(options);
    ASSERT_TRUE(socket.ok());
    inherited = *socket->duplicate();
    socket->leave_file();
  }
  EXPECT_TRUE(exists(path));
  {
    const Result<ListeningSocket> adopted = ListeningSocket::adopt(inherited, true);
    ASSERT_TRUE(adopted.ok());
    EXPECT_EQ(adopted->info().path, path);
  }
  EXPECT_FALSE(exists(path));
}

TEST_F(NetListeningSocket, AnOrdinaryDescriptorIsNotAdopted) {
  const int fd = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  const Result<ListeningSocket> socket = ListeningSocket::adopt(fd, false);
  ASSERT_FALSE(socket.ok());
  EXPECT_EQ(socket.error().code, ErrorCode::kInvalid);
}

TEST_F(NetListeningSocket, QuiesceWaitsForTheFirstRequestOfWhoWasAccepted) {
  Result<ListeningSocket> socket = ListeningSocket::open(TcpListenerOptions{});
  ASSERT_TRUE(socket.ok());
  auto server = serve("old", *socket);
  RawPeer accepted(socket->info());
  ASSERT_TRUE(run_until(loop, [&] { return server->connection_count() == 1; }));
  bool quiet = false;
  server->quiesce(60'000, [&quiet] { quiet = true; });
  RawPeer late(socket->info());
  late.send(kGet);
  loop.run_once(0);
  EXPECT_FALSE(quiet) << "the accepted connection has not asked yet";
  accepted.send(kGet);
  EXPECT_TRUE(accepted.wait_for(loop, "old"));
  EXPECT_NE(accepted.received().find("Connection: close"), std::string::npos);
  ASSERT_TRUE(run_until(loop, [&] { return quiet; }));
  EXPECT_TRUE(late.received().empty());
  server->close();
  auto next = serve("new", *socket);
  EXPECT_TRUE(late.wait_for(loop, "new"));
}

TEST_F(NetListeningSocket, QuiesceEndsAtItsTimeOut) {
  Result<ListeningSocket> socket = ListeningSocket::open(TcpListenerOptions{});
  ASSERT_TRUE(socket.ok());
  auto server = serve("old", *socket);
  const RawPeer silent(socket->info());
  ASSERT_TRUE(run_until(loop, [&] { return server->connection_count() == 1; }));
  bool quiet = false;
  server->quiesce(1, [&quiet] { quiet = true; });
  EXPECT_TRUE(run_until(loop, [&] { return quiet; }));
}

TEST_F(NetListeningSocket, DrainAnswersARequestThatNobodyHasReadYet) {
  Result<ListeningSocket> socket = ListeningSocket::open(TcpListenerOptions{});
  ASSERT_TRUE(socket.ok());
  auto server = serve("old", *socket);
  RawPeer peer(socket->info());
  peer.send(kGet);
  ASSERT_TRUE(peer.wait_for(loop, "old"));
  peer.received().clear();
  peer.send(kGet);  // lies in the kernel's buffer: the loop does not turn in between
  bool drained = false;
  server->drain(60'000, [&drained] { drained = true; });
  EXPECT_TRUE(peer.wait_for(loop, "old"));
  EXPECT_TRUE(run_until(loop, [&] { return drained; }));
}

}  // namespace
}  // namespace cm::net
