"""The command as an operator types it: OneFS's columns, prompts, durations, exit codes."""

import json
import os
import re
import subprocess

from tests.e2e.harness import BIN, CLUSTER_DOMAINS, Node, NodeTest

DURATIONS = [
    # text, accepted, as it is shown back
    ("6W", True, "every 6 weeks"), ("2M", True, "every 2 months"), ("1Y", True, "every year"),
    ("90D", True, "every 90 days"), ("24h", True, "every 24 hours"), ("48H", True, "every 48 hours"),
    ("4320m", True, "every 4320 minutes"), ("172800s", True, "every 172800 seconds"),
    ("Never", True, "never"), ("never", True, "never"),
    ("", False, None), ("6", False, None), ("W", False, None), ("0W", False, None), ("-1D", False, None),
    ("6X", False, None), ("6 W", False, None), (" 6W", False, None), ("6WW", False, None), ("1.5D", False, None),
    ("1h", False, None), ("59m", False, None),  # under a day with a TPM
    ("1000000000s", False, None), ("101Y", False, None), ("٣W", False, None), ("6W\n", False, None),
]


class ClusterTest(NodeTest):
    @classmethod
    def setUpClass(cls):
        cls.node = Node()
        cls.addClassCleanup(cls.node.__exit__, None, None, None)
        cls.node.start()
        cls.node.create_domains(CLUSTER_DOMAINS)

    def test_status_prints_onefs_columns_for_the_17_domains(self):
        lines = self.node.ok("cluster", "status").out.splitlines()
        self.assertEqual(re.split(r"\s{2,}", lines[0]),
                         ["Domain", "Status", "Key Creation Date", "Error Info(if any)"])
        self.assertRegex(lines[1], r"^-+$")
        rows = [re.split(r"\s{2,}", line) for line in lines[2:-2]]
        self.assertEqual([row[0] for row in rows], CLUSTER_DOMAINS)
        for row in rows:
            self.assertEqual(row[1], "ACTIVE")
            self.assertRegex(row[2], r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$")
        self.assertRegex(lines[-2], r"^-+$")
        self.assertEqual(lines[-1], "Total: 17")

    def test_a_leading_keymanager_is_accepted(self):
        out = subprocess.run([BIN / "keyward", "keymanager", "cluster", "status"], capture_output=True, check=True,
                             env={**os.environ, "KEYWARD_SOCKET": str(self.node.socket)}).stdout.decode()
        self.assertTrue(out.endswith("Total: 17\n"), out)

    def test_rekey_start_asks_and_only_yes_is_yes(self):
        before = self.node.keys("FTP")
        for answer in (b"", b"\n", b"no\n", b"y\n", b"YES\n", b"yes please\n"):
            result = self.node.cli("cluster", "rekey", "start", "--domain", "FTP", stdin=answer)
            self.assertEqual(result.code, 1, (answer, result))
            self.assertIn("Are you sure you want to rekey the master key of FTP? (yes/[no]): ", result.err)
        self.assertEqual(self.node.keys("FTP"), before)
        self.node.ok("cluster", "rekey", "start", "--domain", "FTP", stdin=b"yes\n")
        self.node.wait_rekeyed("FTP")
        self.assertNotEqual(self.node.keys("FTP")[0]["id"], before[0]["id"])

    def test_rekey_start_takes_yes_and_history_names_it(self):
        before = self.node.keys("NDMP")[0]["id"]
        result = self.node.ok("cluster", "rekey", "start", "--domain", "NDMP", "--yes")
        self.assertNotIn("(yes/[no])", result.err)
        self.node.wait_rekeyed("NDMP")
        self.assertNotEqual(self.node.keys("NDMP")[0]["id"], before)
        rows = self.node.ok("cluster", "rekey", "history", "--domain", "NDMP", "--json").json()
        self.assertEqual(rows[0]["outcome"], "DESTROYED", rows)
        self.assertEqual(rows[0]["actor"], "uid:0")

    def test_view_and_modify_as_in_onefs(self):
        self.node.ok("cluster", "rekey", "modify", "--key-rotation", "Never")
        view = self.node.ok("cluster", "rekey", "view").out
        self.assertIn("Key Rotation: Never\n", view)
        self.assertRegex(view, r"Rekey Time: (Never|\d{4}-)")
        out = self.node.ok("cluster", "rekey", "modify", "--key-rotation", "6W").out
        self.assertRegex(out, r"^Key rotation: every 6 weeks, next \d{4}-\d\d-\d\dT")
        self.assertIn("Key Rotation: 6W\n", self.node.ok("cluster", "rekey", "view").out)
        self.node.ok("cluster", "rekey", "modify", "--key-rotation", "Never")
        schedule = json.loads(self.node.ok("cluster", "rekey", "view", "--json").out)
        self.assertIsNone(schedule["next_rekey"])

    def test_table_of_durations(self):
        for text, accepted, words in DURATIONS:
            with self.subTest(text=text):
                result = self.node.cli("cluster", "rekey", "modify", "--key-rotation", text)
                if accepted:
                    self.assertEqual(result.code, 0, result)
                    self.assertIn(words, result.out)
                else:
                    self.assertEqual(result.code, 2, result)
                    self.assertNotEqual(result.err, "")
        self.node.ok("cluster", "rekey", "modify", "--key-rotation", "Never")

    def test_exit_codes(self):
        entry = ("--domain", "S3", "some")
        for args, code in (
                (("cluster", "status"), 0),
                (("nonsense",), 2), ((), 2), (("cluster", "rekey", "start", "--nonsense"), 2),
                (("entries", "get", *entry), 4), (("entries", "get", "--domain", "NOPE", "x"), 4),
                (("entries", "list", "--domain", "s3"), 2),
                (("cluster", "domains", "create", "S3"), 5),
                (("cluster", "domains", "delete", "NOPE", "--yes"), 4),
                (("cluster", "rekey", "pause", "--domain", "S3"), 4),
                (("--socket", "/nowhere/at.all", "cluster", "status"), 6)):
            with self.subTest(args=args):
                result = self.node.cli(*args)
                self.assertEqual(result.code, code, result)
                if code:
                    self.assertNotEqual(result.err + result.out, "")

    def test_never_rekeyed_is_never_in_text_and_null_in_json(self):
        with Node(custodians=("hsm",)) as node:
            node.start()
            self.assertIn("Rekey Time: Never\n", node.ok("cluster", "rekey", "view").out)
            self.assertIsNone(node.ok("cluster", "rekey", "view", "--json").json()["last_rekey"])

    def test_completion_offers_commands_options_and_domains(self):
        script = self.node.ok("completion", "bash").out
        path = self.node.directory / "completion.bash"
        path.write_text(script)

        def complete(*words):
            line = " ".join(f"'{word}'" for word in words)
            out = subprocess.run(
                ["bash", "-c", f"source {path}; COMP_WORDS=({line}); COMP_CWORD={len(words) - 1}; _keyward; "
                 "printf '%s\\n' \"${COMPREPLY[@]}\""], capture_output=True, check=True, timeout=20,
                env={**os.environ, "PATH": f"{BIN}:{os.environ['PATH']}",
                     "KEYWARD_SOCKET": str(self.node.socket)}).stdout.decode()
            return out.split()

        self.assertIn("cluster", complete("keyward", ""))
        self.assertEqual(complete("keyward", "cluster", "st"), ["status"])
        self.assertIn("start", complete("keyward", "cluster", "rekey", ""))
        self.assertIn("--without", complete("keyward", "cluster", "rekey", "start", "--w"))
        self.assertIn("SNMP", complete("keyward", "cluster", "rekey", "start", "--domain", "SN"))

    def test_entries_round_trip_byte_for_byte(self):
        for name, secret in (("plain", b"s"), ("newline", b"two\nlines\n"), ("binary", bytes(range(256))),
                             ("a/../b %?#", b"x"), ("größe", b"y"), ("big", b"z" * (1 << 20))):
            with self.subTest(name=name):
                self.node.ok("entries", "put", "--domain", "SIQ", name, stdin=secret)
                self.assertEqual(self.node.ok("entries", "get", "--domain", "SIQ", name).raw, secret)
        names = [row["name"] for row in self.node.ok("entries", "list", "--domain", "SIQ", "--json").json()]
        self.assertIn("a/../b %?#", names)

    def test_put_conditions(self):
        put = ("entries", "put", "--domain", "SSO", "token")
        self.assertEqual(self.node.ok(*put, "--new", "--json", stdin="1").json()["version"], 1)
        self.assertEqual(self.node.cli(*put, "--new", stdin="2").code, 5)
        self.assertEqual(self.node.ok(*put, "--if-version", "1", "--json", stdin="2").json()["version"], 2)
        self.assertEqual(self.node.cli(*put, "--if-version", "1", stdin="3").code, 5)
        self.assertEqual(self.node.ok("entries", "get", "--domain", "SSO", "token").raw, b"2")
        self.node.ok("entries", "delete", "--domain", "SSO", "token")
        self.assertEqual(self.node.cli("entries", "delete", "--domain", "SSO", "token").code, 4)

    def test_import_both_formats(self):
        body = b"".join(len(x).to_bytes(4, "big") + x for i in range(3000) for x in (b"bin%d" % i, b"v%d" % i))
        self.node.ok("entries", "import", "--domain", "CELOG", stdin=body)
        self.assertEqual(self.node.ok("entries", "get", "--domain", "CELOG", "bin2999").raw, b"v2999")
        self.node.ok("entries", "import", "--domain", "CELOG", "--format", "jsonl",
                     stdin='{"name":"j1","secret":"AAE="}\n{"name":"j2","secret":"eA=="}\n')
        self.assertEqual(self.node.ok("entries", "get", "--domain", "CELOG", "j1").raw, b"\0\1")
        result = self.node.cli("entries", "import", "--domain", "CELOG", "--format", "jsonl",
                               stdin='{"name":"j3","secret":"eA=="}\nnonsense\n')
        self.assertEqual(result.code, 2, result)
        self.assertIn("Record 2", result.err)
        self.assertIn("1 entries were imported before", result.err)

    def test_delete_domain_refuses_while_it_has_entries(self):
        self.node.create_domains(["EXTRA"])
        self.node.ok("entries", "put", "--domain", "EXTRA", "a", stdin="1")
        self.assertEqual(self.node.cli("cluster", "domains", "delete", "EXTRA", "--yes").code, 5)
        self.node.ok("entries", "delete", "--domain", "EXTRA", "a")
        key = self.node.keys("EXTRA")[0]["id"]
        self.node.ok("cluster", "domains", "delete", "EXTRA", "--yes")
        self.assertEqual(self.node.cli("entries", "list", "--domain", "EXTRA").code, 4)
        self.assertNotIn(key, "".join(self.node.hsm.objects()))

    def test_audit_chain_is_intact_and_names_the_changes(self):
        self.node.ok("entries", "put", "--domain", "EMAIL", "audited", stdin="1")
        rows = self.node.ok("audit", "list", "--json").json()
        self.assertTrue(any(row["action"] == "entry.put" and "audited" in row["subject"] + row["detail"]
                            for row in rows))
        self.assertIn("every chain is intact", self.node.ok("audit", "verify").out)
