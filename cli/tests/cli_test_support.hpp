// What the tests of the verbs share: a folder, a context of its own, and a server that plays the daemon or the broker.
#pragma once

#include <gtest/gtest.h>
#include <unistd.h>

#include <condition_variable>
#include <filesystem>
#include <fstream>
#include <functional>
#include <map>
#include <mutex>
#include <sstream>
#include <string>
#include <thread>
#include <vector>

#include "cli/context.hpp"
#include "cli/json_fields.hpp"
#include "host/net/http_server.hpp"
#include "host/net/loop.hpp"
#include "tests/support/temporary_folder.hpp"

namespace cm::cli::test {

using cm::test::TemporaryFolder;

inline void write_text(const std::string& path, std::string_view text) {
  std::ofstream(path) << text;
}
inline std::string read_text(const std::string& path) {
  std::ifstream in(path);
  return {std::istreambuf_iterator<char>(in), {}};
}

// A home with streams that are strings. `now_ms` is fixed.
struct Home {
  TemporaryFolder folder;
  std::istringstream in;
  std::ostringstream out;
  std::ostringstream err;
  Environment no_start = Environment::of({{"CLAUDEMESH_INTERNAL_NO_AUTOSPAWN", "1"}});
  Context context{Output{out, err, false, false}, in, no_start, {}, [] { return std::int64_t{1'700'000'000'000}; }};

  Home() {
    context.paths.home = folder.path().string();
    context.paths.config_dir = folder.file(".claudemesh");
    context.paths.daemon_dir = context.paths.config_dir + "/daemon";
    std::filesystem::create_directories(context.paths.daemon_dir);
  }
  // One or several joined meshes, with the given member key.
  void join(const std::vector<std::string>& slugs, const std::string& pubkey = std::string(64, 'a')) {
    JsonValue::Array meshes;
    for (const std::string& slug : slugs) {
      meshes.push_back(object_of({{"meshId", json_text("id-" + slug)},
                                  {"memberId", json_text("m")},
                                  {"slug", json_text(slug)},
                                  {"name", json_text(slug)},
                                  {"pubkey", json_text(pubkey)},
                                  {"secretKey", json_text(std::string(128, '1'))},
                                  {"brokerUrl", json_text("ws://127.0.0.1:1/ws")},
                                  {"joinedAt", json_text("2026-01-01T00:00:00.000Z")}}));
    }
    write_text(context.paths.config_file(),
               protocol::to_json(object_of({{"version", json_number(1)}, {"meshes", JsonValue(std::move(meshes))}})));
  }
  JsonValue out_json() const {
    Result<JsonValue> json = protocol::parse_json(out.str());
    EXPECT_TRUE(json) << out.str();
    return json ? *json : JsonValue();
  }
};

// Expects the three parts: a "✘" line with "expected", and a "→" line.
inline void expect_three_parts(const std::string& err) {
  EXPECT_NE(err.find("✘ "), std::string::npos) << err;
  EXPECT_NE(err.find("; expected "), std::string::npos) << err;
  EXPECT_NE(err.find("\n    → "), std::string::npos) << err;
}

// A real HTTP server on a thread of its own. Answers by "METHOD path"; keeps what it was asked.
class FakeServer {
 public:
  struct Request {
    std::string method;
    std::string target;
    std::string authorization;
    JsonValue body;
  };
  using Answer = std::function<std::pair<int, std::string>(const Request&)>;

  explicit FakeServer(const std::string& socket) {
    start([&socket](net::HttpServer& server) { return server.listen_unix({.path = socket}); });
  }
  FakeServer() {
    start([](net::HttpServer& server) { return server.listen_tcp({}); });
  }
  ~FakeServer() {
    loop_.stop();
    thread_.join();
    server_.reset();
  }
  FakeServer(const FakeServer&) = delete;
  FakeServer& operator=(const FakeServer&) = delete;

  std::uint16_t port() const { return port_; }
  void answer(const std::string& route, int status, const std::string& json) {
    answer(route, [status, json](const Request&) { return std::pair(status, json); });
  }
  void answer(const std::string& route, Answer answer) {
    const std::lock_guard<std::mutex> guard(mutex_);
    answers_[route] = std::move(answer);
  }
  std::vector<Request> requests(const std::string& route) {
    const std::lock_guard<std::mutex> guard(mutex_);
    std::vector<Request> matching;
    for (const Request& request : seen_) {
      if (request.method + " " + request.target.substr(0, request.target.find('?')) == route) {
        matching.push_back(request);
      }
    }
    return matching;
  }

 private:
  template <typename Listen>
  void start(Listen listen) {
    server_ = std::make_unique<net::HttpServer>(loop_, net::HttpServerOptions{},
                                                [this](std::shared_ptr<net::HttpRequest> request) { serve(*request); });
    const Result<net::ListenerInfo> info = listen(*server_);
    EXPECT_TRUE(info) << info.error().message;
    port_ = info ? info->port : std::uint16_t{0};
    thread_ = std::thread([this] { loop_.run(); });
  }
  void serve(net::HttpRequest& request) {
    Request seen{
        std::string(request.method()), std::string(request.target()), std::string(request.header("Authorization")), {}};
    if (Result<JsonValue> body = protocol::parse_json(request.body().view()); body) {
      seen.body = *body;
    }
    std::pair<int, std::string> reply{404, R"({"error":"not found"})"};
    {
      const std::lock_guard<std::mutex> guard(mutex_);
      seen_.push_back(seen);
      const auto found = answers_.find(seen.method + " " + std::string(request.path()));
      if (found != answers_.end()) {
        reply = found->second(seen);
      }
    }
    const net::Headers headers{{"Content-Type", "application/json"}};
    EXPECT_TRUE(request.respond(reply.first, headers, reply.second));
  }

  net::Loop loop_{"fake"};
  std::unique_ptr<net::HttpServer> server_;
  std::thread thread_;
  std::mutex mutex_;
  std::map<std::string, Answer> answers_;
  std::vector<Request> seen_;
  std::uint16_t port_ = 0;
};

// A daemon of this home that answers its version.
inline void answer_version(FakeServer& server) {
  server.answer("GET /v1/version", 200, R"({"daemon_version":"1.37.0","ipc_api":"v1","schema_version":1})");
}

}  // namespace cm::cli::test
