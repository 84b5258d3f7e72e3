"""Frames: what the transport accepts, ignores and closes (wire/02 sections 1, 1.1 and 1.4; RFC 6455 section 5)."""

import json
import unittest

from harness import BrokerTest, HandshakeRefused
from mesh_socket import build_frame, raw_frame
from meshclient import hello_frame
from websockets.frames import Opcode

DEFAULT_MAX_MESSAGE_BYTES = 65536


class PathTest(BrokerTest):
    def test_only_the_exact_path_is_upgraded(self):
        for path in ("/ws/", "/ws?x=1", "/", "/WS", "/ws/x", "/wss"):
            with self.subTest(path):
                with self.assertRaises(HandshakeRefused):
                    self.raw_socket(path)

    def test_no_compression_and_no_subprotocol(self):
        opened = self.raw_socket(offer_deflate=True)
        self.assertNotIn("Sec-WebSocket-Extensions", opened.response.headers)
        self.assertNotIn("Sec-WebSocket-Protocol", opened.response.headers)


class ConnectedTest(BrokerTest):
    """Base: alice is connected, bob watches from outside."""

    def setUp(self):
        super().setUp()
        self.alice_member = self.member("alice")
        self.alice = self.connect(self.alice_member)
        self.bob = self.connect(self.member("bob"))
        self.alice.wait_event("peer_joined")

    def assert_silent_and_open(self):
        """Nothing was answered, and the connection still works."""
        self.alice.fence()
        self.assertEqual(self.alice.socket.take(), [])

    def assert_closed(self, code):
        self.assertEqual(self.alice.socket.wait_closed()[0], code)
        self.bob.fence()


class IgnoredMessagesTest(ConnectedTest):
    def test_unknown_type_is_silent(self):
        for frame in ({"type": "no_such_type"}, {"type": "no_such_type", "_reqId": "r1"}, {"type": ""},
                      {"type": "hello_ack"},
                      {"type": "push"}, {"type": "ack", "id": "x"}):
            with self.subTest(frame=frame):
                self.alice.send_json(frame)
                self.assert_silent_and_open()

    def test_unparsable_text_is_silent(self):
        for text in ("", "{", "}", "not json", '{"type":"list_peers"', "{'type':'list_peers'}",
                     '{"type":"list_peers"}x',
                     '{"type":"list_peers",}', "\ufeff{", "\x00", '{"type":"li\nst_peers"}', "nul", "1e"):
            with self.subTest(text=text):
                self.alice.socket.send_text(text)
                self.assert_silent_and_open()

    def test_json_that_is_no_object_with_a_type_is_silent(self):
        for text in ("null", "1", '"list_peers"', "[]", '[{"type":"list_peers"}]', "true", "{}", '{"type":null}',
                     '{"type":7}', '{"type":["list_peers"]}', '{"type":{"list_peers":1}}'):
            with self.subTest(text=text):
                self.alice.socket.send_text(text)
                self.assert_silent_and_open()

    def test_deep_json_is_silent(self):
        for text in ("[" * 30000, "[" * 30000 + "]" * 30000, '{"a":' * 10000 + "1" + "}" * 10000,
                     '{"type":"list_peersx","a":' + "[" * 20000 + "]" * 20000 + "}"):
            self.alice.socket.send_text(text)
            self.assert_silent_and_open()

    def test_odd_numbers_and_keys_do_no_harm(self):
        for text in ('{"type":"list_peersx","n":1e999}', '{"type":"list_peersx","n":-0.0}', '{"type":"x","":1}',
                     '{"type":"x","n":123456789012345678901234567890}', '{"type":"x","s":"\\ud800"}',
                     '{"type":"x","__proto__":{"a":1}}', '{"type":"x","s":"\\u0000"}'):
            with self.subTest(text=text):
                self.alice.socket.send_text(text)
                self.assert_silent_and_open()

    def test_wrong_field_types_do_no_harm(self):
        """A handler that cannot use its fields answers an error or nothing; it never closes and never takes effect."""
        frames = [{"type": "set_status", "status": 5}, {"type": "set_status", "status": "sleeping"},
                  {"type": "set_summary", "summary": {"a": 1}},
                  {"type": "join_group", "name": 3}, {"type": "join_group"},
                  {"type": "leave_group", "name": None}, {"type": "client_ack", "brokerMessageId": 4},
                  {"type": "message_status", "messageId": 12345678}, {"type": "set_visible", "visible": "no"},
                  {"type": "set_profile", "capabilities": "x"}, {"type": "set_stats", "stats": 1},
                  {"type": "send", "id": "w1", "targetSpec": 4, "priority": "now", "nonce": "", "ciphertext": ""},
                  {"type": "send", "id": "w2", "targetSpec": "*", "priority": "now", "nonce": 1, "ciphertext": []},
                  {"type": "send", "id": "w3"}]
        for frame in frames:
            self.alice.send_json(frame)
        self.alice.fence()
        for ack in self.alice.socket.take(lambda f: f["type"] == "ack" and f.get("id") in ("w1", "w2", "w3")):
            self.assert_refused_ack(ack)
        self.assertEqual(self.alice.peer(self.alice_member.keys.public)["status"], "idle")
        self.assert_no_push(self.bob)

    def test_before_the_hello_too(self):
        client = self.open(self.alice_member)
        client.socket.send_text("not json")
        client.socket.send_text("[" * 1000)
        client.hello()
        self.assertEqual(client.socket.take(lambda f: f["type"] == "error"), [])


