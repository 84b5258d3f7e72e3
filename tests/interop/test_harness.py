"""The proofs of silence of the harness must be able to fail."""

import unittest

from harness import BrokerTest


class SilenceTest(BrokerTest):
    """What was sent before the question is always heard, however soon after it the question comes."""

    ROUNDS = 20

    def setUp(self):
        super().setUp()
        self.alice, self.bob = self.connect(self.member("alice")), self.connect(self.member("bob"))

    def test_a_push_on_its_way_is_heard(self):
        for target in (self.bob.routing_key, "*"):
            for priority in ("now", "next", "low"):
                self.alice.send(target, "sent before", priority=priority)
                with self.assertRaisesRegex(AssertionError, "unexpected push: .*sent before"):
                    self.assert_no_push(self.bob)
        self.assert_no_push(self.bob)

    def test_an_event_on_its_way_is_heard(self):
        for number in range(self.ROUNDS):
            self.connect(self.member(f"guest {number}"))
            with self.assertRaisesRegex(AssertionError, f"guest {number}"):
                self.assert_no_event(self.bob)
        self.assert_no_event(self.bob)


if __name__ == "__main__":
    unittest.main()
