// node-redis (the package `redis`) as it comes: no option is set but the nodes. See script.js for what each function is.
//
// As it comes, it keeps commands for a node that it lost until that node is back: it looks at the cluster's view again only
// when it is told MOVED. With WB_LISTENER set it has the listener that an application would have for that: see README.md.
'use strict';
const { createCluster, RESP_TYPES } = require('redis');

let cluster;
let bytes; // the same connections, replies as buffers

function chain(multi, pairs) {
    for (const [key, value] of pairs) multi.set(key, value);
    return multi;
}

// A node that is asked for a key that it does not lead says MOVED, upon which the client looks at the view again. The client
// asks its nodes in turn when it is given no key to look at. This is called with each try to reconnect.
function provokeMoved() {
    for (const _ of cluster.masters) cluster.sendCommand(undefined, true, ['EXISTS', 'any']).catch(() => {});
}

// WATCH is for one connection: the client wants one of its own for that.
async function guarded(key, value, meddle) {
    const slot = await cluster.sendCommand(key, true, ['CLUSTER', 'KEYSLOT', key]);
    const master = await cluster.nodeClient(cluster.slots[slot].master);
    const alone = await master.duplicate().connect();
    try {
        await alone.watch(key);
        await meddle();
        return await alone.multi().set(key, value).exec();
    } catch (error) {
        if (error.constructor.name === 'WatchError') return null;
        throw error;
    } finally {
        await alone.close();
    }
}

async function scan(pattern) {
    const found = [];
    for (const master of cluster.masters) {
        const node = await cluster.nodeClient(master);
        for await (const keys of node.scanIterator({ MATCH: pattern, COUNT: 1000 })) found.push(...keys);
    }
    return found;
}

function call(words) {
    const key = words[0] === 'WAIT' ? undefined : words[1];
    return cluster.sendCommand(key, false, words);
}

module.exports = {
    version: `node-redis ${require('redis/package.json').version}`,
    connect: async (nodes) => {
        cluster = createCluster({ rootNodes: nodes.map(({ host, port }) => ({ url: `redis://${host}:${port}` })) });
        cluster.on('error', () => {}); // each command says what became of it
        cluster.on('node-error', () => {});
        if (process.env.WB_LISTENER) cluster.on('node-reconnecting', provokeMoved);
        await cluster.connect();
        bytes = cluster.withTypeMapping({ [RESP_TYPES.BLOB_STRING]: Buffer });
    },
    call,
    set: (key, value) => cluster.set(key, value),
    get: (key) => cluster.get(key),
    incr: (key) => cluster.incr(key),
    mset: (object) => cluster.mSet(object),
    mget: (keys) => cluster.mGet(keys),
    hset: (key, object) => cluster.hSet(key, object),
    hgetall: (key) => cluster.hGetAll(key),
    pipeline: (pairs) => chain(cluster.multi(), pairs).execAsPipeline(),
    readPipeline: (keys) => keys.reduce((multi, key) => multi.get(key), cluster.multi()).execAsPipeline(),
    transaction: (pairs) => chain(cluster.multi(), pairs).exec(),
    guarded,
    setBytes: (key, value) => cluster.set(key, value),
    getBytes: (key) => bytes.get(key),
    hsetBytes: (key, field, value) => cluster.hSet(key, field, value),
    hgetBytes: (key, field) => bytes.hGet(key, field),
    scan,
    close: () => cluster.close(),
};
