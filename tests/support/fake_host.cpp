#include "tests/support/fake_host.hpp"

#include <algorithm>
#include <cctype>
#include <cstring>
#include <sstream>

namespace cm::testing {
namespace {

std::vector<std::string> segments(const std::string& path) {
  std::vector<std::string> parts;
  std::istringstream stream(path);
  std::string part;
  while (std::getline(stream, part, '/')) {
    parts.push_back(part);
  }
  return parts;
}

bool matches(const std::string& pattern, const std::string& path, std::map<std::string, std::string>& parameters) {
  const std::vector<std::string> wanted = segments(pattern);
  const std::vector<std::string> given = segments(path);
  if (wanted.size() != given.size()) {
    return false;
  }
  parameters.clear();
  for (std::size_t i = 0; i < wanted.size(); ++i) {
    if (wanted[i].starts_with(':')) {
      parameters[wanted[i].substr(1)] = given[i];
    } else if (wanted[i] != given[i]) {
      return false;
    }
  }
  return true;
}

std::string percent_decoded(const std::string& text) {
  std::string out;
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '%' && i + 2 < text.size()) {
      out += static_cast<char>(std::stoi(text.substr(i + 1, 2), nullptr, 16));
      i += 2;
    } else {
      out += text[i];
    }
  }
  return out;
}

cm_text_hview view(const std::string& text) {
  return cm_text_hview{text.data(), text.size()};
}

}  // namespace

// --- sockets ---------------------------------------------------------------------------------------------------------

void FakeSocket::deliver(const std::vector<std::string>& texts) {
  std::vector<std::string> padded;
  std::vector<cm_websocket_message> messages;
  for (const std::string& frame : texts) {
    padded.push_back(frame + std::string(CM_WEBSOCKET_PADDING_BYTES, '\0'));
  }
  for (std::size_t i = 0; i < texts.size(); ++i) {
    messages.push_back(
        {reinterpret_cast<const std::uint8_t*>(padded[i].data()), texts[i].size(), CM_WEBSOCKET_TEXT, 0});
  }
  callbacks.messages(user, handle, messages.data(), messages.size());
}

void FakeSocket::close(std::uint32_t code, std::string_view reason) {
  if (std::exchange(alive, false)) {
    callbacks.closed(user, handle, code, to_hview(reason), true);
  }
}

// --- instances -------------------------------------------------------------------------------------------------------

FakeInstance::FakeInstance(FakeHost& host, std::string name, std::map<std::string, OptionValue> values)
    : options(std::move(values)), host_(host), name_(std::move(name)) {
  raw_ =
      cm_host{sizeof(cm_host), CM_ABI_VERSION_1_0, host.next_handle_++, fake_table_get, fake_set_error, fake_complete};
  host.instances_[raw_.self] = this;
}

cm_status FakeInstance::start() {
  start_status = CM_DEFER;
  const cm_status status = table_->start(instance_, 1);
  if (status != CM_DEFER) {
    start_status = status;
  }
  return start_status;
}

cm_status FakeInstance::drain(std::uint64_t deadline_ms) {
  drain_status = CM_DEFER;
  const cm_status status = table_->drain(instance_, 2, deadline_ms);
  if (status != CM_DEFER) {
    drain_status = status;
  }
  return drain_status;
}

void FakeInstance::stop() {
  if (!std::exchange(stopped_, true)) {
    table_->stop(instance_);
  }
}

void FakeInstance::destroy() {
  if (instance_ != nullptr) {
    stopped_ = true;
    host_.finish_jobs(raw_.self);
    table_->destroy(std::exchange(instance_, nullptr));
    host_.instances_.erase(raw_.self);
  }
}

// --- host ------------------------------------------------------------------------------------------------------------

FakeHost::FakeHost() {
  current = this;
}

FakeHost::~FakeHost() {
  while (!events_.empty()) {  // posts own memory: hand it back
    auto node = events_.extract(events_.begin());
    node.mapped()();
  }
  current = nullptr;
}

cm_handle FakeHost::schedule(std::uint64_t delay_us, std::function<void()> function) {
  const cm_handle event = next_handle_++;
  events_.emplace(std::pair{now_us + delay_us, event}, std::move(function));
  event_times_[event] = now_us + delay_us;
  return event;
}

