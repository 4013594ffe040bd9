"""A node for tests: a private directory with a SoftHSM2 token, a swtpm and a keywardd sealed by both.

    with Node() as node:
        node.start()
        node.cli("cluster", "domains", "create", "S3")
        node.kill()          # SIGKILL
        node.start()

Everything runs on Unix sockets in the node's own directory. Only processes that the node started are
ended, each by its own handle. KEYWARD_BIN names the build folder.
"""

import json
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import unittest

ROOT = pathlib.Path(__file__).resolve().parents[2]
BIN = pathlib.Path(os.environ.get("KEYWARD_BIN", ROOT / "build/dev"))
NIGHTLY = os.environ.get("KEYWARD_NIGHTLY") == "1"
SOFTHSM_MODULE = "/usr/lib/softhsm/libsofthsm2.so"
CLUSTER_DOMAINS = ("CELOG CERTSTORE CLOUDPOOLS EMAIL FTP IPMI_MGMT JWT LHOTSE NDMP NETWORK PSTORE RICE S3 "
                   "SIQ SNMP SRS SSO").split()


class Result:
    """What a command answered."""

    def __init__(self, completed):
        self.code = completed.returncode
        self.out = completed.stdout.decode(errors="replace")
        self.err = completed.stderr.decode(errors="replace")
        self.raw = completed.stdout

    def json(self):
        try:
            return json.loads(self.out)
        except json.JSONDecodeError:
            raise AssertionError(f"no JSON: {self}") from None

    def __repr__(self):
        return f"exit {self.code}\n{self.out}\n{self.err}"


class SoftHsm:
    """One token in a private directory."""

    def __init__(self, directory, label="mktok", pin="123456"):
        self.directory = directory
        self.label, self.pin = label, pin
        self.tokens = directory / "tokens"
        self.conf = directory / "softhsm2.conf"
        self.tokens.mkdir(parents=True)
        self.conf.write_text(f"directories.tokendir = {self.tokens}\nobjectstore.backend = file\n"
                             "log.level = ERROR\n")
        self.pin_file = directory / "pin"
        self.write_pin(pin)
        self.env = {**os.environ, "SOFTHSM2_CONF": str(self.conf)}
        subprocess.run(["softhsm2-util", "--init-token", "--free", "--label", label, "--so-pin", "87654321",
                        "--pin", pin], env=self.env, check=True, capture_output=True)

    def write_pin(self, pin):
        self.pin_file.touch(mode=0o600)
        self.pin_file.write_text(pin)

    def objects(self):
        """What pkcs11-tool lists: one text a secret key."""
        out = subprocess.run(["pkcs11-tool", "--module", SOFTHSM_MODULE, "--token-label", self.label, "--login",
                              "--pin", self.pin, "--list-objects", "--type", "secrkey"], env=self.env,
                             capture_output=True, check=True).stdout.decode()
        return ["Secret Key Object" + part for part in out.split("Secret Key Object")[1:]]

    def take_away(self):
        self.tokens.rename(self.directory / "tokens.away")

    def bring_back(self):
        (self.directory / "tokens.away").rename(self.tokens)

    def config(self):
        return f'''
[[custodian]]
kind = "pkcs11"
name = "hsm1"
module = "{SOFTHSM_MODULE}"
token = "pkcs11:token={self.label}"
pin = "file:{self.pin_file}"
sync_dirs = ["{self.tokens}"]
environment = {{ SOFTHSM2_CONF = "{self.conf}" }}
'''


class Swtpm:
    """One software TPM on Unix sockets."""

    def __init__(self, directory, pcrs=(16,)):
        self.directory, self.pcrs = directory, pcrs
        self.process = None
        (directory / "state").mkdir(parents=True)
        self.data = directory / "tpm.sock"

    def start(self):
        for name in ("tpm.sock", "tpm.sock.ctrl"):
            (self.directory / name).unlink(missing_ok=True)
        self.process = subprocess.Popen(
            ["swtpm", "socket", "--tpm2", "--tpmstate", f"dir={self.directory}/state", "--server",
             f"type=unixio,path={self.data}", "--ctrl", f"type=unixio,path={self.data}.ctrl",
             "--flags", "not-need-init,startup-clear"], stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL, start_new_session=True)
        wait_for(self.data.exists, 10, "swtpm's socket")

    def stop(self):
        if self.process:
            self.process.send_signal(signal.SIGCONT)
            self.process.terminate()
            self.process.wait(10)
            self.process = None

    def freeze(self):
        self.process.send_signal(signal.SIGSTOP)

    def thaw(self):
        self.process.send_signal(signal.SIGCONT)

    def config(self):
        return f'''
[[custodian]]
kind = "tpm2"
name = "board"
tcti = "swtpm:path={self.data}"
pcrs = {list(self.pcrs)}
time_limit_s = 5
sync_dirs = ["{self.directory}/state"]
'''


def wait_for(condition, seconds, what):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        value = condition()
        if value:
            return value
        time.sleep(0.02)
    raise AssertionError(f"waited {seconds} s in vain for {what}")


