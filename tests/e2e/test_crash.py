"""SIGKILL at random moments of a rekey: nothing acknowledged is lost, and the job goes on by itself."""

import os
import random
import time

from tests.e2e.harness import NIGHTLY, Node, NodeTest, finish_load, wait_for

KILLS = 1000 if NIGHTLY else 50
SEED = int(os.environ.get("KEYWARD_SEED", random.SystemRandom().randrange(1 << 31)))
ENTRIES, SIZE = 40_000, 256


class CrashTest(NodeTest):
    def test_sigkill_at_random_moments(self):
        print(f"\nKEYWARD_SEED={SEED}, {KILLS} kills")
        rng = random.Random(SEED)
        kills_while_running, rekeys = 0, 0
        with Node() as node:
            node.start()
            node.create_domains(["S3"])
            node.load("fill", "--entries", ENTRIES, "--size", SIZE)
            # Slow enough that most kills meet a rekey at work.
            node.ok("cluster", "rekey", "modify", "--rate-limit", "20000")
            journal = node.directory / "journal"
            clients = node.load("mixed", "--entries", ENTRIES, "--size", SIZE, "--clients", 4, "--seconds", 36000,
                                "--rate", 400, "--write-percent", 50, "--retry", "--journal", journal,
                                background=True)
            for kill in range(KILLS):
                progress = node.progress("S3")
                if not progress["phase"]:
                    node.ok("cluster", "rekey", "start", "--domain", "S3", "--yes")
                    rekeys += 1
                time.sleep(rng.uniform(0, 0.9 if kill % 3 else 3))
                before = node.progress("S3")
                kills_while_running += bool(before["phase"])
                node.kill()
                node.start()
                self.check_after_restart(node, before)
            node.ok("cluster", "rekey", "modify", "--rate-limit", "None")
            node.wait_rekeyed("S3")
            summary = finish_load(clients)
            self.assertEqual(summary["wrong_values"], 0, summary)
            self.assertEqual(summary["failed_reads"], 0, summary)
            self.assert_no_failures(node.load("verify", "--entries", ENTRIES, "--size", SIZE, "--journal", journal))
            key = node.keys("S3")[0]["id"]
            keyward_key = node.keys("KEYWARD")[0]["id"]
            objects = node.hsm.objects()
            self.assertEqual(len(objects), 2, objects)
            self.assertTrue(all(key in text or keyward_key in text for text in objects), objects)
            self.assertIn("every chain is intact", node.ok("audit", "verify").out)
        print(f"{KILLS} kills, {kills_while_running} in a running rekey, {rekeys} rekeys: "
              f"{summary['reads']} reads and {summary['writes']} writes, 0 lost, 0 wrong")
        self.assertGreater(kills_while_running, KILLS // 3)

    def check_after_restart(self, node, before):
        states = [key["state"] for key in node.keys("S3")]
        self.assertEqual(states.count("current"), 1, states)
        after = node.progress("S3")
        # The job is there again, or has come to its end meanwhile.
        if before["phase"] and after["phase"] and before["job"] == after["job"] \
                and before["phase"] == after["phase"] == "reencrypt":
            self.assertGreaterEqual(after["entries_done"], before["entries_done"], "the cursor went back")
        if before["phase"] and not after["phase"]:
            wait_for(lambda: len(node.keys("S3")) == 1, 10, "the finished rekey's old key to be gone")