void FakeHost::run_job() {
  if (!jobs.empty()) {
    const Job job = std::move(jobs.front());
    jobs.pop_front();
    job.function();
  }
}

// Each accepted job runs before its instance is destroyed (cm.worker/1).
void FakeHost::finish_jobs(cm_handle self) {
  const auto is_own = [self](const Job& job) { return job.self == self; };
  for (auto job = std::find_if(jobs.begin(), jobs.end(), is_own); job != jobs.end();
       job = std::find_if(jobs.begin(), jobs.end(), is_own)) {
    const Job taken = std::move(*job);
    jobs.erase(job);
    taken.function();
  }
}

bool FakeHost::cancel(cm_handle event) {
  const auto place = event_times_.find(event);
  if (place == event_times_.end()) {
    return false;
  }
  events_.erase({place->second, event});
  event_times_.erase(place);
  return true;
}

void FakeHost::run_for_ms(std::uint64_t duration_ms) {
  static_cast<void>(run_until([] { return false; }, duration_ms));
}

bool FakeHost::run_until(const std::function<bool()>& condition, std::uint64_t limit_ms) {
  const std::uint64_t end_us = now_us + limit_ms * 1'000;
  while (!condition()) {
    if (events_.empty() || events_.begin()->first.first > end_us) {
      now_us = end_us;
      return condition();
    }
    auto node = events_.extract(events_.begin());
    event_times_.erase(node.key().second);
    now_us = std::max(now_us, node.key().first);
    node.mapped()();
  }
  return true;
}

void FakeHost::provide(const std::string& name, const std::string& id, void* instance, const void* table) {
  extensions_[{name, id}] = Extension{instance, table};
}

bool FakeHost::is_listening(const std::string& address) const {
  return std::any_of(listeners_.begin(), listeners_.end(),
                     [&](const auto& entry) { return entry.second.address == address; });
}

std::shared_ptr<FakeAnswer> FakeHost::http(const std::string& address, FakeRequest request) {
  auto answer = std::make_shared<FakeAnswer>();
  const auto listener = std::find_if(listeners_.begin(), listeners_.end(),
                                     [&](const auto& entry) { return entry.second.address == address; });
  if (listener == listeners_.end()) {
    return answer;
  }
  request.answer = answer;
  const std::size_t question = request.target.find('?');
  request.path = request.target.substr(0, question);
  request.query = question == std::string::npos ? std::string() : request.target.substr(question + 1);
  std::istringstream pairs(request.query);
  std::string pair;
  while (std::getline(pairs, pair, '&')) {
    const std::size_t equals = pair.find('=');
    request.query_values[pair.substr(0, equals)] =
        equals == std::string::npos ? std::string() : percent_decoded(pair.substr(equals + 1));
  }
  Route chosen = listener->second.fallback;
  for (const Route& route : listener->second.routes) {
    std::map<std::string, std::string> parameters;
    if (route.method == request.method && matches(route.pattern, request.path, parameters) &&
        (chosen.pattern.empty() || !parameters.contains("token"))) {
      chosen = route;
      request.parameters = parameters;
    }
  }
  const cm_handle handle = next_handle_++;
  answer->handle = handle;
  FakeRequest& kept = requests_[handle] = std::move(request);
  cm_http_request_info info = {};
  info.size = sizeof(info);
  info.flags = kept.unix_socket ? CM_HTTP_UNIX : 0;
  info.method = view(kept.method);
  info.target = view(kept.target);
  info.path = view(kept.path);
  info.query = view(kept.query);
  info.body = {reinterpret_cast<const std::uint8_t*>(kept.body.data()), kept.body.size()};
  chosen.handler(chosen.user, handle, &info);
  return answer;
}

void FakeHost::disconnect(const std::shared_ptr<FakeAnswer>& answer) {
  if (requests_.erase(answer->handle) != 0 && answer->stream_callback != nullptr) {
    answer->stream_callback(answer->stream_user, answer->handle, CM_HTTP_STREAM_CLOSED);
  }
}

void FakeHost::drained(const std::shared_ptr<FakeAnswer>& answer) {
  answer->blocked = false;
  if (requests_.contains(answer->handle)) {
    answer->stream_callback(answer->stream_user, answer->handle, CM_HTTP_STREAM_DRAINED);
  }
}

}  // namespace cm::testing
