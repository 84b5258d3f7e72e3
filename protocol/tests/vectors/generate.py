#!/usr/bin/env python3
"""Writes the known answers of this directory with PyNaCl and plain Python, so that they come from another implementation.

Usage: python3 generate.py    (needs python3-nacl; writes *.json beside itself; deterministic)
"""
import base64
import hashlib
import json
import os
import struct

from nacl import bindings

HERE = os.path.dirname(os.path.abspath(__file__))


def pseudo(label, size):
    """Reproducible bytes; nothing secret about them."""
    return hashlib.shake_256(label.encode()).digest(size)


def b64(data):
    return base64.b64encode(data).decode()


def b64url(data):
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


def pair(label):
    public, secret = bindings.crypto_sign_seed_keypair(pseudo("seed " + label, 32))
    return public, secret


def sign(secret, text):
    return bindings.crypto_sign(text.encode(), secret)[:64].hex()


def curve_public(public):
    return bindings.crypto_sign_ed25519_pk_to_curve25519(public)


def curve_secret(secret):
    return bindings.crypto_sign_ed25519_sk_to_curve25519(secret)


def write(name, value):
    with open(os.path.join(HERE, name), "w", encoding="utf-8") as out:
        json.dump(value, out, indent=1, ensure_ascii=True)
        out.write("\n")


# --- encodings ---

def encodings():
    samples = [b"", b"f", b"fo", b"foo", b"foob", b"fooba", b"foobar", bytes(range(256)), pseudo("encoding", 97)]
    return [{"hex": s.hex(), "base64": b64(s), "base64url": b64url(s)} for s in samples]


# --- keys ---

def keys():
    out = []
    for i in range(6):
        public, secret = pair(f"key {i}")
        message = "message %d \u00fc\U0001f600" % i * i
        out.append({
            "seed": pseudo(f"seed key {i}", 32).hex(), "public": public.hex(), "secret": secret.hex(),
            "message": message, "signature": sign(secret, message),
            "x25519_public": curve_public(public).hex(), "x25519_secret": curve_secret(secret).hex(),
        })
    return out


def safety_numbers():
    out = []
    for i in range(4):
        a, b = pair(f"safety a {i}")[0], pair(f"safety b {i}")[0]
        digest = hashlib.sha256(min(a, b) + max(a, b)).digest()
        bits = int.from_bytes(digest[:15], "big")
        groups = [(bits >> (100 - 20 * g)) & 0xFFFFF for g in range(6)]
        out.append({"a": a.hex(), "b": b.hex(), "number": " ".join("%05d" % (g % 100000) for g in groups)})
    return out


# --- boxes ---

def boxes():
    out = []
    texts = ["", "hello", "gr\u00fc\u00dfe \U0001f44b", "x" * 5000, "line\nline\t\"quoted\""]
    for i, text in enumerate(texts):
        sender_public, sender_secret = pair(f"box sender {i}")
        recipient_public, recipient_secret = pair(f"box recipient {i}")
        nonce = pseudo(f"box nonce {i}", 24)
        sealed = bindings.crypto_box(text.encode(), nonce, curve_public(recipient_public), curve_secret(sender_secret))
        out.append({"text": text, "sender_public": sender_public.hex(), "sender_secret": sender_secret.hex(),
                    "recipient_public": recipient_public.hex(), "recipient_secret": recipient_secret.hex(),
                    "nonce_hex": nonce.hex(), "nonce": b64(nonce), "ciphertext": b64(sealed)})
    return out


def seal_deterministic(plain, recipient_curve, ephemeral_secret):
    ephemeral_public = bindings.crypto_scalarmult_base(ephemeral_secret)
    nonce = hashlib.blake2b(ephemeral_public + recipient_curve, digest_size=24).digest()
    return ephemeral_public + bindings.crypto_box(plain, nonce, recipient_curve, ephemeral_secret)


