"""PKCS#11 modules other than SoftHSM2, as they are in Debian: opencryptoki's software token and tpm2-pkcs11 on swtpm.
What works, what is refused, and how that reads. KEYWARD_NIGHTLY=1 only: opencryptoki needs root for a mount
namespace of its own, since its state has fixed places. The table that is printed stands in docs/MODULES.md."""

import ctypes
import os
import pathlib
import shutil
import subprocess
import tempfile
import unittest

from tests.e2e.harness import NIGHTLY, SOFTHSM_MODULE, Node, NodeTest, SoftHsm, Swtpm, wait_for

LIBRARIES = pathlib.Path("/usr/lib/x86_64-linux-gnu")
CLONE_NEWNS, CLONE_NEWIPC = 0x00020000, 0x08000000
PIN = "1234567"


def run(*command, env=None, enter=None, stdin=""):
    done = subprocess.run(command, env={**os.environ, **(env or {})}, preexec_fn=enter, input=stdin.encode(),
                          capture_output=True, timeout=60)
    if done.returncode != 0:
        raise AssertionError(f"{command}: {done.returncode}\n{done.stdout.decode()}{done.stderr.decode()}")
    return done.stdout.decode()


class Module:
    """One module with one token. `enter`: what a process does first to see it."""

    network, environment, enter = "false", {}, None

    def __init__(self, directory):
        self.directory = directory
        self.pin_file = directory / "module.pin"
        self.pin_file.touch(mode=0o600)
        self.pin_file.write_text(self.pin)

    def stop(self):
        pass

    def version(self):
        return run("dpkg-query", "-W", "-f", "${Version}", self.package)

    def config(self, mechanism, **changed):
        settings = {"network": self.network, **changed}
        environment = ", ".join(f'{name} = "{value}"' for name, value in self.environment.items())
        return f'''
[[custodian]]
kind = "pkcs11"
name = "hsm1"
module = "{self.library}"
token = "pkcs11:token=mktok"
pin = "file:{self.pin_file}"
mechanism = "{mechanism}"
network = {settings["network"]}
environment = {{ {environment} }}
'''

    def secret_keys(self):
        return run("pkcs11-tool", "--module", self.library, "--token-label", "mktok", "--login", "--pin", self.pin,
                   "--list-objects", "--type", "secrkey", env=self.environment, enter=self.enter).count("AES")


class SoftHsmModule(Module):
    name, package, library, pin = "SoftHSM2", "libsofthsm2", SOFTHSM_MODULE, "123456"

    def __init__(self, directory):
        super().__init__(directory)
        self.token = SoftHsm(directory / "softhsm")
        self.environment = {"SOFTHSM2_CONF": str(self.token.conf)}


class OpencryptokiModule(Module):
    """pkcsslotd and the token in a mount and IPC namespace of their own: the machine's are not touched."""

    name, package, library, pin, network = ("opencryptoki", "opencryptoki",
                                            LIBRARIES / "opencryptoki/libopencryptoki.so.0", PIN, "true")

    def __init__(self, directory):
        super().__init__(directory)
        self.daemon = subprocess.Popen(
            ["unshare", "--mount", "--ipc", "--propagation", "private", "sh", "-ec",
             "mount -t tmpfs tmpfs /var/lib/opencryptoki; mount -t tmpfs tmpfs /run; mkdir /run/lock;"
             "systemd-tmpfiles --create /usr/lib/tmpfiles.d/opencryptoki.conf; exec pkcsslotd -f"],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)
        wait_for(pathlib.Path(f"/proc/{self.daemon.pid}/root/run/pkcsslotd.socket").exists, 20, "pkcsslotd")
        conf = lambda *args, **kwargs: run("pkcsconf", "-c", "3", *args, enter=self.enter, **kwargs)
        conf("-I", "-S", "87654321", stdin="mktok\n")
        conf("-P", "-S", "87654321", "-n", "76543210")
        conf("-u", "-S", "76543210", "-n", "123456")
        conf("-p", "-U", "123456", "-n", PIN)

    def enter(self):
        libc = ctypes.CDLL(None, use_errno=True)
        for name, kind in (("ipc", CLONE_NEWIPC), ("mnt", CLONE_NEWNS)):
            descriptor = os.open(f"/proc/{self.daemon.pid}/ns/{name}", os.O_RDONLY)
            if libc.setns(descriptor, kind) != 0:
                raise OSError(ctypes.get_errno(), "setns")
            os.close(descriptor)

    def stop(self):
        self.daemon.terminate()
        self.daemon.wait(20)


