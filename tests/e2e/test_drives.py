"""Self-encrypting drives through the daemon and the command, on emulated drives."""

import json
import random
import subprocess
import time

from tests.e2e.harness import BIN, Node, NodeTest, wait_for


class DriveNode(Node):
    """A node with emulated drives of its own. A drive has power while keywardd runs."""

    def __init__(self, drives=2, settings="", **kwargs):
        self.bay = None
        self.drive_settings = settings
        super().__init__(custodians=("hsm",), **kwargs)
        self.bay = self.directory / "bay"
        self.bay.mkdir()
        self.labels = {}
        for number in range(1, drives + 1):
            self.add_drive(f"D{number:03}")
        self.write_config()

    def write_config(self):
        super().write_config()
        if self.bay:
            with open(self.config, "a", encoding="utf-8") as config:
                config.write(f'[drives]\nemulated = "{self.bay}"\n{self.drive_settings}')

    def add_drive(self, serial, *options):
        number = int(serial[1:])
        made = subprocess.run([BIN / "keyward", "emulator", "create", self.bay / f"{serial}.drive", "--serial", serial,
                               "--wwn", f"5000c500{number:08x}", "--size", "16M", "--json", *options],
                              capture_output=True, check=True)
        self.labels[serial] = json.loads(made.stdout)

    def start(self, **kwargs):
        super().start(**kwargs)
        wait_for(lambda: any(row["domain"] == "SED" and row["status"] == "ACTIVE" for row in
                             self.ok("cluster", "domains", "list", "--json").json()), 60, "the domain SED")

    def drives(self):
        return {row["serial"]: row for row in self.ok("sed", "drives", "list", "--json").json()}

    def run_drives(self, verb, *names, code=0):
        done = self.cli("sed", "drives", verb, *(names or ("--all",)), "--json")
        if done.code != code:
            raise AssertionError(f"drives {verb}: {done}")
        return {row["serial"]: row for row in done.json()}

    def seen_without_daemon(self):
        """What the drives say with nobody's PIN, once the daemon has ended."""
        done = subprocess.run([BIN / "keyward", "sed", "drives", "list", "--direct", "--emulated", self.bay, "--ledger",
                               self.directory / "ledger", "--json"], capture_output=True, check=True)
        return {row["serial"]: row for row in json.loads(done.stdout)}


