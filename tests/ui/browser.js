// Debian's Chromium, and pages in it that are watched: what a page must never do is a fault wherever a test goes.
// Console errors and warnings, exceptions, violations of the content security policy, requests to other origins,
// and calls that the OpenAPI document does not have. Not for: what a page shows (the tests).
import assert from 'node:assert/strict';
import fs from 'node:fs/promises';
import { createRequire } from 'node:module';
import path from 'node:path';
import { after, test } from 'node:test';
import { chromium } from 'playwright-core';
import { ADMINISTRATOR, Gate, SOON_MS, eventually } from './gate.js';

const axe = await fs.readFile(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8');
const WCAG = ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22aa'];
/** The rules that see colours. */
const COLOURS = ['color-contrast', 'link-in-text-block'];
const shots = path.resolve(import.meta.dirname, '../../target/ui-shots');

let browser;
/** The browser of this file's tests. */
async function launched() {
    browser ??= await chromium.launch({
        executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium',
        args: [
            '--no-sandbox',
            '--disable-gpu',
            '--disable-quic',
            '--no-first-run',
            '--disable-background-networking',
            '--disable-component-update',
            '--disable-sync',
            '--host-resolver-rules=MAP keygate.test 127.0.0.1',
        ],
    });
    return browser;
}
after(() => browser?.close());

/**
 * A test with a keygate and as many pages as it opens. When it fails, what keygate said and what the pages looked
 * like is kept.
 * @param {string} name
 * @param {object} setup what `Gate.start` is given; and `timeout`, in milliseconds
 * @param {(has: { gate: Gate, open: (how?: object) => Promise<Visit> }) => Promise<void>} body
 */
export function ui(name, { timeout = 120_000, ...setup }, body) {
    test(name, { timeout }, async () => {
        const gate = await Gate.start(setup);
        const visits = [];
        const open = async (how) => {
            const visit = await Visit.begin(gate, how);
            visits.push(visit);
            return visit;
        };
        try {
            await body({ gate, open });
            for (const visit of visits) visit.check();
        } catch (error) {
            for (const [index, visit] of visits.entries()) {
                await visit.shot(`failed-${name.replace(/\W+/g, '-')}-${index}`).catch(() => {});
                console.error(`page ${index}: ${visit.page.url()}`, visit.faults);
            }
            console.error(`${name}: keygate said:\n${gate.log}`);
            throw error;
        } finally {
            for (const visit of visits) await visit.page.context().close();
            await gate.stop();
        }
    });
}

/** One page in a context of its own, and what it did wrong. */
export class Visit {
    /** @type {string[]} */
    faults = [];

    /**
     * @param {Gate} gate
     * @param {object} how
     * @param {string | null} [how.at] the address below the pages' root; null to go there later
     * @param {string} [how.base] the pages' root
     * @param {boolean} [how.signedIn] whether the browser has the administrator's session
     * @param {RegExp[]} [how.allow] faults that are none here
     */
    static async begin(gate, how = {}) {
        const { at = '', base = gate.admin, signedIn = true, theme = 'light', width = 1280, allow = [], ...more } = how;
        const context = await (await launched()).newContext({
            viewport: { width, height: width < 720 ? 740 : 800 },
            colorScheme: theme,
            locale: 'en-GB',
            timezoneId: 'Europe/Berlin',
            serviceWorkers: 'block',
            ...more,
        });
        context.setDefaultTimeout(SOON_MS);
        if (signedIn) {
            const url = new URL(base);
            await context.addCookies([
                { name: 'keygate_session', value: gate.cookie, domain: url.hostname, path: url.pathname, httpOnly: true, sameSite: 'Strict' },
            ]);
        }
        const visit = new Visit();
        visit.gate = gate;
        visit.base = base;
        visit.allow = allow;
        visit.page = await context.newPage();
        await visit.#watch();
        if (at !== null) await visit.go(at);
        return visit;
    }

    async #watch() {
        const { page } = this;
        const fault = (text) => this.faults.push(text);
        await page.addInitScript(() => {
            document.addEventListener('securitypolicyviolation', (violation) =>
                console.error(`CSP: ${violation.violatedDirective} ${violation.blockedURI} ${violation.sample}`),
            );
        });
        page.on('console', (message) => {
            if (['error', 'warning'].includes(message.type())) fault(`console: ${message.text()} (${message.location().url})`);
        });
        page.on('pageerror', (error) => fault(`exception: ${error.message}\n${error.stack}`));
        page.on('request', (request) => {
            const url = new URL(request.url());
            if (url.origin !== new URL(this.base).origin && url.protocol !== 'blob:') fault(`another origin: ${url}`);
        });
        const documented = await apiOf(this.gate);
        page.on('response', (response) => {
            const wrong = documented(response, this.base);
            if (wrong) fault(wrong);
        });
    }

    /** Goes to an address below the pages' root. */
    async go(at) {
        await this.page.goto(new URL(at, this.base).href);
    }

    /** Its address, below the pages' root. */
    get at() {
        return this.page.url().slice(this.base.length);
    }

    /** Nothing was wrong but what is allowed here. */
    check() {
        const wrong = this.faults.filter((fault) => !this.allow.some((pattern) => pattern.test(fault)));
        assert.deepEqual(wrong, [], 'faults of the page');
    }

    /** Waits until a fault is seen. */
    noticed(pattern) {
        return eventually(`a fault like ${pattern}: ${this.faults}`, () => this.faults.some((fault) => pattern.test(fault)));
    }

    /** Waits until all is there and still. */
    async settled() {
        await this.page.waitForFunction(() => {
            const running = document.getAnimations().filter((a) => a.playState === 'running');
            return (
                document.querySelector('h1') &&
                !document.querySelector('.skeleton, [aria-busy="true"]') &&
                running.every((a) => a.effect?.getComputedTiming().iterations === Infinity)
            );
        });
    }

    /**
     * No violation of WCAG 2.2 AA that can be found by machine, and nothing wider than the window.
     * @param {string} what how the page is called when it fails
     * @param {object} [only] the rules that axe is to run
     */
    async accessible(what, only = { type: 'tag', values: WCAG }) {
        await this.settled();
        const { page } = this;
        if (!(await page.evaluate(() => 'axe' in window))) await page.evaluate(axe);
        const found = await page.evaluate(
            (runOnly) => globalThis.axe.run(document, { runOnly, resultTypes: ['violations'] }),
            only,
        );
        const violations = found.violations.flatMap(({ id, nodes }) =>
            nodes.map((node) => `${id}: ${node.target.join(' ')}: ${node.failureSummary.split('\n').slice(1).join(' ').trim()}`),
        );
        assert.deepEqual(violations, [], `accessibility of ${what}`);
        const [needs, has] = await page.evaluate(() => [document.documentElement.scrollWidth, window.innerWidth]);
        assert.ok(needs <= has, `${what} is ${needs} wide in a window of ${has}`);
    }

    /** In both themes, of which only the colours differ: accessible, and a picture. */
    async inBothThemes(name, options) {
        const { page } = this;
        const { width } = page.viewportSize();
        await this.accessible(`${name}, light, ${width}`);
        await this.shot(`${name}-light-${width}`, options);
        await page.emulateMedia({ colorScheme: 'dark' });
        await page.locator('html[data-theme="dark"]').waitFor();
        await this.accessible(`${name}, dark, ${width}`, { type: 'rule', values: COLOURS });
        await this.shot(`${name}-dark-${width}`, options);
        await page.emulateMedia({ colorScheme: 'light' });
        await page.locator('html[data-theme="light"]').waitFor();
    }

    /** A picture, for people. */
    async shot(name, options = {}) {
        await fs.mkdir(shots, { recursive: true });
        await this.page.screenshot({ path: path.join(shots, `${name}.png`), ...options });
    }

    /** Signs in as a person does. */
    async signIn({ name, password } = ADMINISTRATOR) {
        const { page } = this;
        await page.getByLabel('Name', { exact: true }).last().fill(name);
        await page.getByLabel('Password', { exact: true }).fill(password);
        await page.getByRole('button', { name: 'Sign in' }).click();
    }
}

