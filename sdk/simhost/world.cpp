#include "sdk/simhost/world.hpp"

#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cstdio>
#include <deque>
#include <mutex>
#include <utility>

namespace cm::sim {
namespace {

thread_local World* current_world = nullptr;

// Library code is loaded once per process, however many worlds are made; so is the knowledge of where it lies.
loader::PluginLibraries& libraries() {
  static loader::PluginLibraries instance;
  return instance;
}

loader::PluginCatalog& catalog() {
  static loader::PluginCatalog instance(config::Environment::of_process());
  return instance;
}

// What threads of plugins see of the world that was made last. They never touch the world itself: posts wait here until
// its thread takes them.
struct ForeignDoor {
  std::mutex mutex;
  World* world = nullptr;
  std::unordered_map<cm_handle, Instance*> instances;
  struct Post {
    cm_handle target;
    cm_callback function;
    cm_callback dropped;
    void* user;
  };
  std::deque<Post> posts;
  std::atomic<std::uint64_t> now_us = 0;
  std::atomic<bool> has_posts = false;
};

ForeignDoor& foreign_door() {
  static ForeignDoor door;
  return door;
}

}  // namespace

// --- node ------------------------------------------------------------------------------------------------------------

std::int64_t Node::unix_ms() const noexcept {
  return world_.unix_ms() + clock_skew_ms;
}

std::vector<Instance*> Node::instances() {
  std::vector<Instance*> result;
  for (const auto& instance : instances_) {
    result.push_back(instance.get());
  }
  return result;
}

Instance* Node::find(std::string_view instance_name) {
  for (const auto& instance : instances_) {
    if (instance->name() == instance_name) {
      return instance.get();
    }
  }
  return nullptr;
}

const Program* Node::find_program(const std::string& path) const {
  const auto found = programs_.find(path);
  return found == programs_.end() ? nullptr : &found->second;
}

void Node::count_step() {
  if (steps_left_ == 0 || !alive()) {
    return;
  }
  if (--steps_left_ == 0) {
    trace("dies in the middle of a step");
    disk_.freeze(world_.fault_random());
    doomed_ = true;  // World::reap tears it down after the running event
  }
}

EventId Node::schedule_at(std::uint64_t time_us, std::function<void()> function) {
  return world_.scheduler().at(time_us, [this, incarnation = incarnation_, function = std::move(function)] {
    if (alive() && incarnation_ == incarnation) {
      function();
    }
  });
}

EventId Node::schedule_after(std::uint64_t delay_us, std::function<void()> function) {
  return schedule_at(world_.scheduler().now_us() + delay_us, std::move(function));
}

void Node::trace(std::string_view text) {
  if (world_.options().trace) {
    world_.options().trace(world_.clock_text() + " " + name_ + ": " + std::string(text));
  }
}

void Node::log(std::uint32_t level, std::string_view line) {
  if (level >= world_.options().log_level) {
    trace(line);
  }
}

bool Node::prepare() {
  ++incarnation_;
  alive_ = true;
  doomed_ = false;
  ready_ = false;
  steps_left_ = 0;
  disk_.on_operation = [this] { count_step(); };
  trace("boots");
  config::LoadRequest request;
  request.file = "/" + name_ + ".toml";
  request.text = toml_;
  auto report = config::load_config_report(request, config::Environment::of_process(), catalog());
  if (!report.config) {
    last_error = report.problems.empty() ? "the configuration was refused" : report.problems.front().line();
    return false;
  }
  config_ = std::move(*report.config);
  for (const config::InstanceConfig& wanted : config_.instances) {
    auto library = libraries().load(*wanted.manifest, wanted.sha256);
    if (!library) {
      last_error = library.error().message;
      return false;
    }
    const cm_handle self = world_.next_handle();
    auto instance = std::make_unique<Instance>(*this, wanted, (*library)->factory(), self);
    world_.register_instance(self, instance.get());
    libraries_.push_back(*library);
    instances_.push_back(std::move(instance));
  }
  return true;
}

bool Node::boot() {
  if (!prepare()) {
    return false;
  }
  for (const auto& instance : instances_) {
    if (instance->create() != CM_OK) {
      last_error = "cannot create " + instance->name();
      return false;
    }
  }
  for (const auto& instance : instances_) {
    if (instance->configure() != CM_OK) {
      return false;
    }
  }
  schedule_after(1, [this] { start_from(0); });
  return true;
}

void Node::start_from(std::size_t index) {
  if (index == instances_.size()) {
    ready_ = true;
    trace("is ready");
    return;
  }
  instances_[index]->start([this, index](cm_status status, std::string text) {
    if (status != CM_OK) {
      last_error = instances_[index]->name() + ": " + text;
      trace("start of " + last_error + " failed");
      return;
    }
    start_from(index + 1);
  });
}

void Node::tear_down() {
  doomed_ = true;  // from here on host functions answer CM_GONE
  disk_.on_operation = nullptr;
  disk_.freeze(world_.fault_random());
  const double half_open = world_.network().faults.half_open;
  for (auto instance = instances_.rbegin(); instance != instances_.rend(); ++instance) {
    (*instance)->cut_off(world_.fault_random(), half_open);
  }
  for (auto instance = instances_.rbegin(); instance != instances_.rend(); ++instance) {
    (*instance)->stop();
    (*instance)->destroy();
  }
  disk_.crash(world_.fault_random());
  vanish();
}

void Node::vanish() {
  for (const auto& instance : instances_) {
    world_.forget_instance(instance->self());
  }
  for (const auto& instance : ended_) {
    world_.forget_instance(instance->self());
  }
  instances_.clear();
  ended_.clear();
  libraries_.clear();
  alive_ = false;
  doomed_ = false;
  ready_ = false;
}

// --- world -----------------------------------------------------------------------------------------------------------

World::World(WorldOptions options)
    : options_(std::move(options)),
      random_(options_.seed),
      fault_random_(random_.fork()),
      network_(scheduler_, random_.fork()),
      user_id_(static_cast<std::int64_t>(::geteuid())) {
  current_world = this;
  set_disk_provider(this);
  ForeignDoor& door = foreign_door();
  const std::lock_guard lock(door.mutex);
  door.world = this;
  door.now_us = 0;
}

World::~World() {
  for (const auto& node : nodes_) {
    if (node->alive_) {
      node->tear_down();
    }
  }
  scheduler_.clear();
  take_foreign_posts();
  if (foreign_door().world == this) {
    foreign_door().world = nullptr;
  }
  set_disk_provider(nullptr);
  current_world = nullptr;
}

World* World::current() noexcept {
  return current_world;
}

Instance* World::instance_of(cm_handle self) noexcept {
  if (current_world == nullptr) {
    return nullptr;
  }
  const auto found = current_world->instances_.find(self);
  return found == current_world->instances_.end() ? nullptr : found->second;
}

std::int64_t World::unix_ms() const noexcept {
  return options_.unix_ms_at_start + static_cast<std::int64_t>(scheduler_.now_us() / 1000);
}

std::string World::clock_text() const {
  char text[32];
  const std::uint64_t now_us = scheduler_.now_us();
  std::snprintf(text, sizeof(text), "%8llu.%06llu", static_cast<unsigned long long>(now_us / 1'000'000),
                static_cast<unsigned long long>(now_us % 1'000'000));
  return text;
}

Node& World::add_node(NodeName name, std::string toml) {
  nodes_.push_back(std::make_unique<Node>(*this, std::move(name), std::move(toml)));
  return *nodes_.back();
}

bool World::boot(Node& node) {
  if (node.alive_) {
    return true;
  }
  if (!node.boot()) {
    node.trace("does not boot: " + node.last_error);
    node.tear_down();
    return false;
  }
  return true;
}

bool World::prepare(Node& node) {
  if (!node.alive_ && !node.prepare()) {
    node.tear_down();
    return false;
  }
  return true;
}

void World::shut_down(Node& node, const std::function<void()>& leave) {
  if (!node.alive_) {
    return;
  }
  node.trace("stops");
  for (auto instance = node.instances_.rbegin(); instance != node.instances_.rend(); ++instance) {
    (*instance)->stop();
    (*instance)->silence();
  }
  for (auto instance = node.instances_.rbegin(); instance != node.instances_.rend(); ++instance) {
    (*instance)->destroy();
  }
  if (leave) {
    leave();
  }
  node.disk_.on_operation = nullptr;
  for (auto instance = node.instances_.rbegin(); instance != node.instances_.rend(); ++instance) {
    (*instance)->cut_off(fault_random_, 0);
  }
  node.vanish();
  graveyard_.clear();
}

void World::crash(Node& node) {
  if (node.alive_) {
    node.trace("crashes");
    node.tear_down();
  }
}

void World::reap() {
  for (const auto& node : nodes_) {
    if (node->alive_ && node->doomed_) {
      node->tear_down();
    }
  }
  graveyard_.clear();
}

bool World::step() {
  ForeignDoor& door = foreign_door();
  if (door.has_posts) {
    take_foreign_posts();
  }
  const bool ran = scheduler_.step();
  door.now_us.store(scheduler_.now_us(), std::memory_order_relaxed);
  reap();
  return ran;
}

bool World::run_for_ms(std::uint64_t duration_ms, const std::function<bool()>& until) {
  const std::uint64_t end_us = scheduler_.now_us() + duration_ms * 1000;
  // An event at the end moves the clock there even when nothing else happens.
  const EventId end = scheduler_.at(end_us, [] {});
  while (!scheduler_.empty() && scheduler_.next_time_us() <= end_us) {
    if (until && until()) {
      scheduler_.cancel(end);
      return true;
    }
    step();
  }
  return until && until();
}

void World::http(const std::string& address, HttpExchange exchange, std::function<void(HttpAnswer)> answer) {
  network_.request("", address, std::move(exchange), std::move(answer));
}

SimDisk* World::disk_of(std::string_view path) {
  if (!path.starts_with(kSimPathPrefix)) {
    return nullptr;
  }
  path.remove_prefix(kSimPathPrefix.size());
  const std::string_view name = path.substr(0, path.find('/'));
  for (const auto& node : nodes_) {
    if (node->name() == name) {
      return &node->disk();
    }
  }
  return nullptr;
}

void World::register_instance(cm_handle self, Instance* instance) {
  instances_[self] = instance;
  ForeignDoor& door = foreign_door();
  const std::lock_guard lock(door.mutex);
  door.instances[self] = instance;
}

void World::forget_instance(cm_handle self) {
  instances_.erase(self);
  ForeignDoor& door = foreign_door();
  const std::lock_guard lock(door.mutex);
  door.instances.erase(self);
}

void World::note_foreign_call(cm_handle self, const HostFunction& function) {
  ForeignDoor& door = foreign_door();
  const std::lock_guard lock(door.mutex);
  const auto found = door.instances.find(self);
  if (found == door.instances.end()) {
    return;
  }
  if (function.tag == ThreadTag::kLoop) {
    found->second->probe().note(Breach::kWrongThread,
                                "it called " + function.text() + ", which is [loop], from a thread of its own");
  } else if (found->second->phase() == Phase::kStopped && function.nature != CallNature::kPassive) {
    found->second->probe().note(Breach::kCallAfterStop,
                                "a thread of its own called " + function.text() + " after stop had returned");
  }
}

cm_status World::foreign_post(cm_handle target, cm_callback function, cm_callback dropped, void* user) {
  ForeignDoor& door = foreign_door();
  const std::lock_guard lock(door.mutex);
  if (door.world == nullptr || !door.instances.contains(target)) {
    return CM_GONE;
  }
  door.posts.push_back(ForeignDoor::Post{target, function, dropped, user});
  door.has_posts = true;
  return CM_OK;
}

std::uint64_t World::foreign_now_us() {
  return foreign_door().now_us.load(std::memory_order_relaxed);
}

void World::take_foreign_posts() {
  ForeignDoor& door = foreign_door();
  std::deque<ForeignDoor::Post> posts;
  {
    const std::lock_guard lock(door.mutex);
    if (door.world != this) {
      return;
    }
    posts.swap(door.posts);
    door.has_posts = false;
  }
  for (const ForeignDoor::Post& post : posts) {
    Instance* instance = instance_of(post.target);
    const cm_status status = instance == nullptr ? CM_GONE : instance->post(post.function, post.dropped, post.user);
    if (status != CM_OK && post.dropped != nullptr) {
      post.dropped(post.user);
    }
  }
}

cm_status World::create_buffer(cm_handle owner, cm_bytes_pview bytes, cm_hbuf* out) {
  const cm_handle handle = next_handle();
  Buffer& buffer = buffers_[handle];
  buffer.bytes.assign(reinterpret_cast<const char*>(bytes.data), bytes.size);
  buffer.references = 1;
  buffer.owner = owner;
  *out = cm_hbuf{handle, reinterpret_cast<const std::uint8_t*>(buffer.bytes.data()), buffer.bytes.size()};
  return CM_OK;
}

void World::retain_buffer(cm_handle buffer) {
  const auto found = buffers_.find(buffer);
  if (found != buffers_.end()) {
    ++found->second.references;
  }
}

bool World::release_buffer(cm_handle buffer) {
  const auto found = buffers_.find(buffer);
  if (found == buffers_.end()) {
    return false;
  }
  if (--found->second.references == 0) {
    buffers_.erase(found);
  }
  return true;
}

std::size_t World::buffers_of(cm_handle owner) const {
  return static_cast<std::size_t>(std::count_if(buffers_.begin(), buffers_.end(),
                                                [owner](const auto& item) { return item.second.owner == owner; }));
}

const std::string* World::find_buffer(cm_handle buffer) const {
  const auto found = buffers_.find(buffer);
  return found == buffers_.end() ? nullptr : &found->second.bytes;
}

}  // namespace cm::sim
