// ioredis as it comes: no option is set. See script.js for what each function is.
'use strict';
const Redis = require('ioredis');

let cluster;

// An error of one command fails the pipeline.
function replies(results) {
    if (results === null) return null;
    for (const [error] of results) if (error) throw error;
    return results.map(([, reply]) => reply);
}

async function guarded(key, value, meddle) {
    await cluster.watch(key);
    await meddle();
    return replies(await cluster.multi().set(key, value).exec());
}

async function scan(pattern) {
    const found = [];
    for (const node of cluster.nodes('master'))
        for await (const keys of node.scanStream({ match: pattern, count: 1000 })) found.push(...keys);
    return found;
}

module.exports = {
    version: `ioredis ${require('ioredis/package.json').version}`,
    connect: async (nodes) => {
        cluster = new Redis.Cluster(nodes);
        cluster.on('error', () => {}); // each command says what became of it
        await new Promise((resolve) => cluster.once('ready', resolve));
    },
    call: ([command, ...args]) => cluster.call(command, ...args),
    set: (key, value) => cluster.set(key, value),
    get: (key) => cluster.get(key),
    incr: (key) => cluster.incr(key),
    mset: (object) => cluster.mset(object),
    mget: (keys) => cluster.mget(keys),
    hset: (key, object) => cluster.hset(key, object),
    hgetall: (key) => cluster.hgetall(key),
    pipeline: async (pairs) => replies(await cluster.pipeline(pairs.map(([k, v]) => ['set', k, v])).exec()),
    readPipeline: async (keys) => replies(await cluster.pipeline(keys.map((k) => ['get', k])).exec()),
    transaction: async (pairs) => replies(await cluster.multi(pairs.map(([k, v]) => ['set', k, v])).exec()),
    guarded,
    setBytes: (key, value) => cluster.set(key, value),
    getBytes: (key) => cluster.getBuffer(key),
    hsetBytes: (key, field, value) => cluster.hset(key, field, value),
    hgetBytes: (key, field) => cluster.hgetBuffer(key, field),
    scan,
    close: () => cluster.quit(),
};
