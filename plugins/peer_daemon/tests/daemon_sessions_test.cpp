// Sessions and the disk: it may be slow, and the process may end at any moment.
#include "plugins/peer_daemon/tests/daemon_fixture.hpp"

namespace cm::daemon {
namespace {

const std::string kFirst(64, 'a');
const std::string kSecond(64, 'b');
const std::string kSessionId = "11111111-2222-4333-8444-555555555555";

class SessionDiskTest : public DaemonTest {
 protected:
  static std::string body(const std::string& token, const std::string& id) {
    return R"({"token":")" + token + R"(","session_id":")" + id + R"(","mesh":"alpha","display_name":"S","pid":4711})";
  }
  std::shared_ptr<testing::FakeAnswer> enrol(const std::string& token, const std::string& id) {
    return call("POST", "/v1/sessions/register", body(token, id));
  }
  std::string on_disk() const {
    const auto file = read_private_file(home_ + "/daemon/sessions.json");
    return file && file->has_value() ? (*file)->content.text() : std::string();
  }
  std::size_t count() { return ask("GET", "/v1/sessions").json().find("sessions")->as_array()->size(); }
  // The process dies now: what its worker still writes does not count.
  void crash_before_the_disk() {
    const std::string kept = home_ + ".kept";
    std::filesystem::copy(home_, kept, std::filesystem::copy_options::recursive);
    crash();
    std::filesystem::remove_all(home_);
    std::filesystem::rename(kept, home_);
    host_.hold_jobs = false;
  }
};

TEST_F(SessionDiskTest, TheLoopGoesOnWhileTheDiskIsSlow) {
  start_open();
  host_.hold_jobs = true;
  const auto first = enrol(kFirst, "one");
  const auto second = enrol(kSecond, "two");
  host_.run_for_ms(60'000);
  EXPECT_EQ(ask("GET", "/v1/health").status, 200U);
  EXPECT_EQ(count(), 2U) << "they are registered";
  EXPECT_FALSE(first->done || second->done) << "but not promised yet";
  EXPECT_EQ(on_disk(), "");
  host_.run_job();
  host_.settle();
  EXPECT_EQ(first->status, 200U);
  EXPECT_EQ(second->status, 200U);
  EXPECT_NE(on_disk().find(kFirst), std::string::npos);
  EXPECT_NE(on_disk().find(kSecond), std::string::npos);
  const auto gone = call("DELETE", "/v1/sessions/" + kFirst);
  host_.run_for_ms(60'000);
  EXPECT_FALSE(gone->done);
  host_.run_job();
  host_.settle();
  EXPECT_EQ(gone->status, 200U);
  EXPECT_EQ(on_disk().find(kFirst), std::string::npos);
}

TEST_F(SessionDiskTest, WhatWasAnsweredOutlivesACrash) {
  start_open();
  ASSERT_TRUE(host_.run_until([&, answer = enrol(kFirst, "one")] { return answer->done; }, 100));
  host_.hold_jobs = true;
  const auto unanswered = enrol(kSecond, "two");
  host_.run_for_ms(1);
  ASSERT_FALSE(unanswered->done);
  crash_before_the_disk();
  ASSERT_EQ(start_daemon(), CM_OK);
  EXPECT_EQ(count(), 1U);
  EXPECT_EQ(ask("GET", "/v1/sessions/me", "", kFirst).status, 200U);
}

TEST_F(SessionDiskTest, AnEndInOrderWritesWhatIsOnItsWayBeforeItGivesUpTheHome) {
  start_open();
  host_.hold_jobs = true;
  enrol(kFirst, "one");
  enrol(kSecond, "two");
  host_.run_for_ms(1);
  daemon_->stop();
  EXPECT_TRUE(std::filesystem::exists(home_ + "/daemon/daemon.pid")) << "still ours: we write there";
  host_.run_job();
  EXPECT_FALSE(std::filesystem::exists(home_ + "/daemon/daemon.pid"));
  daemon_.reset();
  host_.hold_jobs = false;
  ASSERT_EQ(start_daemon(), CM_OK);
  EXPECT_EQ(count(), 2U);
}

TEST_F(SessionDiskTest, KeysAreReadByTheWorkerWithTheRestOfTheHome) {
  const protocol::KeyPair session = pair_of(5);
  start_open();
  ASSERT_TRUE(host_.run_until([&, answer = enrol(kFirst, kSessionId)] { return answer->done; }, 100));
  const std::string keys = home_ + "/sessions/alpha";
  ASSERT_TRUE(ensure_private_directory(home_ + "/sessions").ok() && ensure_private_directory(keys).ok());
  ASSERT_TRUE(write_private_file(keys + "/" + kSessionId + ".json", R"({"publicKey":")" + session.public_key.hex() +
                                                                        R"(","secretKey":")" +
                                                                        session.secret_key.hex() + R"("})")
                  .ok());
  crash();
  host_.hold_jobs = true;
  start_daemon();
  host_.run_job();
  // Whatever would read them later, on the loop, finds nothing.
  std::filesystem::remove_all(keys);
  std::filesystem::remove(home_ + "/daemon/sessions.json");
  host_.hold_jobs = false;
  ASSERT_TRUE(host_.run_until(
      [&] {
        host_.run_job();
        return daemon_->start_status == CM_OK;
      },
      100));
  ASSERT_NE(transport_.find("id-alpha", CM_LINK_SESSION), nullptr);
  EXPECT_EQ(link("alpha", CM_LINK_SESSION).session_pubkey, session.public_key.hex());
}

}  // namespace
}  // namespace cm::daemon
