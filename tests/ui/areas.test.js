// Covers what each area is for: Transactions (filters, live, why, export), Try it, the page of a key, Dashboard, Status,
// and the account. How they look is in pages.test.js, how a key lives in journey.test.js.
import assert from 'node:assert/strict';
import fs from 'node:fs/promises';
import { ui } from './browser.js';
import { ADMINISTRATOR, eventually } from './gate.js';
import { button, dialog, field, heading, visitArea } from './steps.js';

const KEYS = [
    { id: 'k_default', name: 'default', token: 'the-token-of-default-0123456789' },
    { id: 'k_reader', name: 'reader', token: 'the-token-of-reader-0123456789', allow: { methods: ['GET'], paths: ['/v1/**'] } },
];
const [DEFAULT, READER] = KEYS.map(({ token }) => token);

const records = (page) => page.locator('tbody').getByRole('row');
const recorded = (gate, count) =>
    eventually(`${count} requests are recorded`, async () => (await gate.api('GET', '/transactions')).transactions.length === count);

ui('transactions are found, watched, explained and taken away', { keys: KEYS }, async ({ gate, open }) => {
    await gate.send('/v1/orders', DEFAULT);
    await gate.send('/v1/orders', READER);
    await gate.send('/admin?all=1', READER);
    await gate.send('/status/503', DEFAULT);
    await gate.send('/v1/orders', undefined, { method: 'POST' });
    await recorded(gate, 5);
    const visit = await open({
        at: 'transactions',
        allow: [/status of 400/],
        permissions: ['clipboard-read', 'clipboard-write'],
    });
    const { page } = visit;
    const shows = (count) => eventually(`${count} rows`, async () => (await records(page).count()) === count);
    const clear = async () => {
        await button(page, 'Clear filters').click();
        await shows(5);
    };
    await shows(5);

    // By the name of a key, and by each of the others; an address comes back to what it shows.
    await field(page, 'Key').fill('reader');
    await field(page, 'Key').press('Enter');
    await shows(2);
    assert.match(visit.at, /key=k_reader/);
    await page.reload();
    await shows(2);
    assert.equal(await field(page, 'Key').inputValue(), 'reader');
    await clear();
    await field(page, 'Decision').selectOption('refused');
    await shows(2);
    await field(page, 'Method').selectOption('POST');
    await shows(1);
    await clear();
    for (const [name, text, count] of [['Status', '5xx', 1], ['Path', '/v1/*', 3], ['Search', 'all', 5]]) {
        await field(page, name).fill(text);
        await field(page, name).press('Enter');
        if (count !== 5) await shows(count);
        await field(page, name).fill('');
        await field(page, name).press('Enter');
        await shows(5);
    }
    await field(page, 'Status').fill('9xx');
    await field(page, 'Status').press('Enter');
    await page.getByRole('alert').filter({ hasText: /status/i }).waitFor();
    await clear();
    await field(page, 'Since').selectOption('1h');
    await shows(5);

    // Live: at once when nobody reads, later when somebody does.
    await heading(page, 'Transactions').hover();
    await gate.send('/v1/live', DEFAULT);
    await shows(6);
    await records(page).nth(2).hover();
    await gate.send('/v1/waits', DEFAULT);
    await button(page, 'Show 1 new').waitFor();
    assert.equal(await records(page).count(), 6);
    await button(page, 'Show 1 new').click();
    await shows(7);

    // Why: every check, the failed one said; the same as curl, without the token.
    await records(page).filter({ hasText: '/admin' }).getByRole('link').first().click();
    const drawer = page.getByRole('complementary', { name: 'Transaction' });
    const why = drawer.getByRole('region', { name: 'Why' });
    await why.getByText('Path not allowed').first().waitFor();
    assert.match(await why.getByRole('listitem').filter({ hasText: 'failed' }).innerText(), /path/i);
    await button(drawer, 'Copy as curl').click();
    const curl = await eventually('curl is copied', () => page.evaluate(() => navigator.clipboard.readText()));
    assert.match(curl, /^curl/);
    assert.ok(curl.includes('/admin') && curl.includes('$TOKEN') && !curl.includes(READER), curl);
    await button(drawer, 'Close').click();
    await drawer.waitFor({ state: 'detached' });
    assert.ok(!visit.at.includes('open='));

    for (const [format, lines, first] of [['NDJSON', 7, /^\{"/], ['CSV', 8, /^time,/]]) {
        await button(page, 'Export').click();
        const [download] = await Promise.all([
            page.waitForEvent('download'),
            page.getByRole('menuitem', { name: format }).click(),
        ]);
        const text = await fs.readFile(await download.path(), 'utf8');
        assert.match(text, first);
        assert.equal(text.trimEnd().split('\n').length, lines, text);
    }
});

ui('try it sends through the proxy and shows what came back', { keys: KEYS }, async ({ gate, open }) => {
    const { page } = await open({ at: 'try', allow: [/status of 422/] });
    const answer = page.getByRole('region', { name: 'Answer', exact: true });
    const choose = async (name) => {
        await field(page, 'API key').fill(name);
        await page.getByRole('option', { name }).click();
    };
    await eventually('it begins with a key', () => field(page, 'API key').inputValue());
    await choose('default');
    await field(page, 'Method').selectOption('POST');
    await field(page, 'Path').fill('/v1/orders?page=2');
    await field(page, 'Headers').fill('X-Shop: north\nAccept: application/json');
    await field(page, 'Body').fill('{"order":7}');
    await button(page, 'Send').click();
    await answer.getByText('200').first().waitFor();
    await answer.getByText('"url": "/v1/orders?page=2"').waitFor();
    const seen = gate.upstream.requests.at(-1);
    assert.equal(seen.headers['x-shop'], 'north');
    assert.equal(seen.headers['x-keygate-key-name'], 'default');
    assert.equal(seen.headers['x-api-key'], undefined, 'keygate takes the token out');
    await answer.getByRole('link', { name: /transaction/i }).click();
    await page.getByRole('complementary', { name: 'Transaction' }).getByText('/v1/orders').first().waitFor();
    await page.goBack();

    // A refusal is an answer; the page is as it was left; what was sent can be sent again.
    await heading(page, 'Try it').waitFor();
    await choose('reader');
    await field(page, 'Method').selectOption('GET');
    await field(page, 'Path').fill('/admin');
    await button(page, 'Send').click();
    await answer.getByText('403').first().waitFor();
    await field(page, 'Path').fill('no slash');
    await button(page, 'Send').click();
    await page.locator('[aria-invalid="true"]').first().waitFor();
    const recent = page.getByRole('list', { name: 'Recent requests' });
    await recent.getByRole('button').filter({ hasText: '/v1/orders' }).first().click();
    assert.equal(await field(page, 'Body').inputValue(), '{"order":7}');
    assert.equal(await page.evaluate(() => JSON.stringify(localStorage)).then((kept) => kept.includes('the-token-of')), false);
});

ui('the page of a key shows and edits it', { keys: KEYS }, async ({ gate, open }) => {
    await gate.send('/v1/orders', READER);
    await gate.send('/admin', READER);
    await recorded(gate, 2);
    const { page } = await open({ at: 'keys/k_reader', allow: [/status of 404/] });
    const part = (name) => page.getByRole('region', { name, exact: true });
    await part('Rules').getByText('/v1/**').waitFor();
    await part('Latest transactions').getByRole('row').filter({ hasText: '/admin' }).waitFor();
    await part('Requests').getByText('Refused').first().waitFor();
    await page.getByRole('button', { name: /^Edit (the )?name/i }).click();
    await field(page, 'Name').fill('librarian');
    await page.keyboard.press('Enter');
    await heading(page, 'librarian').waitFor();
    assert.equal((await gate.api('GET', '/keys/k_reader')).name, 'librarian');
    await part('History').getByText(/renamed|name/i).first().waitFor();
    await button(page, 'More actions').click();
    await page.getByRole('menuitem', { name: 'Disable' }).click();
    await part('Key').getByText('disabled').first().waitFor();
    await gate.api('DELETE', '/keys/k_reader', undefined, { 'if-match': '*' });
    await heading(page, 'No such key').waitFor();
});

ui('the dashboard counts, and its chart is read by keyboard and as a table', { keys: KEYS }, async ({ gate, open }) => {
    for (let i = 0; i < 4; i++) await gate.send('/v1/orders', DEFAULT);
    await gate.send('/v1/orders');
    await recorded(gate, 5);
    const { page } = await open();
    const figure = (name) => page.getByRole('region', { name, exact: true });
    await figure('Requests').getByText('5', { exact: true }).first().waitFor();
    await figure('Refused').getByText('1', { exact: true }).first().waitFor();
    await figure('Active keys').getByText('2', { exact: true }).first().waitFor();
    await gate.send('/v1/orders', DEFAULT);
    await figure('Requests').getByText('6', { exact: true }).first().waitFor();
    const chart = page.getByRole('slider', { name: /Requests by decision/ });
    await chart.focus();
    await chart.press('End');
    assert.match(await chart.getAttribute('aria-valuetext'), /\d+ allowed, \d+ refused/);
    const last = await chart.getAttribute('aria-valuenow');
    await chart.press('ArrowLeft');
    assert.equal(Number(await chart.getAttribute('aria-valuenow')), Number(last) - 1);
    await button(page, 'Table').click();
    await page.getByRole('columnheader', { name: 'Allowed' }).waitFor();
    await page.getByRole('link', { name: /no key sent/ }).click();
    await heading(page, 'Transactions').waitFor();
    await eventually('the refused one', async () => (await records(page).count()) === 1);
});

ui('status says what is in force', { keys: KEYS }, async ({ gate, open }) => {
    const { page } = await open({ at: 'status' });
    for (const part of ['Config', 'Key file', 'Secret file', 'Transactions', 'Process']) {
        await page.getByRole('heading', { level: 2, name: part, exact: true }).waitFor();
    }
    const { key_file: keyFile } = await gate.api('GET', '/status');
    for (const text of [keyFile.path, keyFile.revision.slice(0, 8), new URL(gate.url).host, 'v0.1.0']) {
        await page.getByRole('main').getByText(text).first().waitFor();
    }
    await button(page, 'Reload now').click();
    await page.getByText(/reloaded|nothing|up to date|read again|no change/i).first().waitFor();
});

ui('status tells of certificates and what is wrong with them', { keys: KEYS }, async ({ open }) => {
    const visit = await open({ at: 'keys' });
    const { page } = visit;
    // A certificate of a test would expire: the answer of one that has them stands for it.
    const path = '/etc/keygate/tls.crt';
    await page.route('**/api/v1/status', async (route) => {
        const response = await route.fetch();
        const status = await response.json();
        status.certificates = [
            { path, shown_to: 'clients', names: ['api.example', '*.api.example'], not_before: '2026-01-01T00:00:00.000000Z', not_after: '2031-02-03T00:00:00.000000Z' },
            { path, shown_to: 'admin', names: [], not_before: '2026-01-01T00:00:00.000000Z', not_after: '2031-02-03T00:00:00.000000Z' },
        ];
        status.certificate_problems = [{ file: '/etc/keygate/tls.key', line: null, column: null, path: '', what: 'the private key does not fit', hint: 'name the other one' }];
        status.degraded = [{ cause: 'certificates', why: 'told below' }];
        await route.fulfill({ response, json: status });
    });
    await visitArea(page, 'Status');
    await page.getByRole('heading', { level: 2, name: 'Certificates', exact: true }).waitFor();
    const main = page.getByRole('main');
    for (const text of [path, 'to clients', 'to administrators', 'api.example, *.api.example', 'only where no other fits', 'the private key does not fit', 'name the other one']) {
        await main.getByText(text).first().waitFor();
    }
    assert.equal(await main.getByText('told below').count(), 0, 'it is told once');
    await page.unroute('**/api/v1/status');
});

ui('the password is changed, and others are signed out', {}, async ({ open }) => {
    const fresh = { ...ADMINISTRATOR, password: 'another good long password' };
    const other = await open({ at: 'keys', signedIn: false, allow: [/status of 401/] });
    await other.signIn();
    await heading(other.page, 'API Keys').waitFor();
    const visit = await open({ allow: [/status of 4/] });
    const { page } = visit;
    await button(page, 'Account').click();
    await page.getByRole('menuitem', { name: 'Change password' }).click();
    const change = dialog(page, 'Change password');
    await field(change, 'Current password').fill('not the password');
    await field(change, 'New password').fill(fresh.password);
    await change.getByRole('button', { name: /^Change/ }).click();
    await change.locator('[aria-invalid="true"]').or(change.getByRole('alert')).first().waitFor();
    await field(change, 'Current password').fill(ADMINISTRATOR.password);
    await change.getByRole('button', { name: /^Change/ }).click();
    await change.waitFor({ state: 'detached' });
    await heading(other.page, 'Sign in').waitFor();
    await other.signIn(fresh);
    await heading(other.page, 'Sign in').waitFor({ state: 'detached' });
    await visitArea(page, 'API Keys');
});
