"""keyward emulator serve: what it prints, whom it lets in, how it ends."""

import json
import pathlib
import re
import signal
import socket
import struct
import subprocess
import tempfile
import unittest

from tests.e2e.harness import BIN, Node, wait_for

IC_REQ = struct.pack("<BBBBI", 0, 0, 128, 0, 128) + bytes(120)


class EmulatorServeTest(unittest.TestCase):
    def setUp(self):
        directory = tempfile.TemporaryDirectory(prefix="keyward-serve-")
        self.addCleanup(directory.cleanup)
        self.directory = pathlib.Path(directory.name)

    def command(self, *args):
        return [BIN / "keyward", "emulator", "serve", *args]

    def run_serve(self, *args):
        return subprocess.run(self.command(*args), capture_output=True, text=True, timeout=30)

    def start(self, *drives):
        """The process, its drives' names, and its port."""
        arguments = [word for drive in drives for word in ("--drive", self.directory / drive)]
        child = subprocess.Popen(self.command("--nvme-tcp", "--listen", "127.0.0.1:0", "--create", "8", *arguments),
                                 stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        self.addCleanup(self.end, child)
        lines = [child.stdout.readline() for _ in range(len(drives) + 1)]
        ready = re.fullmatch(r"ready: NVMe/TCP on 127\.0\.0\.1 port (\d+)\n", lines[-1])
        self.assertTrue(ready, lines)
        return child, [line.split()[0] for line in lines[:-1]], int(ready[1])

    def end(self, child):
        child.kill()
        child.communicate()

    def greet(self, port):
        connection = socket.create_connection(("127.0.0.1", port), timeout=10)
        self.addCleanup(connection.close)
        connection.sendall(IC_REQ)
        answer = connection.recv(128, socket.MSG_WAITALL)
        self.assertEqual((len(answer), answer[0]), (128, 1))
        return connection

    def test_over_a_unix_socket_drives_keep_their_power_without_the_daemon(self):
        path = self.directory / "drives.sock"
        child = subprocess.Popen(self.command("--socket", path, "--create", "8", "--drive", self.directory / "a.drive"),
                                 stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        self.addCleanup(self.end, child)
        self.assertEqual(child.stdout.readline(), f"ready: 1 drives on {path}\n")
        with Node(custodians=("hsm",)) as node:
            with open(node.config, "a", encoding="utf-8") as config:
                config.write(f'[drives]\nemulated = "{path}"\n')
            node.start()
            wait_for(lambda: [row["owner"] for row in node.ok("sed", "drives", "list", "--json").json()] == ["UNOWNED"] and
                     any(row["domain"] == "SED" for row in node.ok("cluster", "domains", "list", "--json").json()), 30,
                     "the drive, and the domain SED")
            node.ok("sed", "drives", "provision", "--all")
            node.stop()
            seen = subprocess.run([BIN / "keyward", "sed", "drives", "list", "--direct", "--emulated", path, "--ledger",
                                   self.directory / "ledger", "--json"], capture_output=True, check=True)
            self.assertEqual([row["access"] for row in json.loads(seen.stdout)], ["UNLOCKED"])
        child.send_signal(signal.SIGTERM)
        self.assertEqual(child.wait(10), 0)

    def test_one_way_to_serve_has_to_be_chosen(self):
        for ways in ((), ("--nvme-tcp", "--socket", self.directory / "s")):
            self.assertNotEqual(self.run_serve(*ways, "--create", "8", "--drive", self.directory / "a").returncode, 0)

    def test_serves_until_it_is_told_to_stop(self):
        for number in (signal.SIGTERM, signal.SIGINT):
            child, _, port = self.start(f"drive-{number}")
            connection = self.greet(port)
            child.send_signal(number)
            self.assertEqual(child.wait(10), 0)
            self.assertEqual(connection.recv(1), b"")
            self.assertEqual(child.stderr.read(), "")
            with self.assertRaises(ConnectionRefusedError):
                socket.create_connection(("127.0.0.1", port), timeout=10)

    def test_a_drive_keeps_its_name_and_each_has_its_own(self):
        child, names, _ = self.start("first", "second")
        self.assertRegex(names[0], r"^nqn\.2026-01\.internal\.keyward:drive:KW[0-9a-f]{12}$")
        self.assertNotEqual(names[0], names[1])
        child.terminate()
        child.wait(10)
        _, again, _ = self.start("second", "first")
        self.assertEqual(again, names[::-1])

    def test_an_address_that_others_reach_needs_permission(self):
        refused = self.run_serve("--nvme-tcp", "--listen", "0.0.0.0:0", "--create", "8", "--drive",
                                 self.directory / "drive")
        self.assertEqual(refused.returncode, 3)
        self.assertIn("--allow-remote", refused.stderr)

    def test_wrong_use_says_what_is_wrong(self):
        missing = self.directory / "missing"
        refused = self.run_serve("--nvme-tcp", "--drive", missing)
        self.assertEqual(refused.returncode, 4)
        self.assertIn("--create", refused.stderr)
        self.assertFalse(missing.exists())
        for words in (("--drive", missing), ("--nvme-tcp",), ("--nvme-tcp", "--create", "0", "--drive", missing),
                      ("--nvme-tcp", "--listen", "localhost", "--drive", missing)):
            self.assertEqual(self.run_serve(*words).returncode, 2, words)

    def test_a_port_in_use_is_named(self):
        _, _, port = self.start("drive")
        refused = self.run_serve("--nvme-tcp", "--listen", f"127.0.0.1:{port}", "--create", "8", "--drive",
                                 self.directory / "other")
        self.assertEqual(refused.returncode, 1)
        self.assertIn(str(port), refused.stderr)


if __name__ == "__main__":
    unittest.main()
