// Covers how every page, dialog, menu and drawer looks and reads: in both themes, at 1280 and at 360 pixels, full and
// empty; WCAG 2.2 AA as far as machines see it, nothing wider than the window, and a picture of each for people.
import { createHash } from 'node:crypto';
import fs from 'node:fs/promises';
import { ui } from './browser.js';
import { eventually } from './gate.js';
import { button, choose, dialog, field, heading, newKey, row } from './steps.js';

const soon = (days) => new Date(Date.now() + days * 86_400_000).toISOString();
const digest = (text) => `sha256:${createHash('sha256').update(text).digest('hex')}`;
const token = (name) => `kg_${name}_0123456789abcdef`;
const LONG = 'a-name-as-long-as-names-may-be-'.repeat(4).slice(0, 100);

/** One key of each kind. */
const KEYS = [
    { id: 'k_default', name: 'default', description: 'Made by the setup wizard', token: token('default'), created_at: soon(-40) },
    { name: 'billing', description: 'Nightly invoices', token: token('billing'), created_at: soon(-12), tags: { team: 'billing' },
        allow: { methods: ['GET', 'POST'], paths: ['/v1/**', '/health'] } },
    { name: 'trial', description: 'Ends with the month', token: token('trial'), expires_at: soon(3) },
    { name: 'left', description: 'Of a customer who left', token: token('left'), enabled: false },
    { name: 'over', token: token('over'), expires_at: soon(-2) },
    { name: 'next year', token: token('next'), not_before: soon(60) },
    { name: 'from before keygate', digest: digest('nobody knows it') },
    { name: LONG, description: 'word '.repeat(60), token: token('long') },
];

/** Requests of all kinds, some of each. */
async function traffic(gate) {
    const requests = [
        ['/v1/orders', token('default')], ['/v1/orders/7?page=2', token('default')], ['/status/404', token('default')],
        ['/status/503', token('default')], ['/v1/invoices', token('billing')], ['/admin', token('billing')],
        ['/v1/orders', token('trial')], ['/v1/orders', token('left')], ['/v1/orders', token('over')],
        ['/v1/orders'], ['/v1/orders', 'a-token-that-nobody-has'], [`/v1/${'long-'.repeat(60)}`, token('default')],
    ];
    for (let round = 0; round < 3; round++) {
        await Promise.all(requests.map(([target, key]) => gate.send(target, key)));
    }
    await gate.send('/v1/orders', token('default'), { method: 'POST', body: '{"order":1}' });
    await eventually('all are recorded', async () => (await gate.api('GET', '/usage')).requests_total >= 37);
}

