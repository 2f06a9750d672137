"""redis-cli and valkey-cli with -c, fed through standard input. See script.py for what each function is.

One process is used as long as its connection lives. It reconnects by itself, but only to the node that it talked to
last: when that one is gone, a person starts it again with another address, and so does this.
"""

import json
import subprocess

program = "redis-cli"
addresses = []
session = None

JSON = ("--quoted-json", "-2")  # each reply is one line


class Failure(Exception):
    """An error reply, or words of the program's own."""


def error_text(error):
    return str(error)


def version():
    words = subprocess.run([program, "--version"], check=True, capture_output=True, text=True).stdout
    return words.split("(")[0].strip()


def quoted(word):
    """A word as the program's own line syntax wants it."""
    data = word if isinstance(word, bytes) else str(word).encode()
    return b'"' + b"".join(b"\\x%02x" % byte for byte in data) + b'"'


class Session:
    """One process that talks to one node first."""

    def __init__(self, address, options=("-c", *JSON)):
        host, port = address.rsplit(":", 1)
        self.process = subprocess.Popen([program, *options, "-h", host, "-p", port], stdin=subprocess.PIPE,
                                        stdout=subprocess.PIPE, stderr=subprocess.STDOUT)

    def close(self):
        self.process.kill()
        self.process.communicate()

    def send(self, *commands):
        self.process.stdin.write(b"".join(b" ".join(map(quoted, words)) + b"\n" for words in commands))
        self.process.stdin.flush()

    def receive(self):
        """The next reply, or a Failure (returned); ConnectionError when the program says that it has no connection."""
        moved = ""
        while True:
            line = self.process.stdout.readline().decode()
            if line.startswith("-> Redirected"):
                moved = "MOVED to where nobody is: "  # so it has certainly not happened
            elif line.startswith("error:"):
                return Failure(json.loads(line[len("error:"):]))
            elif line == "" or line.startswith(("Could not connect", "Error", "AUTH failed")):
                raise ConnectionError(moved + (line.strip() or "the program ended"))
            elif line.strip():
                return json.loads(line)


def connect(all_addresses):
    global addresses
    addresses = list(all_addresses)
    _again()


def _again():
    """Start it, with the first node that answers."""
    global session
    for _ in range(10 * len(addresses)):
        if session:
            session.close()
        session = Session(addresses[0])
        try:
            session.send(["PING"])
            session.receive()
            return
        except OSError:
            addresses.append(addresses.pop(0))
    raise Failure("no node answers")


def _batch(commands):
    try:
        session.send(*commands)
        return [session.receive() for _ in commands]
    except OSError as error:
        _again()
        raise Failure(str(error)) from None


def _checked(replies):
    for reply in replies:
        if isinstance(reply, Failure):
            raise reply
    return replies


def call(words):
    return _checked(_batch([words]))[0]


def wait(replicas, ms):
    return call(["WAIT", replicas, ms])


def set(key, value):
    return call(["SET", key, value])


def get(key):
    return call(["GET", key])


def incr(key):
    return call(["INCR", key])


def mset(pairs):
    return call(["MSET", *(word for pair in pairs.items() for word in pair)])


def mget(keys):
    return call(["MGET", *keys])


def hset(key, pairs):
    return call(["HSET", key, *(word for pair in pairs.items() for word in pair)])


def hgetall(key):
    words = call(["HGETALL", key])
    return dict(zip(words[::2], words[1::2]))


def pipeline(pairs):
    return _checked(_batch([("SET", key, value) for key, value in pairs]))


def read_pipeline(keys):
    return _checked(_batch([("GET", key) for key in keys]))


def transaction(pairs):
    """Without -c, at the node that MOVED names: with it, a command between MULTI and EXEC that is redirected is
    executed at once where it was sent to, outside the transaction. That is how the program is."""
    address = addresses[0]
    for _ in range(5):
        alone = Session(address, JSON)
        try:
            alone.send(["MULTI"], *(("SET", key, value) for key, value in pairs), ["EXEC"])
            replies = [alone.receive() for _ in range(len(pairs) + 2)]
        except OSError as error:
            raise Failure(str(error)) from None
        finally:
            alone.close()
        moved = [str(r) for r in replies if isinstance(r, Failure) and str(r).startswith("MOVED ")]
        if not moved:
            return _checked(replies)[-1]
        address = moved[0].split(" ")[2]
    raise Failure(moved[0])


def guarded(key, value, meddle):
    """With -c: WATCH goes to the right node, and what follows is for the same one."""
    alone = Session(addresses[0])
    try:
        alone.send(["WATCH", key])
        _checked([alone.receive()])
        meddle()
        alone.send(["MULTI"], ["SET", key, value], ["EXEC"])
        return _checked([alone.receive() for _ in range(3)])[-1]
    finally:
        alone.close()


def set_bytes(key, value):
    call(["SET", key, value])


def hset_bytes(key, field, value):
    call(["HSET", key, field, value])


def _read_bytes(*words):
    """A quoted string, with \\xHH for what is no text. (Its JSON is not JSON when a string has a quotation mark.)"""
    alone = Session(addresses[0], ("-c", "--no-raw"))
    try:
        alone.send(words)
        line = alone.process.stdout.readline()
        while not line.startswith(b'"'):
            assert line.startswith(b"-> Redirected") or line == b"\n", line
            line = alone.process.stdout.readline()
    finally:
        alone.close()
    return line.strip()[1:-1].decode("unicode_escape").encode("latin-1")


def get_bytes(key):
    return _read_bytes("GET", key)


def hget_bytes(key, field):
    return _read_bytes("HGET", key, field)


def scan(pattern):
    found = []
    for address in addresses:
        host, port = address.rsplit(":", 1)
        found += subprocess.run([program, "-h", host, "-p", port, "--scan", "--pattern", pattern], check=True,
                                capture_output=True, text=True).stdout.split()
    return found