class DrivesTest(NodeTest):
    def node(self, *args, **kwargs):
        node = DriveNode(*args, **kwargs)
        self.addCleanup(node.__exit__, None, None, None)
        node.start()
        return node

    def wait_all(self, node, **expected):
        """The socket answers before the drives are unlocked; READY comes after that."""
        wait_for(lambda: all(row[field] == value for row in node.drives().values()
                             for field, value in expected.items()), 30, f"the drives to be {expected}")

    def assert_all(self, node, **expected):
        rows = node.drives()
        self.assertTrue(rows)
        for row in rows.values():
            for field, value in expected.items():
                self.assertEqual(row[field], value, row)

    def test_provision_power_cycle_unlock_rotate_lock(self):
        node = self.node()
        self.wait_all(node, owner="UNOWNED", pins="NONE")
        node.run_drives("provision")
        self.assert_all(node, owner="OWNED", pins="STORED", access="UNLOCKED")
        node.stop()
        for row in node.seen_without_daemon().values():
            self.assertEqual(row["access"], "LOCKED", row)
        # Before READY, with nobody's help.
        node.start()
        self.wait_all(node, owner="OWNED", access="UNLOCKED")
        self.assertRegex(node.log.read_text(), "2 drives are ready, 0 are not")
        node.run_drives("rotate")
        node.run_drives("verify")
        self.assert_all(node, pins="STORED")
        node.run_drives("lock", "D001")
        self.assertEqual({s: r["access"] for s, r in node.drives().items()}, {"D001": "LOCKED", "D002": "UNLOCKED"})
        node.run_drives("unlock", "5000c50000000001")
        self.assert_all(node, access="UNLOCKED")

    def test_a_rekey_of_the_domain_changes_no_drive(self):
        node = self.node()
        node.run_drives("provision")
        row = node.ok("sed", "status").out.splitlines()
        self.assertEqual(row[0].split("  ")[0].strip(), "Node")
        before = node.keys("SED")[0]["id"]
        node.ok("sed", "rekey", "start", "--yes")
        wait_for(lambda: [key["id"] for key in node.keys("SED")] not in ([], [before]) and len(node.keys("SED")) == 1, 60,
                 "the rekey of SED")
        node.run_drives("verify")
        node.ok("sed", "rekey", "modify", "--key-rotation", "2M")
        self.assertIn("Key Rotation: 2M", node.ok("sed", "rekey", "view").out)
        self.assertEqual(len(node.ok("sed", "rekey", "history", "--json").json()), 1)

    def test_kill_9_in_the_middle_of_rotations(self):
        node = self.node(drives=4)
        node.run_drives("provision")
        random.seed(4711)
        for _ in range(6):
            client = subprocess.Popen([BIN / "keyward", "--socket", node.socket, "sed", "drives", "rotate", "--all"],
                                      stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            time.sleep(random.uniform(0.0, 0.15))
            node.kill()
            client.wait()
            node.start()
            self.wait_all(node, owner="OWNED", access="UNLOCKED", pins="STORED")
            node.run_drives("verify")

    def test_erase_ends_with_a_certificate(self):
        node = self.node()
        node.run_drives("provision")
        self.assertEqual(node.cli("sed", "drives", "erase", "D001", stdin="no\n").code, 1)
        self.assertEqual(node.ok("sed", "drives", "certificates", "--json").json(), [])
        node.ok("sed", "drives", "erase", "D001", "--yes")
        certificates = node.ok("sed", "drives", "certificates", "--json").json()
        self.assertEqual([c["serial"] for c in certificates], ["D001"])
        self.assertIn("Purge", certificates[0]["nist"])
        self.assertEqual(len(certificates[0]["signature"]), 128)
        page = node.ok("sed", "drives", "certificates", "--html", certificates[0]["id"]).out
        self.assertIn("<html", page)
        self.assertIn(certificates[0]["signature"], page.replace("\n", "").replace(" ", ""))
        self.assertEqual(node.cli("sed", "drives", "certificates", "--html", "../x").code, 4)
        self.assert_all(node, owner="OWNED", access="UNLOCKED")
        node.ok("sed", "drives", "revert", "D002", "--yes")
        rows = node.drives()
        self.assertEqual((rows["D002"]["owner"], rows["D002"]["pins"]), ("UNOWNED", "NONE"))
        node.run_drives("provision", "D002")

    def test_psid(self):
        node = self.node()
        psid = node.labels["D001"]["psid"]
        node.run_drives("provision")
        node.ok("sed", "drives", "psid", "record", "D001", stdin=psid + "\n")
        self.assertTrue(node.drives()["D001"]["psid_recorded"])
        self.assertEqual(node.ok("sed", "drives", "psid", "reveal", "D001").out.strip(), psid)
        revealed = [row for row in node.ok("audit", "list", "--json").json() if row["action"] == "drive.psid.reveal"]
        self.assertEqual([row["subject"] for row in revealed], ["drive 5000c50000000001"])
        wrong = node.cli("sed", "drives", "psid-revert", "D002", "--yes", stdin="wrong-" + psid)
        self.assertNotEqual(wrong.code, 0)
        self.assertEqual(node.drives()["D002"]["owner"], "OWNED")
        dashed = "-".join([psid[i:i + 4] for i in range(0, len(psid), 4)]).lower()
        node.ok("sed", "drives", "psid-revert", "D001", "--yes", stdin=dashed)
        self.assertEqual(node.drives()["D001"]["owner"], "UNOWNED")
        log = node.log.read_text()
        for secret in (psid, dashed):
            self.assertNotIn(secret, log)
            for file in node.state.rglob("*"):
                if file.is_file():
                    self.assertNotIn(secret.encode(), file.read_bytes(), file)

    def test_to_another_node(self):
        first, second = self.node(), self.node(drives=0)
        first.run_drives("provision")
        bundle = first.directory / "bundle"
        first.ok("sed", "drives", "release", "D001", "-o", bundle, "--yes", stdin="correct horse battery")
        self.assertEqual(first.drives()["D001"]["pins"], "NONE")
        first.stop()
        for suffix in (".drive", ".drive.state"):
            (first.bay / f"D001{suffix}").rename(second.bay / f"D001{suffix}")
        wrong = second.cli("sed", "drives", "adopt", bundle, stdin="another passphrase")
        self.assertNotEqual(wrong.code, 0)
        second.ok("sed", "drives", "adopt", bundle, stdin="correct horse battery")
        wait_for(lambda: second.drives().get("D001", {}).get("owner") == "OWNED", 30, "the adopted drive")
        second.run_drives("verify", "D001")

    def test_a_foreign_drive_is_not_touched(self):
        first, second = self.node(drives=1), self.node(drives=1)
        first.run_drives("provision")
        first.stop()
        for suffix in (".drive", ".drive.state"):
            (first.bay / f"D001{suffix}").rename(second.bay / f"D009{suffix}")
        (second.bay / "D001.drive").unlink()
        (second.bay / "D001.drive.state").unlink()
        wait_for(lambda: second.drives().get("D001", {}).get("owner") == "FOREIGN", 30, "the foreign drive")
        for verb in ("provision", "unlock", "rotate"):
            done = second.cli("sed", "drives", verb, "D001")
            self.assertEqual(done.code, 5, done)
        self.assertTrue([event for event in second.events() if "oreign" in event["name"]])

    def test_hot_plug(self):
        node = self.node(drives=1, settings="provision_new = true\n")
        node.run_drives("provision")
        node.add_drive("D002")
        wait_for(lambda: node.drives().get("D002", {}).get("pins") == "STORED", 30, "the new drive to be provisioned")
        away = node.directory / "away"
        away.mkdir()
        for suffix in (".drive", ".drive.state"):
            (node.bay / f"D002{suffix}").rename(away / f"D002{suffix}")
        wait_for(lambda: node.drives()["D002"]["node"] == "", 30, "the drive to be gone")
        for suffix in (".drive.state", ".drive"):
            (away / f"D002{suffix}").rename(node.bay / f"D002{suffix}")
        wait_for(lambda: node.drives()["D002"]["access"] == "UNLOCKED" and node.drives()["D002"]["node"], 30,
                 "the drive that is back to be unlocked")

    def test_bad_input(self):
        node = self.node()
        self.assertNotEqual(node.cli("sed", "drives", "unlock").code, 0)
        self.assertEqual(node.cli("sed", "drives", "unlock", "NOSUCH").code, 4)
        self.assertEqual(node.cli("sed", "drives", "view", "../etc").code, 4)
        self.assertNotEqual(node.cli("sed", "drives", "erase", "--yes").code, 0)
        refused = node.cli("sed", "drives", "unlock", "D001")
        self.assertEqual(refused.code, 5, refused)  # Not ours yet.

    def test_without_a_drives_section(self):
        with Node(custodians=("hsm",)) as node:
            node.start()
            self.assertEqual(node.cli("sed", "drives", "list").code, 6)
            self.assertIn("OFFLINE", node.ok("sed", "status").out)


class DirectTest(NodeTest):
    """Without the daemon: what an initramfs or a bench does."""

    def test_wrong_pin_text_is_refused_before_anything_is_sent(self):
        with DriveNode(drives=1) as node:
            for text in ("", "abc", "z" * 64):
                done = subprocess.run([BIN / "keyward", "sed", "drives", "unlock", "--all", "--direct", "--emulated", node.bay,
                                       "--ledger", node.directory / "ledger"], input=text.encode(), capture_output=True)
                self.assertNotEqual(done.returncode, 0)
                self.assertNotIn(b"abc", done.stderr)

    def test_psid_revert(self):
        with DriveNode(drives=1) as node:
            node.start()
            node.run_drives("provision")
            node.stop()
            done = subprocess.run([BIN / "keyward", "sed", "drives", "psid-revert", "D001", "--yes", "--direct", "--emulated",
                                   node.bay], input=node.labels["D001"]["psid"].encode(), capture_output=True)
            self.assertEqual(done.returncode, 0, done)
            self.assertEqual(node.seen_without_daemon()["D001"]["owner"], "UNOWNED")