for (const width of [1280, 360]) {
    ui(`pages at ${width} pixels`, { keys: KEYS, timeout: 240_000 }, async ({ gate, open }) => {
        await traffic(gate);
        const visit = await open({ width, at: '', allow: [/status of 40[14]/, /status of 412/] });
        const { page } = visit;
        const seen = (name, options) => visit.inBothThemes(name, options);
        const whole = { fullPage: true };
        const escape = () => page.keyboard.press('Escape');

        await heading(page, 'Dashboard').waitFor();
        await page.getByText('billing').first().waitFor();
        await seen('dashboard', whole);

        await visit.go('keys');
        await row(page, 'default').waitFor();
        await seen('keys', whole);
        await button(row(page, 'default'), 'More actions').click();
        await page.getByRole('menuitem', { name: 'Delete' }).waitFor();
        await seen('keys-menu');
        await escape();
        await button(row(page, 'billing'), 'Edit').click();
        await field(dialog(page, 'Edit API key'), 'Name').waitFor();
        await seen('keys-edit');
        await escape();
        await choose(page, 'default', 'Delete');
        await dialog(page, 'Delete default?').waitFor();
        await seen('keys-delete');
        await escape();
        await choose(page, 'default', 'Rotate');
        await dialog(page, 'Rotate default?').waitFor();
        await seen('keys-rotate');
        await escape();
        await button(page, '+ New API Key').click();
        await dialog(page, 'New API Key').getByText('More options').click();
        await seen('keys-new');
        await escape();
        await newKey(page, 'just made', { done: false });
        await seen('keys-made');
        await button(page.getByRole('dialog'), 'Done').click();
        await visit.go('keys?search=nothing-has-this-name');
        await heading(page, 'API Keys').waitFor();
        await seen('keys-none-found');
        await page.keyboard.press('?');
        await page.getByRole('dialog').waitFor();
        await seen('shortcuts');
        await escape();

        const { id } = await gate.key('billing');
        for (const [name, title] of [['key', 'billing'], ['key-long', LONG]]) {
            await visit.go(`keys/${(await gate.key(title)).id}`);
            await heading(page, title).waitFor();
            await seen(name, whole);
        }

        await visit.go('transactions');
        await page.getByRole('row').filter({ hasText: '/v1/invoices' }).first().waitFor();
        await seen('transactions', whole);
        await button(page, 'Export').click();
        await page.getByRole('menuitem', { name: 'CSV' }).waitFor();
        await seen('transactions-export');
        await escape();
        const { transactions } = await gate.api('GET', '/transactions?decision=refused&path=/admin');
        await visit.go(`transactions?open=${transactions[0].request_id}`);
        await page.getByRole('complementary', { name: 'Transaction' }).getByText('Why').first().waitFor();
        await seen('transaction');

        await visit.go('try?key=k_default&path=/v1/orders');
        await heading(page, 'Try it').waitFor();
        await field(page, 'API key').click();
        await page.getByRole('option', { name: 'billing' }).waitFor();
        await seen('try-keys');
        await page.keyboard.press('Escape');
        await button(page, 'Send').click();
        await page.getByRole('region', { name: 'What came back' }).waitFor();
        await seen('try', whole);
        await visit.go('');
        await button(page, 'Table').click();
        await page.getByRole('columnheader', { name: 'Allowed' }).waitFor();
        await seen('dashboard-table');
        await visit.go('status');
        await heading(page, 'Status').waitFor();
        await page.getByRole('heading', { level: 2, name: 'Process' }).waitFor();
        await seen('status', whole);

        await button(page, 'Account').click();
        await page.getByRole('menuitem', { name: 'Change password' }).waitFor();
        await seen('account');
        await page.getByRole('menuitem', { name: 'Change password' }).click();
        await page.getByRole('dialog').waitFor();
        await seen('account-password');
        await escape();
        await visit.go('keys/k_no-such-key');
        await heading(page, /./).waitFor();
        await seen('key-not-found');

        // What goes wrong: two people at one key, a broken key file, a session that ends.
        await visit.go('keys');
        await button(row(page, 'billing'), 'Edit').click();
        await field(dialog(page, 'Edit API key'), 'Description').fill('mine');
        await gate.api('PATCH', `/keys/${id}`, { description: 'theirs' }, { 'if-match': '*' });
        await button(dialog(page, 'Edit API key'), 'Save').click();
        await dialog(page, 'Changed in the meantime').waitFor();
        await seen('keys-stale');
        await escape();
        await escape();
        await fs.writeFile(gate.keyFile, 'version: 1\nkeys:\n  - name: default\n    tokn: whatever-it-may-be\n');
        await page.getByText(/keys\.yaml:4:5/).first().waitFor();
        await seen('keys-broken');
        await visit.go('status');
        await page.getByRole('main').getByText(/keys\.yaml:4:5/).last().waitFor();
        await seen('status-broken', whole);
        await gate.ask('POST', '/logout', undefined, { authorization: '', cookie: `keygate_session=${gate.cookie}` });
        await heading(page, 'Sign in').waitFor();
        await seen('sign-in-over');
    });

    ui(`the first pages at ${width} pixels`, { administrator: false }, async ({ gate, open }) => {
        const code = await gate.setupCode();
        const visit = await open({ width, signedIn: false, at: `#code=${code}` });
        const { page } = visit;
        const seen = (name) => visit.inBothThemes(name, { fullPage: true });
        await button(page, 'Continue').waitFor();
        await seen('setup-1');
        await button(page, 'Continue').click();
        await field(page, 'Name').fill('ada');
        await field(page, 'Password').fill('correct horse battery staple');
        await seen('setup-2');
        await button(page, 'Create account').click();
        await heading(page, 'First API key').waitFor(); // the step before has a Name as well
        await field(page, 'Name').fill('default');
        await seen('setup-3');
        await button(page, 'Create key').click();
        await field(page, 'Token').waitFor();
        await seen('setup-3-made');
        await button(page, 'Continue').click();
        await page.getByText('Waiting for the first request…').waitFor();
        await seen('setup-4');
        await button(page, 'Open the dashboard').click();
        await heading(page, 'Dashboard').waitFor();
        await seen('dashboard-empty');
        for (const [name, at, title] of [['transactions-empty', 'transactions', 'Transactions'], ['try-empty', 'try', 'Try it']]) {
            await visit.go(at);
            await heading(page, title).waitFor();
            await seen(name);
        }
        await gate.api('DELETE', `/keys/${(await gate.key('default')).id}`, undefined, { 'if-match': '*' });
        await visit.go('keys');
        await heading(page, 'API Keys').waitFor();
        await seen('keys-empty');
        const stranger = await open({ width, signedIn: false });
        await heading(stranger.page, 'Sign in').waitFor();
        await stranger.inBothThemes('sign-in');
    });
}
