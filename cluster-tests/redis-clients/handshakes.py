"""What clients that are not here send when they connect: the same bytes, and whether the replies are ones they take.

From what is known of lettuce, go-redis, Jedis, Redisson, StackExchange.Redis, redis-rs, hiredis-cluster and redis-plus-plus.
Each line of a client is a command and what is expected:
    ok        anything but an error
    maybe     an error is fine, too: the client goes on without
    moved     the command has a key: MOVED is fine, too
    a function: is it what the client reads out of it?
"""

from resp import Connection, ReplyError

SLOTS = 16384


def text(value):
    return value.decode() if isinstance(value, bytes) else value


def pairs(reply):
    """A map, in either protocol."""
    if isinstance(reply, dict):
        return reply
    return {text(reply[i]): reply[i + 1] for i in range(0, len(reply), 2)}


# ---- what is read out of replies ----


def hello(proto):
    def check(reply):
        got = {key: text(value) for key, value in pairs(reply).items()}
        assert got["server"] == "redis" and got["proto"] == proto and got["mode"] == "cluster", got
        assert isinstance(got["id"], int) and got["role"] == "master" and got["modules"] == [], got
        assert got["version"].count(".") == 2, got
        return got
    return check


def slots_of(reply):
    """CLUSTER SLOTS: slot -> (host, port, id) of its master; every slot once, and no empty host."""
    owners = {}
    for first, last, *nodes in reply:
        for node in nodes:
            assert text(node[0]) and node[1] > 0 and len(node[2]) == 40, node
        for slot in range(first, last + 1):
            assert slot not in owners, "slot %d is listed twice" % slot
            owners[slot] = (text(nodes[0][0]), nodes[0][1], text(nodes[0][2]))
    assert len(owners) == SLOTS, "%d slots are covered" % len(owners)
    return owners


def nodes_of(reply):
    """CLUSTER NODES: the same, and one line is `myself`."""
    owners, ids, myself = {}, set(), 0
    for line in text(reply).splitlines():
        words = line.split(" ")
        name, where, flags, master, _ping, _pong, _epoch, link = words[:8]
        assert len(name) == 40 and name not in ids, line
        ids.add(name)
        host, port = where.split("@")[0].rsplit(":", 1)
        assert host and int(port) > 0 and link in ("connected", "disconnected"), line
        flags = flags.split(",")
        myself += "myself" in flags
        assert ("master" in flags) == (master == "-"), line
        assert "slave" in flags or "master" in flags, line
        for part in words[8:]:
            low, _, high = part.partition("-")
            for slot in range(int(low), int(high or low) + 1):
                assert slot not in owners, "slot %d is listed twice" % slot
                owners[slot] = (host, int(port), name)
    assert myself == 1, "%d lines are `myself`" % myself
    assert len(owners) == SLOTS, "%d slots are covered" % len(owners)
    return owners


def shards_of(reply):
    """CLUSTER SHARDS: the same."""
    owners = {}
    for shard in map(pairs, reply):
        masters = [n for n in map(pairs, shard["nodes"]) if text(n["role"]) == "master"]
        for node in map(pairs, shard["nodes"]):
            assert len(node["id"]) == 40 and text(node["ip"]) and text(node["endpoint"]), node
            assert text(node["health"]) in ("online", "failed", "loading") and node["replication-offset"] >= 0, node
        ranges = shard["slots"]
        for first, last in zip(ranges[::2], ranges[1::2]):
            for slot in range(first, last + 1):
                assert len(masters) == 1 and slot not in owners, shard
                owners[slot] = (text(masters[0]["ip"]), masters[0]["port"], text(masters[0]["id"]))
    assert len(owners) == SLOTS, "%d slots are covered" % len(owners)
    return owners


def lines_of(reply):
    return dict(line.split(":", 1) for line in text(reply).split("\r\n") if ":" in line)


def info(**wanted):
    def check(reply):
        got = lines_of(reply)
        for key, value in wanted.items():
            assert got.get(key) == value, "%s:%s, not %s" % (key, got.get(key), value)
    return check


