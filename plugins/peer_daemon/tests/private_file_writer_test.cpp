// A private file that is written off the loop: by hand with a worker that the test lets run, and on real threads.
#include "plugins/peer_daemon/src/private_file_writer.hpp"

#include <gtest/gtest.h>
#include <stdlib.h>
#include <sys/stat.h>

#include <filesystem>
#include <fstream>
#include <memory>
#include <sstream>

#include "tests/support/fake_host.hpp"
#include "tests/support/temporary_folder.hpp"

namespace cm::daemon {
namespace {

class Owner final : public PluginInstance {
 public:
  explicit Owner(const cm_host* host) : PluginInstance(host) { current = this; }
  std::vector<TableNeed> required_tables() const override {
    return {need<cm_loop_v1>(CM_LOOP_ID), need<cm_worker_v1>(CM_WORKER_ID)};
  }
  Status configure() override { return {}; }
  void start(Done started) override { started(Status()); }
  void stop() override {}
  const HostApi& api() const { return host(); }
  static inline Owner* current = nullptr;
};

class WriterTest : public ::testing::Test {
 protected:
  WriterTest() {
    instance_ = std::make_unique<testing::FakeInstance>(host_, "owner", std::map<std::string, testing::OptionValue>());
    EXPECT_EQ(instance_->create<Owner>(), CM_OK);
    host_.hold_jobs = true;
    writer_.bind(Owner::current->api(), path_);
  }
  ~WriterTest() override {
    instance_.reset();
    host_.settle();
  }
  void write(const std::string& content) {
    writer_.write(SecretText(content),
                  [this, content](const Status& written) { told_ += content + (written.ok() ? "+ " : "- "); });
  }
  std::string content() const {
    std::ostringstream text;
    text << std::ifstream(path_).rdbuf();
    return text.str();
  }

  testing::FakeHost host_;
  std::unique_ptr<testing::FakeInstance> instance_;
  PrivateFileWriter writer_;
  const test::TemporaryFolder folder_;
  const std::string path_ = folder_.file("file");
  std::string told_;
};

TEST_F(WriterTest, NothingIsWrittenOnTheLoop) {
  write("one");
  host_.run_for_ms(1'000);
  EXPECT_FALSE(std::filesystem::exists(path_));
  EXPECT_EQ(told_, "");
  host_.run_job();
  EXPECT_EQ(content(), "one");
  EXPECT_EQ(told_, "") << "the owner is told on its loop, not on the worker";
  host_.settle();
  EXPECT_EQ(told_, "one+ ");
  struct stat info{};
  ASSERT_EQ(::stat(path_.c_str(), &info), 0);
  EXPECT_EQ(info.st_mode & 0777U, 0600U);
}

TEST_F(WriterTest, OneJobAtATimeWritesTheNewestAndAnswersAll) {
  write("one");
  write("two");
  write("three");
  EXPECT_EQ(host_.jobs.size(), 1U) << "jobs of the pool may overtake each other";
  host_.run_job();
  EXPECT_EQ(content(), "three");
  host_.settle();
  EXPECT_EQ(told_, "one+ two+ three+ ");
  write("four");
  host_.run_job();
  host_.settle();
  EXPECT_EQ(content(), "four");
}

TEST_F(WriterTest, AFailureIsToldAndTheNextWriteWorks) {
  std::filesystem::create_directory(path_);  // rename cannot replace a folder
  write("one");
  host_.run_job();
  host_.settle();
  EXPECT_EQ(told_, "one- ");
  std::filesystem::remove(path_);
  write("two");
  host_.run_job();
  host_.settle();
  EXPECT_EQ(told_, "one- two+ ");
  EXPECT_EQ(content(), "two");
}

TEST_F(WriterTest, WhatWasGivenBeforeTheEndIsWrittenAndThenTheEndIsTold) {
  write("one");
  write("two");
  std::string at_end = "not yet";
  writer_.close([&] { at_end = content(); });
  EXPECT_EQ(at_end, "not yet");
  host_.run_job();
  EXPECT_EQ(at_end, "two");
  host_.settle();
  EXPECT_EQ(told_, "") << "nobody is told after close";
  at_end.clear();
  writer_.close([&] { at_end = "at once"; });
  EXPECT_EQ(at_end, "at once");
}

TEST_F(WriterTest, AHalfWrittenFileOfAnEarlierProcessIsNeverSeen) {
  write("whole");
  host_.run_job();
  host_.settle();
  std::ofstream(path_ + ".tmp") << "ha";  // it ended between the write and the rename
  EXPECT_EQ((*read_private_file(path_))->content.text(), "whole");
  write("next");
  host_.run_job();
  EXPECT_EQ(content(), "next");
  EXPECT_FALSE(std::filesystem::exists(path_ + ".tmp"));
}

}  // namespace
}  // namespace cm::daemon
