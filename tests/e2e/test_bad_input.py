"""Bad input over the command and the socket: the right code, a clear text, and the daemon goes on."""

import json
import socket
import time

from tests.e2e.harness import Node, NodeTest


class BadInputTest(NodeTest):
    @classmethod
    def setUpClass(cls):
        cls.node = Node(custodians=("hsm",))
        cls.addClassCleanup(cls.node.__exit__, None, None, None)
        cls.node.start()
        cls.node.create_domains(["S3"])
        cls.node.ok("entries", "put", "--domain", "S3", "alive", stdin="yes")

    def tearDown(self):
        self.assertEqual(self.node.ok("entries", "get", "--domain", "S3", "alive").raw, b"yes")

    def raw(self, data, timeout=20):
        """Sends bytes as they are; answers all that comes back until the daemon closes or is silent."""
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(timeout)
            connection.connect(str(self.node.socket))
            try:
                connection.sendall(data)
            except BrokenPipeError:
                pass
            out = b""
            try:
                while chunk := connection.recv(65536):
                    out += chunk
                    head, separator, body = out.partition(b"\r\n\r\n")
                    for line in head.lower().split(b"\r\n"):
                        if separator and line.startswith(b"content-length:") and len(body) >= int(line[15:]):
                            return out
            except (TimeoutError, ConnectionResetError):
                pass
            return out

    def request(self, method, target, body=b"", headers=()):
        head = f"{method} {target} HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n"
        head += "".join(f"{line}\r\n" for line in headers)
        answer = self.raw(head.encode() + b"\r\n" + body)
        head, _, body = answer.partition(b"\r\n\r\n")
        return int(head.split()[1]) if head else 0, body

    def expect_problem(self, status, method, target, body=b"", headers=()):
        got, text = self.request(method, target, body, headers)
        self.assertEqual(got, status, (method, target[:80], text[:300]))
        problem = json.loads(text)
        self.assertGreater(len(problem["detail"]), 10, problem)
        return problem

    def test_names(self):
        entries = "/api/v1/domains/S3/entries/"
        self.expect_problem(400, "PUT", entries + "a%00b", b"x")
        self.expect_problem(400, "PUT", entries + "a%0Ab", b"x")
        self.expect_problem(400, "PUT", entries + "x" * 513, b"x")
        self.expect_problem(400, "PUT", entries + "%ff%fe", b"x")
        self.expect_problem(400, "PUT", entries + "%zz", b"x")
        # Never a path: it is a name like any other.
        self.assertEqual(self.request("PUT", entries + "..%2F..%2Fetc%2Fpasswd", b"x")[0] // 100, 2)
        self.assertFalse((self.node.directory.parent / "etc").exists())
        self.assertIn(self.request("PUT", entries + "../../x", b"x")[0], (400, 404, 405))
        for name in ("", "x" * 513, "a\nb"):
            result = self.node.cli("entries", "put", "--domain", "S3", name, stdin="x")
            self.assertEqual(result.code, 2, (name[:20], result))
            self.assertNotEqual(result.err, "")

    def test_secrets(self):
        target = "/api/v1/domains/S3/entries/size"
        self.expect_problem(400, "PUT", target, b"")
        self.assertEqual(self.request("PUT", target, b"x" * (1 << 20))[0] // 100, 2)
        self.expect_problem(413, "PUT", target, b"x" * ((1 << 20) + 1))
        self.assertEqual(self.node.cli("entries", "put", "--domain", "S3", "size", stdin=b"").code, 2)
        self.assertEqual(self.node.cli("entries", "put", "--domain", "S3", "size",
                                       stdin=b"x" * ((1 << 20) + 1)).code, 2)
        self.assertEqual(len(self.node.ok("entries", "get", "--domain", "S3", "size").raw), 1 << 20)

    def test_domains_and_paths(self):
        self.expect_problem(404, "GET", "/api/v1/domains/NOPE/entries/x")
        self.expect_problem(400, "GET", "/api/v1/domains/lower/entries/x")
        self.expect_problem(404, "GET", "/nowhere")
        self.expect_problem(405, "PATCH", "/api/v1/domains")
        self.assertEqual(self.node.cli("cluster", "domains", "create", "lower").code, 2)
        self.assertEqual(self.node.cli("cluster", "domains", "create", "A" * 33).code, 2)
        self.assertEqual(self.node.cli("cluster", "rekey", "start", "--domain", "NOPE", "--yes").code, 4)
        self.assertEqual(self.node.cli("cluster", "rekey", "start", "--domain", "S3", "--without", "no:such",
                                       "--yes").code, 2)

    def test_json(self):
        for body in (b"", b"{", b"null", b"[]", b'{"domain":1}', b'{"domain":"A","domain":"B"}', b'{"other":"A"}',
                     b'{"domain":"\xff"}', b"[" * 5000, b'{"domain":"A"} x'):
            self.expect_problem(400, "POST", "/api/v1/domains", body)
        self.expect_problem(413, "POST", "/api/v1/domains", b'{"domain":"' + b"A" * 200_000 + b'"}')

    def test_http(self):
        self.assertIn(b" 400 ", self.raw(b"nonsense\r\n\r\n"))
        self.assertIn(b" 431 ", self.raw(b"GET / HTTP/1.1\r\nX: " + b"y" * 20_000 + b"\r\n\r\n"))
        self.raw(bytes(range(256)) * 100)
        chunked = (b"PUT /api/v1/domains/S3/entries/c HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
                   b"1\r\nx\r\n0\r\n\r\n")
        self.assertIn(b" 411 ", self.raw(chunked))

    def test_import_garbage(self):
        target = "/api/v1/domains/S3/entries:import"
        for body in (b"\0", b"\0\0\0\1a", b"\xff\xff\xff\xffa", b"\0\0\0\1a\0\0\0\0"):
            status, text = self.request("POST", target, body)
            self.assertEqual(status, 400, text)

    def test_a_client_that_stalls_holds_up_nobody(self):
        stalled = []
        for data in (b"", b"GET /api", b"PUT /api/v1/domains/S3/entries/s HTTP/1.1\r\nContent-Length: 1000000\r\n\r\nx"):
            connection = socket.socket(socket.AF_UNIX)
            connection.connect(str(self.node.socket))
            connection.sendall(data)
            stalled.append(connection)
        begin = time.monotonic()
        for _ in range(20):
            self.assertEqual(self.request("GET", "/api/v1/domains/S3/entries/alive")[1], b"yes")
        self.assertLess(time.monotonic() - begin, 5)
        # The one that stopped half-way through its header is cut off at the limit, 10 s.
        stalled[1].settimeout(20)
        answer = stalled[1].recv(1000)
        self.assertTrue(answer == b"" or b" 408 " in answer, answer)
        for connection in stalled:
            connection.close()

    def test_a_thousand_connections(self):
        connections = []
        for _ in range(1000):
            connection = socket.socket(socket.AF_UNIX)
            connection.settimeout(5)
            try:
                connection.connect(str(self.node.socket))
                connections.append(connection)
            except OSError:
                connection.close()
        refused = 0
        for connection in connections:
            try:
                connection.sendall(b"GET /api/v1/domains/S3/entries/alive HTTP/1.1\r\nHost: x\r\n\r\n")
                refused += b" 503 " in connection.recv(4096)
            except OSError:
                refused += 1
        self.assertGreater(refused, 0)
        self.assertLess(refused, 1000, "those that were let in are served")
        for connection in connections:
            connection.close()
