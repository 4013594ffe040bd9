"""A passphrase as the only custodian, and as break-glass beside a token."""

import fcntl
import os
import pty
import subprocess
import termios

from tests.e2e.harness import BIN, Node, NodeTest, wait_for

PASSPHRASE = "correct horse battery staple 7"
PROMPT = '''
[[custodian]]
kind = "passphrase"
name = "safe"
source = "prompt"
'''


class PassphraseTest(NodeTest):
    def node(self, **kwargs):
        # The table of a custodian must follow the top-level keys, so it goes last.
        node = Node(**kwargs)
        self.addCleanup(node.__exit__, None, None, None)
        with open(node.config, "a", encoding="utf-8") as config:
            config.write(PROMPT)
        return node

    def unlock(self, node, passphrase=PASSPHRASE):
        return node.cli("custodians", "unlock", "passphrase:safe", stdin=passphrase)

    def wait_status(self, node, status):
        wait_for(lambda: node.status("S3")["status"] == status, 30, f"S3 to be {status}")

    def test_the_only_custodian(self):
        node = self.node(custodians=())
        node.start(unsealed=False)
        self.assertEqual(self.unlock(node).code, 0)
        node.create_domains(["S3"])
        node.ok("entries", "put", "--domain", "S3", "a", stdin="kept")
        node.stop()

        node.start(unsealed=False)
        self.wait_status(node, "LOCKED")
        wait_for(lambda: "keyward custodians unlock passphrase:safe" in node.status("S3")["error"], 30, "what to do")
        locked = node.cli("entries", "get", "--domain", "S3", "a")
        self.assertEqual((locked.code, locked.raw), (6, b""), locked)

        wrong = self.unlock(node, "correct horse battery staple 8")
        self.assertNotEqual(wrong.code, 0, wrong)
        self.assertIn("passphrase", wrong.err)
        self.assertNotIn("staple", wrong.err + wrong.out)
        self.assertEqual(node.status("S3")["status"], "LOCKED")

        # One newline at the end is no part of it: files and pipes end so.
        self.assertEqual(self.unlock(node, PASSPHRASE + "\n").code, 0)
        self.wait_status(node, "ACTIVE")
        self.assertEqual(node.ok("entries", "get", "--domain", "S3", "a").raw, b"kept")

        node.rekey_and_wait("S3")
        self.assertEqual(node.ok("entries", "get", "--domain", "S3", "a").raw, b"kept")
        history = node.ok("cluster", "rekey", "history", "--json").json()
        self.assertIn("passphrase:safe", str(history))
        self.assertNotIn("staple", node.log.read_text())

    def test_typed_at_a_terminal_it_is_not_shown(self):
        node = self.node(custodians=())
        node.start(unsealed=False)
        ours, theirs = pty.openpty()
        child = subprocess.Popen([BIN / "keyward", "--socket", node.socket, "custodians", "unlock", "passphrase:safe"],
                                 stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True,
                                 preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0))
        os.close(theirs)
        shown = b""
        while b"Passphrase: " not in shown:
            shown += os.read(ours, 1024)
        os.write(ours, PASSPHRASE.encode() + b"\n")
        while True:
            try:
                shown += os.read(ours, 1024)
            except OSError:  # the terminal is gone with its last user
                break
        self.assertEqual(child.wait(30), 0, shown)
        self.assertNotIn(b"staple", shown)
        os.close(ours)

    def test_break_glass_when_the_token_is_lost(self):
        node = self.node(custodians=("hsm",))
        node.start(unsealed=False)
        self.assertEqual(self.unlock(node).code, 0)
        node.create_domains(["S3"])
        node.ok("entries", "put", "--domain", "S3", "a", stdin="kept")
        node.stop()
        node.hsm.take_away()
        node.start(unsealed=False)
        self.wait_status(node, "LOCKED")
        self.assertEqual(self.unlock(node).code, 0)
        wait_for(lambda: node.cli("entries", "get", "--domain", "S3", "a").raw == b"kept", 30, "the entry")
