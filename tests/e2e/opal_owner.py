"""A TCG host of a few lines, for a drive as the factory made it: activates the Locking SP and locks the
global range, with the MSID for every PIN. `opal_owner.py <node> lock|unlock`, NVMe or SG_IO by the node's name.
"""

import ctypes
import fcntl
import struct
import sys

NVME_ADMIN_CMD, SG_IO = 0xC0484E41, 0x2285
COM_ID = 0x1000
ADMIN_SP, LOCKING_SP = 0x0000020500000001, 0x0000020500000002
SID, ADMIN1 = 0x0000000900000006, 0x0000000900010001
MSID, GLOBAL_RANGE = 0x0000000B00008402, 0x0000080200000001
SESSION_MANAGER, START_SESSION = 0xFF, 0xFF02
THIS_GET, THIS_SET, ACTIVATE = 0x0000000600000016, 0x0000000600000017, 0x0000000600000203


class Node:
    def __init__(self, path):
        self.file = open(path, "rb+", buffering=0)
        self.move = self.nvme if "nvme" in path else self.sg_io

    def nvme(self, is_send, buffer):
        command = struct.pack("=BBHIIIQQII8I", 0x81 if is_send else 0x82, 0, 0, 0, 0, 0, 0, ctypes.addressof(buffer), 0,
                              len(buffer), 1 << 24 | COM_ID << 8, len(buffer), 0, 0, 0, 0, 0, 0)
        status = fcntl.ioctl(self.file, NVME_ADMIN_CMD, bytearray(command))
        assert status == 0, hex(status)

    def sg_io(self, is_send, buffer):
        cdb = ctypes.create_string_buffer(struct.pack(">BBHBBIBB", 0xB5 if is_send else 0xA2, 1, COM_ID, 0x80, 0,
                                                      len(buffer) // 512, 0, 0), 12)
        header = bytearray(struct.pack("=iiBBHIQQQIIi4xQBBBBHHiII", ord("S"), -2 if is_send else -3, 12, 0, 0, len(buffer),
                                       ctypes.addressof(buffer), ctypes.addressof(cdb), 0, 10000, 0, 0, 0,
                                       0, 0, 0, 0, 0, 0, 0, 0, 0))
        fcntl.ioctl(self.file, SG_IO, header)
        assert header[64] == 0, f"SCSI status {header[64]}"

    def exchange(self, tokens, tsn=0, hsn=0):
        """Sends tokens, and answers those of the reply, which must be of success."""
        padded = tokens + bytes(-len(tokens) % 4)
        sub = struct.pack(">6xHI", 0, len(tokens)) + padded
        packet = struct.pack(">IIIHHII", tsn, hsn, 0, 0, 0, 0, len(sub)) + sub
        whole = struct.pack(">IHHIII", 0, COM_ID, 0, 0, 0, len(packet)) + packet
        self.move(True, ctypes.create_string_buffer(whole, -(-len(whole) // 512) * 512))
        reply = ctypes.create_string_buffer(2048)
        self.move(False, reply)
        size = struct.unpack_from(">I", reply.raw, 52)[0]
        answer = reply.raw[56:56 + size]
        assert tokens == b"\xfa" or answer.endswith(b"\xf9\xf0\x00\x00\x00\xf1"), answer.hex()
        return answer


def uid(value):
    return b"\xa8" + value.to_bytes(8, "big")


def data(value):
    return b"\xd0" + bytes([len(value)]) + value


def call(invoking, method, arguments):
    return b"\xf8" + uid(invoking) + uid(method) + b"\xf0" + arguments + b"\xf1\xf9\xf0\x00\x00\x00\xf1"


class Session:
    def __init__(self, node, sp, authority=None, pin=b""):
        proof = b"\xf2\x00" + data(pin) + b"\xf3\xf2\x03" + uid(authority) + b"\xf3" if authority else b""
        answer = node.exchange(call(SESSION_MANAGER, START_SESSION, b"\x01" + uid(sp) + b"\x01" + proof))
        number = answer[answer.index(b"\xf0\x01") + 2:]  # After the host's own.
        size = number[0] & 0x0F
        self.tsn = number[0] if number[0] < 0x40 else int.from_bytes(number[1:1 + size], "big")
        self.node = node

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self.node.exchange(b"\xfa", self.tsn, 1)

    def call(self, *words):
        return self.node.exchange(call(*words), self.tsn, 1)


def main():
    node, locked = Node(sys.argv[1]), sys.argv[2] == "lock"
    with Session(node, ADMIN_SP) as session:
        answer = session.call(MSID, THIS_GET, b"\xf0\xf2\x03\x03\xf3\xf2\x04\x03\xf3\xf1")
        start = answer.index(b"\xf2\x03\xd0\x20") + 4
        msid = answer[start:start + 32]
    if locked:
        with Session(node, ADMIN_SP, SID, msid) as session:
            session.call(LOCKING_SP, ACTIVATE, b"")
    # ReadLockEnabled, WriteLockEnabled, ReadLocked, WriteLocked.
    cells = b"".join(b"\xf2" + bytes([column, value]) + b"\xf3" for column, value in
                     ((5, 1), (6, 1), (7, int(locked)), (8, int(locked))))
    with Session(node, LOCKING_SP, ADMIN1, msid) as session:
        session.call(GLOBAL_RANGE, THIS_SET, b"\xf2\x01\xf0" + cells + b"\xf1\xf3")


main()