def seals():
    out = []
    for i, size in enumerate([0, 1, 32, 300]):
        public, secret = pair(f"seal {i}")
        plain = pseudo(f"seal plain {i}", size)
        ephemeral = pseudo(f"seal ephemeral {i}", 32)
        sealed = seal_deterministic(plain, curve_public(public), ephemeral)
        assert bindings.crypto_box_seal_open(sealed, curve_public(public), curve_secret(secret)) == plain
        out.append({"public": public.hex(), "secret": secret.hex(), "plain": plain.hex(),
                    "ephemeral_secret": ephemeral.hex(), "sealed": b64(sealed)})
    return out


def secretboxes():
    out = []
    for i, text in enumerate(["", "topic body", "\u20ac" * 100]):
        key, nonce = pseudo(f"secretbox key {i}", 32), pseudo(f"secretbox nonce {i}", 24)
        out.append({"text": text, "key": key.hex(), "nonce_hex": nonce.hex(), "nonce": b64(nonce),
                    "ciphertext": b64(bindings.crypto_secretbox(text.encode(), nonce, key))})
    return out


def topic_keys():
    out = []
    for i in range(3):
        member_public, member_secret = pair(f"topic member {i}")
        topic_key, nonce = pseudo(f"topic key {i}", 32), pseudo(f"topic nonce {i}", 24)
        sender_secret = pseudo(f"topic sender {i}", 32)
        sender_public = bindings.crypto_scalarmult_base(sender_secret)
        sealed = bindings.crypto_box(topic_key, nonce, curve_public(member_public), sender_secret)
        out.append({"member_public": member_public.hex(), "member_secret": member_secret.hex(),
                    "topic_key": topic_key.hex(), "nonce": b64(nonce), "nonce_hex": nonce.hex(),
                    "sender_secret": sender_secret.hex(), "encrypted_key": b64(sender_public + sealed)})
    return out


# --- signed texts ---

def signed_texts():
    member_public, member_secret = pair("member")
    session_public, session_secret = pair("session")
    owner_public, owner_secret = pair("owner")
    member, session, owner = member_public.hex(), session_public.hex(), owner_public.hex()
    mesh, member_id, invite_id = "kG4mesh0000000000000000000000001", "Mem0000000000000000000000000001", "Inv1"
    now, expires_s, root = 1717459200000, 1717545600, b64url(pseudo("root key", 32))
    hello = f"{mesh}|{member_id}|{member}|{now}"
    attestation = f"claudemesh-session-attest|{member}|{session}|{now + 43200000}"
    attestation2 = f"claudemesh-session-attest-v2|{member}|{session}|{now + 43200000}|broadcast,dm,state-read"
    session_hello = f"claudemesh-session-hello|{mesh}|{member}|{session}|{now}"
    broker_url = "wss://broker.example.com/ws"
    invite1 = f"1|{mesh}|demo|{broker_url}|{expires_s}|{root}|member|{owner}"
    invite2 = f"v=2|{mesh}|{invite_id}|{expires_s}|admin|{owner}"
    payload = {"v": 1, "mesh_id": mesh, "mesh_slug": "demo", "broker_url": broker_url, "expires_at": expires_s,
               "mesh_root_key": root, "role": "member", "owner_pubkey": owner,
               "signature": sign(owner_secret, invite1)}
    token = b64url(json.dumps(payload, separators=(",", ":")).encode())
    return {
        "mesh_id": mesh, "member_id": member_id, "invite_id": invite_id, "now_ms": now, "expires_at_s": expires_s,
        "member_secret": member_secret.hex(), "session_secret": session_secret.hex(),
        "owner_secret": owner_secret.hex(), "member": member, "session": session, "owner": owner,
        "root_key": root, "broker_url": broker_url, "caps": ["state-read", "DM", "broadcast"],
        "hello": hello, "hello_signature": sign(member_secret, hello),
        "attestation": attestation, "attestation_signature": sign(member_secret, attestation),
        "attestation_v2": attestation2, "attestation_v2_signature": sign(member_secret, attestation2),
        "session_hello": session_hello, "session_hello_signature": sign(session_secret, session_hello),
        "invite_v1": invite1, "invite_v1_signature": payload["signature"], "invite_token": token,
        "invite_v2": invite2, "invite_v2_signature": sign(owner_secret, invite2),
    }


