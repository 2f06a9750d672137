"""The judge's own client: the Redis protocol over a plain socket, for what no client library would show."""

import socket
import time


class ReplyError(Exception):
    """An error reply; its first word says which."""

    @property
    def word(self):
        return str(self).split(" ", 1)[0]


def _bytes(arg):
    return arg if isinstance(arg, bytes) else str(arg).encode()


class Connection:
    """One connection to one node. `call` raises ReplyError for an error reply and OSError when the wire breaks."""

    def __init__(self, address, timeout=10.0):
        host, port = address.rsplit(":", 1)
        self.socket = socket.create_connection((host, int(port)), timeout)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.file = self.socket.makefile("rb")

    def close(self):
        self.file.close()
        self.socket.close()

    def send(self, *commands):
        """Send whole commands in one write, without waiting."""
        out = b""
        for args in commands:
            out += b"*%d\r\n" % len(args)
            for arg in map(_bytes, args):
                out += b"$%d\r\n%s\r\n" % (len(arg), arg)
        self.socket.sendall(out)

    def _line(self):
        line = self.file.readline()
        if not line.endswith(b"\r\n"):
            raise ConnectionError("the node closed the connection")
        return line[:-2]

    def _body(self, length):
        body = self.file.read(length + 2)
        if len(body) != length + 2:
            raise ConnectionError("the node closed the connection")
        return body[:-2]

    def receive(self):
        """The next reply; an error is returned, not raised, so that the replies inside arrays are kept."""
        line = self._line()
        kind, rest = line[:1], line[1:]
        if kind == b"+":
            return rest.decode()
        if kind == b"-":
            return ReplyError(rest.decode())
        if kind == b":":
            return int(rest)
        if kind == b"$":
            return None if rest == b"-1" else self._body(int(rest))
        if kind in (b"*", b"~", b">"):
            return None if rest == b"-1" else [self.receive() for _ in range(int(rest))]
        if kind == b"%":
            return {_key(self.receive()): self.receive() for _ in range(int(rest))}
        if kind == b"_":
            return None
        if kind == b"#":
            return rest == b"t"
        if kind == b",":
            return float(rest)
        if kind == b"=":
            return self._body(int(rest))[4:]
        raise AssertionError("not a reply of the Redis protocol: %r" % line)

    def call(self, *args):
        self.send(args)
        reply = self.receive()
        if isinstance(reply, ReplyError):
            raise reply
        return reply


def _key(reply):
    return reply.decode() if isinstance(reply, bytes) else reply


class Router:
    """Sends each command where its key lives, and waits out elections: for reading back what others wrote."""

    def __init__(self, addresses, patience_s=30.0):
        self.addresses = addresses
        self.patience_s = patience_s
        self.connections = {}
        self.homes = {}  # slot -> address, as MOVED told us

    def close(self):
        for connection in self.connections.values():
            connection.close()
        self.connections = {}

    def _connection(self, address):
        if address not in self.connections:
            self.connections[address] = Connection(address)
        return self.connections[address]

    def _drop(self, address):
        connection = self.connections.pop(address, None)
        if connection:
            connection.close()

    def ask(self, key, *args):
        """Run a command on `key`'s leader. Gives (reply, the leader's address)."""
        until = time.monotonic() + self.patience_s
        address, tries, tag = self.homes.get(key), 0, key
        while True:
            address = address or self.addresses[tries % len(self.addresses)]
            tries += 1
            try:
                reply = self._connection(address).call(*args)
                self.homes[tag] = address
                return reply, address
            except ReplyError as error:
                if error.word == "MOVED":
                    address = str(error).split(" ")[2]
                elif error.word in ("CLUSTERDOWN", "TRYAGAIN"):
                    address = None
                else:
                    raise
                last = error
            except OSError as error:
                self._drop(address)
                address, last = None, error
            if time.monotonic() > until:
                raise AssertionError("no answer for %s within %d s: %s" % (key, self.patience_s, last))

    def call(self, *args):
        return self.ask(args[1], *args)[0]

    def leader(self, key):
        return self.ask(key, "EXISTS", key)[1]
