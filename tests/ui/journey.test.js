// Covers the first hour with keygate, on one page: the printed address, the setup wizard, the list, a new key, its
// copy, its first request in Transactions, edits, rotation, deletion, and signing in again.
import assert from 'node:assert/strict';
import { ui } from './browser.js';
import { ADMINISTRATOR, eventually } from './gate.js';
import { answered, button, choose, dialog, field, heading, newKey, row, shownToken, visitArea } from './steps.js';

ui('from the setup address to the second sign-in', { administrator: false }, async ({ gate, open }) => {
    const visit = await open({
        signedIn: false,
        at: `#code=${await gate.setupCode()}`,
        permissions: ['clipboard-read', 'clipboard-write'],
    });
    const { page } = visit;
    const clipboard = () => page.evaluate(() => navigator.clipboard.readText());

    // The wizard.
    await button(page, 'Continue').click();
    await field(page, 'Name').fill(ADMINISTRATOR.name);
    await field(page, 'Password').fill(ADMINISTRATOR.password);
    await button(page, 'Create account').click();
    await heading(page, 'First API key').waitFor();
    assert.ok(!page.url().includes('code='), 'the code does not stay in the address and the history');
    await field(page, 'Name').fill('default');
    await field(page, 'Description').fill('made by the wizard');
    await button(page, 'Create key').click();
    const first = await shownToken(page);
    await button(page, 'Copy').click();
    await eventually('the token is on the clipboard', async () => (await clipboard()) === first);
    await button(page, 'Continue').click();
    await page.getByText('Waiting for the first request…').waitFor();
    const curl = await page.locator('code, pre, textarea').filter({ hasText: 'curl' }).first().innerText();
    const [, address] = /(http:\/\/[^\s'"]+)/.exec(curl);
    assert.ok(curl.includes(first) && address.startsWith(gate.url), `a curl that works: ${curl}`);
    assert.equal(await gate.send(new URL(address).pathname, first), 200);
    await page.getByText(/First request seen: 200 in \d+(\.\d+)? ms/).waitFor();
    await button(page, 'Open the dashboard').click();
    await heading(page, 'Dashboard').waitFor();

    // The wizard's key is in the list; another one is made, copied, used.
    await visitArea(page, 'API Keys');
    await row(page, 'default').getByText('made by the wizard').waitFor();
    const token = await newKey(page, 'billing', { description: 'nightly run' });
    await row(page, 'billing').waitFor();
    await page.evaluate(() => navigator.clipboard.writeText(''));
    await button(row(page, 'billing'), 'Copy to clipboard').click();
    await eventually('the token is on the clipboard', async () => (await clipboard()) === token);
    await page.getByText('Copied').first().waitFor();

    await visitArea(page, 'Transactions');
    await page.getByRole('switch', { name: 'Live' }).waitFor();
    assert.equal(await gate.send('/invoices/7', token), 200);
    const record = page.getByRole('row').filter({ hasText: '/invoices/7' });
    await record.filter({ hasText: 'billing' }).waitFor();
    assert.equal(gate.upstream.requests.at(-1).headers['x-keygate-key-name'], 'billing');

    // Edited by the quick action and by the menu; the token stays.
    await visitArea(page, 'API Keys');
    await button(row(page, 'billing'), 'Edit').click();
    await field(dialog(page, 'Edit API key'), 'Name').fill('invoices');
    await button(dialog(page, 'Edit API key'), 'Save').click();
    await row(page, 'invoices').waitFor();
    await row(page, 'billing').waitFor({ state: 'detached' });
    await choose(page, 'invoices', 'Edit');
    await field(dialog(page, 'Edit API key'), 'Description').fill('of the accountants');
    await button(dialog(page, 'Edit API key'), 'Save').click();
    await row(page, 'invoices').getByText('of the accountants').waitFor();
    assert.equal(await gate.send('/x', token), 200);

    await choose(page, 'invoices', 'Disable');
    await row(page, 'invoices').getByText('disabled').waitFor();
    assert.notEqual(await gate.send('/x', token), 200, 'what the list shows is in force');
    await choose(page, 'invoices', 'Enable');
    await row(page, 'invoices').getByText('active').waitFor();
    assert.equal(await gate.send('/x', token), 200);

    await choose(page, 'invoices', 'Rotate');
    await button(dialog(page, 'Rotate invoices?'), 'Rotate').click();
    const rotated = await shownToken(page);
    assert.notEqual(rotated, token);
    await button(page.getByRole('dialog'), 'Done').click();
    assert.equal(await gate.send('/x', rotated), 200);

    await choose(page, 'invoices', 'Delete');
    const confirmation = dialog(page, 'Delete invoices?');
    await field(confirmation, "Type the key's name to confirm").fill('invoices');
    await button(confirmation, 'Delete key').click();
    await row(page, 'invoices').waitFor({ state: 'detached' });
    await answered(gate, rotated, 401);
    await row(page, 'default').waitFor();

    await button(page, 'Account').click();
    await page.getByRole('menuitem', { name: 'Sign out' }).click();
    await heading(page, 'Sign in').waitFor();
    await visit.signIn();
    await heading(page, 'API Keys').waitFor();
    await row(page, 'default').waitFor();
});