# --- canonical JSON ---

def es_number(value):
    """ECMAScript Number::toString from Python's shortest repr."""
    if value == 0:
        return "0"
    sign_text, text = ("-", repr(-value)) if value < 0 else ("", repr(value))
    mantissa, _, exponent = text.partition("e")
    whole, _, fraction = mantissa.partition(".")
    point = len(whole) + int(exponent or "0")
    digits = whole + fraction
    stripped = digits.lstrip("0")
    point -= len(digits) - len(stripped)
    digits = stripped.rstrip("0")
    k = len(digits)
    if k <= point <= 21:
        return sign_text + digits + "0" * (point - k)
    if 0 < point <= 21:
        return sign_text + digits[:point] + "." + digits[point:]
    if -6 < point <= 0:
        return sign_text + "0." + "0" * -point + digits
    rest = "." + digits[1:] if k > 1 else ""
    return "%s%s%se%s%d" % (sign_text, digits[0], rest, "+" if point > 0 else "-", abs(point - 1))


ESCAPES = {'"': '\\"', "\\": "\\\\", "\b": "\\b", "\f": "\\f", "\n": "\\n", "\r": "\\r", "\t": "\\t"}


def es_string(text):
    out = []
    for c in text:
        if c in ESCAPES:
            out.append(ESCAPES[c])
        elif ord(c) < 0x20 or 0xD800 <= ord(c) <= 0xDFFF:
            out.append("\\u%04x" % ord(c))
        else:
            out.append(c)
    return '"' + "".join(out) + '"'


def utf16_key(text):
    return text.encode("utf-16-be", "surrogatepass")


def js_key(text):
    index = text.isascii() and text.isdigit() and (text == "0" or text[0] != "0") and int(text) < 2**32 - 1
    return (0, int(text), b"") if index else (1, 0, utf16_key(text))


def canonical(value, order):
    if value is None:
        return "null"
    if value is True:
        return "true"
    if value is False:
        return "false"
    if isinstance(value, (int, float)):
        return es_number(float(value))
    if isinstance(value, str):
        return es_string(value)
    if isinstance(value, list):
        return "[" + ",".join(canonical(v, order) for v in value) + "]"
    return "{" + ",".join(es_string(k) + ":" + canonical(value[k], order) for k in sorted(value, key=order)) + "}"


def has_lone_surrogate(text):
    return any(0xD800 <= ord(c) <= 0xDFFF for c in json.dumps(json.loads(text), ensure_ascii=False))


def canonical_texts():
    texts = [
        "{}", "[]", "null", "true", '""', "0", "-0", "-0.0", "1.0", "1e0", "100e-2", "1e21",
        '{"b":1,"a":2}', '{"10":1,"9":2,"a":3,"01":4,"-1":5,"4294967294":6,"4294967295":7,"":8}',
        '{"z":{"y":[{"2":0,"10":1,"b":2,"B":3}]}}', '{"a":1,"b":2,"a":3}', '{"a":1,"a":{"c":1,"c":2}}',
        '{"\\u20ac":1,"\\r":2,"\\ufb33":3,"1":4,"\\ud83d\\ude00":5,"\\u0080":6,"\\u00f6":7}',
        '{"\\uffff":1,"\\ud800\\udc00":2,"\\ue000":3}', '"\\u0000\\u001f\\u007f\\u2028\\u2029\\b\\f\\n\\r\\t\\"\\\\\\/"',
        '["\\ud83d\\ude00","\\u00e9",{"\\u00e9":"e\\u0301"}]', '"\\ud800"', '"\\udc00x\\ud83d"', '{"\\ud800":1,"a":2}',
        '"\\ud83d\\ud83d\\ude00"', "[1,2.5,-3e-7,1e-6,1e-7,123456789012345680000,1234567890123456800000,5e-324]",
        "[333333333.33333329,1E30,4.50,2e-3,0.000000000000000000000000001]", "[9007199254740993,0.1,1.7976931348623157e308]",
        ' { "a" : [ 1 , { "c" : null , "b" : false } ] } ', '{"numbers":[1e5,1e20,1e-5],"o":{"k":"v"}}',
        '{"__proto__x":1,"constructor":2}', "1e-400",
    ]
    out = []
    for text in texts:
        value = json.loads(text)
        lone = has_lone_surrogate(text)
        out.append({"text": text, "jcs": None if lone else canonical(value, utf16_key), "js": canonical(value, js_key)})
    return out


