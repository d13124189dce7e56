// Node through keygate: fetch (undici) over HTTP/1.1, and the module http2. Uploads that are streamed while the answer
// comes, requests that are given up, connections that are used again. Not for: browsers, which are `tests/ui`.

import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import http from 'node:http';
import http2 from 'node:http2';
import { readFileSync } from 'node:fs';

const given = JSON.parse(process.argv[2]);
const base = `http://${given.http}`;
const key = { 'x-api-key': given.token };
const MIB = 1024 * 1024;

const bytes = Buffer.alloc(9 * MIB + 5, 'every so often the same, \u00e9');
const sha256 = (data) => createHash('sha256').update(data).digest('hex');

async function* pieces() {
  for (let from = 0; from < bytes.length; from += 100_000) yield bytes.subarray(from, from + 100_000);
}

async function fetches() {
  const answer = await fetch(`${base}/echo?a=1`, { headers: key });
  assert.equal(answer.status, 200);
  assert.equal((await answer.json()).target, '/echo?a=1');
  const refused = await fetch(`${base}/echo`);
  assert.equal(refused.status, 401);
  assert.equal((await refused.json()).code, 'missing_key');

  const many = Array.from({ length: 200 }, (_, number) => fetch(`${base}/echo/${number}`, { headers: key }));
  const targets = await Promise.all(many.map(async (one) => (await (await one).json()).target));
  assert.deepEqual(targets, many.map((_, number) => `/echo/${number}`));

  const up = await fetch(`${base}/sum`, { method: 'POST', headers: key, body: ReadableStream.from(pieces()), duplex: 'half' });
  assert.deepEqual(pick(await up.json()), { bytes: bytes.length, sha256: sha256(bytes) });
  const whole = await fetch(`${base}/sum`, { method: 'PUT', headers: key, body: bytes });
  assert.deepEqual(pick(await whole.json()), { bytes: bytes.length, sha256: sha256(bytes) });
  const decoded = await fetch(`${base}/compressed`, { headers: key });
  assert.equal((await decoded.text()).length, 32_000);

  for (const path of ['/broken', '/broken?chunked']) {
    const cut = await fetch(base + path, { headers: key });
    await assert.rejects(cut.text(), TypeError, path);
  }
  for (const kind of ['head', 'headless']) {
    const given_up = new AbortController();
    const never = fetch(`${base}/never/fetch-${kind}?${kind}`, { headers: key, signal: given_up.signal });
    if (kind === 'head') {
      const reader = (await never).body.getReader();
      assert.equal(Buffer.from((await reader.read()).value).toString(), 'begun\n');
      given_up.abort();
      await assert.rejects(reader.read(), { name: 'AbortError' });
    } else {
      await arrived(`/never/fetch-${kind}`);
      given_up.abort();
      await assert.rejects(never, { name: 'AbortError' });
    }
    assert.equal((await fetch(`${base}/left/fetch-${kind}`, { headers: key })).status, 200, kind);
  }
}

const pick = ({ bytes, sha256 }) => ({ bytes, sha256 });

/** Waits until the service has the request that never ends, so that it is given up there and not on the way. */
async function arrived(path) {
  const answer = await fetch(`${base}/has${path}`, { headers: key });
  assert.equal(answer.status, 200);
}

/** One connection for all, also behind refusals and answers without a body. */
async function agent() {
  const keepAlive = new http.Agent({ keepAlive: true, maxSockets: 1 });
  const ports = new Set();
  const asks = [['GET', '/echo', key, 200], ['HEAD', '/file', key, 200], ['GET', '/echo', {}, 401], ['POST', '/echo', key, 200]];
  for (const [method, path, headers, status] of [...asks, ...asks]) {
    await new Promise((resolve, reject) => {
      const request = http.request(base + path, { method, headers, agent: keepAlive }, (answer) => {
        assert.equal(answer.statusCode, status, `${method} ${path}`);
        ports.add(answer.socket.localPort);
        answer.on('end', resolve).resume();
      });
      request.on('error', reject).end();
    });
  }
  assert.equal(ports.size, 1, 'one connection');
  keepAlive.destroy();
}

