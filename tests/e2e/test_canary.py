"""Canary secrets, put, replaced, deleted and rekeyed in random order: afterwards neither they nor any old
ciphertext are found in a file, the WAL, a page, the log, or where a process shows its start."""

import contextlib
import os
import pathlib
import random
import sqlite3

from tests.e2e.harness import Node, NodeTest

SEED = int(os.environ.get("KEYWARD_SEED", random.SystemRandom().randrange(1 << 31)))
SAMPLE = 20  # bytes; by chance none of these appears
SIZES = (1, 21, 64, 256, 1000, 5000, 16384, 40000, 200000, 1 << 20)


def samples(blob, rng):
    """A few pieces of a secret or a ciphertext."""
    if len(blob) < SAMPLE:
        return []
    return [blob[at:at + SAMPLE] for at in {0, len(blob) - SAMPLE, *(rng.randrange(len(blob) - SAMPLE + 1)
                                                                      for _ in range(3))}]


def hits(needles, paths):
    """Which files hold which needle; looked up by their first bytes, so that many needles cost little."""
    by_head = {}
    for needle in needles:
        by_head.setdefault(needle[:4], set()).add(needle)
    found = []
    for path in paths:
        data = path.read_bytes()
        for head, group in by_head.items():
            at = data.find(head)
            while at >= 0:
                if data[at:at + SAMPLE] in group:
                    found.append((str(path), at))
                at = data.find(head, at + 1)
    return found


class CanaryTest(NodeTest):
    def files(self, node):
        return [path for path in node.directory.rglob("*") if path.is_file() and "before" not in path.parts]

    def ciphertexts(self, state, rng):
        """Pieces of every blob of S3 that lies in a stopped daemon's file."""
        with contextlib.closing(sqlite3.connect(f"file:{state}/keystores/S3.db?mode=ro", uri=True)) as database:
            rows = [bytes(row[0]) for row in database.execute("SELECT blob FROM payload")]
        # Past the header, which stays as it was.
        return [piece for row in rows for piece in samples(row[28:], rng)]

    def test_nothing_is_left(self):
        print(f"\nKEYWARD_SEED={SEED}")
        rng = random.Random(SEED)
        plain, live = set(), {}
        with Node() as node:
            node.start()
            node.create_domains(["S3"])
            for step in range(400):
                name = f"canary-{rng.randrange(120)}"
                if live and rng.random() < 0.25:
                    name = rng.choice(sorted(live))
                    node.ok("entries", "delete", "--domain", "S3", name)
                    del live[name]
                    continue
                size = rng.choice(SIZES if step % 10 == 0 else SIZES[:7])
                secret = rng.randbytes(size)
                node.ok("entries", "put", "--domain", "S3", name, stdin=secret)
                plain.update(samples(secret, rng))
                live[name] = secret
            node.stop()
            old = self.ciphertexts(node.state, rng)
            self.assertGreater(len(old), 100)
            self.assertTrue(hits(old, self.files(node)), "the scanner must find what is there")

            node.start()
            node.rekey_and_wait("S3")
            for name in rng.sample(sorted(live), 10):
                node.ok("entries", "delete", "--domain", "S3", name)
                del live[name]
            node.rekey_and_wait("S3")
            for name, secret in live.items():
                self.assertEqual(node.ok("entries", "get", "--domain", "S3", name).raw, secret)
            for when in ("running", "stopped"):
                if when == "stopped":
                    node.stop()
                self.assertEqual(hits(plain, self.files(node)), [], f"a secret lies in a file ({when})")
                self.assertEqual(hits(old, self.files(node)), [], f"old ciphertext lies in a file ({when})")

    def test_processes_show_no_secret_and_dump_no_core(self):
        with Node() as node:
            node.start()
            node.create_domains(["S3"])
            pid = node.process.pid
            helper = [child for task in pathlib.Path(f"/proc/{pid}/task").iterdir()
                      for child in (task / "children").read_text().split()]
            self.assertEqual(len(helper), 1, "the PKCS#11 helper")
            for process in (str(pid), *helper):
                proc = pathlib.Path("/proc") / process
                shown = (proc / "cmdline").read_bytes() + (proc / "environ").read_bytes()
                self.assertNotIn(node.hsm.pin.encode(), shown.replace(b"\0", b" ").split())
                limit = next(line for line in (proc / "limits").read_text().splitlines()
                             if line.startswith("Max core file size"))
                self.assertEqual(limit.split()[4:6], ["0", "0"], limit)
            self.assertNotIn(node.hsm.pin, node.log.read_text())
