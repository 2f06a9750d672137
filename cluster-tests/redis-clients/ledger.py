"""What one client says was acknowledged to it, and the judge of what is there afterwards.

A script prints a line for each outcome of a write, when it has it:
    set KEY VALUE       acknowledged; no key is set twice
    incr KEY REPLY      acknowledged, with the counter's new value
    pair KEY VALUE      acknowledged: a transaction set {KEY}:a and {KEY}:b to VALUE, which grows
    refused KEY WORDS   an error that says: certainly not done
    unknown KEY WORDS   anything else
"""

import collections


class Counter:
    def __init__(self):
        self.acknowledged = 0
        self.last = 0
        self.unknown = []  # what the client was told
        self.twice = 0  # executed by a first try of which the client heard nothing, and again by its own retry


class Ledger:
    def __init__(self):
        self.sets = {}
        self.counters = collections.defaultdict(Counter)
        self.pairs = {}
        self.pairs_tried = collections.defaultdict(set)
        self.refused = collections.Counter()
        self.unknown = []
        self.problems = []

    def take(self, line):
        """Note a line; False: it is not one of ours."""
        words = line.split(" ", 2)
        if len(words) < 3:
            return False
        kind, key, rest = words
        if kind == "set":
            if key in self.sets:
                self.problems.append("%s was set twice" % key)
            self.sets[key] = rest
        elif kind == "incr":
            self._count(key, int(rest))
        elif kind == "pair":
            if int(rest) <= self.pairs.get(key, -1):
                self.problems.append("%s went back to %s" % (key, rest))
            self.pairs[key] = int(rest)
        elif kind == "refused":
            self.refused[rest.split(" ", 1)[0]] += 1
        elif kind == "unknown":
            self.unknown.append((key, rest))
            if key in self.counters:
                self.counters[key].unknown.append(rest)
        else:
            return False
        return True

    def _count(self, key, reply):
        counter = self.counters[key]
        jump = reply - counter.last - 1
        if jump < 0:
            self.problems.append("counter %s: after %d it was %d" % (key, counter.last, reply))
        counter.twice += max(jump, 0)
        counter.acknowledged += 1
        counter.last = max(counter.last, reply)

    def judge(self, read):
        """Compare with what `read(command, key, ...)` finds. Gives the problems."""
        problems = list(self.problems)
        for key, value in self.sets.items():
            found = read("GET", key)
            if found != value.encode():
                problems.append("%s was acknowledged with %s, and is %r" % (key, value, found))
        for key, counter in self.counters.items():
            found = int(read("GET", key) or 0)
            # A kill breaks each connection once: one try of each counter, at most, was under way.
            if not counter.acknowledged <= found <= counter.acknowledged + 1:
                problems.append("counter %s: %d increments were acknowledged, and it is %d" %
                                (key, counter.acknowledged, found))
            if found < counter.last:
                problems.append("counter %s: it was %d, and is %d" % (key, counter.last, found))
        for key, value in self.pairs.items():
            a, b = read("MGET", "{%s}:a" % key, "{%s}:b" % key)
            if a != b:
                problems.append("half of a transaction: {%s}:a is %r and {%s}:b is %r" % (key, a, key, b))
            elif a is None or int(a) < value:
                problems.append("transaction %d on %s was acknowledged, and it is %r" % (value, key, a))
        if not (self.sets and self.counters and self.pairs):
            problems.append("not every kind of write was acknowledged")
        return problems[:10] + (["and %d more" % (len(problems) - 10)] if len(problems) > 10 else [])

    def words(self, read):
        """What is worth to be told, a line each."""
        yield "%d keys, %d increments of %d counters, %d transactions acknowledged" % (
            len(self.sets), sum(c.acknowledged for c in self.counters.values()), len(self.counters), len(self.pairs))
        if self.refused:
            yield "told that it was not done: " + ", ".join("%s %d times" % pair for pair in sorted(self.refused.items()))
        for key, counter in sorted(self.counters.items()):
            more = int(read("GET", key) or 0) - counter.acknowledged
            if more:
                told = "told: " + "; ".join(counter.unknown) if counter.unknown else "the client sent it again by itself"
                yield "counter %s: %d increment more than acknowledged, its outcome was unknown (%s)" % (key, more, told)
        for key, words in self.unknown:
            yield "unknown: %s (%s)" % (key, words)
