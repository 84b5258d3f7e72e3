"""What `claudemesh plugin new` writes, untouched: its CI file is read and its commands are run, and the four kinds of one
language work together with a real broker and real daemons."""
import contextlib
import http.server
import json
import os
import subprocess
import sys
import threading
import urllib.error
import urllib.request
import xml.etree.ElementTree

import yaml

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "e2e"))
import world  # pylint: disable=wrong-import-position

KINDS = ("hook", "transport", "storage", "bridge")
LANGUAGES = ("c", "cpp", "rust")


def run(words, folder, environment):
    done = subprocess.run(words, cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                          timeout=300, check=False)
    if done.returncode != 0:
        raise AssertionError(f"{' '.join(words)} in {folder} ended with {done.returncode}:\n{done.stdout[-4000:]}")
    return done.stdout


def library_of(place, language, name):
    return os.path.join(place, "target", "release", f"lib{name}.so") if language == "rust" else os.path.join(place, "build", f"{name}.so")


# --- the CI file -----------------------------------------------------------------------------------------------------


def ci_commands(text):
    """The commands of a workflow file, in their order, but for the step `sdk`, which installs what is there already.
    AssertionError unless it has the form that GitHub takes."""
    workflow = yaml.safe_load(text)
    triggers = workflow.get("on", workflow.get(True))  # YAML 1.1 reads the key `on` as a truth value
    assert triggers == ["push", "pull_request"], triggers
    assert set(workflow) - {"on", True} == {"name", "jobs"} and isinstance(workflow["name"], str), workflow
    assert list(workflow["jobs"]) == ["test"], workflow["jobs"]
    job = workflow["jobs"]["test"]
    assert set(job) == {"runs-on", "steps"} and job["runs-on"].startswith("ubuntu-"), job
    commands = []
    for step in job["steps"]:
        assert ("uses" in step) != ("run" in step) and not set(step) - {"name", "uses", "run"}, step
        assert all(isinstance(value, str) for value in step.values()), step
        if "run" in step and step.get("name") != "sdk":
            commands.append(step["run"])
    assert job["steps"][0] == {"uses": "actions/checkout@v4"}, job["steps"][0]
    sdk = [step["run"] for step in job["steps"] if step.get("name") == "sdk"]
    assert len(sdk) == 1 and sdk[0].endswith(" claudemesh claudemesh-sdk"), sdk
    return commands


def run_ci(place, environment):
    """Runs what the CI file of the folder runs, in the shell that GitHub uses, and reads the report that it leaves."""
    with open(os.path.join(place, ".github", "workflows", "ci.yml"), encoding="utf-8") as file:
        commands = ci_commands(file.read())
    for step in ("test", "inspect", "check"):
        assert any(step in command for command in commands), (step, commands)
    for command in commands:
        if " plugin check " in command:
            command += " --slowness 5"  # a test machine may be busy
            report = os.path.join(place, command.split("--junit ")[1].split()[0])
        told = run(["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", command], place, environment)
        assert "problem:" not in told, told
    suites = list(xml.etree.ElementTree.parse(report).getroot().iter("testsuite"))
    assert suites and sum(int(suite.get("tests")) for suite in suites) > 100, report
    assert sum(int(suite.get("failures", 0)) + int(suite.get("errors", 0)) for suite in suites) == 0, report


def make_untouched(kind, language, folder, environment):
    """What `plugin new` writes must build and pass as it is; answers the library's path."""
    name = f"new_{language}_{kind}"
    run(["claudemesh", "plugin", "new", kind, name, "--lang", language], folder, environment)
    place = os.path.join(folder, name)
    run_ci(place, environment)
    library = library_of(place, language, name)
    run(["claudemesh", "check", "example.toml"], place, {**environment, "CM_PLUGIN_PATH": os.path.dirname(library)})
    return library


# --- a broker and daemons --------------------------------------------------------------------------------------------


@contextlib.contextmanager
def remote_service():
    """The service on the other side of a bridge: its server, and what it was sent."""
    taken = []

    class Remote(http.server.BaseHTTPRequestHandler):
        def do_POST(self):  # pylint: disable=invalid-name
            taken.append(json.loads(self.rfile.read(int(self.headers["content-length"]))))
            body = b'{"id":"r1"}'
            self.send_response(200)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_):  # pylint: disable=arguments-differ
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Remote)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/messages", taken
    finally:
        server.shutdown()
        server.server_close()


def post(url, value):
    request = urllib.request.Request(url, json.dumps(value).encode(), {"content-type": "application/json"})
    try:
        with urllib.request.urlopen(request, timeout=20) as response:
            return response.status, json.loads(response.read())
    except urllib.error.HTTPError as error:
        return error.code, {}


def member(play, slug, name, text="", hooks="[]", transports='["link"]'):
    """A home with a daemon of this configuration, joined and linked."""
    home = play.home(name)
    home.name_on_mesh = name
    with open(os.path.join(home.config_dir, "daemon.toml"), "w", encoding="utf-8") as file:
        file.write(f'include = ["{world.SOURCES}/etc/daemon.toml"]\n{text}\n'
                   f'[plugins.daemon]\nhooks = {hooks}\ntransports = {transports}\n')
    home.join(play.invite(slug)["url"], name)
    home.up()
    return home


