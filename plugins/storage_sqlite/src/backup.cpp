#include "plugins/storage_sqlite/src/backup.hpp"

#include <fcntl.h>
#include <unistd.h>
#include <claudemesh/cpp/descriptor.hpp>

#include <cerrno>
#include <system_error>

#include "plugins/storage_sqlite/src/completion.hpp"
#include "plugins/storage_sqlite/src/database_file.hpp"
#include "plugins/storage_sqlite/src/sqlite_error.hpp"

namespace cm::storage {
namespace {

constexpr mode_t kFileMode = 0600;

Error exists_error(const std::string& path) {
  return make_error(ErrorCode::kInvalid,
                    "the file " + path + " exists; a new name was expected; choose another one or remove the file");
}

Error file_error(const std::string& what, int number) {
  return make_error(ErrorCode::kIo, what + ": " + std::generic_category().message(number) +
                                        "; a folder that this user can write was expected; check it and its disk");
}

Status sync_file(const std::string& path) {
  const Descriptor file(::open(path.c_str(), O_RDWR | O_CLOEXEC));
  if (!file || ::fsync(file.get()) != 0) {
    return file_error("the backup " + path + " cannot be synced", errno);
  }
  return {};
}

}  // namespace

Backup::Backup(const HostApi& host, cm_handle queue, const StatementRegistry& registry, const StorageOptions& options,
               InFlight& in_flight, const std::atomic<bool>& cancelled, Request request)
    : host_(host),
      queue_(queue),
      options_(options),
      in_flight_(in_flight),
      cancelled_(cancelled),
      request_(std::move(request)),
      partial_path_(options.vfs.empty() ? request_.path + ".partial" : request_.path),
      source_(registry, connection_settings(options, Access::kReader)) {}

Backup::~Backup() {
  close_target();
  discard_target();
}

cm_status Backup::start(const HostApi& host, cm_handle queue, const StatementRegistry& registry,
                        const StorageOptions& options, InFlight& in_flight, const std::atomic<bool>& cancelled,
                        Request request) {
  std::unique_ptr<Backup> backup(new Backup(host, queue, registry, options, in_flight, cancelled, std::move(request)));
  const cm_status status = host.worker_table()->submit(host.self(), queue, &Backup::run_job, backup.get());
  if (status == CM_OK) {
    static_cast<void>(backup.release());
  }
  return status;
}

void Backup::run_job(void* user) noexcept {
  std::unique_ptr<Backup> backup(static_cast<Backup*>(user));
  const HostApi& host = backup->host_;
  Result<bool> more = backup->step();
  if (more.ok() && *more) {
    if (host.worker_table()->submit(host.self(), backup->queue_, &Backup::run_job, backup.get()) == CM_OK) {
      static_cast<void>(backup.release());
      return;
    }
    more = make_error(ErrorCode::kBusy, "the backup was given up: the worker queue is full; repeat it later");
  }
  Completion completion{backup->request_.done, backup->request_.user, CM_OK, {}};
  if (!more.ok()) {
    completion.status = status_from_error(more.error());
    completion.error = more.error().message;
  } else {
    host.log(LogLevel::kInfo, "wrote a backup",
             {LogField("path", backup->request_.path),
              LogField("took_ms", (host.monotonic_us() - backup->started_us_) / 1'000)});
  }
  const cm_handle caller = backup->request_.caller;
  InFlight& in_flight = backup->in_flight_;
  backup.reset();
  send_completion(host, caller, std::move(completion));
  in_flight.leave();
}

Result<bool> Backup::step() {
  if (cancelled_.load(std::memory_order_acquire)) {
    return make_error(ErrorCode::kBusy,
                      "the backup was given up: the storage is stopping; repeat it after the restart");
  }
  if (copy_ == nullptr) {
    if (Status begun = begin(); !begun) {
      return begun.error();
    }
  }
  const int code = sqlite3_backup_step(copy_, options_.backup_step_pages);
  if (code == SQLITE_OK) {
    return true;
  }
  if (code != SQLITE_DONE) {
    return target_error("copying to " + partial_path_, code);
  }
  if (Status finished = finish(); !finished) {
    return finished.error();
  }
  return false;
}

Status Backup::begin() {
  started_us_ = host_.monotonic_us();
  if (Status opened = source_.open(); !opened) {
    return opened;
  }
  // The copy would begin anew with every commit of the writer; in a snapshot of our own it sees none of them.
  int code = source_.control(Connection::Control::kBegin);
  if (code != SQLITE_OK) {
    return source_.error("beginning the snapshot of a backup", code);
  }
  if (Result<std::string> read = source_.query_text("SELECT count(*) FROM sqlite_schema"); !read) {
    return read.error();
  }
  if (Status reserved = reserve_target(); !reserved) {
    return reserved;
  }
  const char* vfs = on_system_files() ? nullptr : options_.vfs.c_str();
  const int flags = SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_EXRESCODE;
  code = sqlite3_open_v2(partial_path_.c_str(), &target_, flags, vfs);
  if (code != SQLITE_OK) {
    return target_error("making the backup " + partial_path_, code);
  }
  // A half-written backup is thrown away as a whole, so it needs no journal.
  sqlite3_exec(target_, "PRAGMA journal_mode=OFF;PRAGMA synchronous=FULL", nullptr, nullptr, nullptr);
  copy_ = sqlite3_backup_init(target_, "main", source_.raw(), "main");
  if (copy_ == nullptr) {
    return target_error("beginning the backup " + partial_path_, sqlite3_extended_errcode(target_));
  }
  return {};
}

// The target must be new, and must be readable by this user alone from its first byte.
Status Backup::reserve_target() {
  if (!on_system_files()) {
    sqlite3_vfs* vfs = sqlite3_vfs_find(options_.vfs.c_str());
    int exists = 0;
    if (vfs != nullptr && vfs->xAccess(vfs, partial_path_.c_str(), SQLITE_ACCESS_EXISTS, &exists) == SQLITE_OK &&
        exists != 0) {
      return exists_error(partial_path_);
    }
    reserved_ = true;
    return {};
  }
  if (request_.path.empty() || request_.path.front() != '/') {
    return make_error(ErrorCode::kInvalid, "the backup was to be written to \"" + request_.path +
                                               "\"; an absolute file name was expected; begin it with /");
  }
  if (::access(request_.path.c_str(), F_OK) == 0) {
    return exists_error(request_.path);
  }
  const Descriptor made(::open(partial_path_.c_str(), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, kFileMode));
  if (!made) {
    return errno == EEXIST ? exists_error(partial_path_)
                           : file_error("the backup " + partial_path_ + " cannot be made", errno);
  }
  reserved_ = true;
  return {};
}

Status Backup::finish() {
  const int code = sqlite3_backup_finish(std::exchange(copy_, nullptr));
  if (code != SQLITE_OK) {
    return target_error("finishing the backup " + partial_path_, code);
  }
  close_target();
  if (!on_system_files()) {
    reserved_ = false;
    return {};
  }
  if (Status synced = sync_file(partial_path_); !synced) {
    return synced;
  }
  // link, unlike rename, never replaces a file that has appeared meanwhile.
  if (::link(partial_path_.c_str(), request_.path.c_str()) != 0) {
    return errno == EEXIST ? exists_error(request_.path)
                           : file_error("the backup " + request_.path + " cannot be given its name", errno);
  }
  discard_target();
  return sync_folder(folder_of(request_.path));
}

Error Backup::target_error(std::string_view action, int code) const {
  const Failure failure = classify(code);
  const cm_status status = failure == Failure::kNone ? CM_INTERNAL : status_of(failure);
  const int number = target_ == nullptr ? 0 : sqlite3_system_errno(target_);
  return Error{static_cast<ErrorCode>(status), failure_text(action, code, sqlite3_errstr(code), number, request_.path)};
}

void Backup::close_target() noexcept {
  if (copy_ != nullptr) {
    sqlite3_backup_finish(std::exchange(copy_, nullptr));
  }
  sqlite3_close_v2(std::exchange(target_, nullptr));
}

void Backup::discard_target() noexcept {
  if (!std::exchange(reserved_, false)) {
    return;
  }
  if (on_system_files()) {
    ::unlink(partial_path_.c_str());
    return;
  }
  if (sqlite3_vfs* vfs = sqlite3_vfs_find(options_.vfs.c_str())) {
    vfs->xDelete(vfs, partial_path_.c_str(), 1);
  }
}

}  // namespace cm::storage
