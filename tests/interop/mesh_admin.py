"""The operator's command line, as the tests need it. Every assumption about its verbs and output is in this file."""

import json
import subprocess
import time

import mesh_crypto as crypto
from meshclient import Mesh

COMMAND_TIMEOUT_S = 30


class AdminError(AssertionError):
    """An operator command failed; the text holds the command, its exit code and its output."""


class MeshAdmin:
    """Runs `claudemesh mesh ...` against the operator socket of one broker."""

    def __init__(self, binary, socket_path, host, port):
        self.binary = binary
        self.socket_path = socket_path
        self.host = host
        self.port = port

    def run(self, *words):
        command = [self.binary, "mesh", *words, "--socket", self.socket_path, "--json"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=COMMAND_TIMEOUT_S, check=False)
        if done.returncode != 0:
            raise AdminError(f"{' '.join(command)}: exit code {done.returncode}\n{done.stdout}{done.stderr}")
        try:
            return json.loads(done.stdout) if done.stdout.strip() else None
        except ValueError as error:
            raise AdminError(f"{' '.join(command)}: output is not JSON: {done.stdout!r}") from error

    def create_mesh(self, name):
        reply = self.run("create", name)
        return Mesh(reply["id"], reply["slug"], reply.get("name", name), self.host, self.port)

    def invite(self, mesh, role="member", uses=1, expires="7d"):
        """An invite that the independent client has parsed and whose signature it has checked."""
        reply = self.run("invite", mesh.slug, "--role", role, "--uses", str(uses), "--expires", expires)
        link = reply.get("url") or reply["token"]
        invite = crypto.parse_invite(reply.get("token") or link, int(time.time()))
        if crypto.invite_token_of(link) != invite.token:
            raise AdminError(f"url and token of one invite differ: {reply}")
        return invite

    def revoke_invite(self, mesh, invite):
        self.run("invite-revoke", mesh.slug, invite.token)

    def ban(self, mesh, member):
        self.run("ban", mesh.slug, member.keys.public)
