// How a connection holds back a client that does not wait for its answers, with a host that can stop reading and with
// an older one. The host is this file.
#include "plugins/ws_broker/src/connection.hpp"

#include <gtest/gtest.h>

#include <cstddef>
#include <cstring>
#include <string>
#include <vector>

namespace cm::broker {
namespace {

// What the socket of the connection was asked to do, and how to hand it messages.
struct SocketLog {
  cm_websocket_callbacks callbacks = {};
  void* user = nullptr;
  std::vector<std::string> calls;
};
SocketLog* log_of_test = nullptr;

cm_status note(const std::string& call) {
  log_of_test->calls.push_back(call);
  return CM_OK;
}

cm_websocket_v1 socket_table(std::uint32_t size) {
  cm_websocket_v1 table = {};
  table.size = size;
  table.accept = [](cm_handle, cm_handle, const cm_websocket_options*, const cm_websocket_callbacks* callbacks,
                    void* user, cm_handle* out) noexcept -> cm_status {
    log_of_test->callbacks = *callbacks;
    log_of_test->user = user;
    *out = 7;
    return CM_OK;
  };
  table.send = [](cm_handle, cm_handle, uint32_t, cm_bytes_pview) noexcept -> cm_status { return CM_OK; };
  table.close = [](cm_handle, cm_handle, uint32_t code, cm_text_pview) noexcept {
    return note("close " + std::to_string(code));
  };
  table.terminate = [](cm_handle, cm_handle) noexcept -> cm_status { return CM_OK; };
  table.pause_reading = [](cm_handle, cm_handle) noexcept { return note("pause"); };
  table.resume_reading = [](cm_handle, cm_handle) noexcept { return note("resume"); };
  return table;
}

class ConnectionTest : public ::testing::Test, public ConnectionOwner {
 protected:
  ConnectionTest() { log_of_test = &log_; }
  ~ConnectionTest() override { log_of_test = nullptr; }

  void open(std::uint32_t table_size, std::size_t open_requests_max) {
    static cm_websocket_v1 table;
    table = socket_table(table_size);
    raw_.size = sizeof(raw_);
    raw_.self = 1;
    raw_.get = [](cm_handle, const char* id) noexcept -> const void* {
      return std::strcmp(id, CM_WEBSOCKET_ID) == 0 ? &table : nullptr;
    };
    host_ = std::make_unique<HostApi>(&raw_);
    connection_ = std::make_unique<Connection>(*this, 1, open_requests_max);
    const cm_http_request_info info = {};
    ASSERT_EQ(connection_->accept(*host_, HttpRequest(host_.get(), nullptr, 3, &info), {}), CM_OK);
  }
  // One read of the host.
  void receive(const std::vector<std::string>& frames) {
    std::string bytes;
    for (const std::string& frame : frames) {
      bytes += frame;
    }
    bytes.append(CM_WEBSOCKET_PADDING_BYTES, '\0');
    std::vector<cm_websocket_message> messages;
    std::size_t at = 0;
    for (const std::string& frame : frames) {
      messages.push_back(
          {reinterpret_cast<const std::uint8_t*>(bytes.data()) + at, frame.size(), CM_WEBSOCKET_TEXT, 0});
      at += frame.size();
    }
    log_.callbacks.messages(log_.user, 7, messages.data(), messages.size());
  }
  void answer(std::size_t count) {
    for (std::size_t i = 0; i < count; ++i) {
      connection_->answer(tickets_.at(answered_++), "{}");
    }
    if (resumable_) {
      resumable_ = false;
      connection_->resume();
    }
  }

  void on_frame(Connection& connection, std::string_view padded) override {
    taken_.emplace_back(padded);
    tickets_.push_back(connection.reserve());
  }
  void on_read_end() override {}
  void on_pong(Connection&) override {}
  void on_drained(Connection&) override {}
  void on_resumable(Connection&) override { resumable_ = true; }
  void on_connection_closed(Connection&) override {}

  static constexpr std::uint32_t kOlder = CM_WEBSOCKET_V1_BYTES_MIN;
  SocketLog log_;
  cm_host raw_ = {};
  std::unique_ptr<HostApi> host_;
  std::vector<std::string> taken_;
  std::vector<Connection::Ticket> tickets_;
  std::size_t answered_ = 0;
  bool resumable_ = false;
  std::unique_ptr<Connection> connection_;
};

TEST_F(ConnectionTest, StopsReadingWhileTooManyRequestsAreOpenAndKeepsTheOrder) {
  open(sizeof(cm_websocket_v1), 2);
  receive({"1", "", "3", "4", "5", "6"});
  EXPECT_EQ(taken_, (std::vector<std::string>{"1", ""}));
  EXPECT_EQ(log_.calls, std::vector<std::string>{"pause"});
  EXPECT_TRUE(connection_->reading_paused());
  answer(1);
  EXPECT_EQ(taken_.size(), 3u);
  EXPECT_EQ(log_.calls, std::vector<std::string>{"pause"}) << "some are held, so nothing more is wanted";
  answer(2);
  answer(1);
  EXPECT_EQ(taken_.size(), 6u);
  answer(2);
  EXPECT_EQ(taken_, (std::vector<std::string>{"1", "", "3", "4", "5", "6"}));
  EXPECT_EQ(log_.calls, (std::vector<std::string>{"pause", "resume"}));
  EXPECT_FALSE(connection_->reading_paused());
}

TEST_F(ConnectionTest, RestOfALargeReadIsNoReasonToClose) {
  open(sizeof(cm_websocket_v1), 1);
  const std::string large(900'000, 'x');
  receive({"1", large, large, "end"});
  EXPECT_EQ(log_.calls, std::vector<std::string>{"pause"});
  for (int i = 0; i < 4; ++i) {
    answer(1);
  }
  EXPECT_EQ(taken_, (std::vector<std::string>{"1", large, large, "end"}));
}

TEST_F(ConnectionTest, OlderHostGoesOnReadingSoTheClientIsClosedAtTheBound) {
  open(kOlder, 1);
  const std::string part(300'000, 'x');
  receive({"1", part, part, part});
  EXPECT_TRUE(connection_->open());
  EXPECT_FALSE(connection_->reading_paused());
  receive({part});
  EXPECT_EQ(log_.calls, std::vector<std::string>{"close 1013"});
  EXPECT_FALSE(connection_->open());
}

TEST_F(ConnectionTest, OlderHostHoldsUpToTheBound) {
  open(kOlder, 1);
  std::vector<std::string> frames;
  for (int i = 0; i < 50; ++i) {
    frames.push_back(std::to_string(i) + std::string(15'000, 'f'));
  }
  receive(frames);
  for (int i = 0; i < 50; ++i) {
    answer(1);
  }
  EXPECT_EQ(taken_, frames);
  EXPECT_TRUE(log_.calls.empty());
}

}  // namespace
}  // namespace cm::broker