def command_rows(reply):
    """COMMAND: how clients find the keys of what they don't know."""
    rows = {text(row[0]): row for row in reply}
    for name, arity, first, last, step in (("get", 2, 1, 1, 1), ("mset", -3, 1, -1, 2), ("del", -2, 1, -1, 1),
                                           ("hset", -4, 1, 1, 1), ("ping", -1, 0, 0, 0), ("wb.lag", 2, 1, 1, 1),
                                           ("wb.flushed", 2, 1, 1, 1), ("wb.waitflush", 3, 1, 1, 1)):
        row = rows[name]
        assert (row[1], *row[3:6]) == (arity, first, last, step), row
        assert len(row) in (6, 7, 10), "go-redis reads rows of 6, 7 or 10 elements, not %d" % len(row)
    assert "readonly" in map(text, rows["get"][2]) and "write" in map(text, rows["set"][2])


def is_ok(reply):
    assert text(reply) == "OK", reply


def is_text(wanted):
    def check(reply):
        assert text(reply) == wanted, reply
    return check


def is_list(reply):
    assert isinstance(reply, (list, dict)), reply


# ---- the clients ----

READY = info(cluster_state="ok", cluster_slots_assigned=str(SLOTS), cluster_slots_ok=str(SLOTS))

CLIENTS = {
    "lettuce": [
        ("HELLO 3", hello(3)),
        ("CLIENT SETNAME app", is_ok),
        ("CLIENT SETINFO lib-name Lettuce", "maybe"),
        ("CLIENT SETINFO lib-ver 6.5.0.RELEASE/abcdef", "maybe"),
        ("CLIENT MAINT_NOTIFICATIONS ON moving-endpoint-type internal-ip", "maybe"),
        ("PING", is_text("PONG")),
        ("CLUSTER MYID", "ok"),
        ("CLUSTER NODES", nodes_of),
        ("CLIENT LIST", "ok"),
        ("INFO", info(redis_mode="cluster", cluster_enabled="1", loading="0", role="master")),
        ("COMMAND", command_rows),
        ("READONLY", is_ok),
        ("READWRITE", is_ok),
    ],
    "lettuce, RESP2": [
        ("CLIENT SETNAME app", is_ok),
        ("CLUSTER NODES", nodes_of),
        ("CLIENT LIST", "ok"),
        ("INFO", info(redis_mode="cluster")),
    ],
    "go-redis": [
        ("HELLO 3", hello(3)),
        ("CLIENT SETNAME app", is_ok),
        ("CLIENT SETINFO LIB-NAME go-redis(,go1.22.1)", "maybe"),
        ("CLIENT SETINFO LIB-VER 9.7.0", "maybe"),
        ("CLIENT MAINT_NOTIFICATIONS ON moving-endpoint-type none", "maybe"),
        ("CLUSTER SLOTS", slots_of),
        ("COMMAND", command_rows),
        ("CLUSTER INFO", READY),
        ("READONLY", is_ok),
        ("PING", is_text("PONG")),
    ],
    "go-redis, with a password": [
        ("HELLO 3 AUTH default secret", hello(3)),
        ("CLUSTER SLOTS", slots_of),
    ],
    "Jedis": [
        ("AUTH secret", is_ok),
        ("HELLO 3", hello(3)),
        ("CLIENT SETNAME app", is_ok),
        ("CLIENT SETINFO lib-name jedis", "maybe"),
        ("CLIENT SETINFO lib-ver 5.2.0", "maybe"),
        ("CLUSTER SLOTS", slots_of),
        ("PING", is_text("PONG")),
        ("ASKING", is_ok),
        ("READONLY", is_ok),
    ],
    "Redisson": [
        ("PING", is_text("PONG")),
        ("CLIENT SETNAME app", is_ok),
        ("CLIENT SETINFO LIB-NAME Redisson", "maybe"),
        ("CLUSTER NODES", nodes_of),
        ("INFO replication", info(role="master")),
        ("INFO server", info(redis_mode="cluster")),
        ("WAIT 1 100", "ok"),
        ("READONLY", is_ok),
    ],
    "StackExchange.Redis": [
        ("HELLO 3 SETNAME app", hello(3)),
        ("CLIENT SETNAME app", is_ok),
        ("CLIENT SETINFO lib-name SE.Redis", "maybe"),
        ("CLIENT SETINFO lib-ver 2.8.16", "maybe"),
        ("CLIENT ID", "ok"),
        ("CONFIG GET slave-read-only", is_list),
        ("CONFIG GET replica-read-only", is_list),
        ("CONFIG GET databases", is_list),
        ("CONFIG GET timeout", is_list),
        ("INFO replication", info(role="master")),
        ("INFO server", info(redis_mode="cluster")),
        ("CLUSTER NODES", nodes_of),
        ("GET __Booksleeve_TieBreak", "moved"),
        ("ECHO 0123456789abcdef", is_text("0123456789abcdef")),
        ("SUBSCRIBE __Booksleeve_MasterChanged", "maybe"),
        ("PING", is_text("PONG")),
        ("SELECT 0", is_ok),
    ],
    "redis-py, newer": [
        ("HELLO 3", hello(3)),
        ("CLIENT SETINFO LIB-NAME redis-py", "maybe"),
        ("CLIENT SETINFO LIB-VER 5.2.0", "maybe"),
        ("COMMAND", command_rows),
        ("CLUSTER SLOTS", slots_of),
        ("INFO", info(cluster_enabled="1")),
        ("READONLY", is_ok),
    ],
    "redis-rs, valkey-glide": [
        ("HELLO 3 AUTH default secret SETNAME app", hello(3)),
        ("CLIENT SETINFO LIB-NAME redis-rs", "maybe"),
        ("INFO REPLICATION", info(role="master")),
        ("CLUSTER SLOTS", slots_of),
        ("CLUSTER SHARDS", shards_of),
        ("READONLY", is_ok),
        ("PING", is_text("PONG")),
    ],
    "hiredis-cluster, redis-plus-plus": [
        ("AUTH default secret", is_ok),
        ("CLUSTER NODES", nodes_of),
        ("CLUSTER SLOTS", slots_of),
        ("COMMAND INFO get", is_list),
        ("COMMAND GETKEYS mset a 1 b 2", is_list),
        ("ASKING", is_ok),
    ],
    "a command line": [
        ("COMMAND DOCS", is_list),
        ("COMMAND COUNT", "ok"),
        ("INFO SERVER", info(redis_mode="cluster")),
        ("CONFIG GET save", is_list),
        ("CONFIG GET appendonly", is_list),
        ("CLIENT NO-EVICT on", is_ok),
        ("RESET", is_text("RESET")),
        ("QUIT", is_ok),
    ],
}


