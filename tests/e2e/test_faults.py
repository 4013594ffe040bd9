"""Hardware that goes away, hangs or dies in the middle, and a full disk: entries are still read and written
as far as they can be, the status says what to do, and the rekey goes on when the cause is mended."""

import contextlib
import os
import pathlib
import signal
import sqlite3
import subprocess
import tempfile
import unittest

from tests.e2e.harness import Node, NodeTest, finish_load, wait_for

ENTRIES = 30_000


def child_named(pid, name):
    """The daemon's own child of that name."""
    for task in pathlib.Path(f"/proc/{pid}/task").iterdir():
        for child in (task / "children").read_text().split():
            if pathlib.Path(f"/proc/{child}/comm").read_text().strip() == name:
                return int(child)
    return None


class FaultTest(NodeTest):
    def loaded_node(self, **kwargs):
        node = Node(**kwargs)
        self.addCleanup(node.__exit__, None, None, None)
        node.start()
        node.create_domains(["S3"])
        node.load("fill", "--entries", ENTRIES, "--size", 256)
        return node

    def clients(self, node):
        return node.load("mixed", "--entries", ENTRIES, "--size", 256, "--clients", 4, "--seconds", 600, "--rate",
                         500, background=True)

    def expect_failed(self, node, *words, seconds=60):
        wait_for(lambda: node.status("S3")["status"] == "FAILED", seconds, "S3 to be FAILED")
        row = node.status("S3")
        for word in words:
            self.assertIn(word, row["error"])
        self.assertRegex(row["error"], r"\d\d:\d\d", "the next try's time")
        events = node.events("KeyManagerRekeyFailed")
        self.assertTrue(any(event["subject"] == "S3" and event["open"] for event in events), events)

    def expect_mended(self, node):
        node.ok("cluster", "rekey", "retry", "--domain", "S3")
        node.wait_rekeyed("S3")
        self.assertFalse(any(event["open"] for event in node.events("KeyManagerRekeyFailed")))

    def test_the_token_is_gone_at_prepare(self):
        node = self.loaded_node()
        clients = self.clients(node)
        node.hsm.take_away()
        node.ok("cluster", "rekey", "start", "--domain", "S3", "--yes")
        self.expect_failed(node, "pkcs11:hsm1")
        node.hsm.bring_back()
        self.expect_mended(node)
        self.assert_no_failures(finish_load(clients))

    def test_the_token_disappears_in_the_middle(self):
        node = self.loaded_node()
        clients = self.clients(node)
        node.ok("cluster", "rekey", "modify", "--rate-limit", "10000")
        node.ok("cluster", "rekey", "start", "--domain", "S3", "--yes")
        # Puts count as done as well; the rate is that of the batches. Until the first one is durable the hardware
        # is still told of the new key.
        wait_for(lambda: node.progress("S3")["phase"] == "reencrypt" and node.progress("S3")["entries_per_second"], 30,
                 "the re-encryption")
        node.hsm.take_away()
        # The hardware is asked again only when the old key is to be destroyed: that has to wait.
        wait_for(lambda: node.progress("S3")["phase"] == "destroy" and node.progress("S3")["error"], 60,
                 "the destruction to fail")
        self.assertIn("pkcs11:hsm1", node.progress("S3")["error"])
        self.assertEqual(len(node.keys("S3")), 2)
        node.hsm.bring_back()
        self.expect_mended(node)
        self.assert_no_failures(finish_load(clients))

    def test_the_tpm_stops_answering(self):
        node = self.loaded_node()
        clients = self.clients(node)
        node.tpm.freeze()
        node.ok("cluster", "rekey", "start", "--domain", "S3", "--yes")
        self.expect_failed(node, "tpm2:board", seconds=90)
        node.tpm.thaw()
        self.expect_mended(node)
        self.assert_no_failures(finish_load(clients))

    def test_the_helper_is_killed_and_the_rekey_goes_on_by_itself(self):
        node = self.loaded_node()
        clients = self.clients(node)
        helper = child_named(node.process.pid, "keyward-p11")
        self.assertIsNotNone(helper)
        os.kill(helper, signal.SIGKILL)
        node.rekey_and_wait("S3")
        self.assertNotEqual(child_named(node.process.pid, "keyward-p11"), helper)
        self.assert_no_failures(finish_load(clients))

    def test_the_helper_hangs(self):
        node = self.loaded_node()
        clients = self.clients(node)
        helper = child_named(node.process.pid, "keyward-p11")
        os.kill(helper, signal.SIGSTOP)
        node.ok("cluster", "rekey", "start", "--domain", "S3", "--yes")

        def over():
            return len(node.keys("S3")) == 1 and node.status("S3")["status"] == "ACTIVE" \
                and not node.progress("S3")["phase"] or node.status("S3")["status"] == "FAILED"
        wait_for(over, 90, "the deadline of the helper")
        if node.status("S3")["status"] == "FAILED":
            self.expect_failed(node, "pkcs11:hsm1")
            self.expect_mended(node)
        self.assertFalse(pathlib.Path(f"/proc/{helper}").exists(), "the hanging helper was ended")
        self.assert_no_failures(finish_load(clients))

    @unittest.skipUnless(os.geteuid() == 0, "a small file system of its own needs root")
    def test_the_disk_is_full(self):
        directory = pathlib.Path(tempfile.mkdtemp(prefix="keyward-full-"))
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64m", "keyward-test", directory], check=True)
        self.addCleanup(lambda: (subprocess.run(["umount", directory], check=True), directory.rmdir()))
        # Tokens and TPM stay on another disk: it is Keyward's own that is full.
        node = Node()
        self.addCleanup(node.__exit__, None, None, None)
        node.state = directory / "state"
        node.write_config()
        node.start()
        node.create_domains(["S3"])
        node.load("fill", "--entries", ENTRIES, "--size", 256)
        filler = directory / "filler"
        with open(filler, "wb") as file:
            try:
                while True:
                    file.write(b"\0" * 65536)
                    file.flush()
            except OSError:
                pass
        node.cli("cluster", "rekey", "start", "--domain", "S3", "--yes")
        # Some puts may still fit into what the WAL has already; none is lost, and the rest is refused.
        written = []
        for i in range(64):
            secret = os.urandom(1 << 20)
            result = node.cli("entries", "put", "--domain", "S3", f"more-{i}", stdin=secret)
            if result.code:
                break
            written.append(secret)
        self.assertEqual(result.code, 1, result)
        self.assertRegex(result.err.lower(), "full|space")
        for i, secret in enumerate(written):
            self.assertEqual(node.ok("entries", "get", "--domain", "S3", f"more-{i}").raw, secret)
        self.assertEqual(node.load("verify", "--entries", 2000, "--size", 256)["failed_reads"], 0)
        filler.unlink()

        def mended():
            node.cli("cluster", "rekey", "start", "--domain", "S3", "--yes")
            node.cli("cluster", "rekey", "retry", "--domain", "S3")
            return node.cli("entries", "put", "--domain", "S3", "one-more", stdin=b"x").code == 0
        wait_for(mended, 60, "puts to work again when there is space again")
        node.wait_rekeyed("S3")
        self.assert_no_failures(node.load("verify", "--entries", ENTRIES, "--size", 256))