def broker_on(play, library):
    """The generated storage instead of SQLite on disk, and the page of metrics that tells of its works."""
    play.ops_port = world.free_port()
    with open(play.broker.config, "w", encoding="utf-8") as file:
        file.write(f"""[host]
data_dir = "{play.broker.folder}"
[ops]
listen = "127.0.0.1:{play.ops_port}"
[plugins.store]
file = "{library}"
[plugins.broker]
use = "ws_broker"
store = "store"
listen = "127.0.0.1:{play.broker.port}"
public_url = "ws://127.0.0.1:{play.broker.port}/ws"
operator_socket = "{play.broker.socket}"
""")
    play.broker.start()
    return play.mesh()


# --- the four kinds of one language ----------------------------------------------------------------------------------


def play_hook(left, right):
    left.run("send", right.name_on_mesh, "good day")
    refused = left.run("send", right.name_on_mesh, "the Secret is out", code=None)
    assert refused.code != 0 and "forbidden word secret" in refused.out + refused.err, refused
    left.run("send", right.name_on_mesh, "good night")
    right.receives("good day", "good night")
    assert not [body for body in right.bodies() if "ecret" in (body or "")], right.bodies()


def play_bridge(url, taken, bridge, right):
    message = {"id": "m1", "channel": "general", "author": "zoe", "text": "hello mesh"}
    first = post(url, message)
    assert first == (200, {"outcome": 1, "reason": ""}), first
    assert post(url, message)[1]["outcome"] == 5  # the second time
    world.wait_until(lambda: any("zoe: hello mesh" in (body or "") for body in right.bodies()), "the remote message's arrival")
    right.run("send", bridge.name_on_mesh, "hello remote")
    world.wait_until(lambda: taken, "the arrival at the remote service")
    assert taken[0]["channel"] == "general" and "hello remote" in taken[0]["text"], taken
    back = {"id": "m3", "channel": "general", "author": "bot", "text": taken[0]["text"], "trail": taken[0]["trail"]}
    assert post(url, back)[1]["outcome"] == 6, "what came from the mesh went back"
    assert len([body for body in right.bodies() if "hello mesh" in (body or "")]) == 1, right.bodies()
    assert not [body for body in right.bodies() if "hello remote" in (body or "")], right.bodies()
    assert len(taken) == 1, taken


def play_transport(slug, left, right):
    world.wait_until(lambda: not left.linked(), "the end of the link to the broker")
    left.run("send", right.key(slug), "without a broker")
    right.receives("without a broker")


def expect_clean_log(text, who):
    assert "[host] stopped" in text, f"{who} did not stop in order:\n{text[-3000:]}"
    # A busy machine holds a loop, too.
    faults = [line for line in text.splitlines()
              if " error " in line or ("plugin-misbehaving" in line and "held its loop" not in line)]
    assert not faults, f"{who}: {faults}"


def stop_cleanly(home):
    pid = home.daemon_pid()
    home.down()
    world.wait_until(lambda: world.has_ended(pid), f"the end of {home.name}'s daemon")
    expect_clean_log(world.read(os.path.join(home.daemon_dir, "daemon.log")), home.name)


def play_language(play, language, libraries, step):
    """`libraries`: by kind. Each kind does its one thing, seen at the far end, and everything stops in order."""
    url = f"http://127.0.0.1:{world.free_port()}"
    ports = (world.free_port(), world.free_port())
    direct = '[plugins.direct]\nfile = "{}"\nlisten = "127.0.0.1:{}"\npeer_url = "http://127.0.0.1:{}"\n'
    homes = []
    with step(f"{language} storage: keeps what the broker knows"):
        slug = broker_on(play, libraries["storage"])
        with remote_service() as (remote_url, taken):
            homes.append(member(play, slug, "left", f'[plugins.guard]\nfile = "{libraries["hook"]}"\nwords = ["secret"]\n' +
                                direct.format(libraries["transport"], ports[0], ports[1]), '["guard"]', '["link", "direct"]'))
            homes.append(member(play, slug, "right", direct.format(libraries["transport"], ports[1], ports[0]),
                                transports='["link", "direct"]'))
            homes.append(member(play, slug, "bridge", f'[plugins.chat]\nfile = "{libraries["bridge"]}"\ndaemon = "daemon"\n'
                                f'listen = "{url.removeprefix("http://")}"\nremote_url = "{remote_url}"\n'
                                'mappings = ["general=right"]\n'))
            left, right, bridge = homes
            with step(f"{language} hook: refuses what it shall"):
                play_hook(left, right)
            with step(f"{language} bridge: forwards both ways, once"):
                play_bridge(f"{url}/messages", taken, bridge, right)
        peers = left.run("peer", "list", "--all", "--json=name")
        assert '"right"' in peers.out and '"bridge"' in peers.out, peers
        assert play.broker.stop() == 0, world.read(play.broker.log)[-3000:]
        expect_clean_log(world.read(play.broker.log), "the broker")
        assert not [name for _, _, names in os.walk(play.broker.folder) for name in names if name.endswith(".db")]
    with step(f"{language} transport: carries without a broker"):
        play_transport(slug, left, right)
    with step(f"{language}: daemons with the new plugins stop in order"):
        for home in homes:
            stop_cleanly(home)
