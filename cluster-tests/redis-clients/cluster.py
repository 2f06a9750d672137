"""A cluster of three nodes in a temporary folder, by tools/cluster."""

import os
import subprocess
import tempfile
import time

from resp import Connection, ReplyError, Router

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))


TOOL = os.path.join(ROOT, "tools", "cluster")

# Stops the cluster when nobody holds the other end of its standard input any more: also when the test was killed.
GUARDIAN = 'exec 3<&0; (read -r word <&3 || exec "$1" stop --dir "$2") >/dev/null 2>&1 &'


class Cluster:
    def __init__(self, build):
        self.build = build
        self.folder = tempfile.mkdtemp(prefix="wb-redis-clients-")
        guardians_end, self.guardian = os.pipe()
        subprocess.run(["bash", "-c", GUARDIAN, "-", TOOL, self.folder], stdin=guardians_end, check=True,
                       start_new_session=True)
        os.close(guardians_end)
        self._tool("start")
        self.addresses = self._env("WBCACHE_REDIS").split(",")
        self.database = self._env("WBCACHE_DATABASE")
        self.router = Router(self.addresses)

    def _tool(self, command, *more):
        run = subprocess.run([TOOL, command, *more, "--dir", self.folder],
                             env=dict(os.environ, WBCACHE_BUILD=self.build), capture_output=True, text=True)
        if run.returncode != 0:
            raise AssertionError("tools/cluster %s: %s%s" % (command, run.stdout, run.stderr))
        return run.stdout

    def _env(self, name):
        run = subprocess.run(["bash", "-c", 'eval "$1"; printf %s "${!2-}"', "-", self._tool("env"), name],
                             check=True, capture_output=True, text=True)
        if not run.stdout:
            raise AssertionError("tools/cluster env prints no %s" % name)
        return run.stdout

    def node_that_leads(self, key):
        """The number of the node that answers for a key."""
        return self.addresses.index(self.router.leader(key)) + 1

    def kill(self, node):
        self._tool("kill", str(node))

    def start(self, node):
        self._tool("start", str(node))

    def restart(self, node):
        """With SIGTERM: it hands its groups over before it goes."""
        self._tool("restart", str(node))

    def await_masters(self, count):
        """Wait until every node says that so many nodes lead something, and the same ones; gives their addresses."""
        until = time.monotonic() + 60
        while True:
            seen = [self.masters(address) for address in self.addresses]
            if len(seen[0]) == count and all(masters == seen[0] for masters in seen):
                return seen[0]
            if time.monotonic() > until:
                raise AssertionError("after a minute the nodes' views are %r, not %d masters" % (seen, count))
            time.sleep(0.05)

    @staticmethod
    def masters(address):
        """The addresses of the masters that a node names; none when it does not answer."""
        try:
            connection = Connection(address)
        except OSError:
            return set()
        try:
            slots = connection.call("CLUSTER", "SLOTS")
            return {"%s:%d" % (row[2][0].decode(), row[2][1]) for row in slots}
        except (OSError, ReplyError):
            return set()
        finally:
            connection.close()

    def rows(self, part):
        """What PostgreSQL has of strings with `part` in their keys, by key, as bytes."""
        query = ("COPY (SELECT encode(key, 'hex'), encode(value, 'hex') FROM wb.entry WHERE value IS NOT NULL AND "
                 "position('%s' IN encode(key, 'escape')) > 0) TO STDOUT" % part)
        run = subprocess.run(["psql", "-X", "-q", self.database, "-c", query], check=True, capture_output=True, text=True)
        return {bytes.fromhex(k): bytes.fromhex(v) for k, v in (line.split("\t") for line in run.stdout.splitlines())}

    def wait_flushed(self, keys):
        for key in keys:
            if self.router.call("WB.WAITFLUSH", key, 30000) != 1:
                raise AssertionError("%s is not in PostgreSQL after half a minute" % key)

    def stop(self):
        """Stop everything, and keep the folder."""
        self._end("stop")

    def destroy(self):
        self._end("destroy")

    def _end(self, command):
        self.router.close()
        self._tool(command)
        os.write(self.guardian, b"done\n")
        os.close(self.guardian)
