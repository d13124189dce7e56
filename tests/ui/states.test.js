// Covers what is not the usual day: a session that ends under somebody's hands, a key file that cannot be written or
// read, changes made elsewhere, two people at one key, a keygate that is gone, and answers that nobody expected.
import assert from 'node:assert/strict';
import fs from 'node:fs/promises';
import { ui } from './browser.js';
import { eventually } from './gate.js';
import { button, dialog, field, heading, row, shownToken, visitArea } from './steps.js';

const KEYS = [
    { name: 'default', token: 'the-token-of-default-0123456789' },
    { name: 'other', token: 'the-token-of-other-0123456789' },
];

const endSession = (gate) => gate.ask('POST', '/logout', undefined, { authorization: '', cookie: `keygate_session=${gate.cookie}` });

ui('a session that ends loses nothing that was typed', { keys: KEYS }, async ({ gate, open }) => {
    const visit = await open({ at: 'keys?status=active', allow: [/status of 401/] });
    const { page } = visit;
    await button(page, '+ New API Key').click();
    const made = dialog(page, 'New API Key');
    await field(made, 'Name').fill('typed before');
    await field(made, 'Description').fill('and not lost');
    await endSession(gate);
    await button(made, 'Create').click();
    await heading(page, 'Sign in').waitFor();
    await visit.signIn();
    await heading(page, 'Sign in').waitFor({ state: 'detached' });
    assert.equal(visit.at, 'keys?status=active');
    // What was under way goes on.
    await shownToken(page);
    await button(page.getByRole('dialog'), 'Done').click();
    assert.equal((await gate.key('typed before')).description, 'and not lost');
    await row(page, 'typed before').waitFor();
});

ui('a wrong password says so, and many of them how long to wait', {}, async ({ open }) => {
    const visit = await open({ signedIn: false, allow: [/status of 401/, /status of 429/] });
    const { page } = visit;
    await visit.signIn({ name: 'ada', password: 'not the password at all' });
    await page.getByRole('alert').filter({ hasText: /name or password/i }).waitFor();
    assert.equal(await field(page, 'Name').inputValue(), 'ada', 'it is still there');
    await eventually('it says how long to wait', async () => {
        if (await button(page, 'Sign in').isEnabled()) await visit.signIn({ name: 'ada', password: 'again not the password' });
        return page.getByText(/(\d+) s(econds?)?\b/).first().isVisible();
    });
    await field(page, 'Password').fill('x');
    await page.getByLabel('Show password').check();
    assert.equal(await field(page, 'Password').getAttribute('type'), 'text');
});

const readOnly = {
    keys: KEYS,
    keyFile: 'volume/keys.yaml',
    mounts: 'mount --bind volume volume; mount -o remount,bind,ro volume',
};

ui('a key file that cannot be written: what to paste is shown', readOnly, async ({ open }) => {
    const { page } = await open({ at: 'keys', allow: [/status of 409/] });
    await page.getByText(/read-only/i).first().waitFor();
    await button(page, '+ New API Key').click();
    const made = page.getByRole('dialog');
    await field(made, 'Name').fill('by hand');
    await made.getByRole('button', { name: /^(Create|Show the entry|Make an entry)/ }).click();
    const entry = made.locator('pre, textarea, code').filter({ hasText: /digest: / }).first();
    await entry.waitFor();
    assert.match(await entry.innerText(), /name: by hand/);
    await button(made, 'Copy entry').waitFor();
});

ui('a broken key file is shown with the place, until it is mended', { keys: KEYS }, async ({ gate, open }) => {
    const { page } = await open({ at: 'keys' });
    await row(page, 'default').waitFor();
    const good = await fs.readFile(gate.keyFile, 'utf8');
    await fs.writeFile(gate.keyFile, 'version: 1\nkeys:\n  - name: default\n    tokn: whatever-it-may-be\n');
    await page.getByText(/keys\.yaml:4:5/).first().waitFor();
    await row(page, 'other').waitFor();
    await visitArea(page, 'Status');
    await page.getByRole('main').getByText(/keys\.yaml:4:5/).first().waitFor();
    await page.getByText(/tokn/).first().waitFor();
    await fs.writeFile(gate.keyFile, good);
    await page.getByText(/keys\.yaml:4:5/).first().waitFor({ state: 'detached' });
});

