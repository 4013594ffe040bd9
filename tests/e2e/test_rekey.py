"""A rekey of a million entries under load, and what is left of the old key afterwards."""

import contextlib
import json
import os
import pathlib
import shutil
import sqlite3
import time

from tests.e2e.harness import Node, NodeTest, finish_load, wait_for

ENTRIES = int(os.environ.get("KEYWARD_E2E_ENTRIES", "1000000"))


class RekeyUnderLoadTest(NodeTest):
    def test_a_million_entries_under_16_clients(self):
        with Node() as node:
            node.start()
            node.create_domains(["S3"])
            node.load("fill", "--entries", ENTRIES, "--size", 256)
            old = node.keys("S3")[0]
            self.assertEqual(sum(old["id"] in text for text in node.hsm.objects()), 1)

            # What a thief, or a backup, has from before.
            backup = node.directory / "backup"
            node.stop()
            shutil.copytree(node.state, backup)
            node.start()

            journal = node.directory / "journal"
            clients = node.load("mixed", "--entries", ENTRIES, "--size", 256, "--clients", 16, "--seconds", 600,
                                "--journal", journal, background=True)
            begin = time.monotonic()
            node.ok("cluster", "rekey", "start", "--domain", "S3", "--yes")
            node.wait_rekeyed("S3", seconds=400)
            seconds = time.monotonic() - begin
            summary = finish_load(clients)
            self.assert_no_failures(summary)
            self.assertGreater(summary["writes"], 0, summary)
            peak = node.memory_peak_kib()
            print(f"\nrekey of {ENTRIES} x 256 B under 16 clients: {seconds:.1f} s, failed reads 0 of "
                  f"{summary['reads']}, writes {summary['writes']}, read p99 {summary['read_p99_us']} us, "
                  f"write p99 {summary['write_p99_us']} us, peak memory {peak} KiB")
            self.assertLess(peak, 64 * 1024, "resident memory")

            # Every entry again, against the journal of what was acknowledged.
            self.assert_no_failures(node.load("verify", "--entries", ENTRIES, "--size", 256, "--journal", journal))

            new = node.keys("S3")
            self.assertEqual([key["state"] for key in new], ["current"])
            self.assertNotEqual(new[0]["id"], old["id"])
            self.assertNotIn(old["id"], "".join(node.hsm.objects()), "the old wrapping object is still there")
            history = node.ok("cluster", "rekey", "history", "--domain", "S3", "--json").json()
            self.assertEqual(history[0]["outcome"], "DESTROYED", history)

            node.stop()
            self.check_rows(node.state, old["id"])
            self.check_old_copy_does_not_open(node, backup)

    def check_rows(self, state, old_key):
        """A full scan by other means than the product's: 0 rows under any key but the one that is left."""
        with contextlib.closing(sqlite3.connect(f"file:{state}/keystores/S3.db?mode=ro", uri=True)) as database:
            references = database.execute("SELECT mk, count(*) FROM payload GROUP BY mk").fetchall()
            keys = database.execute("SELECT count(*) FROM keys").fetchone()[0]
        self.assertEqual(len(references), 1, references)
        self.assertEqual(references[0][1], ENTRIES)
        self.assertEqual(keys, 1)

    def check_old_copy_does_not_open(self, node, backup):
        shutil.rmtree(node.state)
        backup.rename(node.state)
        node.start(unsealed=False)
        wait_for(lambda: node.status("S3")["error"], 30, "S3 to say why it is locked")
        row = node.status("S3")
        self.assertEqual(row["status"], "LOCKED", row)
        self.assertEqual(node.cli("entries", "get", "--domain", "S3", "entry-00000000").code, 6)
