"""redis-benchmark and valkey-benchmark with --cluster: no error line, exit code 0, and what they counted is there.

They follow no MOVED to a node that they did not know, and connect only once, whatever the cluster is: so no leader changes
while they run, but before: after a hand-over there and back, and right after one was killed under them (which ends that run,
as the loss of any server does).
"""

import os
import re
import subprocess
import time

from resp import Connection

REQUESTS = 20000
TESTS = "set,get,incr,hset,mset"
SUSPECT = re.compile(r"error|warn|fail|moved|clusterdown|unknown|could not|closed", re.IGNORECASE)


def version_of(program):
    return subprocess.run([program, "--version"], check=True, capture_output=True, text=True).stdout.strip()


def command(program, address, tests, requests):
    host, port = address.rsplit(":", 1)
    return [program, "--cluster", "-h", host, "-p", port, "-t", tests, "-n", str(requests), "-c", "50", "-P", "16",
            "-r", "100", "-q"]


def counters(addresses):
    """All counters of the benchmarks, by key, read from the nodes that lead them."""
    found = {}
    for address in addresses:
        connection = Connection(address)
        cursor = b"0"
        while True:
            cursor, keys = connection.call("SCAN", cursor, "MATCH", "counter:{*", "COUNT", "3000")
            connection.send(*(["GET", key] for key in keys))
            found.update((key, int(connection.receive() or 0)) for key in keys)
            if cursor == b"0":
                break
        connection.close()
    return found


def run(program, address):
    """One run of all tests. Gives what is wrong with its words, and its last figures."""
    ran = subprocess.run(command(program, address, TESTS, REQUESTS), capture_output=True, text=True, timeout=120)
    lines = [line.strip() for line in re.split(r"[\r\n]+", ran.stdout + ran.stderr) if line.strip()]
    problems = ["it printed: " + line for line in lines if SUSPECT.search(line)][:5]
    if ran.returncode != 0:
        problems.append("exit code %d; its last words: %s" % (ran.returncode, lines[-1] if lines else "none"))
    figures = [line for line in lines if "requests per second" in line]
    if len(figures) != len(TESTS.split(",")):
        problems.append("figures of %d tests of %s" % (len(figures), TESTS))
    return problems, figures


def counted_run(cluster, program, masters):
    """The same, and at least as many increments as it sent."""
    before = sum(counters(masters).values())
    problems, figures = run(program, sorted(masters)[0])
    more = sum(counters(masters).values()) - before
    if more < REQUESTS:
        problems.append("%d increments were sent, and %d are there" % (REQUESTS, more))
    return problems, figures


def killed_run(cluster, program):
    """Kill a leader under a run. Gives the problems, and what the program said."""
    victim = cluster.node_that_leads("counter")
    address = cluster.addresses[victim - 1]
    others = [a for a in cluster.addresses if a != address]
    process = subprocess.Popen(command(program, others[0], "incr", 100000000), stdout=subprocess.PIPE,
                               stderr=subprocess.STDOUT)
    try:
        said = b""
        while not re.search(rb"INCR: rps=[1-9]", said):
            said += os.read(process.stdout.fileno(), 4096) or fail("the run ended by itself: %r" % said[-200:])
        before = counters(cluster.addresses)
        cluster.kill(victim)
        rest, _ = process.communicate(timeout=60)
    finally:
        process.kill()
        process.wait()
    masters = await_failover(cluster, others)
    after = counters(masters)
    lost = [key for key, value in before.items() if after.get(key, 0) < value]
    problems = ["counter %s was read as %d, and is %d after the kill" % (key.decode(), before[key], after.get(key, 0))
                for key in lost[:5]]
    words = [line.strip() for line in re.split(r"[\r\n]+", (said + rest).decode()) if line.strip()]
    again, _ = counted_run(cluster, program, masters)
    cluster.start(victim)
    return problems + ["right after the kill: " + problem for problem in again], words[-1]


def fail(words):
    raise AssertionError(words)


def await_failover(cluster, alive):
    """Wait until the living nodes lead everything, and say so."""
    until = time.monotonic() + 30
    while True:
        views = [cluster.masters(address) for address in alive]
        if all(view and view <= set(alive) and view == views[0] for view in views):
            return views[0]
        if time.monotonic() > until:
            fail("after half a minute the living nodes name %r" % views)
        time.sleep(0.05)


def play(cluster, program):
    masters = cluster.await_masters(3)
    print("%s: %s" % (program, version_of(program)))
    problems, figures = counted_run(cluster, program, masters)
    for line in figures:
        print("    " + line)

    cluster.restart(cluster.node_that_leads("counter"))
    masters = cluster.await_masters(3)  # its groups came back to it
    handed, _ = counted_run(cluster, program, masters)
    problems += ["after a hand-over: " + problem for problem in handed]
    print("    after a hand-over there and back: %d problems" % len(handed))

    killed, words = killed_run(cluster, program)
    problems += killed
    print("    a leader killed under it: it ends with \"%s\"; run again at once: %d problems" % (words, len(killed)))
    return problems
