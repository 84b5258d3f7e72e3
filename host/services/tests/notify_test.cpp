// Goal: the service manager hears exactly what was said, and no manager is no problem.
#include "host/services/notify.hpp"

#include <gtest/gtest.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cstring>
#include <filesystem>

#include "tests/support/temporary_folder.hpp"

namespace cm::host {
namespace {

TEST(ServiceNotifier, SendsDatagramsToTheSocket) {
  const test::TemporaryFolder folder;
  const std::string path = folder.file("notify.sock");
  const int fd = ::socket(AF_UNIX, SOCK_DGRAM, 0);
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  std::memcpy(address.sun_path, path.data(), path.size());
  ASSERT_EQ(::bind(fd, reinterpret_cast<const sockaddr*>(&address), sizeof address), 0);
  const ServiceNotifier notifier(path, 4'000'000);
  EXPECT_TRUE(notifier.send("READY=1"));
  char text[64];
  const ssize_t size = ::recv(fd, text, sizeof text, MSG_DONTWAIT);
  ASSERT_GT(size, 0);
  EXPECT_EQ(std::string_view(text, static_cast<std::size_t>(size)), "READY=1");
  EXPECT_EQ(notifier.watchdog_interval_ms(), 2000u);
  ::close(fd);
  std::filesystem::remove(path);
  EXPECT_FALSE(notifier.send("READY=1"));
}

TEST(ServiceNotifier, DoesNothingWithoutAManager) {
  const ServiceNotifier notifier("");
  EXPECT_FALSE(notifier.send("READY=1"));
  EXPECT_FALSE(notifier.watchdog_interval_ms().has_value());
}

}  // namespace
}  // namespace cm::host