class Tpm2Module(Module):
    name, package, library, pin, network = ("tpm2-pkcs11", "libtpm2-pkcs11-1",
                                            LIBRARIES / "pkcs11/libtpm2_pkcs11.so", PIN, "true")

    def __init__(self, directory):
        super().__init__(directory)
        self.tpm = Swtpm(directory / "module-tpm")
        self.tpm.start()
        tcti = f"swtpm:path={self.tpm.data}"
        self.environment = {"TPM2_PKCS11_STORE": str(directory), "TPM2_PKCS11_TCTI": tcti, "TPM2TOOLS_TCTI": tcti,
                            "HOME": str(directory)}
        run("tpm2_ptool", "init", "--path", str(directory), env=self.environment)
        # The tools leave their objects in the TPM, and no resource manager clears them away.
        run("tpm2_flushcontext", "-t", env=self.environment)
        tool = lambda *args: run("pkcs11-tool", "--module", self.library, "--slot-index", "0", *args,
                                 env=self.environment)
        tool("--init-token", "--label", "mktok", "--so-pin", "87654321")
        tool("--login", "--login-type", "so", "--so-pin", "87654321", "--init-pin", "--pin", PIN)

    def stop(self):
        self.tpm.stop()


@unittest.skipUnless(NIGHTLY, "KEYWARD_NIGHTLY=1 only")
class ModuleTest(NodeTest):
    table = []

    @classmethod
    def tearDownClass(cls):
        super().tearDownClass()
        print("\n| module | version | AES-GCM | AES key wrap | generate | seal, unseal | list | destroy | left on the "
              "token |\n|---|---|---|---|---|---|---|---|---:|")
        for row in cls.table:
            print("| " + " | ".join(str(cell) for cell in row) + " |")

    def start_module(self, kind):
        directory = pathlib.Path(tempfile.mkdtemp(prefix="keyward-module-"))
        self.addCleanup(shutil.rmtree, directory, ignore_errors=True)
        module = kind(directory)
        self.addCleanup(module.stop)
        return module

    def start_node(self, module, mechanism="auto", **settings):
        node = Node(custodians=(), extra_config=module.config(mechanism, **settings))
        self.addCleanup(node.__exit__, None, None, None)
        node.start(unsealed=False, preexec_fn=module.enter)
        return node

    def words_of_test(self, node):
        """ "yes", or what `custodians test` says."""
        result = node.cli("custodians", "test", "pkcs11:hsm1")
        return "yes" if result.code == 0 else (result.out + result.err).strip()

    def mechanism_words(self, module, mechanism):
        node = self.start_node(module, mechanism)
        words = self.words_of_test(node)
        node.__exit__(None, None, None)
        return words

    def note(self, module, *cells):
        self.table.append((module.name, module.version(), *cells, module.secret_keys()))

    def expect_refused(self, module, code):
        """No mechanism works: said at the test, in the list and by whatever needs a key; nothing is made."""
        words = {mechanism: self.mechanism_words(module, mechanism) for mechanism in ("gcm", "keywrap")}
        for text in words.values():
            self.assertIn(code, text)
        node = self.start_node(module)
        print(f"\n{module.name} {module.version()}: {self.words_of_test(node)}")
        created = node.cli("cluster", "domains", "create", "S3")
        self.assertNotEqual(created.code, 0, created)
        self.assertIn("pkcs11:hsm1", created.err)
        row = node.ok("custodians", "list", "--json").json()[0]
        self.assertFalse(row["healthy"], row)
        self.assertIn("Keyward cannot use it", row["error"])
        self.assertEqual(node.cli("cluster", "domains", "list", "--json").json(), [])
        node.__exit__(None, None, None)
        self.assertEqual(module.secret_keys(), 0, "something was left on a token that is refused")
        self.note(module, code, code, "refused", "refused", "refused", "refused")

    def test_softhsm_for_comparison(self):
        module = self.start_module(SoftHsmModule)
        for mechanism in ("gcm", "keywrap"):
            self.assertEqual(self.mechanism_words(self.start_module(SoftHsmModule), mechanism), "yes")
        node = self.start_node(module)
        node.wait_unsealed()
        node.create_domains(["S3"])
        node.ok("entries", "put", "--domain", "S3", "a", stdin="secret of a")
        node.rekey_and_wait("S3")
        node.stop()
        node.start(preexec_fn=module.enter)
        self.assertEqual(node.ok("entries", "get", "--domain", "S3", "a").raw, b"secret of a")
        listed = node.ok("doctor").out
        node.__exit__(None, None, None)
        self.assertNotIn("unknown_object", listed)
        self.assertEqual(module.secret_keys(), 2, "one for KEYWARD, one for S3: the old one is destroyed")
        self.note(module, "yes", "yes", "works", "works", "works", "works")

    def test_opencryptoki(self):
        if os.geteuid() != 0:
            self.skipTest("opencryptoki needs root for its namespace")
        module = self.start_module(OpencryptokiModule)
        self.expect_refused(module, "CKR_MECHANISM_INVALID")
        # Without leave to open a socket the module does not reach pkcsslotd.
        node = self.start_node(module, network="false")
        words = self.words_of_test(node)
        print(f"{module.name} with network = false: {words}")
        self.assertIn("network = true", words)

    def test_tpm2_pkcs11(self):
        module = self.start_module(Tpm2Module)
        self.expect_refused(module, "CKR_FUNCTION_NOT_SUPPORTED")


if __name__ == "__main__":
    unittest.main()
