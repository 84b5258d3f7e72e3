#include "host/services/list_running.hpp"

#include <boost/json.hpp>
#include <iomanip>
#include <ostream>

#include "host/net/http_client_sync.hpp"

namespace cm::host {

namespace {

namespace json = boost::json;

constexpr std::uint64_t kTimeoutMs = 5'000;

std::string url_of(const std::string& address) {
  constexpr std::string_view kUnix = "unix:";
  if (address.starts_with(kUnix)) {
    return "unix://" + address.substr(kUnix.size()) + ":/plugins";
  }
  return (address.starts_with("http") ? address : "http://" + address) + "/plugins";
}

Result<std::string> fetch(const std::string& address) {
  net::HttpClientRequest request;
  request.method = "GET";
  request.url = url_of(address);
  request.total_timeout_ms = kTimeoutMs;
  net::HttpClientSync client;
  Result<net::HttpClientResponse> response = client.send(std::move(request));
  if (!response) {
    return std::move(response).error();
  }
  if (response->status != 200) {
    return make_error(ErrorCode::kIo, address + " answers " + std::to_string(response->status) +
                                          ", expected 200; give the address of [ops] listen");
  }
  return response->body.to_string();
}

std::string text_of(const json::object& row, std::string_view key) {
  const json::value* value = row.if_contains(key);
  if (value == nullptr) {
    return "-";
  }
  if (const json::string* text = value->if_string(); text != nullptr) {
    return text->empty() ? "-" : std::string(*text);
  }
  return json::serialize(*value);
}

void print_row(const json::object& row, std::ostream& out) {
  const std::string state = row.contains("phase") ? text_of(row, "phase") : text_of(row, "state");
  out << std::left << std::setw(20) << text_of(row, "name") << ' ' << std::setw(12) << state << ' ' << std::setw(9)
      << text_of(row, "isolation") << ' ' << std::setw(8) << text_of(row, "pid") << ' ' << std::setw(8)
      << text_of(row, "restarts") << ' ' << std::setw(8) << (text_of(row, "degraded") == "true" ? "yes" : "no") << ' '
      << std::setw(12) << text_of(row, "misbehaviour") << ' ' << text_of(row, "last_failure") << '\n';
}

bool print_table(const std::string& body, std::ostream& out) {
  json::error_code error;
  const json::value parsed = json::parse(body, error);
  const json::object* root = error ? nullptr : parsed.if_object();
  const json::value* rows = root == nullptr ? nullptr : root->if_contains("plugins");
  if (rows == nullptr || !rows->is_array()) {
    return false;
  }
  out << "NAME                 STATE        ISOLATION PID      RESTARTS DEGRADED MISBEHAVIOUR LAST FAILURE\n";
  for (const json::value& row : rows->get_array()) {
    if (const json::object* object = row.if_object(); object != nullptr) {
      print_row(*object, out);
    }
  }
  return true;
}

}  // namespace

int list_running(const std::string& address, bool json, std::ostream& out, std::ostream& err) {
  const Result<std::string> body = fetch(address);
  if (!body) {
    err << "claudemesh plugin list: " << body.error().message << '\n';
    return 1;
  }
  if (json) {
    out << *body;
    return 0;
  }
  if (!print_table(*body, out)) {
    err << "claudemesh plugin list: the answer of " << address << " is not a list of plugins\n";
    return 1;
  }
  return 0;
}

}  // namespace cm::host