class ContentTest(ConnectedTest):
    def ask(self, request_id):
        return json.dumps({"type": "list_peers", "_reqId": request_id}).encode()

    def wait_reply(self, request_id):
        return self.alice.socket.wait_for(lambda f: f.get("_reqId") == request_id, what=request_id)

    def test_binary_message_is_read_as_text(self):
        self.alice.socket.send_binary(self.ask("bin"))
        self.assertEqual(self.wait_reply("bin")["type"], "peers_list")

    def test_white_space_and_escapes(self):
        self.alice.socket.send_text(' \n\t{ "type" : "list\\u005fpeers" , "_reqId" : "sp\\u00fc" } \r\n')
        self.assertEqual(self.wait_reply("spü")["type"], "peers_list")

    def test_fragments(self):
        data = self.ask("frag-ü-1")
        self.alice.socket.send_fragments([data[:5], data[5:9], b"", data[9:]])
        self.wait_reply("frag-ü-1")

    def test_fragments_inside_a_character(self):
        data = json.dumps({"type": "list_peers", "_reqId": "ü☕"}, ensure_ascii=False).encode()
        for cut in range(len(data) - 8, len(data)):
            self.alice.socket.send_fragments([data[:cut], data[cut:]])
            self.wait_reply("ü☕")

    def test_one_byte_per_fragment(self):
        self.alice.socket.send_fragments([bytes([byte]) for byte in self.ask("bytes")])
        self.wait_reply("bytes")

    def test_control_frames_between_fragments(self):
        data = self.ask("with-ping")
        self.alice.socket.send_fragments([data[:7], data[7:]], between=build_frame(Opcode.PING, b"mid"))
        self.wait_reply("with-ping")
        self.alice.socket.wait_pong(b"mid")

    def test_frame_that_arrives_byte_by_byte(self):
        for byte in build_frame(Opcode.TEXT, self.ask("slow")):
            self.alice.socket.send_raw(bytes([byte]))
        self.wait_reply("slow")

    def test_ping_is_answered_with_its_payload(self):
        for payload in (b"", b"x", bytes(range(125))):
            self.alice.socket.send_ping(payload)
            self.alice.socket.wait_pong(payload)

    def test_unsolicited_pong_is_ignored(self):
        self.alice.socket.send_raw(build_frame(Opcode.PONG, b"nobody asked"))
        self.assert_silent_and_open()

    def test_closing_handshake(self):
        self.alice.socket.send_close(1000, "bye")
        self.assertEqual(self.alice.socket.wait_closed()[0], 1000)
        self.alice.socket.wait_tcp_end()