class Node:
    def __init__(self, pcrs=(16,), extra_config="", custodians=("hsm", "tpm"), directory=None):
        self.directory = pathlib.Path(directory or tempfile.mkdtemp(prefix="keyward-e2e-"))
        self.state = self.directory / "state"
        self.socket = self.directory / "keyward.sock"
        self.log = self.directory / "keywardd.log"
        self.hsm = SoftHsm(self.directory / "hsm") if "hsm" in custodians else None
        self.tpm = Swtpm(self.directory / "tpm", pcrs) if "tpm" in custodians else None
        self.extra_config = extra_config
        self.process = None
        self.children = []
        if self.tpm:
            self.tpm.start()
        self.write_config()

    def write_config(self):
        text = f'''state_dir = "{self.state}"
socket = "{self.socket}"
memory_lock = "best_effort"
{self.extra_config}
'''
        for part in (self.hsm, self.tpm):
            if part:
                text += part.config()
        self.config = self.directory / "keyward.toml"
        self.config.write_text(text)

    def __enter__(self):
        return self

    def __exit__(self, kind, value, trace):
        for child in self.children:
            if child.poll() is None:
                child.kill()
                child.wait()
        self.kill()
        if self.tpm:
            self.tpm.stop()
        if kind and self.log.exists():
            sys.stderr.write(f"--- the end of {self.log}\n" + self.log.read_text(errors="replace")[-4000:])
        if not os.environ.get("KEYWARD_KEEP"):
            shutil.rmtree(self.directory, ignore_errors=True)

    # The daemon.
    def start(self, wait=True, unsealed=True, preexec_fn=None, env=None):
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen([BIN / "keywardd", "--config", self.config], stdout=log, stderr=log,
                                            stdin=subprocess.DEVNULL, start_new_session=True,
                                            preexec_fn=preexec_fn, env=env)
        if wait:
            wait_for(self.answers, 30, "keywardd's socket")
        if wait and unsealed:
            self.wait_unsealed()

    def wait_unsealed(self, seconds=60):
        """Until KEYWARD exists and no domain is LOCKED."""
        def ready():
            rows = self.cli("cluster", "domains", "list", "--json").json()
            return rows and all(row["status"] != "LOCKED" for row in rows)
        wait_for(ready, seconds, "the domains to be unsealed")

    def answers(self):
        if self.process.poll() is not None:
            raise AssertionError(f"keywardd ended with {self.process.returncode}:\n"
                                 + self.log.read_text(errors="replace")[-4000:])
        return self.is_listened_to()

    def is_listened_to(self):
        with socket.socket(socket.AF_UNIX) as probe:
            try:
                probe.connect(str(self.socket))
                return True
            except OSError:
                return False

    def stop(self):
        self.process.terminate()
        code = self.process.wait(30)
        self.process = None
        return code

    def kill(self):
        if self.process and self.process.poll() is None:
            self.process.kill()
            self.process.wait()
            # A child that it was starting has its sockets until it runs its own program.
            wait_for(lambda: not self.is_listened_to(), 30, "the killed daemon's socket to be closed")
        self.process = None

    def memory_peak_kib(self):
        """Highest resident memory so far (VmHWM)."""
        for line in pathlib.Path(f"/proc/{self.process.pid}/status").read_text().splitlines():
            if line.startswith("VmHWM"):
                return int(line.split()[1])
        raise AssertionError("no VmHWM")

    # The command.
    def cli(self, *args, stdin=b"", check=False, timeout=120):
        if isinstance(stdin, str):
            stdin = stdin.encode()
        result = Result(subprocess.run([BIN / "keyward", "--socket", self.socket, *args], input=stdin,
                                       capture_output=True, timeout=timeout))
        if check and result.code != 0:
            raise AssertionError(f"keyward {' '.join(map(str, args))}: {result}")
        return result

    def ok(self, *args, **kwargs):
        return self.cli(*args, check=True, **kwargs)

    def create_domains(self, domains=("S3",)):
        for domain in domains:
            self.ok("cluster", "domains", "create", domain)

    def status(self, domain):
        """The domain's row of `cluster status`."""
        rows = self.ok("cluster", "status", "--json").json()
        return next((row for row in rows if row["domain"] == domain), {"status": "", "error": ""})

    def progress(self, domain):
        rows = self.ok("cluster", "rekey", "progress", "--domain", domain, "--json").json()
        return rows[0] if rows else None

    def keys(self, domain):
        return [key for key in self.ok("keys", "list", "--json").json() if key["domain"] == domain]

    def rekey_and_wait(self, domain="S3", seconds=120):
        self.ok("cluster", "rekey", "start", "--domain", domain, "--yes")
        self.wait_rekeyed(domain, seconds)

    def wait_rekeyed(self, domain="S3", seconds=120):
        wait_for(lambda: len(self.keys(domain)) == 1 and self.status(domain)["status"] == "ACTIVE", seconds,
                 f"the rekey of {domain}")

    def load(self, mode, *args, background=False, **kwargs):
        """Runs keyward-load; answers its JSON, or the process when `background`."""
        command = [BIN / "tests/keyward-load", mode, "--socket", self.socket, *map(str, args)]
        if background:
            child = subprocess.Popen(command, stdout=subprocess.PIPE)
            self.children.append(child)
            return child
        done = subprocess.run(command, capture_output=True, timeout=kwargs.get("timeout", 600))
        if not done.stdout:
            raise AssertionError(f"keyward-load {mode}: {done.returncode} {done.stderr.decode()}")
        return json.loads(done.stdout)

    def events(self, name=None):
        rows = self.ok("events", "list", "--json").json()
        return [row for row in rows if name is None or row["name"] == name]


def finish_load(child, timeout=120):
    """Stops a load in the background and answers its JSON."""
    child.send_signal(signal.SIGTERM)
    out, _ = child.communicate(timeout=timeout)
    return json.loads(out)


class NodeTest(unittest.TestCase):
    """A test case with helpers; each test makes the nodes that it needs."""

    longMessage = True

    def assert_no_failures(self, summary):
        for field in ("failed_reads", "wrong_values", "failed_writes"):
            self.assertEqual(summary[field], 0, summary)
        self.assertGreater(summary["reads"], 0, summary)