/** @param {string} origin @param {object} [options] */
async function http2s(origin, options) {
  const session = http2.connect(origin, options);
  const ask = (fields, body) =>
    new Promise((resolve, reject) => {
      const stream = session.request({ ...key, ...fields }, { endStream: body === undefined });
      const parts = [];
      let head;
      stream.on('response', (fields) => (head = fields));
      stream.on('data', (part) => parts.push(part));
      stream.on('end', () => resolve({ status: head[':status'], head, body: Buffer.concat(parts) }));
      stream.on('error', reject);
      if (body !== undefined) stream.end(body);
    });
  const many = Array.from({ length: 300 }, (_, number) => ask({ ':path': `/echo/${number}` }));
  const answers = await Promise.all(many);
  assert.deepEqual(answers.map(({ body }) => JSON.parse(body).target), answers.map((_, number) => `/echo/${number}`));
  const seen = JSON.parse((await ask({ ':path': '/echo', cookie: 'a=1; b=2', te: 'trailers' })).body);
  assert.ok(seen.fields.some(([name, value]) => name.toLowerCase() === 'cookie' && value === 'a=1; b=2'), 'one Cookie');
  const sum = await ask({ ':path': '/sum', ':method': 'POST' }, bytes);
  assert.deepEqual(pick(JSON.parse(sum.body)), { bytes: bytes.length, sha256: sha256(bytes) });
  assert.equal((await ask({ ':path': '/echo', 'x-api-key': 'wrong' })).status, 401);
  assert.equal((await ask({ ':path': '/sum', ':method': 'POST', 'x-api-key': 'wrong' }, bytes)).status, 401);
  await assert.rejects(ask({ ':path': '/broken' }), { code: 'ERR_HTTP2_STREAM_ERROR' });

  const name = options ? 'http2-tls' : 'http2';
  const never = session.request({ ...key, ':path': `/never/${name}` });
  await new Promise((resolve) => never.once('data', resolve));
  never.close(http2.constants.NGHTTP2_CANCEL);
  assert.equal((await ask({ ':path': `/left/${name}` })).status, 200);
  await new Promise((resolve) => session.ping((error) => resolve(assert.equal(error, null))));
  await new Promise((resolve) => session.close(resolve));
}

/** A WebSocket over HTTP/2 (RFC 8441), by hand: one message there and back, and the close. */
async function socketOver(origin, path, options) {
  const session = http2.connect(origin, options);
  const settings = await new Promise((resolve) => session.once('remoteSettings', resolve));
  assert.equal(settings.enableConnectProtocol, true);
  const token = Buffer.from(given.token).toString('base64url');
  const open = (protocols, path) =>
    session.request({
      ':method': 'CONNECT', ':protocol': 'websocket', ':path': path,
      'sec-websocket-version': '13', 'sec-websocket-protocol': protocols,
    }, { endStream: false });
  const refused = open('chat', `${path}-refused`);
  assert.equal((await once(refused, 'response'))[':status'], 401);
  refused.close();

  const stream = open(`chat, keygate.${token}`, path);
  const head = await once(stream, 'response');
  assert.deepEqual([head[':status'], head['sec-websocket-protocol']], [200, 'chat']);
  assert.equal(head['sec-websocket-accept'], undefined, 'there is none in HTTP/2');
  // Masked by zeros: the message stays as it is.
  const frame = (opcode, payload) =>
    Buffer.concat([Buffer.from([0x80 | opcode, 0x80 | payload.length, 0, 0, 0, 0]), Buffer.from(payload)]);
  stream.write(frame(1, 'hello'));
  assert.deepEqual(await once(stream, 'data'), Buffer.from('\x81\x05hello', 'latin1'));
  stream.write(frame(8, '\x03\xe8'.split('').map((byte) => byte.charCodeAt(0))));
  assert.deepEqual(await once(stream, 'data'), Buffer.from([0x88, 2, 3, 0xe8]));
  stream.end();
  await once(stream, 'close');
  const closed = await fetch(`${base}/closed/${path.slice(4)}`, { headers: key });
  assert.equal(await closed.json(), 1000);
  await new Promise((resolve) => session.close(resolve));
}

const once = (emitter, event) =>
  new Promise((resolve, reject) => {
    emitter.once(event, resolve);
    emitter.once('error', reject);
  });

await fetches();
console.log('fetch: ok');
await agent();
console.log('agent: ok');
const tls = { ca: readFileSync(given.authority) };
await http2s(base);
await http2s(`https://${given.https}`, tls);
console.log('http2: ok');
await socketOver(base, '/ws/http2');
await socketOver(`https://${given.https}`, '/ws/http2-tls', tls);
console.log('WebSocket over http2: ok');
