"""keyward emulator serve: what it prints, whom it lets in, how it ends."""

import pathlib
import re
import signal
import socket
import struct
import subprocess
import tempfile
import unittest

from tests.e2e.harness import BIN

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
