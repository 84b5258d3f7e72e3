"""Keys, canonical strings, direct-message encryption and invites of claudemesh 1.37.0, written from wire/01 alone.

Everything here is pure: no socket, no clock unless passed in, no file except SessionKeyStore. The primitives come from
PyNaCl, so nothing is shared with the C++ implementation that these tests judge.
"""

import base64
import dataclasses
import hashlib
import json
import os
import re
import secrets

from nacl import bindings, exceptions

ATTESTATION_LIFETIME_MS = 12 * 60 * 60 * 1000
ATTESTATION_MAX_MS = 24 * 60 * 60 * 1000
HEX64 = re.compile(r"^[0-9a-f]{64}$")
HEX128 = re.compile(r"^[0-9a-f]{128}$")


# --- encodings (wire/01 section 1) -----------------------------------------------------------------------------------

def b64(data):
    """base64 ORIGINAL: standard alphabet, padded."""
    return base64.b64encode(data).decode("ascii")


def b64_decode(text):
    return base64.b64decode(text, validate=True)


def b64url(data):
    """base64url without padding."""
    return base64.urlsafe_b64encode(data).decode("ascii").rstrip("=")


def b64url_decode(text):
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


# --- keys ------------------------------------------------------------------------------------------------------------

@dataclasses.dataclass(frozen=True)
class KeyPair:
    """An ed25519 pair as the wire carries it: public is hex64, secret is hex128 (seed then public key)."""

    public: str
    secret: str

    @staticmethod
    def generate():
        return KeyPair.from_seed(secrets.token_bytes(32))

    @staticmethod
    def from_seed(seed):
        public, secret = bindings.crypto_sign_seed_keypair(seed)
        return KeyPair(public.hex(), secret.hex())

    def sign(self, text):
        """Detached signature over the UTF-8 of `text`, hex128."""
        data = text.encode("utf-8")
        return bindings.crypto_sign(data, bytes.fromhex(self.secret))[:64].hex()


def verify(text, signature, public):
    """True when `signature` (hex) over `text` was made by the owner of `public` (hex)."""
    try:
        bindings.crypto_sign_open(bytes.fromhex(signature) + text.encode("utf-8"), bytes.fromhex(public))
    except (exceptions.BadSignatureError, ValueError):
        return False
    return True


def to_box_public(public):
    return bindings.crypto_sign_ed25519_pk_to_curve25519(bytes.fromhex(public))


def to_box_secret(secret):
    return bindings.crypto_sign_ed25519_sk_to_curve25519(bytes.fromhex(secret))


# --- canonical strings (wire/01 section 5) ---------------------------------------------------------------------------

def hello_text(mesh_id, member_id, pubkey, timestamp_ms):
    return f"{mesh_id}|{member_id}|{pubkey}|{timestamp_ms}"


def attestation_text(parent_pubkey, session_pubkey, expires_at_ms):
    return f"claudemesh-session-attest|{parent_pubkey}|{session_pubkey}|{expires_at_ms}"


def session_hello_text(mesh_id, parent_pubkey, session_pubkey, timestamp_ms):
    return f"claudemesh-session-hello|{mesh_id}|{parent_pubkey}|{session_pubkey}|{timestamp_ms}"


def invite_text(payload):
    names = ("v", "mesh_id", "mesh_slug", "broker_url", "expires_at", "mesh_root_key", "role", "owner_pubkey")
    return "|".join(str(payload[name]) for name in names)


def make_attestation(parent, session_pubkey, expires_at_ms):
    """The `parentAttestation` object of session_hello, signed by the member key `parent`."""
    return {
        "sessionPubkey": session_pubkey,
        "parentMemberPubkey": parent.public,
        "expiresAt": expires_at_ms,
        "signature": parent.sign(attestation_text(parent.public, session_pubkey, expires_at_ms)),
    }


# --- direct messages (wire/01 sections 6 and 7) ----------------------------------------------------------------------

def encrypt(message, recipient_public, sender_secret):
    """(nonce, ciphertext), both base64 ORIGINAL, of crypto_box_easy between the converted keys."""
    nonce = secrets.token_bytes(24)
    box = bindings.crypto_box(message.encode("utf-8"), nonce, to_box_public(recipient_public),
                              to_box_secret(sender_secret))
    return b64(nonce), b64(box)


def decrypt(nonce, ciphertext, sender_public, own_secret):
    """The text, or None for any failure, exactly as the 1.37.0 client treats it."""
    try:
        plain = bindings.crypto_box_open(
            b64_decode(ciphertext), b64_decode(nonce), to_box_public(sender_public), to_box_secret(own_secret))
        return plain.decode("utf-8")
    except (exceptions.CryptoError, ValueError, TypeError):
        return None


def plain_body(message):
    """(nonce, ciphertext) of a broadcast, group or topic v1 body: base64 text and a nonce that nobody uses."""
    return b64(secrets.token_bytes(24)), b64(message.encode("utf-8"))


def read_plain_body(ciphertext):
    return b64_decode(ciphertext).decode("utf-8")


# --- invites (wire/01 section 10) ------------------------------------------------------------------------------------

class InviteError(Exception):
    """An invite that the client refuses; the text is what 1.37.0 prints."""


@dataclasses.dataclass(frozen=True)
class Invite:
    token: str
    payload: dict


def encode_invite(payload):
    return b64url(json.dumps(payload, separators=(",", ":")).encode("utf-8"))


def sign_invite(owner, **fields):
    """A payload signed by `owner`; only used to forge invites that a broker must refuse."""
    payload = dict(fields, owner_pubkey=owner.public)
    payload["signature"] = owner.sign(invite_text(payload))
    return payload


