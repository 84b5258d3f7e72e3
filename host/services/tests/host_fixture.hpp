// A real host in the test's process, with the test plugins, a captured log and a journal of life-cycle steps.
#pragma once

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <condition_variable>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "host/loader/discovery.hpp"
#include "host/net/http_client_sync.hpp"
#include "host/services/host.hpp"
#include "tests/support/temporary_folder.hpp"

namespace cm::host {

inline constexpr std::chrono::seconds kTestDeadline{20};

// Log lines, for assertions and for waiting. Any thread.
class CapturedLog {
 public:
  void add(const std::string& line) {
    const std::lock_guard lock(mutex_);
    lines_.push_back(line);
    changed_.notify_all();
  }
  // Waits until some line holds both texts.
  bool wait_for(const std::string& one, const std::string& other = {}) {
    std::unique_lock lock(mutex_);
    return changed_.wait_for(lock, kTestDeadline, [&] { return holds(one, other); });
  }
  bool has(const std::string& one, const std::string& other = {}) {
    const std::lock_guard lock(mutex_);
    return holds(one, other);
  }
  // Lines of misbehaviour, but for those about time: on a busy machine a good plugin's callback takes long, too.
  std::vector<std::string> accusations() {
    const std::lock_guard lock(mutex_);
    std::vector<std::string> found;
    for (const std::string& line : lines_) {
      const bool of_time =
          line.find("held its loop for") != std::string::npos || line.find("blocks loop-") != std::string::npos;
      if (line.find("-misbehaving [") != std::string::npos && !of_time) {
        found.push_back(line);
      }
    }
    return found;
  }
  std::string text() {
    const std::lock_guard lock(mutex_);
    std::string all;
    for (const std::string& line : lines_) {
      all += line + "\n";
    }
    return all;
  }

 private:
  bool holds(const std::string& one, const std::string& other) const {
    for (const std::string& line : lines_) {
      if (line.find(one) != std::string::npos && line.find(other) != std::string::npos) {
        return true;
      }
    }
    return false;
  }

  std::mutex mutex_;
  std::condition_variable changed_;
  std::vector<std::string> lines_;
};

class CapturingSink final : public LogSink {
 public:
  explicit CapturingSink(std::shared_ptr<CapturedLog> log) : log_(std::move(log)) {}
  void write(const std::string& line) override { log_->add(line); }
  void flush() override {}

 private:
  std::shared_ptr<CapturedLog> log_;
};

class HostFixture : public testing::Test {
 protected:
  ~HostFixture() override { host_.reset(); }

  // Text of one instance; every test plugin takes a journal.
  std::string instance(const std::string& name, const std::string& plugin, const std::string& more = {}) const {
    return "[plugins." + name + "]\nfile = \"" CM_TEST_PLUGIN_DIR "/" + plugin + ".so\"\njournal = \"" +
           (folder_ / "journal").string() + "\"\n" + more;
  }
  std::string socket_path() const { return (folder_ / "echo.sock").string(); }
  std::string echo(const std::string& name = "echo", const std::string& more = {}) const {
    return instance(name, "test_echo", "listen = \"unix:" + (folder_ / (name + ".sock")).string() + "\"\n" + more);
  }

  Result<config::HostConfig> load(const std::string& text) const {
    loader::CatalogOptions catalog_options;
    catalog_options.cache_file = "-";
    loader::PluginCatalog catalog{config::Environment(), catalog_options};
    config::LoadRequest request;
    request.file = folder_ / "host.toml";
    request.text = text;
    config::LoadReport report = config::load_config_report(request, config::Environment(), catalog);
    if (report.config.has_value()) {
      return std::move(*report.config);
    }
    std::string problems;
    for (const config::Problem& problem : report.problems) {
      problems += problem.line() + "\n";
    }
    return make_error(ErrorCode::kInvalid, problems);
  }

  // Makes the host; the configuration that a reload reads is `next_text_`.
  Host& make_host(const std::string& text) {
    Result<config::HostConfig> config = load(text);
    EXPECT_TRUE(config.ok()) << (config.ok() ? "" : config.error().message);
    next_text_ = text;
    log_ = std::make_shared<CapturedLog>();
    HostOptions options;
    options.log_sink = std::make_unique<CapturingSink>(log_);
    options.read_config = [this] { return load(next_text_); };
    host_ = std::make_unique<Host>(std::move(config).value(), std::move(options));
    return *host_;
  }
  Host& start_host(const std::string& text) {
    Host& host = make_host(text);
    const Status started = host.start();
    EXPECT_TRUE(started.ok()) << (started.ok() ? "" : started.error().message);
    return host;
  }
  void stop_host() {
    host_->request_stop();
    host_->join();
  }

  // Waits until the process has ended. It is nobody's child here any more: when its zombie goes is up to process 1.
  static bool has_died(pid_t pid) {
    const auto deadline = std::chrono::steady_clock::now() + kTestDeadline;
    while (std::chrono::steady_clock::now() < deadline) {
      std::ifstream file("/proc/" + std::to_string(pid) + "/stat");
      const std::string stat{std::istreambuf_iterator<char>(file), {}};
      const std::size_t name_end = stat.rfind(") ");
      if (name_end == std::string::npos || stat.at(name_end + 2) == 'Z') {
        return true;
      }
      std::this_thread::yield();
    }
    return false;
  }

  std::vector<std::string> journal() const {
    std::vector<std::string> lines;
    std::ifstream file(folder_ / "journal");
    for (std::string line; std::getline(file, line);) {
      lines.push_back(line);
    }
    return lines;
  }

  // What the echo plugin answers; 0 and the error text when there is no answer.
  struct Answer {
    int status = 0;
    std::string body;
  };
  Answer request(const std::string& url, const std::string& method = "GET", const std::string& body = {}) {
    net::HttpClientRequest http;
    http.method = method;
    http.url = url;
    http.body = net::SharedBuffer::copy(body);
    http.keep_alive = false;
    Result<net::HttpClientResponse> response = client_.send(std::move(http));
    return response ? Answer{response->status, response->body.to_string()} : Answer{0, response.error().message};
  }
  std::string url(const std::string& target, const std::string& name = "echo") const {
    return "unix://" + (folder_ / (name + ".sock")).string() + ":" + target;
  }
  Answer ops(const std::string& target) { return request("http://" + host_->ops_address() + target); }

  const test::TemporaryFolder temporary_folder_;
  const std::filesystem::path folder_ = temporary_folder_.path();
  std::shared_ptr<CapturedLog> log_;
  std::string next_text_;
  std::unique_ptr<Host> host_;
  net::HttpClientSync client_;
};

}  // namespace cm::host
