"""What lossy.sh needs beside the proxy. (Not every kernel has tc-netem(8), which loses packets, too.)

    lossy.py link PERCENT
        Two TUN devices, near and far. What is routed to one comes out of the other, but for this share of the packets.

    lossy.py listen|connect send|send-fin|receive ADDRESS PORT COUNT
        Accepts or makes COUNT connections at once. A sender sends SIZE bytes, and FIN if it is to, and resets when its
        kernel has the acknowledgement. A receiver counts bytes until the reset; a line says how many had which outcome.
"""

import collections
import concurrent.futures
import contextlib
import fcntl
import os
import random
import select
import socket
import struct
import sys
import time

SIZE = 150_000

# linux/if_tun.h, linux/sockios.h
TUNSETIFF, IFF_TUN, IFF_NO_PI, SIOCOUTQ = 0x400454CA, 0x0001, 0x1000, 0x5411


def link(percent):
    near, far = tun("near"), tun("far")
    other = {near: far, far: near}
    print("ready", flush=True)
    while True:
        for device in select.select(list(other), [], [])[0]:
            packet = os.read(device, 65536)
            if random.random() * 100 >= percent:
                with contextlib.suppress(OSError):  # a device that is not up takes nothing
                    os.write(other[device], packet)


def tun(name):
    device = os.open("/dev/net/tun", os.O_RDWR)
    fcntl.ioctl(device, TUNSETIFF, struct.pack("16sH22x", name.encode(), IFF_TUN | IFF_NO_PI))
    return device


def send(connection, finish):
    connection.recv(1)  # the session is established: before that a reset cancels the connect to the server
    connection.sendall(bytes(SIZE))
    if finish:
        connection.shutdown(socket.SHUT_WR)
    while unacknowledged(connection):  # a reset would take it back
        time.sleep(0.005)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def unacknowledged(connection):
    return struct.unpack("i", fcntl.ioctl(connection, SIOCOUTQ, bytes(4)))[0]


def receive(connection):
    """Counts bytes until the reset.

    A reset is sent once, and may be lost: so where none comes a byte is sent. What answers is a reset, if there was one.
    """
    connection.send(b"!")
    connection.settimeout(1)
    count, fin = 0, ""
    with contextlib.suppress(ConnectionError):
        while True:
            try:
                received = connection.recv(1 << 16)
                count += len(received)
                if not received:
                    fin = "FIN, "
                    time.sleep(0.05)
                    connection.send(b"?")
            except TimeoutError:
                connection.send(b"?")
    return f"{count} bytes, {fin}then RST"


def peers(way, what, address, port, count):
    listener = socket.create_server((address, port), backlog=count) if way == "listen" else None

    def serve(_):
        with listener.accept()[0] if listener else socket.create_connection((address, port)) as connection:
            return receive(connection) if what == "receive" else send(connection, what == "send-fin")

    with concurrent.futures.ThreadPoolExecutor(count) as threads:
        outcomes = collections.Counter(threads.map(serve, range(count)))
    if what == "receive":
        print("; ".join(f"{number} have {outcome}" for outcome, number in sorted(outcomes.items())))


match sys.argv[1:]:
    case ["link", percent]:
        link(float(percent))
    case [way, what, address, port, count]:
        peers(way, what, address, int(port), int(count))
    case _:
        sys.exit(__doc__)