def invite_token_of(link):
    """The token inside any accepted link form (short codes excluded: they need a web service)."""
    link = link.strip()
    match = re.match(r"^ic://join/([^/]*)/?$", link)
    if match is None:
        match = re.match(r"^https?://[^/]+/(?:[a-z]{2}/)?join/([^/?#]*)/?$", link)
    if match is not None:
        if match.group(1) == "":
            raise InviteError("invite link has no payload")
        return match.group(1)
    if len(link) > 20 and re.match(r"^[A-Za-z0-9_-]+$", link):
        return link
    raise InviteError(f"invalid invite format. {link[:40]!r}")


def parse_invite(link, now_s):
    """Parses and verifies as the client does before it talks to any broker."""
    token = invite_token_of(link)
    try:
        text = b64url_decode(token).decode("utf-8")
    except ValueError as error:
        raise InviteError(f"invite link base64 decode failed: {error}") from error
    try:
        payload = json.loads(text)
    except ValueError as error:
        raise InviteError(f"invite link JSON parse failed: {error}") from error
    check_invite_shape(payload)
    if payload["expires_at"] < now_s:
        raise InviteError(f"invite expired: expires_at={payload['expires_at']}, now={now_s}")
    if not verify(invite_text(payload), payload["signature"], payload["owner_pubkey"]):
        raise InviteError("invite signature invalid (link tampered?)")
    return Invite(token, payload)


def check_invite_shape(payload):
    if not isinstance(payload, dict):
        raise InviteError("invite payload: not an object")
    if payload.get("v") != 1:
        raise InviteError(f"invite payload: v must be 1, found {payload.get('v')!r}")
    for name in ("mesh_id", "mesh_slug", "broker_url", "mesh_root_key"):
        if not isinstance(payload.get(name), str) or payload[name] == "":
            raise InviteError(f"invite payload: {name} must be a non-empty string")
    expires = payload.get("expires_at")
    if not isinstance(expires, int) or isinstance(expires, bool) or expires <= 0:
        raise InviteError("invite payload: expires_at must be a positive number of seconds")
    if payload.get("role") not in ("admin", "member"):
        raise InviteError("invite payload: role must be admin or member")
    if not HEX64.match(str(payload.get("owner_pubkey"))):
        raise InviteError("invite payload: owner_pubkey must be 64 hex chars")
    if not HEX128.match(str(payload.get("signature"))):
        raise InviteError("invite payload: signature must be 128 hex chars")


def http_base_of(ws_url):
    """Scheme wss->https, ws->http, host and port kept, path dropped."""
    match = re.match(r"^(wss?)://([^/]+)", ws_url)
    if match is None:
        raise ValueError(f"not a WebSocket URL: {ws_url!r}")
    return ("https" if match.group(1) == "wss" else "http") + "://" + match.group(2)


# --- request fingerprint (wire/01 section 14) ------------------------------------------------------------------------

def canonical_json(value):
    """JSON as the 1.37.0 fingerprint writes it: integer-like keys ascending first, then the rest in UTF-16 order."""
    if isinstance(value, dict):
        def rank(key):
            if re.match(r"^(0|[1-9][0-9]*)$", key) and int(key) < 2**32 - 1:
                return (0, int(key), b"")
            return (1, 0, key.encode("utf-16-be", "surrogatepass"))
        parts = [json.dumps(key, ensure_ascii=False) + ":" + canonical_json(value[key]) for key in sorted(value,
                                                                                                          key=rank)]
        return "{" + ",".join(parts) + "}"
    if isinstance(value, list):
        return "[" + ",".join(canonical_json(item) for item in value) + "]"
    return json.dumps(value, ensure_ascii=False)


def request_fingerprint(dest_kind, dest_ref, body, priority="next", reply_to="", meta=None):
    """64 hex chars; the body hash enters as 32 raw bytes."""
    meta_text = "" if meta is None else canonical_json(meta)
    fields = ["1", dest_kind, dest_ref, reply_to, priority, meta_text]
    data = b"".join(field.encode("utf-8") + b"\0" for field in fields) + hashlib.sha256(body.encode("utf-8")).digest()
    return hashlib.sha256(data).hexdigest()


# --- the stable session key (wire/01 section 9) ----------------------------------------------------------------------

class SessionKeyStore:
    """Keypairs per (mesh slug, session UUID) in `<root>/<slug>/<uuid>.json`, as a launched session keeps them."""

    UUID = re.compile(r"^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$", re.IGNORECASE)
    SLUG = re.compile(r"^[a-z0-9._-]+$", re.IGNORECASE)

    def __init__(self, root):
        self.root = root

    def load_or_create(self, mesh_slug, session_id):
        if not self.UUID.match(session_id) or not self.SLUG.match(mesh_slug):
            return KeyPair.generate()
        folder = os.path.join(self.root, mesh_slug)
        path = os.path.join(folder, session_id + ".json")
        stored = self._read(path)
        if stored is not None:
            return stored
        keys = KeyPair.generate()
        os.makedirs(folder, mode=0o700, exist_ok=True)
        text = json.dumps({"version": 1, "meshSlug": mesh_slug, "sessionId": session_id, "publicKey": keys.public,
                           "secretKey": keys.secret, "createdAt": "1970-01-01T00:00:00.000Z"}, separators=(",", ":"))
        temporary = f"{path}.{secrets.token_hex(6)}.tmp"
        with os.fdopen(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:
            file.write(text)
        os.replace(temporary, path)
        return keys

    @staticmethod
    def _read(path):
        try:
            with open(path, encoding="utf-8") as file:
                data = json.load(file)
            if HEX64.match(data["publicKey"]) and HEX128.match(data["secretKey"]):
                return KeyPair(data["publicKey"], data["secretKey"])
        except (OSError, ValueError, KeyError, TypeError):
            pass
        return None
