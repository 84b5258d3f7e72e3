// Goal: one entry is one line, in both formats; a slow output never holds up a writer.
#include "host/services/log.hpp"

#include <gtest/gtest.h>

#include <future>

namespace cm::host {
namespace {

class VectorSink final : public LogSink {
 public:
  explicit VectorSink(std::vector<std::string>& lines) : lines_(lines) {}
  void write(const std::string& line) override { lines_.push_back(line); }
  void flush() override {}

 private:
  std::vector<std::string>& lines_;
};

// Blocks in its first write until it is let go.
class BlockedSink final : public LogSink {
 public:
  BlockedSink(std::promise<void>& entered, std::shared_future<void> go) : entered_(entered), go_(std::move(go)) {}
  void write(const std::string&) override {
    if (!std::exchange(waited_, true)) {
      entered_.set_value();
      go_.wait();
    }
  }
  void flush() override {}

 private:
  std::promise<void>& entered_;
  std::shared_future<void> go_;
  bool waited_ = false;
};

TEST(LogLine, TextHasTimeLevelSourceMessageAndFields) {
  const LogField fields[] = {{"user", "bob"}, {"text", "two words"}};
  EXPECT_EQ(format_log_line(LogFormat::kText, 1'700'000'000'123, LogLevel::kWarn, "echo", "hello", fields),
            "2023-11-14T22:13:20.123Z warn [echo] hello user=bob text=\"two words\"");
}

TEST(LogLine, JsonIsOneObject) {
  const LogField fields[] = {{"a\"b", "c\\d"}};
  EXPECT_EQ(format_log_line(LogFormat::kJson, 0, LogLevel::kPluginMisbehaving, "echo", "tab\there", fields),
            "{\"time\":\"1970-01-01T00:00:00.000Z\",\"level\":\"plugin-misbehaving\",\"plugin\":\"echo\","
            "\"message\":\"tab\\there\",\"a\\\"b\":\"c\\\\d\"}");
}

TEST(LogLine, AMessageCannotForgeASecondLine) {
  for (const LogFormat format : {LogFormat::kText, LogFormat::kJson}) {
    const std::string line = format_log_line(format, 0, LogLevel::kInfo, "echo", "one\ntwo\rthree\x1b[31m", {});
    EXPECT_EQ(line.find('\n'), std::string::npos);
    EXPECT_EQ(line.find('\r'), std::string::npos);
    EXPECT_EQ(line.find('\x1b'), std::string::npos);
  }
}

TEST(LogLine, LongTextIsCut) {
  const std::string line = format_log_line(LogFormat::kText, 0, LogLevel::kInfo, "echo", std::string(100'000, 'x'), {});
  EXPECT_LT(line.size(), kLogTextBytesMax + 100);
  EXPECT_TRUE(line.ends_with("..."));
}

TEST(Log, WritesInOrderAndKeepsTheLevelOfTheHost) {
  std::vector<std::string> lines;
  Log log(std::make_unique<VectorSink>(lines), LogFormat::kText, LogLevel::kInfo);
  log.host(LogLevel::kDebug, "hidden");
  for (int i = 0; i < 100; ++i) {
    log.host(LogLevel::kInfo, "line " + std::to_string(i));
  }
  log.flush();
  ASSERT_EQ(lines.size(), 100u);
  EXPECT_TRUE(lines[99].ends_with("[host] line 99"));
  EXPECT_EQ(log.dropped(), 0u);
  EXPECT_EQ(log.written(), 100u);
}

TEST(Log, ABlockedOutputDropsAndCounts) {
  std::promise<void> entered;
  std::promise<void> go;
  Log log(std::make_unique<BlockedSink>(entered, go.get_future().share()), LogFormat::kText, LogLevel::kInfo);
  log.host(LogLevel::kInfo, "first");
  entered.get_future().wait();
  for (std::size_t i = 0; i < kLogLinesWaitingMax + 50; ++i) {
    log.host(LogLevel::kInfo, "more");
  }
  EXPECT_EQ(log.dropped(), 50u);
  go.set_value();
  log.close();
  EXPECT_EQ(log.written(), 1 + kLogLinesWaitingMax);
  log.host(LogLevel::kInfo, "after the end");
  EXPECT_EQ(log.dropped(), 51u);
}

}  // namespace
}  // namespace cm::host