const documents = new WeakMap();
/** What is wrong with an answer by keygate's own OpenAPI document. */
async function apiOf(gate) {
    if (!documents.has(gate)) documents.set(gate, await gate.api('GET', '/openapi.json'));
    const paths = Object.entries(documents.get(gate).paths).map(([template, methods]) => ({
        methods,
        pattern: new RegExp(`^${template.replace(/\{\w+\}/g, '[^/:]+').replaceAll('.', '\\.')}$`),
        exact: !template.includes('{'),
    }));
    return (response, base) => {
        const request = response.request();
        const api = new URL('api/v1', base).href;
        if (!request.url().startsWith(api)) return undefined;
        const { pathname, searchParams } = new URL(request.url().slice(api.length), 'http://keygate');
        const matching = paths.filter(({ pattern }) => pattern.test(pathname));
        const operation = (matching.find(({ exact }) => exact) ?? matching[0])?.methods[request.method().toLowerCase()];
        const call = `${request.method()} ${pathname}`;
        if (!operation) return `not in the OpenAPI document: ${call}`;
        const known = (operation.parameters ?? []).filter((parameter) => parameter.in === 'query').map(({ name }) => name);
        const unknown = [...searchParams.keys()].filter((name) => !known.includes(name));
        if (unknown.length) return `not in the OpenAPI document: ${call}: ${unknown}`;
        if (response.status() !== 304 && !operation.responses[response.status()]) {
            return `not in the OpenAPI document: ${call}: ${response.status()}`;
        }
        return undefined;
    };
}
