"""Debian's own tools, unmodified, on emulated drives: `keyward emulator run`.

What the tools print on drives whose serial numbers are given lies in expected/.
"""

import difflib
import errno
import os
import pathlib
import signal
import subprocess
import tempfile
import unittest

from tests.e2e.harness import BIN, Result

EXPECTED = pathlib.Path(__file__).parent / "expected"
# Discovery, as sg_raw and nvme ask for it.
DISCOVERY = "a2 01 00 01 80 00 00 00 00 01 00 00".split()
# Reads 512 bytes at 4096 and says which errno came; linked statically, so it is no libc of ours that helps.
STATIC_READER = r"""
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <linux/fs.h>
#include <unistd.h>
int main(int argc, char** argv) {
  char buffer[512];
  unsigned long long size = 0;
  int fd = open(argv[argc - 1], O_RDONLY);
  if (fd < 0 || ioctl(fd, BLKGETSIZE64, &size) != 0) return 1;
  ssize_t got = pread(fd, buffer, sizeof buffer, 4096);
  printf("%llu %zd %s\n", size, got, got < 0 ? strerror(errno) : "read");
  return 0;
}
"""


class EmulatorRunTest(unittest.TestCase):
    def setUp(self):
        directory = tempfile.TemporaryDirectory(prefix="keyward-emulator-")
        self.addCleanup(directory.cleanup)
        self.directory = pathlib.Path(directory.name)

    def keyward(self, *words, stdin=b"", before=()):
        return Result(subprocess.run([*before, BIN / "keyward", "emulator", *map(str, words)], cwd=self.directory,
                                     input=stdin, capture_output=True, timeout=60,
                                     env={**os.environ, "LC_ALL": "C", "PATH": os.environ["PATH"] + ":/usr/sbin:/sbin"}))

    def create(self, name, *options):
        made = self.keyward("create", name, "--size", "64M", *options)
        self.assertEqual(made.code, 0, made)
        return made

    def sata(self, *options):
        self.create("a.drive", "--serial", "KWSATA01", "--wwn", "5000c500a1b2c3d4", *options)

    def nvme(self, *options):
        self.create("n.drive", "--bus", "nvme", "--serial", "KWNVME01", "--wwn", "00112233445566778899aabbccddeeff",
                    *options)

    def run_on(self, drive, *command, **kwargs):
        node = "/dev/nvme7n1" if drive.startswith("n") else "/dev/sdq"
        return self.keyward("run", "--drive", f"{drive}={node}", "--", *command, **kwargs)

    def ok(self, drive, *command, **kwargs):
        result = self.run_on(drive, *command, **kwargs)
        self.assertEqual(result.code, 0, f"{command}: {result}")
        return result

    def script(self, text, drive="a.drive", **kwargs):
        return self.ok(drive, "sh", "-ec", text, **kwargs)

    def assert_prints(self, name, text):
        expected = (EXPECTED / f"{name}.txt").read_text()
        lines = [line.rstrip() for line in text.splitlines()]
        difference = "\n".join(difflib.unified_diff(expected.splitlines(), lines, f"expected/{name}.txt", "printed",
                                                    lineterm=""))
        if difference:
            self.fail(difference)


