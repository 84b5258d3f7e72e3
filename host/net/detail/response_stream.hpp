// The server's ResponseStream. Included by the connection only.
#pragma once

#include <array>
#include <cstdio>

#include "host/net/detail/http_server_core.hpp"

namespace cm::net::detail {

// Keeps the connection object alive while open; the connection knows it weakly.
class HttpServerConnection::Stream final : public ResponseStream {
 public:
  Stream(std::shared_ptr<HttpServerConnection> connection, const StreamLimits& limits, bool chunked, bool has_body)
      : connection_(std::move(connection)), limits_(limits), chunked_(chunked), has_body_(has_body) {}
  ~Stream() override { close(); }
  Stream(const Stream&) = delete;
  Stream& operator=(const Stream&) = delete;

  bool write(SharedBuffer bytes) override {
    if (closed()) {
      return false;
    }
    if (!has_body_ || bytes.empty()) {
      return true;
    }
    WriteQueue& output = connection_->output_;
    if (output.bytes() + bytes.size() > limits_.hard_limit_bytes) {
      cut();
      return false;
    }
    if (chunked_) {
      std::array<char, 20> head{};
      const int size = std::snprintf(head.data(), head.size(), "%zx\r\n", bytes.size());
      output.push(std::string_view(head.data(), static_cast<std::size_t>(size)), std::move(bytes));
      output.push(std::string_view("\r\n"));
    } else {
      output.push(std::move(bytes));
    }
    connection_->schedule_flush();
    paused_ = paused_ || output.bytes() >= limits_.high_watermark_bytes;
    return !paused_;
  }

  void on_drain(UniqueFunction<void()> fn) override { on_drain_ = std::move(fn); }
  void on_close(UniqueFunction<void()> fn) override { on_close_ = std::move(fn); }

  void close() override {
    if (closed()) {
      return;
    }
    const auto connection = std::move(connection_);
    connection_ = nullptr;
    connection->stream_.reset();
    if (connection->open()) {
      if (chunked_ && has_body_) {
        connection->output_.push(std::string_view("0\r\n\r\n"));
      }
      connection->answer_done();
    }
  }

  bool closed() const override { return connection_ == nullptr || cut_; }
  std::size_t buffered_bytes() const override { return closed() ? 0 : connection_->output_.bytes(); }

  // The connection's queue shrank.
  void on_written(std::size_t left) {
    if (paused_ && left <= limits_.low_watermark_bytes) {
      paused_ = false;
      if (on_drain_) {
        on_drain_();
      }
    }
  }

  void on_connection_closed() {
    connection_ = nullptr;
    if (on_close_) {
      UniqueFunction<void()> fn = std::move(on_close_);
      fn();
    }
  }

 private:
  // The peer reads too slowly. Closed in a later turn, so that on_close is not called inside write().
  void cut() {
    cut_ = true;
    connection_->core_->counters->http_stream_overflows.add();
    connection_->core_->loop.post([connection = connection_] { connection->close(); });
  }

  std::shared_ptr<HttpServerConnection> connection_;
  StreamLimits limits_;
  UniqueFunction<void()> on_drain_;
  UniqueFunction<void()> on_close_;
  bool chunked_;
  bool has_body_;
  bool paused_ = false;
  bool cut_ = false;
};

}  // namespace cm::net::detail
