"""The script for clients that are run from Python: see README.md. What differs between them is in NAME.py, a module with
    version(), connect(addresses), call(words), set, get, incr, mset(dict), mget(keys), hset(key, dict), hgetall(key),
    pipeline(pairs) over all slots, read_pipeline(keys), transaction(pairs), guarded(key, value, meddle), set_bytes,
    get_bytes, hset_bytes, hget_bytes, scan(pattern), wait(replicas, ms), Failure (what it raises).
Texts come and go as str.
Usage: script.py NAME[=PROGRAM] HOST:PORT,... PREFIX       (PROGRAM: which command line)
"""

import importlib
import json
import os
import select
import sys
import time

HERE = os.path.dirname(os.path.abspath(__file__))
REFUSED = ("MOVED ", "CLUSTERDOWN ", "TRYAGAIN ", "OOM ", "DATABASEDOWN ")


def say(line):
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


class Script:
    def __init__(self, client, prefix):
        self.client = client
        self.prefix = prefix

    # ---- what is the same for all languages ----

    def steps(self):
        with open(os.path.join(HERE, "steps.txt"), encoding="utf-8") as lines:
            for line in map(str.strip, lines):
                if line and not line.startswith("#"):
                    self._step(line.replace("%", self.prefix))

    def _step(self, line):
        words, want = line.split(" => ")
        try:
            got = self.client.call(words.split(" "))
        except self.client.Failure as error:
            text = self.client.error_text(error)
            assert want.startswith("!") and text.startswith(want[1:] + " "), "%s: %s, not %s" % (words, text, want)
            return
        assert same(got, want), "%s: %r, not %s" % (words, got, want)

    def methods(self):
        c, p = self.client, self.prefix
        assert same(c.set(p + ":m", "v"), '"OK"')
        assert c.get(p + ":m") == "v"
        assert c.mset({"{%s}:x" % p: "1", "{%s}:y" % p: "2"})
        assert c.mget(["{%s}:x" % p, "{%s}:y" % p, "{%s}:z" % p]) == ["1", "2", None]
        c.hset(p + ":mh", {"name": "Ann", "city": "Oslo"})
        assert c.hgetall(p + ":mh") == {"name": "Ann", "city": "Oslo"}
        assert c.wait(1, 100) >= 1
        try:
            c.mget([p + ":1", p + ":2", p + ":3"])
        except c.Failure:
            pass
        else:
            raise AssertionError("keys of several slots were taken")

    def pipelines(self):
        c = self.client
        pairs = [("%s:pipe:%d" % (self.prefix, i), "p%d" % i) for i in range(100)]
        assert all(same(reply, '"OK"') for reply in c.pipeline(pairs))
        assert c.read_pipeline([key for key, _ in pairs]) == [value for _, value in pairs]

    def transactions(self):
        c = self.client
        a, b = "{%s:t}:a" % self.prefix, "{%s:t}:b" % self.prefix
        assert same(c.transaction([(a, "1"), (b, "2")]), '["OK","OK"]')
        assert c.get(b) == "2"
        assert c.guarded(a, "mine", lambda: c.set(a, "theirs")) is None
        assert c.get(a) == "theirs"
        assert same(c.guarded(a, "mine", lambda: c.set(a + ":other", "x")), '["OK"]')
        assert c.get(a) == "mine"

    def bytes(self):
        c = self.client
        everything = bytes(i % 256 for i in range(1024))
        c.set_bytes(self.prefix + ":bytes", everything)
        assert c.get_bytes(self.prefix + ":bytes") == everything
        c.hset_bytes(self.prefix + ":hbytes", b"f\0", everything)
        assert c.hget_bytes(self.prefix + ":hbytes", b"f\0") == everything

    def expires(self):
        key = self.prefix + ":gone"
        self.client.call(["SET", key, "x", "PX", "20"])
        while self.client.get(key) is not None:
            pass

    def scans(self):
        keys = ["%s:scan:%d" % (self.prefix, i) for i in range(50)]
        self.client.pipeline([(key, "x") for key in keys])
        assert set(self.client.scan(self.prefix + ":scan:*")) == set(keys)

    # ---- the writes across the kill ----

    def _attempt(self, key, write):
        try:
            write()
        except self.client.Failure as error:
            text = self.client.error_text(error)
            say("%s %s %s" % ("refused" if text.startswith(REFUSED) else "unknown", key, " ".join(text.split())))

    def writes(self):
        i = 0
        while not select.select([sys.stdin], [], [], 0)[0]:
            self._turn(i // 4, i % 4)
            i += 1

    def _turn(self, i, w):
        c, p = self.client, self.prefix
        key, counter, pair = "%s:w:%d:%d" % (p, w, i), "%s:counter:%d" % (p, w), "%s:pair:%d" % (p, w)

        def one():
            assert same(c.set(key, "v%d" % i), '"OK"')
            say("set %s v%d" % (key, i))
            try:
                found = c.get(key)
            except c.Failure:
                return
            assert found == "v%d" % i, "LOST: %s is %r" % (key, found)

        def both():
            assert same(c.transaction([("{%s}:a" % pair, str(i)), ("{%s}:b" % pair, str(i))]), '["OK","OK"]')
            say("pair %s %d" % (pair, i))

        def several():
            pairs = [("%s:p:%d:%d:%d" % (p, w, i, j), str(j)) for j in range(20)]
            assert all(same(reply, '"OK"') for reply in c.pipeline(pairs))
            for pair in pairs:
                say("set %s %s" % pair)

        self._attempt(key, one)
        self._attempt(counter, lambda: say("incr %s %d" % (counter, c.incr(counter))))
        if i % 10 == 0:
            self._attempt(pair, both)
        if i % 10 == 5:
            self._attempt("%s:p:%d:%d:0" % (p, w, i), several)


def flat(reply):
    if isinstance(reply, dict):
        return [flat(x) for pair in reply.items() for x in pair]
    return [flat(x) for x in reply] if isinstance(reply, (list, tuple)) else reply


def same(got, want):
    """Is it the reply that steps.txt wants? Clients make True, False and floats of some replies."""
    if want == "*":
        return True
    if ".." in want:
        low, high = want.split("..")
        return int(low) <= int(got) <= int(high)
    if want.startswith("!"):
        return False
    return _equal(flat(got), json.loads(want))


def _equal(got, want):
    if isinstance(want, list):
        return isinstance(got, list) and len(got) == len(want) and all(map(_equal, got, want))
    if isinstance(got, bool):
        return want in (("OK", 1) if got else (None, 0))
    if isinstance(got, float):
        return want is not None and float(want) == got
    return got == want


def main():
    name, addresses, prefix = sys.argv[1:]
    name, _, program = name.partition("=")
    client = importlib.import_module(name)
    if program:
        client.program = program
    say("version " + client.version())
    client.connect(addresses.split(","))
    script = Script(client, prefix)
    for part in (script.steps, script.methods, script.pipelines, script.transactions, script.bytes, script.expires,
                 script.scans):
        part()
        say("ok " + part.__name__)
    say("middle")
    script.writes()
    script.pipelines()
    script.transactions()
    say("done")


if __name__ == "__main__":
    main()