class ToolsTest(EmulatorRunTest):
    def test_hdparm_identify(self):
        self.sata()
        self.assert_prints("hdparm-identify", self.ok("a.drive", "hdparm", "-I", "/dev/sdq").out)

    def test_hdparm_goes_through_ata_security(self):
        self.sata("--family", "ata-security")
        self.script("printf keep | dd of=/dev/sdq seek=2 conv=notrunc")
        status = "hdparm -I /dev/sdq | sed -n '/^Security/,/^Logical/p'"
        said = self.script(f"hdparm --user-master u --security-set-pass p1 /dev/sdq; {status}").out
        # Another run is another power-on.
        said += self.script(f"{status}; dd if=/dev/sdq of=/dev/null count=1 2>&1 && exit 9; "
                            "hdparm --user-master u --security-unlock wrong /dev/sdq 2>&1 && exit 9; "
                            f"hdparm --user-master u --security-unlock p1 /dev/sdq; {status}; "
                            "dd if=/dev/sdq skip=2 count=1 status=none | head -c 4; echo; "
                            f"hdparm --user-master u --security-disable p1 /dev/sdq; {status}; "
                            f"hdparm --security-freeze /dev/sdq; {status}; "
                            "hdparm --user-master u --security-set-pass late /dev/sdq 2>&1 && exit 9; true").out
        said += self.script("hdparm --user-master u --security-set-pass p2 /dev/sdq; "
                            f"hdparm --user-master u --security-erase p2 /dev/sdq; {status}; "
                            "dd if=/dev/sdq count=8 status=none | tr -d '\\0' | wc -c").out
        said = "\n".join(line for line in said.splitlines() if "copied" not in line)
        self.assert_prints("hdparm-security", said)

    def test_hdparm_by_the_older_ioctls(self):
        self.sata()
        self.assertIn("drive state is:  active/idle", self.ok("a.drive", "hdparm", "-C", "/dev/sdq").out)
        self.assertIn("Model=KEYWARD EMULATED", self.ok("a.drive", "hdparm", "-i", "/dev/sdq").out)

    def test_sg3_utils(self):
        self.sata()
        commands = {
            "sg-inq": ["sg_inq", "/dev/sdq"],
            "sg-vpd": ["sg_vpd", "-p", "0x83", "/dev/sdq"],
            "sg-opcodes": ["sg_opcodes", "/dev/sdq"],
            "sg-sat-identify": ["sg_sat_identify", "-HHH", "/dev/sdq"],
            "sg-readcap": ["sg_readcap", "-l", "/dev/sdq"],
            "sg-raw-discovery": ["sg_raw", "-r", "512", "/dev/sdq", *DISCOVERY],
        }
        for name, command in commands.items():
            with self.subTest(name):
                said = self.ok("a.drive", *command)
                self.assert_prints(name, said.out + said.err)  # sg_raw prints to stderr.

    def test_sg_raw_shows_the_sense_of_an_unknown_command(self):
        self.sata()
        unknown = self.run_on("a.drive", "sg_raw", "-r", "96", "/dev/sdq", "c0", "00", "00", "00", "00", "00")
        self.assertEqual(unknown.code, 9, unknown)
        self.assertIn("Sense key: Illegal Request", unknown.err)
        self.assertIn("Invalid command operation code", unknown.err)

    def test_a_sas_drive_has_no_ata_behind_it(self):
        self.create("s.drive", "--bus", "sas", "--family", "enterprise", "--serial", "KWSAS001", "--wwn",
                    "5000c500a1b2c3d5")
        self.assert_prints("sg-inq-sas", self.ok("s.drive", "sg_inq", "/dev/sdq").out)
        self.assertNotIn("ATA pass-through", self.ok("s.drive", "sg_opcodes", "/dev/sdq").out)
        self.assertNotEqual(self.run_on("s.drive", "sg_sat_identify", "/dev/sdq").code, 0)

    def test_nvme_cli(self):
        self.nvme()
        commands = {
            "nvme-id-ctrl": ["nvme", "id-ctrl", "/dev/nvme7"],
            "nvme-id-ns": ["nvme", "id-ns", "/dev/nvme7n1"],
            "nvme-security-recv": ["nvme", "security-recv", "-p", "1", "-s", "1", "-x", "512", "-t", "512", "/dev/nvme7"],
        }
        for name, command in commands.items():
            with self.subTest(name):
                self.assert_prints(name, self.ok("n.drive", *command).out)

    def test_nvme_security_send(self):
        self.nvme()
        # VERIFY_COMID_VALID: ComID 1000h is associated (3) or issued (2).
        (self.directory / "request").write_bytes(bytes.fromhex("1000000000000001").ljust(512, b"\0"))
        sent = self.script("nvme security-send -p 2 -s 4096 -t 512 -f request /dev/nvme7; "
                           "nvme security-recv -b -p 2 -s 4096 -x 512 -t 512 /dev/nvme7 > answer", "n.drive")
        self.assertIn("NVME Security Send Command Success", sent.out)
        self.assertIn(bytes.fromhex("10000000000000010000002200000002"), (self.directory / "answer").read_bytes())
        refused = self.run_on("n.drive", "nvme", "security-send", "-p", "0x55", "-s", "1", "-t", "512", "-f", "request",
                              "/dev/nvme7")
        self.assertEqual(refused.code, 1, refused)
        self.assertIn("Invalid Field in Command", refused.out + refused.err)


