// In the simulated host a job runs in one piece, so an answer that is posted just before a commit arrives after it.
// Here the store runs in the real host on files, its disk calls are slow, and the power fails at the moment in which
// `done` is called. Each life is a process of its own; the next one reads what is there.
#include "sdk/checker/durability_checks.hpp"

#define CM_PLUGIN_ENTRY_NAME cm_check_writer_entry
#include <claudemesh/cpp/plugin.hpp>
#include <claudemesh/cpp/storage.hpp>

#include <poll.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <set>
#include <sstream>

#include "host/config/host_config.hpp"
#include "host/loader/discovery.hpp"
#include "host/loader/library.hpp"
#include "host/services/host.hpp"
#include "sdk/checker/bench.hpp"
#include "sdk/checker/child.hpp"
#include "sdk/checker/disk_watch.hpp"

namespace {

// How often a store is cut off, and where.
struct Life {
  std::int64_t first_row;
  int at_once;  // works that are submitted together
  int cut_at;   // the power fails in this `done`; 0: only look
};
constexpr Life kLives[] = {{100, 1, 1}, {200, 1, 3}, {300, 8, 1}, {400, 8, 5}, {500, 1, 0}};
constexpr std::chrono::milliseconds kDiskDelay{20};  // of each disk call; an answer that comes too early overtakes it
constexpr std::chrono::seconds kLifeLimit{20};
constexpr int kTellFd = cm::checker::kReportFd + 1;

Life current_life = {};  // of this process

// A line to the process that started this life.
void tell(const std::string& line) {
  const std::string text = line.substr(0, 1'000) + "\n";
  static_cast<void>(::write(kTellFd, text.data(), text.size()) < 0);
}

[[noreturn]] void give_up(const std::string& step, const cm::Status& status) {
  tell("problem " + step + " answered: " + status.error().message);
  ::_exit(0);
}

// The user of the store: reads what is there, writes rows, and pulls the plug. It never comes to its end in order.
class Writer final : public cm::PluginInstance {
 public:
  explicit Writer(const cm_host* host) : PluginInstance(host) {}
  cm::Status configure() override {
    cm::checker::watch_disk_calls();  // all code is loaded, nothing has started
    return {};
  }
  void start(Done started) override {
    auto store = cm::StorageClient::acquire(host(), host().option_text("store"));
    if (!store) {
      started(store.error());
      return;
    }
    store_ = std::move(*store);
    started(cm::Status());
    const std::vector<cm::SqlMigration> schema = {
        {1, "0001_items", "CREATE TABLE check_items (id INTEGER PRIMARY KEY, body TEXT NOT NULL);"}};
    store_.migrate("check", schema, [this](const cm::Status& migrated) {
      if (!migrated) {
        give_up("the migration", migrated);
      }
      look();
    });
  }

 private:
  void look() {
    const cm_statement select = store_.statement("SELECT id, body FROM check_items ORDER BY id");
    auto rows = std::make_shared<std::vector<std::int64_t>>();
    store_.read(
        [select, rows](cm::SqlTransaction& transaction) {
          return transaction.query(select, {}, [&rows](const cm::SqlRow& row) { rows->push_back(row.integer(0)); });
        },
        [this, rows](const cm::Status& read) {
          if (!read) {
            give_up("a read", read);
          }
          for (const std::int64_t row : *rows) {
            tell("row " + std::to_string(row));
          }
          if (current_life.cut_at == 0) {
            tell("end");
            ::_exit(0);
          }
          insert_ = store_.statement("INSERT INTO check_items (id, body) VALUES (?1, ?2)");
          cm::checker::watch_disk_calls();  // what was loaded by the start
          cm::checker::slow_disk_calls(kDiskDelay);
          for (int i = 0; i < current_life.at_once; ++i) {
            insert();
          }
        });
  }
  void insert() {
    const std::int64_t row = current_life.first_row + ++submitted_;
    store_.submit(
        [row, statement = insert_](cm::SqlTransaction& transaction) -> cm::Status {
          const auto changed = transaction.execute(statement, {row, "durable"});
          return changed ? cm::Status() : cm::Status(changed.error());
        },
        [this, row](const cm::Status& done) {
          if (!done) {
            give_up("an insert", done);
          }
          tell("done " + std::to_string(row));
          if (++dones_ == current_life.cut_at) {
            tell("cut");
            cm::checker::cut_power();
          }
          if (submitted_ < current_life.cut_at) {
            insert();
          }
        });
  }

  cm::StorageClient store_;
  cm_statement insert_ = 0;
  int submitted_ = 0;
  int dones_ = 0;
};

constexpr const char* kManifest =
    R"({"id":"org.claudemesh.check_writer","name":"check_writer","version":"1.0.0",)"
    R"("abi":{"min":"1.0","built":"1.0"},"license":"MIT","kinds":["check"],)"
    R"("requires":["cm.config/1","cm.loop/1","cm.registry/1"],)"
    R"("options":[{"name":"store","type":"plugin","extension":"cm.storage/1","required":true,"doc":"The store."}]})";

}  // namespace

CM_DEFINE_PLUGIN(Writer);

namespace cm::checker {
namespace {

class SilentLog final : public host::LogSink {
 public:
  void write(const std::string&) override {}
  void flush() override {}
};

// The values of the check, with files in place of the simulated disk.
std::string configuration(const Subject& subject) {
  std::string text = "[plugins." + std::string(kSubjectName) + "]\nfile = " + toml_text(subject.file.string()) + "\n";
  for (const auto& [option, value] : subject.config.values) {
    text += option + " = " + value + "\n";
  }
  text += subject.config.other_plugins + "[plugins.check_writer]\nuse = \"check_writer\"\nstore = \"" +
          std::string(kSubjectName) + "\"\n";
  std::istringstream lines(text);
  std::string result;
  for (std::string line; std::getline(lines, line);) {
    constexpr std::string_view kSimulated = "/cmsim/";
    for (std::size_t at = 0; (at = line.find(kSimulated)) != std::string::npos;) {
      const std::size_t slash = line.find('/', at + kSimulated.size());
      line.replace(at, (slash == std::string::npos ? line.size() : slash) - at, "${CM_CHECK_DIR}");
    }
    result += line.ends_with("= \"cmsim\"") ? "" : line + "\n";
  }
  return result;
}

[[noreturn]] void live(const Subject& subject, const std::filesystem::path& folder) {
  static_cast<void>(loader::register_builtin(&cm_check_writer_entry, kManifest));
  const config::Environment environment = config::Environment::of_process();
  loader::PluginCatalog catalog(environment);
  config::LoadRequest request;
  request.file = folder / "host.toml";
  request.text = configuration(subject);
  config::LoadReport report = config::load_config_report(request, environment, catalog);
  if (!report.config) {
    tell("problem the configuration was refused: " +
         (report.problems.empty() ? std::string() : report.problems.front().line()));
    ::_exit(0);
  }
  host::HostOptions options;
  options.log_sink = std::make_unique<SilentLog>();
  host::Host host(std::move(*report.config), std::move(options));
  if (const Status started = host.start(); !started) {
    give_up("the start", started);
  }
  for (;;) {
    ::pause();  // the writer ends the process
  }
}

struct Report {
  std::set<std::int64_t> rows;
  std::set<std::int64_t> done;
  bool cut = false;
  bool ended = false;
  bool late = false;
  std::string problem;
  int wait_status = 0;
};

void take(Report& report, const std::string& line) {
  const std::string rest = line.substr(std::min(line.size(), line.find(' ') + 1));
  if (line.starts_with("row ")) {
    report.rows.insert(std::strtoll(rest.c_str(), nullptr, 10));
  } else if (line.starts_with("done ")) {
    report.done.insert(std::strtoll(rest.c_str(), nullptr, 10));
  } else if (line.starts_with("problem ")) {
    report.problem = rest;
  }
  report.cut = report.cut || line == "cut";
  report.ended = report.ended || line == "end";
}

// Everything that the life tells until it is over; one that takes too long is ended.
std::string listen_to(int fd, pid_t child, bool& late) {
  const auto deadline = std::chrono::steady_clock::now() + kLifeLimit;
  std::string text;
  for (;;) {
    const auto left =
        std::chrono::duration_cast<std::chrono::milliseconds>(deadline - std::chrono::steady_clock::now()).count();
    pollfd polled = {fd, POLLIN, 0};
    if (left <= 0 || ::poll(&polled, 1, static_cast<int>(left)) == 0) {
      late = true;
      ::kill(child, SIGKILL);
      return text;
    }
    char buffer[4096];
    const ssize_t count = ::read(fd, buffer, sizeof(buffer));
    if (count <= 0) {
      return text;
    }
    text.append(buffer, static_cast<std::size_t>(count));
  }
}

Report run_life(const Subject& subject, const Life& life, const std::filesystem::path& folder) {
  Report report;
  int ends[2] = {-1, -1};
  if (::pipe(ends) != 0) {
    report.problem = "there is no pipe";
    return report;
  }
  const pid_t child = ::fork();  // this process has one thread
  if (child == 0) {
    ::prctl(PR_SET_PDEATHSIG, SIGKILL);
    ::close(ends[0]);
    if (ends[1] != kTellFd) {
      ::dup2(ends[1], kTellFd);
      ::close(ends[1]);
    }
    current_life = life;
    live(subject, folder);
  }
  ::close(ends[1]);
  std::istringstream lines(listen_to(ends[0], child, report.late));
  ::close(ends[0]);
  ::waitpid(child, &report.wait_status, 0);
  for (std::string line; std::getline(lines, line);) {
    take(report, line);
  }
  return report;
}

std::string end_of(const Report& report) {
  if (!report.problem.empty()) {
    return report.problem;
  }
  if (report.late) {
    return "no answer within " + std::to_string(kLifeLimit.count()) + " s";
  }
  return WIFSIGNALED(report.wait_status) ? "it crashed with signal " + std::to_string(WTERMSIG(report.wait_status))
                                         : "it ended the process";
}

}  // namespace

Outcome is_durable_when_done(const Subject& subject) {
  if (!subject.config.durable) {
    return skipped("[check] says durable = false");
  }
  const char* base = std::getenv("CM_CHECK_BASE");
  const std::filesystem::path folder =
      std::filesystem::path(base == nullptr ? std::filesystem::temp_directory_path() : base) / "durability";
  std::filesystem::create_directories(folder);
  std::filesystem::permissions(folder, std::filesystem::perms::owner_all);
  ::setenv("CM_CHECK_DIR", folder.c_str(), 1);
  std::set<std::int64_t> confirmed;
  std::string cut_off;
  for (const Life& life : kLives) {
    progress(cut_off.empty() ? "the first life" : "the life after the power failed " + cut_off);
    const Report report = run_life(subject, life, folder);
    if (!report.cut && !report.ended) {
      return failed((cut_off.empty() ? "in the real host, on files: " : "after the power failed " + cut_off + ": ") +
                        end_of(report),
                    "a store that starts, and starts again with what was durable",
                    "try it with claudemesh run and the values of the check");
    }
    for (const std::int64_t row : confirmed) {
      if (!report.rows.contains(row)) {
        return failed(
            "row " + std::to_string(row) + " is gone, although it was reported done: the power failed " + cut_off,
            "`done` is called when the commit is on stable storage, not before",
            "post the answer after the commit has returned and is synced (fsync or fdatasync), never from "
            "inside the work");
      }
    }
    confirmed.insert(report.done.begin(), report.done.end());
    cut_off = "inside `done` number " + std::to_string(life.cut_at) + " of " +
              (life.at_once == 1 ? std::string("works that came one after the other")
                                 : std::to_string(life.at_once) + " works that were submitted together");
  }
  return ok();
}

}  // namespace cm::checker
