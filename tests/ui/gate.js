// A real keygate in a folder of its own, with a real upstream behind it; and a proxy to put in front of it.
// Every port is 0 and read back, every process is ended by its id. Not for: what is seen of it (browser.js).
import { execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import fs from 'node:fs/promises';
import http from 'node:http';
import os from 'node:os';
import path from 'node:path';
import { promisify } from 'node:util';

const root = path.resolve(import.meta.dirname, '../..');
const binary = path.resolve(root, process.env.KEYGATE_BIN ?? 'target/debug/keygate');

/** Long enough for a busy machine: whoever waits so long waits in vain. */
export const SOON_MS = 20_000;

/** The administrator of every gate that has one. */
export const ADMINISTRATOR = { name: 'ada', password: 'correct horse battery staple' };
const BEARER = 'kga_ui_the-token-of-the-tests_0123456789_7yH3';

/** Waits until `check` gives something, and gives that. */
export async function eventually(what, check, within = SOON_MS) {
    const until = Date.now() + within;
    for (;;) {
        const found = await check();
        if (found) return found;
        if (Date.now() > until) throw new Error(`not within ${within} ms: ${what}`);
        await new Promise((next) => setTimeout(next, 20));
    }
}

/** A service without keys: answers with what it was asked, `/status/N` with N. */
async function startUpstream() {
    const requests = [];
    const server = http.createServer((request, response) => {
        const chunks = [];
        request.on('data', (chunk) => chunks.push(chunk));
        request.on('end', () => {
            const { method, url, headers } = request;
            requests.push({ method, url, headers });
            const status = Number(/^\/status\/(\d{3})/.exec(url)?.[1] ?? 200);
            response.writeHead(status, { 'content-type': 'application/json' });
            response.end(JSON.stringify({ method, url, headers, body: Buffer.concat(chunks).toString() }));
        });
    });
    return { requests, ...(await listening(server)) };
}

/** A proxy on `port` that serves `target` below `prefix`, which `target` does not see. */
export async function startPrefixProxy(port, prefix, target) {
    const seen = [];
    const server = http.createServer((request, response) => {
        seen.push(request.url);
        if (!request.url.startsWith(prefix)) {
            response.writeHead(404).end('not below the prefix');
            return;
        }
        const onward = http.request(new URL(request.url.slice(prefix.length - 1), target), {
            method: request.method,
            headers: request.headers,
        });
        onward.on('response', (answer) => {
            response.writeHead(answer.statusCode, answer.rawHeaders);
            answer.pipe(response);
        });
        onward.on('error', () => response.destroy());
        response.on('close', () => onward.destroy());
        request.pipe(onward);
    });
    return { seen, ...(await listening(server, port)) };
}

async function listening(server, port = 0) {
    server.listen(port, '127.0.0.1');
    await once(server, 'listening');
    const stop = () => {
        server.closeAllConnections();
        return new Promise((closed) => server.close(closed));
    };
    return { port: server.address().port, url: `http://127.0.0.1:${server.address().port}`, stop };
}

/** A port that nobody has: for the few who must know it before they listen. */
export async function freePort() {
    const { port, stop } = await listening(http.createServer());
    await stop();
    return port;
}

export class Gate {
    /**
     * @param {object} [setup]
     * @param {object} [setup.config] more of keygate.yaml, section by section
     * @param {object[] | Iterable<string>} [setup.keys] entries of the key file, or its text
     * @param {string} [setup.keyFile] its name
     * @param {string} [setup.mounts] commands of a shell, run in a mount namespace of keygate's own
     * @param {boolean} [setup.administrator] whether there is one already
     */
    static async start({ config = {}, keys = [], keyFile = 'keys.yaml', mounts, administrator = true } = {}) {
        const gate = new Gate();
        gate.folder = await fs.mkdtemp(path.join(os.tmpdir(), 'keygate-ui-'));
        gate.upstream = await startUpstream();
        gate.keyFile = path.join(gate.folder, keyFile);
        const { admin, ...sections } = config;
        const whole = {
            version: 1,
            listen: '127.0.0.1:0',
            upstream: gate.upstream.url,
            data_dir: 'data',
            keys: { file: keyFile },
            telemetry: { listen: 'none' },
            admin: { listen: '127.0.0.1:0', token_file: 'tokens', ...admin },
            ...sections,
        };
        await gate.write('keygate.yaml', JSON.stringify(whole)); // JSON is YAML.
        await gate.write('tokens', `tests: ${BEARER}\n`);
        await fs.mkdir(path.dirname(gate.keyFile), { recursive: true });
        await fs.writeFile(gate.keyFile, Array.isArray(keys) ? keyText(keys) : keys, { mode: 0o600 });
        try {
            await gate.#run(mounts);
            if (administrator) gate.cookie = await gate.setUp();
        } catch (error) {
            console.error(gate.log);
            await gate.stop();
            throw error;
        }
        return gate;
    }

    /** What it has said. */
    log = '';

    async #run(mounts) {
        const run = [binary, 'run', '--config', 'keygate.yaml'];
        const command = mounts ? ['unshare', '-m', 'sh', '-ec', `${mounts}\nexec "$@"`, 'sh', ...run] : run;
        this.process = spawn(command[0], command.slice(1), {
            cwd: this.folder,
            env: { PATH: process.env.PATH },
            stdio: ['ignore', 'ignore', 'pipe'],
        });
        this.process.stderr.setEncoding('utf8').on('data', (text) => (this.log += text));
        this.exited = once(this.process, 'exit');
        this.exited.catch(() => {}); // a binary that is not there: said below
        const address = (what) =>
            eventually(`keygate says “${what}”`, () => {
                if (this.process.exitCode !== null) throw new Error(`keygate ended: ${this.process.exitCode}`);
                return new RegExp(`${what} (http://[0-9.:]+)\n`).exec(this.log)?.[1];
            }, 4 * SOON_MS);
        this.url = await address('listening on');
        this.admin = `${await address('admin API on')}/`;
    }

    /** Makes the administrator with a one-time code; their session's cookie. */
    async setUp() {
        const answer = await this.ask('POST', '/setup', { ...ADMINISTRATOR, code: await this.setupCode() });
        return /keygate_session=([0-9a-f]+)/.exec(answer.headers.get('set-cookie'))[1];
    }

    /** A new one-time code, as somebody who owns the files gets it. */
    async setupCode() {
        const said = await this.cli('admin', 'code');
        return /code=(\S+)/.exec(said)[1];
    }

    /** Asks the admin API as automation does; whatever is not fine throws. */
    async ask(method, below, body, headers = {}) {
        const json = method === 'PATCH' ? 'application/merge-patch+json' : 'application/json';
        const answer = await fetch(new URL(`api/v1${below}`, this.admin), {
            method,
            headers: { authorization: `Bearer ${BEARER}`, ...(body && { 'content-type': json }), ...headers },
            body: body && JSON.stringify(body),
            signal: AbortSignal.timeout(SOON_MS),
        });
        if (!answer.ok) throw new Error(`${method} ${below}: ${answer.status} ${await answer.text()}`);
        return answer;
    }

    /** The same, and the answer's JSON. */
    async api(method, below, body, headers) {
        const text = await (await this.ask(method, below, body, headers)).text();
        return text ? JSON.parse(text) : undefined;
    }

    /** The key with this name. */
    async key(name) {
        const { keys } = await this.api('GET', `/keys?search=${encodeURIComponent(name)}`);
        return keys.find((key) => key.name === name);
    }

    /** What a client does; the answer's status. */
    async send(target, token, { method = 'GET', headers = {}, body } = {}) {
        const answer = await fetch(this.url + target, {
            method,
            headers: { ...(token && { 'x-api-key': token }), ...headers },
            body,
            signal: AbortSignal.timeout(SOON_MS),
        });
        await answer.arrayBuffer();
        return answer.status;
    }

    /** The `keygate` command, on the same files; all that it says. */
    async cli(...words) {
        const { stdout, stderr } = await promisify(execFile)(binary, [...words, '--config', 'keygate.yaml'], {
            cwd: this.folder,
            timeout: SOON_MS,
        });
        return stdout + stderr;
    }

    write(name, text) {
        return fs.writeFile(path.join(this.folder, name), text, { mode: 0o600 });
    }

    async stop() {
        if (this.process?.exitCode === null) {
            this.process.kill('SIGTERM');
            const forced = setTimeout(() => this.process.kill('SIGKILL'), 5_000);
            await this.exited;
            clearTimeout(forced);
        }
        await this.upstream.stop();
        await fs.rm(this.folder, { recursive: true, force: true });
    }
}

/** A key file of these entries. */
export function keyText(entries) {
    return JSON.stringify({ version: 1, keys: entries }, null, 2);
}