class ProgramsTest(EmulatorRunTest):
    def setUp(self):
        super().setUp()
        self.sata()

    def test_dd_and_cmp_at_odd_offsets(self):
        self.script("head -c 70000 /dev/urandom > r; dd if=r of=/dev/sdq bs=1000 seek=3 status=none; "
                    "dd if=/dev/sdq bs=1000 skip=3 count=70 status=none | cmp - r")
        # It is there at the next power-on.
        self.script("dd if=/dev/sdq bs=1000 skip=3 count=70 status=none | cmp - r; cp /dev/sdq whole; "
                    "test $(stat -c %s whole) = 67108864; cmp whole /dev/sdq")

    def test_a_file_system_is_made_checked_and_found(self):
        said = self.script("mke2fs -q -t ext4 -F -U 6f1a9a7e-0001-4000-8000-000000000001 /dev/sdq; e2fsck -fn /dev/sdq; "
                           "blkid -p -o value -s TYPE -s UUID /dev/sdq")
        self.assertEqual(said.out.splitlines()[-2:], ["6f1a9a7e-0001-4000-8000-000000000001", "ext4"], said)

    def test_an_opal_drive_is_locked_by_a_host_and_read_by_none(self):
        owner = f"/usr/bin/python3 {pathlib.Path(__file__).parent / 'opal_owner.py'}"
        self.nvme()
        for drive, node in (("a.drive", "/dev/sdq"), ("n.drive", "/dev/nvme7n1")):
            with self.subTest(node):
                self.script(f"printf secret | dd of={node} status=none; {owner} {node} lock", drive)
                self.assertIn("Input/output error", self.run_on(drive, "cat", node).err)
                self.assertNotEqual(self.run_on(drive, "dd", "if=/dev/zero", f"of={node}", "count=1").code, 0)
                said = self.script(f"{owner} {node} unlock; head -c 6 {node}", drive)
                self.assertEqual(said.out, "secret")
                # LockOnReset: a run is a power-on.
                self.assertNotEqual(self.run_on(drive, "head", "-c", "6", node).code, 0)
        raw = self.run_on("a.drive", "sg_raw", "-r", "512", "/dev/sdq", *"28 00 00 00 00 00 00 00 01 00".split())
        self.assertIn("Security conflict in translated device", raw.err)

    def test_a_static_program(self):
        source = self.directory / "reader.c"
        source.write_text(STATIC_READER)
        subprocess.run(["gcc", "-static", "-o", self.directory / "reader", source], check=True)
        self.assertEqual(self.ok("a.drive", "./reader", "/dev/sdq").out, "67108864 512 read\n")
        self.ok("a.drive", "hdparm", "--user-master", "u", "--security-set-pass", "p", "/dev/sdq")
        self.assertEqual(self.ok("a.drive", "./reader", "/dev/sdq").out, "67108864 -1 Input/output error\n")

    def test_a_locked_drive_gives_nothing_to_anybody(self):
        self.script("printf secret | dd of=/dev/sdq status=none; hdparm --user-master u --security-set-pass p /dev/sdq")
        for command in (["cat", "/dev/sdq"], ["head", "-c", "1", "/dev/sdq"], ["sg_dd", "if=/dev/sdq", "count=1"],
                        ["cp", "/dev/sdq", "copy"], ["sh", "-c", "exec 7</dev/sdq; cat <&7"]):
            with self.subTest(command[0]):
                result = self.run_on("a.drive", *command)
                self.assertNotEqual(result.code, 0, result)
                self.assertNotIn("secret", result.out)
        self.assertNotIn(b"secret", (self.directory / "copy").read_bytes())
        self.assertIn("Input/output error", self.run_on("a.drive", "cat", "/dev/sdq").err)

    def test_children_and_moved_descriptors_read_the_disk(self):
        said = self.script("printf abcdefgh | dd of=/dev/sdq status=none; exec 3</dev/sdq; "
                           "head -c 2 <&3; echo; (head -c 2 <&3); echo; sh -c 'head -c 2 <&9' 9<&3; echo; "
                           "cd /dev; head -c 3 sdq; echo; head -c 3 /dev/stdin <sdq; echo; readlink /proc/self/fd/3; "
                           "stat -c '%F %t:%T' sdq; test -b sdq; test -w sdq; ls -l /dev/sdq | cut -c1")
        # head reads whole blocks ahead, and gives back what it did not use.
        self.assertEqual(said.out.splitlines(), ["ab", "cd", "ef", "abc", "abc", "/dev/sdq", "block special file 41:0", "b"])

    def test_what_a_descriptor_can_and_cannot(self):
        said = self.ok("a.drive", "/usr/bin/python3", "-c", PYTHON_CALLS)
        self.assertEqual(said.out.splitlines(), ["mmap ENODEV", "write EBADF", "truncate EPERM", "hole 67108864",
                                                 "lock EAGAIN", "locked", "end 0", "beyond ENOSPC", "exists EEXIST",
                                                 "directory ENOTDIR", "sendfile EINVAL", "2000 openings"])

    def test_exit_status_signals_and_no_command(self):
        self.assertEqual(self.run_on("a.drive", "sh", "-c", "exit 7").code, 7)
        self.assertEqual(self.run_on("a.drive", "sh", "-c", "kill -TERM $$").code, -signal.SIGTERM)
        self.assertEqual(self.run_on("a.drive", "sh", "-c", "cat", stdin=b"through").raw, b"through")
        missing = self.run_on("a.drive", "./no-such-command")
        self.assertEqual(missing.code, 127, missing)
        self.assertIn("no-such-command: No such file", missing.err)
        self.assertEqual(self.run_on("a.drive", "/etc/passwd").code, 126)

    def test_a_signal_to_keyward_is_the_commands(self):
        command = subprocess.Popen([BIN / "keyward", "emulator", "run", "--drive", "a.drive=/dev/sdq", "--", "sh", "-c",
                                    "trap 'echo caught; exit 5' USR1; echo ready; while :; do sleep 0.05; done"],
                                   cwd=self.directory, stdout=subprocess.PIPE)
        self.assertEqual(command.stdout.readline(), b"ready\n")
        command.send_signal(signal.SIGUSR1)
        self.assertEqual(command.communicate(timeout=30)[0], b"caught\n")
        self.assertEqual(command.returncode, 5)

    def test_what_is_left_in_the_background_is_served_to_its_end(self):
        said = self.script("(sleep 0.3; head -c 512 /dev/sdq | wc -c) & echo first")
        self.assertEqual(said.out.split(), ["first", "512"])

    def test_two_drives_and_names_of_their_own(self):
        self.nvme()
        both = self.keyward("run", "--drive", "a.drive", "--drive", "n.drive", "--", "true")
        self.assertEqual(both.code, 0, both)
        self.assertRegex(both.err, r"keyward: a\.drive is /dev/sd[a-z]+\nkeyward: n\.drive is /dev/nvme\d+n1\n")
        twice = self.keyward("run", "--drive", "a.drive", "--drive", "a.drive", "--", "true")
        self.assertEqual(twice.code, 5, twice)
        wrong = self.keyward("run", "--drive", "n.drive=/dev/sdq", "--", "true")
        self.assertEqual((wrong.code, "/dev/nvme0n1" in wrong.err), (2, True), wrong)

    def test_inside_of_itself_it_says_why_not(self):
        self.nvme()
        inner = self.run_on("a.drive", BIN / "keyward", "emulator", "run", "--drive", "n.drive", "--", "true")
        self.assertNotEqual(inner.code, 0, inner)
        if os.getuid() == 0:  # Otherwise the outer one cannot look into the inner, and lets it say nothing.
            self.assertEqual(inner.code, 5, inner)
            self.assertIn("seccomp", inner.err)

    def unprivileged(self):
        """What to put before a command so that it has no privileges; nothing when the test has none."""
        if os.getuid() != 0:
            return []
        for path in (self.directory, *self.directory.iterdir()):
            path.chmod(0o777)
        return ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "--inh-caps=-all", "--bounding-set=-all"]

    def test_without_privileges(self):
        said = self.script("grep CapEff /proc/self/status; hdparm -I /dev/sdq | grep 'Serial N'; "
                           "head -c 512 /dev/sdq | wc -c", before=self.unprivileged())
        self.assertEqual(said.out.split(), ["CapEff:", "0000000000000000", "Serial", "Number:", "KWSATA01", "512"])

    def test_a_process_that_cannot_be_looked_into_reads_no_empty_disk(self):
        self.script("printf data | dd of=/dev/sdq status=none")
        hidden = ("import ctypes, errno, os\n"
                  "disk = os.open('/dev/sdq', os.O_RDONLY)\n"
                  "ctypes.CDLL(None).prctl(4, 0, 0, 0, 0)\n"  # PR_SET_DUMPABLE
                  "try: os._exit(10 + len(os.read(disk, 4)))\n"
                  "except OSError as error: os._exit(error.errno)\n")
        self.assertEqual(self.run_on("a.drive", "/usr/bin/python3", "-c", hidden, before=self.unprivileged()).code, errno.EIO)