class ProtocolViolationsTest(ConnectedTest):
    """RFC 6455 section 7.1.7: the connection fails with 1002, for invalid text with 1007. The broker lives on."""

    def fails_with(self, code, *frames):
        self.alice.socket.send_raw(b"".join(frames))
        self.assert_closed(code)

    def test_invalid_utf8(self):
        self.fails_with(1007, build_frame(Opcode.TEXT, b'{"type":"list_peers\xff"}'))

    def test_surrogate_in_utf8(self):
        self.fails_with(1007, build_frame(Opcode.TEXT, b'"\xed\xa0\x80"'))

    def test_truncated_character_at_the_end(self):
        self.fails_with(1007, build_frame(Opcode.TEXT, b'"\xe2\x98'))

    def test_unmasked_frame(self):
        self.fails_with(1002, raw_frame(0x81, b"{}", mask_bit=0))

    def test_reserved_opcode(self):
        self.fails_with(1002, raw_frame(0x83, b""))

    def test_reserved_bit(self):
        self.fails_with(1002, raw_frame(0xC1, b"{}"))

    def test_continuation_without_a_start(self):
        self.fails_with(1002, raw_frame(0x80, b"{}"))

    def test_new_message_inside_a_fragmented_one(self):
        self.fails_with(1002, raw_frame(0x01, b"{"), raw_frame(0x81, b"{}"))

    def test_long_control_frame(self):
        self.fails_with(1002, raw_frame(0x89, b"x" * 126))

    def test_fragmented_control_frame(self):
        self.fails_with(1002, raw_frame(0x09, b"x"))

    def test_invalid_utf8_in_a_binary_message(self):
        """Not a violation of RFC 6455: whatever the broker makes of it, it must go on."""
        self.alice.socket.send_binary(b'{"type":"list_peers\xff"}')
        self.assert_silent_and_open()


class SizeTest(ConnectedTest):
    def padded(self, size, request_id):
        frame = {"type": "list_peers", "_reqId": request_id, "padding": ""}
        frame["padding"] = "x" * (size - len(json.dumps(frame)))
        return json.dumps(frame)

    def test_the_largest_frame(self):
        self.alice.socket.send_text(self.padded(DEFAULT_MAX_MESSAGE_BYTES, "largest"))
        self.alice.socket.wait_for(lambda f: f.get("_reqId") == "largest", what="the reply to the largest frame")

    def test_oversize_frame(self):
        self.alice.socket.send_text(self.padded(4 * DEFAULT_MAX_MESSAGE_BYTES, "huge"))
        self.assert_closed(1009)

    def test_oversize_by_fragments(self):
        part = b"x" * 30000
        self.alice.socket.send_fragments([part] * 9)
        self.assert_closed(1009)

    def test_announced_size_is_enough_to_close(self):
        """A header that announces 2^40 bytes must not make the broker wait for them."""
        self.alice.socket.send_raw(bytes([0x81, 0x80 | 127]) + (1 << 40).to_bytes(8, "big") + b"\0\0\0\0")
        self.assert_closed(1009)


class SmallFramesTest(BrokerTest):
    options = {"max_message_bytes": 4096}

    def test_configured_limit(self):
        client = self.connect(self.member("alice"))
        client.send_json({"type": "x", "padding": "x" * 3000})
        client.fence()
        client.send_json({"type": "x", "padding": "x" * 40000})
        self.assertEqual(client.socket.wait_closed()[0], 1009)