ui('what is changed elsewhere appears by itself', { keys: KEYS }, async ({ gate, open }) => {
    const { page } = await open({ at: 'keys' });
    await row(page, 'default').waitFor();
    await gate.cli('keys', 'create', 'from a shell');
    await row(page, 'from a shell').waitFor();
    const { page: tab } = await open({ at: 'keys' });
    await button(row(tab, 'other'), 'Edit').click();
    await field(dialog(tab, 'Edit API key'), 'Name').fill('from a tab');
    await button(dialog(tab, 'Edit API key'), 'Save').click();
    await row(page, 'from a tab').waitFor();
    await row(page, 'other').waitFor({ state: 'detached' });
    const text = await fs.readFile(gate.keyFile, 'utf8');
    await fs.writeFile(gate.keyFile, text.replace('from a tab', 'from an editor'));
    await row(page, 'from an editor').waitFor();
    await row(tab, 'from an editor').waitFor();
});

ui('a stale edit shows both versions', { keys: KEYS }, async ({ gate, open }) => {
    const { page } = await open({ at: 'keys', allow: [/status of 412/] });
    const { id } = await gate.key('default');
    await button(row(page, 'default'), 'Edit').click();
    const edit = dialog(page, 'Edit API key');
    await field(edit, 'Description').fill('what I think');
    await gate.api('PATCH', `/keys/${id}`, { description: 'what they think' }, { 'if-match': '*' });
    await button(edit, 'Save').click();
    const both = dialog(page, 'Changed in the meantime');
    await both.getByRole('cell', { name: 'what they think' }).waitFor();
    await both.getByRole('cell', { name: 'what I think' }).waitFor();
    await button(both, 'Save mine').click();
    await both.waitFor({ state: 'detached' });
    await row(page, 'default').getByText('what I think').waitFor();
    assert.equal((await gate.key('default')).description, 'what I think');
});

ui('a field that is wrong is marked, focused and kept', { keys: KEYS }, async ({ open }) => {
    const { page } = await open({ at: 'keys', allow: [/status of 4(09|22)/] });
    await button(page, '+ New API Key').click();
    const made = dialog(page, 'New API Key');
    await field(made, 'Name').fill('default');
    await field(made, 'Description').fill('kept');
    await button(made, 'Create').click();
    await made.locator('[aria-invalid="true"]').waitFor();
    const name = field(made, 'Name');
    assert.equal(await name.getAttribute('aria-invalid'), 'true');
    assert.ok(await name.evaluate((input) => input === document.activeElement), 'focus is on it');
    const described = await name.evaluate((input) =>
        input.getAttribute('aria-describedby').split(' ').map((id) => document.getElementById(id)?.textContent).join(' '),
    );
    assert.match(described, /in use|taken|already|unique/i);
    assert.equal(await field(made, 'Description').inputValue(), 'kept');
});

ui('a keygate that is gone is said, and forgotten when it is back', { keys: KEYS }, async ({ open }) => {
    const visit = await open({ at: 'keys', allow: [/ERR_FAILED|ERR_CONNECTION/] });
    const { page } = visit;
    await row(page, 'default').waitFor();
    await page.route('**/api/v1/**', (route) => route.abort('connectionrefused'));
    await page.getByText(/cannot be reached/).first().waitFor();
    await row(page, 'default').waitFor();
    await page.unroute('**/api/v1/**');
    await page.getByText(/cannot be reached/).first().waitFor({ state: 'detached' });
});

ui('an answer that nobody expected leaves no blank page', { keys: KEYS }, async ({ gate, open }) => {
    const { id } = await gate.key('default');
    for (const [status, body] of [
        [200, '{}'],
        [200, '{"keys":[{"id":7}],"transactions":[null]}'],
        [200, '<html>another proxy</html>'],
        [500, 'oops'],
    ]) {
        const visit = await open({ at: null, allow: [/console|OpenAPI/] });
        const { page } = visit;
        await page.route('**/api/v1/**', (route) =>
            new URL(route.request().url()).pathname.endsWith('/session')
                ? route.continue()
                : route.fulfill({ status, body, contentType: 'application/json' }),
        );
        for (const at of ['', 'keys', `keys/${id}`, 'transactions', 'try', 'status']) {
            await visit.go(at);
            await eventually(`/${at} says what it could not read of ${body}`, async () =>
                (await page.getByRole('main').innerText()).length > 40);
        }
        await page.unrouteAll({ behavior: 'ignoreErrors' });
    }
});

ui('the theme follows the system until somebody chooses', {}, async ({ open }) => {
    const { page } = await open({ theme: 'dark' });
    const theme = () => page.evaluate(() => document.documentElement.dataset.theme);
    const is = (wanted) => eventually(`the theme is ${wanted}`, async () => (await theme()) === wanted);
    await button(page, 'Switch to light theme').waitFor();
    await is('dark');
    await page.emulateMedia({ colorScheme: 'light' });
    await is('light');
    await button(page, 'Switch to dark theme').click();
    await is('dark');
    assert.equal(await page.evaluate(() => localStorage.getItem('keygate.theme')), 'dark');
    await page.reload();
    await button(page, 'Switch to light theme').waitFor();
    await is('dark');
});
