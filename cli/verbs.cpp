#include "cli/verbs.hpp"

#include <CLI/CLI.hpp>

#include <memory>

#include "cli/daemon_verbs.hpp"
#include "cli/inbox.hpp"
#include "cli/join.hpp"
#include "cli/operator_verbs.hpp"
#include "cli/peers.hpp"
#include "cli/send.hpp"

namespace cm::cli {

namespace {

// The verb runs inside the parse, with the context of the process; arguments live as long as the callback.
template <typename Arguments>
void run_with(CLI::App* verb, std::shared_ptr<Arguments> arguments, int& exit_code,
              int (*function)(const Arguments&, const Context&)) {
  verb->callback([arguments, &exit_code, function] {
    const Context context = process_context();
    exit_code = function(*arguments, context);
  });
}

void add_json(CLI::App* verb, bool& json) {
  verb->add_flag("--json", json, "Print JSON for scripts");
}

void add_mesh_option(CLI::App* verb, std::string& mesh) {
  verb->add_option("--mesh", mesh, "The mesh, by its slug; needed when several are joined")->type_name("SLUG");
}

void add_daemon_options(CLI::App* verb, DaemonOptions& options) {
  verb->add_flag("--no-daemon", options.no_daemon, "Do not start the daemon when it is not running");
  verb->add_flag("--strict", options.strict, "Say nothing about an automatic start of the daemon");
}

void add_join(CLI::App& app, int& exit_code) {
  auto arguments = std::make_shared<JoinArguments>();
  CLI::App* verb = app.add_subcommand("join", "Join a mesh with an invite link, a token or a short code");
  verb->alias("add");
  verb->add_option("invite", arguments->invite, "What `claudemesh mesh invite` printed")->required();
  verb->add_option("--name", arguments->name, "The name that others see")->type_name("NAME");
  verb->add_option("--slug", arguments->slug, "Another local name for the mesh")->type_name("SLUG");
  add_json(verb, arguments->json);
  verb->footer(
      "Examples:\n  claudemesh join https://broker.example/join/eyJ2Ij...\n  claudemesh join --name Ada "
      "ic://join/eyJ2Ij...\nThe invite is checked here first; the key is made here and never leaves this machine.");
  run_with(verb, arguments, exit_code, &run_join);
}

void add_list(CLI::App& app, int& exit_code) {
  auto arguments = std::make_shared<ListArguments>();
  CLI::App* verb = app.add_subcommand("list", "List the meshes that this user has joined");
  verb->alias("ls");
  add_json(verb, arguments->json);
  verb->footer("Example:\n  claudemesh list --json");
  run_with(verb, arguments, exit_code, &run_list);
}

void add_peer_list(CLI::App& parent, const char* name, int& exit_code) {
  auto arguments = std::make_shared<PeerListArguments>();
  CLI::App* verb = parent.add_subcommand(name, "Show who is online");
  add_mesh_option(verb, arguments->mesh);
  verb->add_flag("--json", arguments->json, "Print JSON; --json=name,pubkey prints only these fields");
  verb->add_flag("--all", arguments->all, "Also the connections of daemons");
  add_daemon_options(verb, arguments->daemon);
  verb->footer("Examples:\n  claudemesh peer list\n  claudemesh peer list --mesh team --json=name,pubkey");
  run_with(verb, arguments, exit_code, &run_peer_list);
}

void add_send(CLI::App& parent, const char* name, int& exit_code) {
  auto arguments = std::make_shared<SendArguments>();
  CLI::App* verb = parent.add_subcommand(name, "Send a message");
  verb->add_option("to", arguments->to, "A name, a key or the beginning of one, @group, #topic or * for all")
      ->required();
  verb->add_option("text", arguments->words, "The message; - reads it from standard input")->required();
  verb->add_option("--priority", arguments->priority, "now interrupts, next waits for a pause, low waits to be asked")
      ->check(CLI::IsMember({"now", "next", "low"}))
      ->capture_default_str();
  add_mesh_option(verb, arguments->mesh);
  verb->add_option("--id", arguments->id, "Idempotency key: the same key never sends twice")->type_name("KEY");
  // A flag, so that it never takes the recipient for its number: the value comes only behind "=".
  verb->add_flag("--wait", arguments->wait,
                 "Wait until the recipient confirmed, or the broker accepted (--wait=SECONDS, 10 without)")
      ->check([](const std::string& text) {
        return parse_wait(text).has_value() ? std::string() : "found \"" + text + "\", expected 0.1 to 3600 seconds";
      });
  verb->add_flag("--self", arguments->self, "With your own key: to your other sessions");
  add_json(verb, arguments->json);
  add_daemon_options(verb, arguments->daemon);
  verb->footer(
      "Examples:\n  claudemesh send ada \"the build is green\"\n  claudemesh send --priority now --wait=5 ada stop\n"
      "  git diff --stat | claudemesh send ada -\n  claudemesh send @reviewers -- --flags go after two dashes");
  run_with(verb, arguments, exit_code, &run_send);
}

void add_status(CLI::App& parent, const char* name, int& exit_code) {
  auto arguments = std::make_shared<StatusArguments>();
  CLI::App* verb = parent.add_subcommand(name, "Ask the broker what became of a message");
  verb->add_option("id", arguments->id, "The message id, or at least its first 8 characters")->required();
  add_mesh_option(verb, arguments->mesh);
  add_json(verb, arguments->json);
  add_daemon_options(verb, arguments->daemon);
  verb->footer("Example:\n  claudemesh message status 3fA9k2Lm");
  run_with(verb, arguments, exit_code, &run_message_status);
}

void add_inbox_delete(CLI::App* inbox, int& exit_code) {
  auto one = std::make_shared<InboxDeleteArguments>();
  CLI::App* verb = inbox->add_subcommand("delete", "Delete one message from the inbox");
  verb->alias("rm");
  verb->add_option("id", one->id, "The id that `claudemesh inbox --json` shows")->required();
  add_json(verb, one->json);
  add_daemon_options(verb, one->daemon);
  run_with(verb, one, exit_code, &run_inbox_delete);

  auto many = std::make_shared<InboxFlushArguments>();
  CLI::App* flush = inbox->add_subcommand("flush", "Delete many messages from the inbox");
  add_mesh_option(flush, many->mesh);
  flush->add_option("--before", many->before, "Only what arrived before this ISO time")->type_name("TIME");
  flush->add_flag("--all", many->all, "Everything");
  add_json(flush, many->json);
  add_daemon_options(flush, many->daemon);
  run_with(flush, many, exit_code, &run_inbox_flush);
}

void add_inbox(CLI::App& parent, int& exit_code) {
  auto arguments = std::make_shared<InboxArguments>();
  CLI::App* verb = parent.add_subcommand("inbox", "Show what arrived, the newest last");
  add_mesh_option(verb, arguments->mesh);
  verb->add_option("--limit", arguments->limit, "At most so many")->check(CLI::Range(1, 1000))->capture_default_str();
  verb->add_flag("--unread", arguments->unread, "Only what was not shown before");
  verb->add_flag("--follow", arguments->follow, "Go on until Ctrl-C; with --json one message a line");
  add_json(verb, arguments->json);
  add_daemon_options(verb, arguments->daemon);
  add_inbox_delete(verb, exit_code);
  verb->require_subcommand(0, 1);
  verb->footer(
      "Examples:\n  claudemesh inbox --unread\n  claudemesh inbox --follow --json\n  claudemesh inbox delete ID");
  verb->callback([verb, arguments, &exit_code] {
    if (verb->get_subcommands().empty()) {
      const Context context = process_context();
      exit_code = run_inbox(*arguments, context);
    }
  });
}

void add_outbox(CLI::App* daemon, int& exit_code) {
  auto arguments = std::make_shared<OutboxArguments>();
  CLI::App* outbox = daemon->add_subcommand("outbox", "Look at the messages that wait, or send a failed one again");
  outbox->require_subcommand(0, 1);
  const auto add_filters = [arguments](CLI::App* verb) {
    for (const char* status : {"pending", "inflight", "done", "failed", "aborted"}) {
      const std::string value = std::string_view(status) == "failed" ? "dead" : status;
      verb->add_flag_callback(
          std::string("--") + status, [arguments, value] { arguments->status = value; },
          std::string("Only what is ") + status);
    }
    verb->add_option("--limit", arguments->limit, "At most so many")->check(CLI::Range(1, 500));
    add_json(verb, arguments->json);
  };
  add_filters(outbox);
  CLI::App* list = outbox->add_subcommand("list", "The messages, the newest first");
  add_filters(list);
  CLI::App* requeue = outbox->add_subcommand("requeue", "Put a message into the outbox again");
  requeue->add_option("id", arguments->id, "The id that the list shows")->required();
  requeue->add_flag("--new-client-id", arguments->new_client_id, "As a new message, even if the old one arrived");
  add_json(requeue, arguments->json);
  outbox->footer("Examples:\n  claudemesh daemon outbox list --failed\n  claudemesh daemon outbox requeue ID");
  outbox->callback([outbox, requeue, arguments, &exit_code] {
    const Context context = process_context();
    exit_code = outbox->got_subcommand(requeue) ? run_outbox_requeue(*arguments, context)
                                                : run_outbox_list(*arguments, context);
  });
}

void add_daemon(CLI::App& app, int& exit_code) {
  CLI::App* daemon = app.add_subcommand("daemon", "The background process that holds the connections of this user");
  daemon->require_subcommand(0, 1);
  daemon->footer(
      "Examples:\n  claudemesh daemon up\n  claudemesh daemon status --json\n  claudemesh daemon down\nExit codes: 0, "
      "1 "
      "failure (for status: not running), 2 wrong command line.");
  auto arguments = std::make_shared<DaemonArguments>();
  CLI::App* up = daemon->add_subcommand("up", "Start it in the background");
  up->alias("start");
  up->add_option("--config", arguments->config, "The configuration; else the daemon.toml that is found first")
      ->type_name("FILE");
  up->add_flag("--foreground", arguments->foreground, "Stay in the foreground, as service managers want it");
  up->footer(
      "The configuration is searched as <config dir>/daemon.toml, /etc/claudemesh/daemon.toml, then beside the "
      "program.\n"
      "Example:\n  claudemesh daemon up --config ~/my-daemon.toml");
  CLI::App* down = daemon->add_subcommand("down", "Stop it; what waits to be sent is kept");
  down->alias("stop");
  CLI::App* status = daemon->add_subcommand("status", "Whether it runs, its connections and its outbox");
  CLI::App* version = daemon->add_subcommand("version", "The version of the running daemon");
  for (CLI::App* verb : {up, down, status, version}) {
    add_json(verb, arguments->json);
  }
  run_with(up, arguments, exit_code, &run_daemon_up);
  run_with(down, arguments, exit_code, &run_daemon_down);
  run_with(status, arguments, exit_code, &run_daemon_status);
  run_with(version, arguments, exit_code, &run_daemon_version);
  add_outbox(daemon, exit_code);
  daemon->callback([daemon] {
    if (daemon->get_subcommands().empty()) {
      std::cout << daemon->help();
    }
  });
}

using OperatorVerb = int (*)(const OperatorArguments&, const Context&);

CLI::App* add_operator_verb(CLI::App* mesh, const char* name, const char* doc, const char* example,
                            const std::shared_ptr<OperatorArguments>& arguments, int& exit_code,
                            OperatorVerb function) {
  CLI::App* verb = mesh->add_subcommand(name, doc);
  verb->add_option("--socket", arguments->socket,
                   "The operator socket; else $CLAUDEMESH_OPERATOR_SOCKET, else operator.sock in ~/.claudemesh/broker, "
                   "~/.claudemesh, /run/claudemesh or /var/lib/claudemesh")
      ->type_name("PATH");
  add_json(verb, arguments->json);
  verb->footer(std::string("Example:\n  ") + example);
  run_with(verb, arguments, exit_code, function);
  return verb;
}

void add_mesh(CLI::App& app, int& exit_code) {
  CLI::App* mesh = app.add_subcommand("mesh", "For the operator of a broker: meshes, invites, members, backups");
  mesh->require_subcommand(1);
  mesh->footer("Example:\n  claudemesh mesh create team && claudemesh mesh invite team");
  auto arguments = std::make_shared<OperatorArguments>();
  const auto add = [&](const char* name, const char* doc, const char* example, OperatorVerb function) {
    return add_operator_verb(mesh, name, doc, example, arguments, exit_code, function);
  };
  CLI::App* create = add("create", "Create a mesh", "claudemesh mesh create \"My team\" --slug team", &run_mesh_create);
  create->add_option("name", arguments->name, "Its name")->required();
  create->add_option("--slug", arguments->slug, "Its short name; else made of the name")->type_name("SLUG");
  add("list", "List the meshes of the broker", "claudemesh mesh list --json", &run_mesh_list)->alias("ls");
  const auto with_mesh = [&arguments](CLI::App* verb) {
    verb->add_option("mesh", arguments->mesh, "The mesh, by slug or id")->required();
    return verb;
  };
  with_mesh(add("members", "List the members of a mesh", "claudemesh mesh members team", &run_mesh_members));
  CLI::App* invite = with_mesh(
      add("invite", "Make an invite link", "claudemesh mesh invite team --uses 5 --expires 12h", &run_mesh_invite));
  invite->add_option("--role", arguments->role, "What who joins with it may do")
      ->check(CLI::IsMember({"member", "admin"}))
      ->capture_default_str();
  invite->add_option("--uses", arguments->uses, "How many may join with it")
      ->check(CLI::Range(1, 10'000))
      ->capture_default_str();
  invite->add_option("--expires", arguments->expires, "How long it is valid: 30s, 15m, 12h, 7d, 2w")
      ->type_name("DURATION")
      ->capture_default_str();
  with_mesh(add("invites", "List the invites of a mesh", "claudemesh mesh invites team", &run_mesh_invites));
  CLI::App* revoke =
      with_mesh(add("revoke", "Make an invite useless", "claudemesh mesh revoke team Ab3dEf9h", &run_mesh_revoke));
  revoke->alias("invite-revoke");
  revoke->add_option("invite", arguments->invite, "Its id, its code, its token or the link")->required();
  CLI::App* backup = add("backup", "Copy the broker's database while it runs",
                         "claudemesh mesh backup /backup/broker.db", &run_mesh_backup);
  backup->add_option("path", arguments->path, "The new file; it must not exist")->required();
}

// Names of verbs to their help: CLI11 itself knows only the flag.
int print_help(const CLI::App& app, const std::vector<std::string>& names, const Output& output) {
  const CLI::App* verb = &app;
  std::string words = app.get_name();
  for (const std::string& name : names) {
    const std::vector<const CLI::App*> found =
        verb->get_subcommands([&name](const CLI::App* candidate) { return candidate->check_name(name); });
    if (found.empty()) {
      return output.fail({ExitCode::kUsage, "`" + words + "` has no command " + printable(name),
                          "a command that it has", "run `" + words + " --help` to see them"});
    }
    verb = found.front();
    words += " " + verb->get_name();
  }
  // Not verb->help(): that of a command line in which `help` was chosen is always the help of `help`.
  output.out << verb->get_formatter()->make_help(verb, words, CLI::AppFormatMode::Normal);
  return 0;
}

// As in 1.37.0, beside --help and --version.
void add_help(CLI::App& app, int& exit_code) {
  auto names = std::make_shared<std::vector<std::string>>();
  CLI::App* help = app.add_subcommand("help", "Show this help, or that of a command");
  help->add_option("command", *names, "The command, for example: help daemon up");
  help->footer("Example:\n  claudemesh help send");
  help->callback([&app, names, &exit_code] { exit_code = print_help(app, *names, process_context().output); });
  CLI::App* version = app.add_subcommand("version", "Show the version of this program");
  version->callback([&app] { std::cout << app.version() << '\n'; });
}

}  // namespace

void add_verbs(CLI::App& app, int& exit_code) {
  add_join(app, exit_code);
  add_list(app, exit_code);
  CLI::App* peer = app.add_subcommand("peer", "Who is online");
  peer->require_subcommand(1);
  add_peer_list(*peer, "list", exit_code);
  add_peer_list(app, "peers", exit_code);
  add_send(app, "send", exit_code);
  add_inbox(app, exit_code);
  add_status(app, "msg-status", exit_code);
  CLI::App* message = app.add_subcommand("message", "Send and read messages");
  message->require_subcommand(1);
  add_send(*message, "send", exit_code);
  add_inbox(*message, exit_code);
  add_status(*message, "status", exit_code);
  add_daemon(app, exit_code);
  add_mesh(app, exit_code);
  add_help(app, exit_code);
}

}  // namespace cm::cli
