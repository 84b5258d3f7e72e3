// Goal: a confirmed work survives kill -9 at any moment. Method: a child confirms numbers through a pipe and is killed
// after a random count of them; every number that came out must be in the file, and every work there must be whole.
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <random>
#include <vector>

#include "plugins/storage_sqlite/tests/test_store.hpp"

namespace cm::test {
namespace {

constexpr int kKills = 40;

struct Child {
  pid_t pid = -1;
  int output = -1;
};

Child start_child(const std::string& path, std::int64_t first) {
  int ends[2];
  if (::pipe(ends) != 0) {
    return {};
  }
  const std::string number = std::to_string(first);
  const pid_t pid = ::fork();
  if (pid == 0) {
    ::dup2(ends[1], STDOUT_FILENO);
    ::close(ends[0]);
    ::close(ends[1]);
    ::execl(STORAGE_CRASH_CHILD, STORAGE_CRASH_CHILD, path.c_str(), number.c_str(), nullptr);
    ::_exit(127);
  }
  ::close(ends[1]);
  return Child{pid, ends[0]};
}

// Kills after `count` confirmed numbers and reads the rest of the pipe, which was confirmed too.
std::vector<std::int64_t> kill_after(const Child& child, int count) {
  std::vector<std::int64_t> confirmed;
  std::int64_t id = 0;
  while (::read(child.output, &id, sizeof(id)) == sizeof(id)) {
    confirmed.push_back(id);
    if (static_cast<int>(confirmed.size()) == count) {
      ::kill(child.pid, SIGKILL);
    }
  }
  int status = 0;
  ::waitpid(child.pid, &status, 0);
  ::close(child.output);
  EXPECT_TRUE(WIFSIGNALED(status)) << "the child ended by itself, exit status " << WEXITSTATUS(status);
  return confirmed;
}

TEST(StorageCrash, EveryConfirmedWorkSurvivesKill) {
  TemporaryFolder folder;
  const std::string path = folder.file("mesh.db");
  std::mt19937 random(20'240'611);
  std::vector<std::int64_t> confirmed;
  std::int64_t first = 0;
  for (int kill = 0; kill < kKills; ++kill) {
    const Child child = start_child(path, first);
    ASSERT_GT(child.pid, 0);
    const auto fresh = kill_after(child, static_cast<int>(1 + random() % 400));
    ASSERT_FALSE(fresh.empty());
    confirmed.insert(confirmed.end(), fresh.begin(), fresh.end());
    first = confirmed.back() + 10'000;

    FakeHost host(FakeHost::Mode::kDeterministic);
    host.texts["path"] = path;
    host.texts["integrity_check"] = "full";
    TestStore store(host);
    const Answer started = store.start();
    ASSERT_EQ(started.status, CM_OK) << started.text;
    std::vector<std::int64_t> found;
    const cm_statement all = store.sql("SELECT id, count(*) FROM t GROUP BY id ORDER BY id");
    ASSERT_TRUE(store
                    .read([&](SqlTransaction& transaction) {
                      return transaction.query(all, {}, [&found](const SqlRow& row) {
                        EXPECT_EQ(row.integer(1), 3) << "half a work";
                        found.push_back(row.integer(0));
                      });
                    })
                    .ok());
    for (const std::int64_t id : confirmed) {
      EXPECT_TRUE(std::binary_search(found.begin(), found.end(), id)) << "confirmed work " << id << " is lost";
    }
  }
}

}  // namespace
}  // namespace cm::test
