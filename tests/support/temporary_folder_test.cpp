// Goal: nothing outlives a test, also when its process dies, and nobody's folder goes while it is used.
#include "tests/support/temporary_folder.hpp"

#include <gtest/gtest.h>
#include <sys/wait.h>

namespace cm::test {
namespace {

// Makes a folder in a child that ends without a destructor; its path. The child lives until `go_on` is closed.
struct Child {
  Child() {
    int ready[2];
    int wait[2];
    EXPECT_EQ(::pipe(ready), 0);
    EXPECT_EQ(::pipe(wait), 0);
    pid = ::fork();
    if (pid == 0) {
      ::close(wait[1]);
      const TemporaryFolder folder;
      folder.write("left", "behind");
      const std::string text = folder.path().string();
      static_cast<void>(!::write(ready[1], text.data(), text.size()));
      char byte = 0;
      static_cast<void>(!::read(wait[0], &byte, 1));
      ::_exit(0);
    }
    ::close(wait[0]);
    go_on = wait[1];
    char text[512];
    const ssize_t size = ::read(ready[0], text, sizeof text);
    path = std::string(text, static_cast<std::size_t>(size > 0 ? size : 0));
    ::close(ready[0]);
    ::close(ready[1]);
  }
  void die() const {
    ::close(go_on);
    ::waitpid(pid, nullptr, 0);
  }
  pid_t pid = -1;
  int go_on = -1;
  std::filesystem::path path;
};

TEST(TemporaryFolder, GoesWithItsObjectAndItsContent) {
  std::filesystem::path path;
  {
    const TemporaryFolder folder;
    path = folder.path();
    std::filesystem::create_directories(path / "deep" / "below");
    folder.write("file", "text");
    EXPECT_TRUE(std::filesystem::exists(folder.file("file")));
  }
  EXPECT_FALSE(std::filesystem::exists(path));
}

TEST(TemporaryFolder, ThatOfADeadProcessGoesWithTheNextOneThatEnds) {
  const Child child;
  {
    const TemporaryFolder mine;
    EXPECT_TRUE(std::filesystem::exists(child.path / "left")) << "it is used";
    child.die();
  }
  EXPECT_FALSE(std::filesystem::exists(child.path));
}

TEST(TemporaryFolder, ThatOfADeadProcessGoesWithTheNextOneThatIsMade) {
  const Child child;
  child.die();
  const TemporaryFolder mine;
  EXPECT_FALSE(std::filesystem::exists(child.path));
  EXPECT_TRUE(std::filesystem::exists(mine.path()));
}

}  // namespace
}  // namespace cm::test
