// The script for clients of Node.js: see README.md. What differs between them is in NAME.js, an object with
//   version, connect(addresses), call(words), set, get, incr, mset(object), mget(keys), hset(key, object), hgetall(key),
//   pipeline(pairs) and readPipeline(keys) on one slot, transaction(pairs), guarded(key, value, meddle), setBytes,
//   getBytes, scan(pattern), binary hashes, close().
// Usage: node script.js NAME HOST:PORT,... PREFIX        (NODE_PATH names the folder of the packages)
'use strict';
const assert = require('assert');
const fs = require('fs');
const path = require('path');

const [name, addresses, prefix] = process.argv.slice(2);
const client = require(path.join(__dirname, `${name}.js`));
const say = (line) => fs.writeSync(1, `${line}\n`);

// Errors that say: certainly not done.
const refused = /^(MOVED|CLUSTERDOWN|TRYAGAIN|OOM|DATABASEDOWN) /;
const outcome = (key, error) => say(`${refused.test(error.message) ? 'refused' : 'unknown'} ${key} ${error.message || error}`);

function flat(reply) {
    if (reply === null || typeof reply !== 'object') return reply;
    return (Array.isArray(reply) ? reply : Object.entries(reply).flat()).map(flat);
}

async function step(line) {
    const [words, want] = line.replaceAll('%', prefix).split(' => ');
    let got;
    try {
        got = flat(await client.call(words.split(' ')));
    } catch (error) {
        assert(want[0] === '!' && error.message.startsWith(`${want.slice(1)} `), `${words}: ${error.message}, not ${want}`);
        return;
    }
    const range = want.match(/^(-?\d+)\.\.(\d+)$/);
    if (range) assert(range[1] <= got && got <= +range[2], `${words}: ${got}, not ${want}`);
    else if (want !== '*') assert.strictEqual(JSON.stringify(got), want, words);
}

async function steps() {
    for (const line of fs.readFileSync(path.join(__dirname, 'steps.txt'), 'utf8').split('\n'))
        if (line && line[0] !== '#') await step(line);
}

const many = (count, make) => Array.from({ length: count }, (_, i) => make(i));

async function methods() {
    assert.strictEqual(await client.set(`${prefix}:m`, 'v'), 'OK');
    assert.strictEqual(await client.get(`${prefix}:m`), 'v');
    await client.mset({ [`{${prefix}}:x`]: '1', [`{${prefix}}:y`]: '2' });
    assert.deepStrictEqual(await client.mget([`{${prefix}}:x`, `{${prefix}}:y`, `{${prefix}}:z`]), ['1', '2', null]);
    await client.hset(`${prefix}:mh`, { name: 'Ann', city: 'Oslo' });
    assert.deepStrictEqual({ ...(await client.hgetall(`${prefix}:mh`)) }, { name: 'Ann', city: 'Oslo' });
    assert(Number(await client.call(['WAIT', '1', '100'])) >= 1, 'WAIT');
    await assert.rejects(client.mget([`${prefix}:1`, `${prefix}:2`, `${prefix}:3`]), 'keys of several slots');
}

async function pipelines() {
    // Over all slots: what is asked in one turn leaves in one write for each node.
    const keys = many(100, (i) => `${prefix}:pipe:${i}`);
    assert((await Promise.all(keys.map((key, i) => client.set(key, `p${i}`)))).every((reply) => reply === 'OK'));
    assert.deepStrictEqual(await Promise.all(keys.map(client.get)), keys.map((_, i) => `p${i}`));
    const tagged = many(100, (i) => [`{${prefix}}:pipe:${i}`, `q${i}`]);
    assert((await client.pipeline(tagged)).every((reply) => reply === 'OK'));
    assert.deepStrictEqual(await client.readPipeline(tagged.map(([key]) => key)), tagged.map(([, value]) => value));
}

async function transactions() {
    const [a, b] = [`{${prefix}:t}:a`, `{${prefix}:t}:b`];
    assert.deepStrictEqual(await client.transaction([[a, '1'], [b, '2']]), ['OK', 'OK']);
    assert.strictEqual(await client.get(b), '2');
    assert.strictEqual(await client.guarded(a, 'mine', () => client.set(a, 'theirs')), null);
    assert.strictEqual(await client.get(a), 'theirs');
    assert.deepStrictEqual(await client.guarded(a, 'mine', () => client.set(`${a}:other`, 'x')), ['OK']);
    assert.strictEqual(await client.get(a), 'mine');
}

async function bytes() {
    const all = Buffer.from(many(1024, (i) => i % 256));
    await client.setBytes(`${prefix}:bytes`, all);
    assert(all.equals(await client.getBytes(`${prefix}:bytes`)));
    await client.hsetBytes(`${prefix}:hbytes`, 'f\0', all);
    assert(all.equals(await client.hgetBytes(`${prefix}:hbytes`, 'f\0')));
}

async function expires() {
    await client.call(['SET', `${prefix}:gone`, 'x', 'PX', '20']);
    while ((await client.get(`${prefix}:gone`)) !== null);
}

async function scans() {
    const keys = many(50, (i) => `${prefix}:scan:${i}`).sort();
    await Promise.all(keys.map((key) => client.set(key, 'x')));
    assert.deepStrictEqual([...new Set(await client.scan(`${prefix}:scan:*`))].sort(), keys);
}

// ---- the writes across the kill ----

let going = true;

async function attempt(key, write) {
    try {
        await write();
    } catch (error) {
        if (error instanceof assert.AssertionError) throw error;
        outcome(key, error);
    }
}

async function writer(w) {
    let known;
    for (let i = 0; going; i++) {
        const key = `${prefix}:w:${w}:${i}`;
        await attempt(key, async () => {
            assert.strictEqual(await client.set(key, `v${i}`), 'OK');
            say(`set ${key} v${i}`);
            known = [key, `v${i}`];
        });
        const counter = `${prefix}:counter:${w}`;
        await attempt(counter, async () => say(`incr ${counter} ${await client.incr(counter)}`));
        if (known) {
            const read = await client.get(known[0]).catch(() => known[1]);
            assert.strictEqual(read, known[1], `LOST: ${known[0]}`);
        }
        const pair = `${prefix}:pair:${w}`;
        if (i % 10 === 0) {
            await attempt(pair, async () => {
                const replies = await client.transaction([[`{${pair}}:a`, `${i}`], [`{${pair}}:b`, `${i}`]]);
                assert.deepStrictEqual(replies, ['OK', 'OK']);
                say(`pair ${pair} ${i}`);
            });
        }
        if (i % 10 === 5) {
            const pairs = many(20, (j) => [`{${prefix}:p:${w}:${i}}:${j}`, `${j}`]);
            await attempt(pairs[0][0], async () => {
                await client.pipeline(pairs);
                for (const [k, v] of pairs) say(`set ${k} ${v}`);
            });
        }
    }
}

async function main() {
    say(`version ${client.version}, Node.js ${process.version}`);
    await client.connect(addresses.split(',').map((a) => ({ host: a.split(':')[0], port: +a.split(':')[1] })));
    for (const part of [steps, methods, pipelines, transactions, bytes, expires, scans]) {
        await part();
        say(`ok ${part.name}`);
    }
    process.stdin.on('data', () => {}).on('end', () => { going = false; });
    say('middle');
    await Promise.all(many(4, writer));
    await pipelines();
    await transactions();
    say('done');
    await client.close();
    process.exit(0);
}

main().catch((error) => {
    process.stderr.write(`${error.stack}\n`);
    process.exit(1);
});