PYTHON_CALLS = r"""
import errno, fcntl, mmap, os
def say(name, call, *words):
    try: print(name, call(*words))
    except OSError as error: print(name, errno.errorcode[error.errno])
disk, reader = os.open("/dev/sdq", os.O_RDWR), os.open("/dev/sdq", os.O_RDONLY)
say("mmap", mmap.mmap, disk, 4096)
say("write", os.write, reader, b"x")
say("truncate", os.ftruncate, disk, 0)
say("hole", os.lseek, disk, 0, os.SEEK_HOLE)
fcntl.flock(disk, fcntl.LOCK_EX)
say("lock", fcntl.flock, reader, fcntl.LOCK_EX | fcntl.LOCK_NB)
os.close(disk)
fcntl.flock(reader, fcntl.LOCK_EX | fcntl.LOCK_NB)
print("locked")
disk = os.open("/dev/sdq", os.O_RDWR)
print("end", len(os.pread(disk, 10, 1 << 40)))
say("beyond", os.pwrite, disk, b"x", 64 << 20)
say("exists", os.open, "/dev/sdq", os.O_CREAT | os.O_EXCL)
say("directory", os.open, "/dev/sdq", os.O_DIRECTORY)
say("sendfile", os.sendfile, 1, disk, 0, 512)
for _ in range(2000):
    os.close(os.open("/dev/sdq", os.O_RDONLY))
print("2000 openings")
"""


