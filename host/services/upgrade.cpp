// Upgrade: the program is started again, as the next process, and takes over the listening sockets.
//
// 1. The successor reads the configuration, loads the plugins, creates and configures every instance, and says so.
// Until
//    then this process works as ever; whatever goes wrong, it goes on.
// 2. This process stops accepting (connections wait in the kernel's queue), drains, stops and destroys its instances,
// so
//    that their files are closed and their locks free, and tells the successor to go.
// 3. The successor starts its instances, accepts, and says so; this process ends with exit code 0. When the successor
//    fails instead, this process starts its own instances again, with the configuration that they had.
#include "host/services/host.hpp"
#include "host/services/ops.hpp"

namespace cm::host {

Status Host::do_upgrade() {
  services_.counters.upgrades.fetch_add(1, std::memory_order_relaxed);
  const auto refuse_upgrade = [this](Error error) -> Status {
    services_.counters.upgrade_failures.fetch_add(1, std::memory_order_relaxed);
    services_.log.host(LogLevel::kError, "upgrade refused, nothing has changed: " + error.message);
    return error;
  };
  if (!all_started_ || !options_.spawn_successor) {
    return refuse_upgrade(make_error(ErrorCode::kInvalid, "this host was not started by `claudemesh run`"));
  }
  if (Status tidied = tidy(reload_deadline()); !tidied) {
    return refuse_upgrade(std::move(tidied).error());
  }
  Result<std::vector<HandedSocket>> sockets = services_.listening_sockets.duplicate_all();
  if (!sockets) {
    return refuse_upgrade(std::move(sockets).error());
  }
  Result<std::unique_ptr<Successor>> successor = options_.spawn_successor(std::move(sockets).value());
  if (!successor) {
    return refuse_upgrade(std::move(successor).error());
  }
  services_.log.host(LogLevel::kInfo, "upgrade: process " + std::to_string((*successor)->pid()) + " prepares itself");
  const auto start_timeout = std::chrono::milliseconds(config_.host.start_timeout_ms);
  if (Status prepared =
          (*successor)->expect("prepared", std::chrono::steady_clock::now() + start_timeout, wake_fd_.get());
      !prepared) {
    successor->reset();
    return refuse_upgrade(std::move(prepared).error());
  }
  return hand_over(**successor);
}

Status Host::hand_over(Successor& successor) {
  all_started_ = false;
  services_.listening_sockets.begin_change({});
  std::vector<Unit*> units;
  for (const auto& unit : units_) {
    units.push_back(unit.get());
  }
  quiesce(units);
  take_down(units);
  ops_.reset();
  tell_phase("handing over", {});
  // Every instance has its own time-out there; this one only guards against a successor that hangs elsewhere.
  const auto timeout = std::chrono::milliseconds(config_.host.start_timeout_ms * (config_.instances.size() + 1));
  Status started = make_error(ErrorCode::kGone, "the new process ended before it was told to go");
  if (successor.tell_go()) {
    started = successor.expect("started", std::chrono::steady_clock::now() + timeout, wake_fd_.get());
  }
  if (started) {
    services_.listening_sockets.leave_files();
    successor_pid_ = successor.pid();
    services_.log.host(LogLevel::kInfo, "upgrade: process " + std::to_string(successor.pid()) + " has taken over");
    successor.release();
    stop_requested_ = true;
    return {};
  }
  take_back(units, successor, started.error());
  return started;
}

void Host::take_back(const std::vector<Unit*>& former, Successor& successor, const Error& reason) {
  services_.counters.upgrade_failures.fetch_add(1, std::memory_order_relaxed);
  // Whatever it still holds must be free before ours start.
  successor.end();
  std::vector<std::string> names;
  for (const Unit* unit : former) {
    names.push_back(unit->name());
  }
  forget_units(former);
  tell_phase("starting", {});
  std::string failed = restart_former(names);
  if (Status ops = start_ops(); !ops) {
    services_.log.host(LogLevel::kError, ops.error().message);
    failed += (failed.empty() ? "" : ", ") + std::string("[ops]");
  }
  services_.listening_sockets.end_change();
  all_started_ = true;
  tell_phase("running", {});
  services_.log.host(LogLevel::kError,
                     "upgrade failed, this process goes on: " + reason.message +
                         (failed.empty() ? "" : "; these did not start again: " + failed + "; restart the process"));
}

}  // namespace cm::host
