"""Stores of an older format: opened unchanged, without the newer features, until `upgrade commit`."""

from tests.e2e.harness import Node, NodeTest, wait_for

OLD_FORMAT = "[test_mode]\nstore_format = 1\n"


class UpgradeTest(NodeTest):
    def old_node(self):
        """A node whose stores an older Keyward made, run by this one."""
        node = Node(extra_config=OLD_FORMAT, custodians=("hsm",))
        self.addCleanup(node.__exit__, None, None, None)
        node.start()
        node.create_domains(["S3", "FTP"])
        node.ok("entries", "put", "--domain", "S3", "a", stdin="an old secret")
        node.stop()
        node.extra_config = ""
        node.write_config()
        node.start()
        return node

    def test_an_older_store_is_used_unchanged_and_rekeyed_once_the_upgrade_is_committed(self):
        node = self.old_node()
        before = node.ok("upgrade", "view", "--json").json()
        self.assertEqual(before["stores_to_upgrade"], ["control", "FTP", "KEYWARD", "S3"])
        self.assertIn("FTP, KEYWARD, S3", node.ok("upgrade", "view").out)
        self.assertEqual(node.ok("entries", "get", "--domain", "S3", "a").raw, b"an old secret")
        node.ok("entries", "put", "--domain", "S3", "b", stdin="a newer secret")

        # Rekey is a feature of the newer format: refused with the way on, and nothing changed.
        key = node.keys("S3")[0]["id"]
        refused = node.cli("cluster", "rekey", "start", "--domain", "S3", "--yes")
        self.assertEqual(refused.code, 1, refused)
        self.assertIn("Run: keyward upgrade commit", refused.err)
        self.assertEqual(node.status("S3")["status"], "ACTIVE")
        self.assertEqual([row["id"] for row in node.keys("S3")], [key])

        declined = node.cli("upgrade", "commit", stdin="no\n")
        self.assertEqual(declined.code, 1, declined)
        self.assertIn("(yes/[no])", declined.out + declined.err)
        self.assertEqual(node.ok("upgrade", "view", "--json").json(), before)

        committed = node.ok("upgrade", "commit", "--yes")
        self.assertIn("nothing to commit", committed.out)
        node.ok("upgrade", "commit", "--yes")  # again: nothing more happens
        node.ok("cluster", "rekey", "start", "--domain", "S3", "--yes")
        wait_for(lambda: [row["id"] for row in node.keys("S3")] != [key] and node.status("S3")["status"] == "ACTIVE",
                 60, "the rekey after the commit")
        self.assertEqual(node.ok("entries", "get", "--domain", "S3", "a").raw, b"an old secret")
        self.assertEqual(node.ok("entries", "get", "--domain", "S3", "b").raw, b"a newer secret")
        actions = [row["action"] for row in node.ok("audit", "list", "--json").json()]
        self.assertIn("upgrade.commit", actions)
        self.assertEqual(node.cli("audit", "verify").code, 0)

        node.stop()
        node.start()
        self.assertEqual(node.ok("upgrade", "view", "--json").json()["stores_to_upgrade"], [])
        self.assertEqual(node.ok("entries", "get", "--domain", "S3", "b").raw, b"a newer secret")
