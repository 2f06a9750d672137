#!/usr/bin/python3
"""Real clients of Redis against a cluster whose leader is killed under them: see README.md.

Debian's own python3, for Debian's python3-redis.
Usage: run.py BUILD HIREDIS_PROGRAM [NAME...]       NAME: only these clients (default: all)
"""

import argparse
import os
import queue
import shutil
import signal
import subprocess
import sys
import threading
import time

import benchmarks
import handshakes
from cluster import Cluster
from ledger import Ledger

HERE = os.path.dirname(os.path.abspath(__file__))
PATIENCE_S = 40
WRITES_BEFORE = 60  # acknowledged increments of the known counter: before the kill,
WRITES_AFTER = 60  # and after it, once by the new leader and once when the old one is back


class Script:
    """A client's script that runs: its lines, and what they say."""

    def __init__(self, words, environment):
        self.process = subprocess.Popen(words, env=dict(os.environ, **environment), stdin=subprocess.PIPE,
                                        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        self.ledger = Ledger()
        self.version = "?"
        self.parts = []
        self.longest_gap_s = 0.0  # between two acknowledged increments of the known counter
        self.known = None
        self.lines = queue.Queue()
        self.stderr = []
        self.threads = [threading.Thread(target=self._read), threading.Thread(target=self._read_errors)]
        for thread in self.threads:
            thread.start()

    def _read(self):
        for line in self.process.stdout:
            self.lines.put((time.monotonic(), line.rstrip("\n")))
        self.lines.put(None)

    def _read_errors(self):
        self.stderr += self.process.stderr.readlines()

    def _until(self, what, enough):
        """Take lines until enough(line) is true."""
        until = time.monotonic() + PATIENCE_S
        while True:
            try:
                item = self.lines.get(timeout=max(until - time.monotonic(), 0))
            except queue.Empty:
                raise AssertionError("no %s within %d s" % (what, PATIENCE_S)) from None
            if item is None:
                raise AssertionError("ended before: %s" % what)
            at, line = item
            if line.startswith("version "):
                self.version = line[len("version "):]
            elif line.startswith("ok "):
                self.parts.append(line[len("ok "):])
            elif self.ledger.take(line):
                self._time(at, line)
            elif line not in ("middle", "done"):
                raise AssertionError("it printed: %s" % line)
            if enough(line):
                return

    def _time(self, at, line):
        if self.known and line.startswith("incr %s " % self.known):
            self.longest_gap_s = max(self.longest_gap_s, at - getattr(self, "known_at", at))
            self.known_at = at

    def until(self, word):
        self._until(word, lambda line: line == word)

    def increments(self, counter, count):
        """Wait for so many more acknowledged increments of a counter."""
        self.known = counter
        wanted = self.ledger.counters[counter].acknowledged + count
        self._until("%d increments of %s" % (count, counter),
                    lambda _: self.ledger.counters[counter].acknowledged >= wanted)

    def finish(self):
        """Tell it to end, and take the rest."""
        self.process.stdin.close()
        self.until("done")
        code = self.process.wait(PATIENCE_S)
        if code != 0:
            raise AssertionError("exit code %d" % code)

    def end(self):
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        for thread in self.threads:
            thread.join()


def play(cluster, name, words, environment, waits_for_node=False):
    """Run one client's script, with the kill in its middle, and judge it. Gives the problems. @waits_for_node: a client
    that does not look for the new leader, but waits until the node that it lost is back."""
    began = time.monotonic()
    prefix = "c-" + name
    counter = prefix + ":counter:0"
    script = Script([*words, ",".join(cluster.addresses), prefix], environment)
    leader = None
    try:
        script.until("middle")
        script.increments(counter, WRITES_BEFORE)
        leader = cluster.node_that_leads(counter)
        cluster.kill(leader)
        if cluster.node_that_leads(counter) == leader:
            return ["%s: a node that was killed answers" % name]
        if not waits_for_node:
            script.increments(counter, WRITES_AFTER)
        cluster.start(leader)
        cluster.await_masters(3)
        script.increments(counter, WRITES_AFTER)
        script.finish()
        problems = script.ledger.judge(cluster.router.call)
    except AssertionError as error:
        script.end()
        if leader:
            cluster.start(leader)
        return ["%s: %s" % (name, error), *(line.rstrip("\n") for line in script.stderr[-30:])]
    finally:
        script.end()
    print("%s: %s" % (name, script.version))
    print("    %s; the leader of %s was killed; the longest gap between two increments of it: %.2f s; %.1f s in all" %
          (", ".join(script.parts), counter, script.longest_gap_s, time.monotonic() - began))
    for line in script.ledger.words(cluster.router.call):
        print("    " + line)
    problems += in_database(cluster, prefix, script.ledger)
    return ["%s: %s" % (name, problem) for problem in problems]


def in_database(cluster, prefix, ledger):
    """The same in PostgreSQL, for who reads SQL."""
    cluster.wait_flushed(["%s:counter:%d" % (prefix, i) for i in range(100)])  # keys of all groups
    rows = cluster.rows(prefix)
    problems = ledger.judge(lambda command, *keys: rows.get(keys[0].encode()) if command == "GET"
                            else [rows.get(key.encode()) for key in keys])
    return ["in PostgreSQL: " + problem for problem in problems]


def install_node_packages(build):
    """The folder with the packages of package.json, at the versions that it names."""
    folder = os.path.join(build, "redis-clients")
    os.makedirs(folder, exist_ok=True)
    with open(os.path.join(HERE, "package.json"), encoding="utf-8") as file:
        wanted = file.read()
    copy, stamp = os.path.join(folder, "package.json"), os.path.join(folder, "installed")
    if not (os.path.exists(stamp) and open(stamp, encoding="utf-8").read() == wanted):
        for program in ("node", "npm"):
            if not shutil.which(program):
                raise AssertionError("%s is not installed: run tools/install-deps --tests" % program)
        with open(copy, "w", encoding="utf-8") as file:
            file.write(wanted)
        run = subprocess.run(["npm", "install", "--no-package-lock", "--no-audit", "--no-fund", "--ignore-scripts"],
                             cwd=folder, capture_output=True, text=True, stdin=subprocess.DEVNULL)
        if run.returncode != 0:
            raise AssertionError("npm install failed: %s%s" % (run.stdout, run.stderr))
        with open(stamp, "w", encoding="utf-8") as file:
            file.write(wanted)
    return os.path.join(folder, "node_modules")


def need(program):
    if not shutil.which(program):
        raise AssertionError("%s is not installed: run tools/install-deps --tests" % program)


def python_script(name):
    return ["/usr/bin/python3", "-B", os.path.join(HERE, "script.py"), name]


def play_node(cluster, name, module, build, environment=None, waits_for_node=False):
    modules = install_node_packages(build)
    return play(cluster, name, ["node", os.path.join(HERE, "script.js"), module],
                {"NODE_PATH": modules, **(environment or {})}, waits_for_node)


def play_cli(cluster, name):
    need(name)
    return play(cluster, name, python_script("cli=" + name), {})


def play_hiredis(cluster, name, program):
    if not os.path.exists(program):
        raise AssertionError("its program was not built: libhiredis-dev was missing when CMake ran; "
                             "run tools/install-deps --tests, and configure again")
    return play(cluster, name, [program, os.path.join(HERE, "steps.txt")], {})


def play_benchmark(cluster, name):
    need(name)
    return ["%s: %s" % (name, problem) for problem in benchmarks.play(cluster, name)]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("build", help="the folder with wbnode and wbclient; npm's packages go there, too")
    parser.add_argument("hiredis", help="the program of script_hiredis.c")
    parser.add_argument("only", nargs="*", help="names of clients (default: all)")
    arguments = parser.parse_args()
    sys.stdout.reconfigure(line_buffering=True)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    parts = {
        "connect": lambda cluster, name: handshakes.play(cluster.addresses),
        "redis-cli": play_cli,
        "valkey-cli": play_cli,
        "redis-py": lambda cluster, name: play(cluster, name, python_script("redis_py"), {}),
        "ioredis": lambda cluster, name: play_node(cluster, name, "ioredis", arguments.build),
        "node-redis": lambda cluster, name: play_node(cluster, name, "node_redis", arguments.build, waits_for_node=True),
        "node-redis-listening": lambda cluster, name: play_node(cluster, name, "node_redis", arguments.build,
                                                                {"WB_LISTENER": "1"}),
        "hiredis": lambda cluster, name: play_hiredis(cluster, name, arguments.hiredis),
        "redis-benchmark": play_benchmark,
        "valkey-benchmark": play_benchmark,
    }
    unknown = set(arguments.only) - set(parts)
    if unknown:
        parser.error("there is no %s; there are %s" % (", ".join(sorted(unknown)), ", ".join(parts)))
    chosen = {name: part for name, part in parts.items() if not arguments.only or name in arguments.only}

    cluster = Cluster(arguments.build)
    problems = []
    try:
        for name, part in chosen.items():
            try:
                cluster.await_masters(3)
                problems += part(cluster, name)
            except AssertionError as error:
                problems.append("%s: %s" % (name, error))
    except BaseException:
        problems.append("the test itself broke")
        raise
    finally:
        if problems:
            print("the cluster's logs are in %s" % cluster.folder)
            cluster.stop()
        else:
            cluster.destroy()
    for problem in problems:
        print("FAILED: " + problem)
    print("%d clients, %d problems" % (len(chosen), len(problems)))
    sys.exit(1 if problems else 0)


if __name__ == "__main__":
    main()