class SequenceTest(ConnectedTest):
    """Messages of one connection are processed one after the other, in the order of arrival."""

    def frames(self, *messages):
        return b"".join(build_frame(Opcode.TEXT, json.dumps(message).encode()) for message in messages)

    def test_replies_keep_the_order(self):
        ids = [f"q{number}" for number in range(40)]
        kinds = ({"type": "list_peers"}, {"type": "message_status", "messageId": "x"})
        requests = [dict(kinds[index % 2], _reqId=name) for index, name in enumerate(ids)]
        self.alice.socket.send_raw(self.frames(*requests))
        self.alice.socket.wait_for(lambda f: f.get("_reqId") == ids[-1], what="the last reply")
        self.assertEqual([frame["_reqId"] for frame in self.alice.socket.take(lambda f: "_reqId" in f)], ids[:-1])

    def test_a_request_sees_the_effects_of_the_earlier_ones(self):
        messages = []
        for number in range(10):
            messages += [{"type": "set_summary", "summary": f"step {number}"},
                         {"type": "join_group", "name": f"g{number}"},
                         {"type": "list_peers", "_reqId": f"r{number}"}]
        self.alice.socket.send_raw(self.frames(*messages))
        for number in range(10):
            peers = self.alice.socket.wait_for(lambda f, wanted=f"r{number}": f.get("_reqId") == wanted)["peers"]
            own = next(row for row in peers if row["pubkey"] == self.alice_member.keys.public)
            self.assertEqual(own["summary"], f"step {number}")
            self.assertEqual([group["name"] for group in own["groups"]], [f"g{index}" for index in range(number + 1)])

    def test_pipelined_hello(self):
        client = self.open(self.alice_member)
        client.socket.send_raw(self.frames(hello_frame(self.alice_member), {"type": "set_summary", "summary": "early"},
                                           {"type": "list_peers", "_reqId": "piped"}))
        client.socket.wait_for(lambda f: f["type"] == "hello_ack")
        peers = client.socket.wait_for(lambda f: f.get("_reqId") == "piped")["peers"]
        self.assertIn("early", [row["summary"] for row in peers])
        self.assertEqual(client.socket.take(lambda f: f["type"] == "error"), [])

    def test_frames_before_a_close_frame_are_executed(self):
        member = self.member("carol")
        client = self.connect(member)
        messages = [client.message_frame(self.bob.member.keys.public, f"last words {number}") for number in range(3)]
        messages.append({"type": "set_summary", "summary": "gone"})
        client.socket.send_raw(self.frames(*messages) + client.socket.close_payload())
        for number in range(3):
            self.bob.wait_push(f"last words {number}")
        self.eventually(lambda: self.bob.peer(member.keys.public)["summary"] == "gone",
                        what="the summary set before the close")

    def test_hello_send_and_close_in_one_segment(self):
        member = self.member("dave")
        client = self.open(member)
        message = client.message_frame(self.bob.member.keys.public, "hit and run")
        client.socket.send_raw(self.frames(hello_frame(member), message) + client.socket.close_payload())
        self.bob.wait_push("hit and run")

    def test_frames_after_a_close_frame_are_not_executed(self):
        message = self.alice.message_frame(self.bob.member.keys.public, "from the grave")
        self.alice.socket.send_raw(self.alice.socket.close_payload() + self.frames(message))
        self.alice.socket.wait_closed()
        self.assert_no_push(self.bob)


class AuditFloodTest(ConnectedTest):
    def test_one_reading_of_the_audit_log_at_a_time(self):
        """Or a member who asks again and again would keep the store's readers from everybody's messages."""
        count = 20
        frames = [build_frame(Opcode.TEXT, json.dumps({"type": "audit_verify", "_reqId": f"v{i}"}).encode("utf-8"))
                  for i in range(count)]
        self.alice.socket.send_raw(b"".join(frames))
        replies = [self.alice.socket.wait_for(lambda f, i=i: f.get("_reqId") == f"v{i}") for i in range(count)]
        refused = [reply for reply in replies if reply["type"] == "error"]
        self.assertEqual(replies[0]["type"], "audit_verify_result")
        self.assertTrue(refused, "all were read at once")
        self.assertEqual({reply["code"] for reply in refused}, {"audit_verify_error"})
        self.assertEqual(self.alice.request("audit_verify")["type"], "audit_verify_result")


if __name__ == "__main__":
    unittest.main()