class CustodianTest(NodeTest):
    def test_without_goes_on_and_the_copy_is_added_when_it_returns(self):
        with Node() as node:
            node.start()
            node.create_domains(["S3"])
            node.ok("entries", "put", "--domain", "S3", "a", stdin="1")
            node.hsm.take_away()
            node.ok("cluster", "rekey", "start", "--domain", "S3", "--yes")
            wait_for(lambda: node.status("S3")["status"] == "FAILED", 60, "FAILED")
            self.assertIn("pkcs11:hsm1", node.status("S3")["error"])
            node.ok("cluster", "rekey", "start", "--domain", "S3", "--without", "pkcs11:hsm1", "--yes")
            # The new key is in use; the old one waits for the token that cannot destroy it yet.
            wait_for(lambda: "1 of 2" in (node.progress("S3") or {}).get("old_key", ""), 60, "1 of 2 destroyed")
            self.assertEqual(node.status("S3")["status"], "ACTIVE", node.status("S3"))
            current = next(key for key in node.keys("S3") if key["state"] == "current")
            self.assertEqual(current["copies"], ["tpm2:board"])
            self.assertEqual(node.ok("entries", "get", "--domain", "S3", "a").raw, b"1")
            node.hsm.bring_back()
            node.ok("custodians", "test", "pkcs11:hsm1")
            node.cli("cluster", "rekey", "retry", "--domain", "S3")
            node.wait_rekeyed("S3")
            wait_for(lambda: sorted(node.keys("S3")[0]["copies"]) == ["pkcs11:hsm1", "tpm2:board"], 60,
                     "the missing copy")
            self.assertIn(node.keys("S3")[0]["id"], "".join(node.hsm.objects()))

    def test_down_at_destroy_is_active_with_one_of_two_destroyed(self):
        with Node() as node:
            node.start()
            node.create_domains(["S3"])
            node.load("fill", "--entries", 20_000, "--size", 64)
            old = node.keys("S3")[0]["id"]
            node.ok("cluster", "rekey", "modify", "--rate-limit", "10000")
            node.ok("cluster", "rekey", "start", "--domain", "S3", "--yes")
            wait_for(lambda: node.progress("S3")["phase"] == "reencrypt" and node.progress("S3")["entries_done"], 30,
                     "the re-encryption")
            # The TPM's death must not keep the token from destroying its object … but only a new key
            # whose copies all open may cost the old one its life.
            node.tpm.freeze()
            wait_for(lambda: node.progress("S3")["phase"] == "destroy" and node.progress("S3")["error"], 120,
                     "the destruction to fail")
            row = node.status("S3")
            self.assertEqual(row["status"], "ACTIVE", row)
            self.assertRegex(node.progress("S3")["old_key"], r"[01] of 2 destroyed")
            self.assertIn("tpm2:board", node.progress("S3")["error"])
            node.tpm.thaw()
            node.ok("cluster", "rekey", "retry", "--domain", "S3")
            node.wait_rekeyed("S3")
            self.assertNotIn(old, "".join(node.hsm.objects()))

    def test_remove_and_add_online(self):
        with Node() as node:
            node.start()
            node.create_domains(["S3", "FTP"])
            node.ok("entries", "put", "--domain", "S3", "a", stdin="1")
            before = node.keys("S3")[0]["id"]
            self.assertEqual(node.cli("custodians", "remove", "tpm2:board", stdin="no\n").code, 1)
            node.ok("custodians", "remove", "tpm2:board", "--yes")
            # An old file and the TPM would still open the current key: so it is replaced.
            wait_for(lambda: node.keys("S3")[0]["id"] != before and node.keys("S3")[0]["copies"] == ["pkcs11:hsm1"]
                     and len(node.keys("S3")) == 1, 60, "the removal and its rekey")
            refused = node.cli("custodians", "remove", "pkcs11:hsm1", "--yes")
            self.assertNotEqual(refused.code, 0, "the last custodian must not go")
            node.ok("custodians", "add", "tpm2:board")
            wait_for(lambda: sorted(node.keys("S3")[0]["copies"]) == ["pkcs11:hsm1", "tpm2:board"], 60, "the copy")
            self.assertEqual(node.ok("entries", "get", "--domain", "S3", "a").raw, b"1")
            rows = {row["id"]: row for row in node.ok("custodians", "list", "--json").json()}
            self.assertTrue(rows["tpm2:board"]["destroys"])
            self.assertTrue(rows["tpm2:board"]["healthy"], rows)

    def test_removal_is_refused_while_a_keystore_is_locked(self):
        with Node() as node:
            node.start()
            node.create_domains(["S3", "FTP"])
            node.stop()
            # FTP's copies do not open any more: that domain is LOCKED at the next start.
            tamper(node, "FTP", "UPDATE copies SET blob = zeroblob(length(blob))")
            node.start(unsealed=False)
            wait_for(lambda: node.status("S3")["status"] == "ACTIVE", 30, "S3")
            wait_for(lambda: node.status("FTP")["error"], 30, "FTP's error")
            self.assertEqual(node.status("FTP")["status"], "LOCKED")
            refused = node.cli("custodians", "remove", "tpm2:board", "--yes")
            self.assertNotEqual(refused.code, 0)
            self.assertIn("FTP", refused.err + refused.out)
            self.assertEqual(sorted(node.keys("S3")[0]["copies"]), ["pkcs11:hsm1", "tpm2:board"])


def tamper(node, domain, *statements):
    """Changes a keystore's file as a thief would. The daemon is stopped."""
    with contextlib.closing(sqlite3.connect(node.state / "keystores" / f"{domain}.db")) as database, database:
        for statement in statements:
            database.execute(statement)
