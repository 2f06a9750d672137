"""redis-py's cluster client as it comes: no option is set but the nodes. See script.py for what each function is."""

import logging
import platform

import redis
from redis.cluster import ClusterNode, RedisCluster

logging.getLogger("redis.cluster").disabled = True  # it writes a traceback for every error reply

Failure = (redis.exceptions.RedisError, redis.exceptions.RedisClusterException)
cluster = None  # texts
raw = None  # bytes


def version():
    return "redis-py %s, Python %s" % (redis.__version__, platform.python_version())


def error_text(error):
    # The client takes the first word off some errors, and makes a class of it.
    words = {"ResponseError": "ERR ", "AskError": "ASK ", "MovedError": "MOVED ", "ClusterDownError": "CLUSTERDOWN ",
             "TryAgainError": "TRYAGAIN "}
    text = str(error) or type(error).__name__
    word = words.get(type(error).__name__, "")
    return text if text.split(" ")[0].isupper() else word + text


def connect(addresses):
    global cluster, raw
    nodes = [ClusterNode(host, int(port)) for host, port in (a.split(":") for a in addresses)]
    cluster = RedisCluster(startup_nodes=nodes, decode_responses=True)
    raw = RedisCluster(startup_nodes=nodes)


def call(words):
    # Told so, it does not make a bool of SET's reply.
    options = {"get": True} if words[0] == "SET" and "GET" in words else {}
    return cluster.execute_command(*words, **options)


def wait(replicas, ms):
    return cluster.execute_command("WAIT", replicas, ms, target_nodes=cluster.get_default_node())


def set(key, value):
    return cluster.set(key, value)


def get(key):
    return cluster.get(key)


def incr(key):
    return cluster.incr(key)


def mset(pairs):
    return cluster.mset(pairs)


def mget(keys):
    return cluster.mget(keys)


def hset(key, pairs):
    return cluster.hset(key, mapping=pairs)


def hgetall(key):
    return cluster.hgetall(key)


def pipeline(pairs):
    pipe = cluster.pipeline()
    for key, value in pairs:
        pipe.set(key, value)
    return pipe.execute()


def read_pipeline(keys):
    pipe = cluster.pipeline()
    for key in keys:
        pipe.get(key)
    return pipe.execute()


def _home(key):
    """The client of the key's node: RedisCluster itself has no transactions."""
    return cluster.get_redis_connection(cluster.get_node_from_key(key))


def transaction(pairs):
    with _home(pairs[0][0]).pipeline(transaction=True) as pipe:
        for key, value in pairs:
            pipe.set(key, value)
        return pipe.execute()


def guarded(key, value, meddle):
    with _home(key).pipeline(transaction=True) as pipe:
        pipe.watch(key)
        meddle()
        pipe.multi()
        pipe.set(key, value)
        try:
            return pipe.execute()
        except redis.exceptions.WatchError:
            return None


def set_bytes(key, value):
    raw.set(key, value)


def get_bytes(key):
    return raw.get(key)


def hset_bytes(key, field, value):
    raw.hset(key, field, value)


def hget_bytes(key, field):
    return raw.hget(key, field)


def scan(pattern):
    return cluster.scan_iter(match=pattern, count=1000)