class LabelsTest(EmulatorRunTest):
    def test_create_prints_the_label_and_list_has_it(self):
        made = self.create("b.drive", "--family", "pyrite2", "--msid-unknown")
        label = dict(line.split(":") for line in made.out.splitlines())
        self.assertEqual(set(label), {"Serial", "WWN", "PSID"})
        self.assertRegex(label["PSID"].strip(), "^[A-Z0-9]{32}$")
        self.sata()
        rows = self.keyward("list", "--json", ".").json()
        self.assertEqual([row["file"] for row in rows], ["a.drive", "b.drive"])
        self.assertEqual(rows[1]["psid"], label["PSID"].strip())
        self.assertEqual(rows[1]["family"], "pyrite2")
        self.assertEqual(rows[0], {"file": "a.drive", "serial": "KWSATA01", "wwn": "5000c500a1b2c3d4",
                                   "model": "KEYWARD EMULATED", "family": "opal2", "bus": "sata", "size": "64M",
                                   "size_bytes": 64 << 20, "psid": rows[0]["psid"]})
        table = self.keyward("list").out.splitlines()
        self.assertEqual(table[0].split(), ["File", "Serial", "WWN", "Family", "Bus", "Size", "PSID"])
        self.assertEqual(table[-1], "Total: 2")

    def test_two_drives_differ(self):
        self.create("1.drive")
        self.create("2.drive")
        rows = self.keyward("list", "--json").json()
        for column in ("serial", "wwn", "psid"):
            self.assertNotEqual(rows[0][column], rows[1][column])

    def test_a_drive_is_not_made_over_another(self):
        self.sata()
        again = self.keyward("create", "a.drive")
        self.assertEqual(again.code, 5, again)
        (self.directory / "a.drive").unlink()
        self.assertEqual(self.keyward("create", "a.drive").code, 5)

    def test_what_makes_no_sense_is_refused(self):
        for words in (["--size", "1000"], ["--wwn", "xyz"], ["--sector-size", "520"], ["--family", "opal9"],
                      ["--bus", "usb"], ["--size", "0"]):
            with self.subTest(words):
                self.assertEqual(self.keyward("create", "c.drive", *words).code, 2)
        self.assertFalse(list(self.directory.iterdir()))
        self.assertEqual(self.keyward("run", "--drive", "c.drive", "--", "true").code, 4)
        self.assertEqual(self.keyward("list", "nowhere").code, 4)


if __name__ == "__main__":
    unittest.main()