def numbers():
    patterns = [0x0000000000000000, 0x8000000000000000, 0x0000000000000001, 0x8000000000000001, 0x7fefffffffffffff,
                0xffefffffffffffff, 0x4340000000000000, 0xc340000000000000, 0x4430000000000000, 0x44b52d02c7e14af5,
                0x44b52d02c7e14af6, 0x44b52d02c7e14af7, 0x444b1ae4d6e2ef4e, 0x444b1ae4d6e2ef4f, 0x444b1ae4d6e2ef50,
                0x3eb0c6f7a0b5ed8c, 0x3eb0c6f7a0b5ed8d, 0x41b3de4355555553, 0x41b3de4355555554, 0x41b3de4355555555,
                0x41b3de4355555556, 0x41b3de4355555557, 0xbecbf647612f3696, 0x43143ff3c1cb0959]
    stream = pseudo("numbers", 8 * 600)
    patterns += [int.from_bytes(stream[8 * i:8 * i + 8], "big") for i in range(600)]
    out = []
    for bits in patterns:
        value = struct.unpack(">d", bits.to_bytes(8, "big"))[0]
        if value == value and abs(value) != float("inf"):
            out.append({"bits": "%016x" % bits, "text": es_number(value)})
    return out


# --- fingerprints ---

def fingerprints():
    cases = [
        ("dm", "ab" * 32, "", "next", None, b"hello"),
        ("topic", "general", "", "now", {}, "gr\u00fc\u00dfe".encode()),
        ("queue", "q1", "msg1", "low", {"b": 1, "a": [1, 2, {"z": None, "y": 1.5}]}, b""),
        ("dm", "cd" * 32, "k" * 32, "next", {"10": "x", "9": "y", "a": "z"}, bytes(range(256))),
        ("topic", "\u30c8\u30d4\u30c3\u30af", "", "next", {"\u00fc": "\U0001f600", "n": 1e21, "m": -0.0}, b"x" * 70000),
    ]
    out = []
    for kind, ref, reply, priority, meta, body in cases:
        meta_text = "" if meta is None else canonical(meta, js_key)
        head = b"\0".join(p.encode() for p in ["1", kind, ref, reply, priority, meta_text]) + b"\0"
        out.append({"kind": kind, "ref": ref, "reply_to_id": reply, "priority": priority, "meta": meta,
                    "body_hex": body.hex() if len(body) < 1000 else None, "body_repeat_x": len(body),
                    "fingerprint": hashlib.sha256(head + hashlib.sha256(body).digest()).hexdigest()})
    return out


def main():
    write("encoding.json", encodings())
    write("keys.json", {"keys": keys(), "safety_numbers": safety_numbers()})
    write("box.json", {"boxes": boxes(), "seals": seals(), "secretboxes": secretboxes(), "topic_keys": topic_keys()})
    write("signed.json", signed_texts())
    write("canonical_json.json", {"texts": canonical_texts(), "numbers": numbers()})
    write("fingerprint.json", fingerprints())


if __name__ == "__main__":
    main()