def greet(address, commands):
    """One client's beginning, in one pipeline, as many send it. Gives the problems."""
    connection = Connection(address)
    problems = []
    try:
        connection.send(*(words.split(" ") for words, _ in commands))
        for words, expected in commands:
            problem = judge(connection.receive(), expected)
            if problem:
                problems.append("%s: %s" % (words, problem))
    except (OSError, AssertionError) as error:
        problems.append("%s: %s" % (words, error))
    finally:
        connection.close()
    return problems


def judge(reply, expected):
    if isinstance(reply, ReplyError):
        if expected == "maybe" or (expected == "moved" and reply.word == "MOVED"):
            return None
        return str(reply)
    if callable(expected):
        try:
            expected(reply)
        except (AssertionError, KeyError, ValueError, TypeError, IndexError) as error:
            return "%s: %s in %.300r" % (type(error).__name__, error, reply)
    return None


def one_view(addresses):
    """Every node says the same of every slot, in each of the three ways, in both protocols."""
    views = {}
    for address in addresses:
        connection = Connection(address)
        for proto in (2, 3):
            connection.call("HELLO", proto)
            for name, check in (("SLOTS", slots_of), ("NODES", nodes_of), ("SHARDS", shards_of)):
                views["%s at %s, RESP%d" % (name, address, proto)] = check(connection.call("CLUSTER", name))
        myself = text(connection.call("CLUSTER", "MYID"))
        if (*address.rsplit(":", 1), myself) not in {(h, str(p), i) for v in views.values() for h, p, i in v.values()}:
            return ["%s says that it is %s, but the view does not" % (address, myself)]
        connection.close()
    first = next(iter(views))
    return ["CLUSTER %s and %s differ" % (first, other) for other, view in views.items() if view != views[first]]


def play(addresses):
    problems = ["the view: " + problem for problem in one_view(addresses)]
    for name, commands in CLIENTS.items():
        for address in addresses:
            problems += ["what %s sends: %s" % (name, problem) for problem in greet(address, commands)]
    print("what other clients send when they connect: %d clients, %d commands, at %d nodes" %
          (len(CLIENTS), sum(map(len, CLIENTS.values())), len(addresses)))
    return problems
