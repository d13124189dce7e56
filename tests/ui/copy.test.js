// Covers Copy: on an origin that browsers call secure, over plain HTTP on a host name, where navigator.clipboard does
// not exist, inside an open dialog, by the keyboard, and where a key has nothing to copy.
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { ui } from './browser.js';
import { eventually, freePort } from './gate.js';
import { button, choose, dialog, field, newKey, pasted, row, shownToken } from './steps.js';

const KEYS = [{ name: 'default', token: 'the-token-of-default-0123456789' }];

ui('copy on a secure origin', { keys: KEYS }, async ({ open }) => {
    const { page } = await open({ at: 'keys', permissions: ['clipboard-read', 'clipboard-write'] });
    assert.ok(await page.evaluate(() => isSecureContext && 'clipboard' in navigator));
    const copied = (text) =>
        eventually('it is copied', async () => (await page.evaluate(() => navigator.clipboard.readText())) === text);
    await button(row(page, 'default'), 'Copy to clipboard').click();
    await copied(KEYS[0].token);
    const token = await newKey(page, 'second', { done: false });
    await button(page.getByRole('dialog'), 'Copy').click();
    await copied(token);
    await button(page.getByRole('dialog'), 'Done').click();
    await choose(page, 'default', 'Copy to clipboard');
    await copied(KEYS[0].token);
    await page.locator('[aria-live]').filter({ hasText: 'Copied' }).first().waitFor({ state: 'attached' });
});

const port = await freePort();
const plain = {
    keys: KEYS,
    config: { admin: { listen: `127.0.0.1:${port}`, url: `http://keygate.test:${port}/`, allow_plain_http: true } },
};

ui('copy over plain HTTP on a host name', plain, async ({ gate, open }) => {
    const base = `http://keygate.test:${new URL(gate.admin).port}/`;
    // Browsers heed that header only where they trust the origin, and say so.
    const { page } = await open({ base, at: 'keys', allow: [/Cross-Origin-Opener-Policy header has been ignored/] });
    assert.ok(await page.evaluate(() => !isSecureContext && !('clipboard' in navigator)));
    const search = field(page, 'Search keys');
    await button(row(page, 'default'), 'Copy to clipboard').click();
    await button(row(page, 'default'), 'Copy to clipboard').filter({ hasText: 'Copied' }).or(page.getByText('Copied')).first().waitFor();
    assert.equal(await pasted(page, search), KEYS[0].token);

    // The page behind an open dialog is inert: the selection must be within it, and stays where the person was.
    await button(page, '+ New API Key').click();
    await field(dialog(page, 'New API Key'), 'Name').fill('second');
    await button(dialog(page, 'New API Key'), 'Create').click();
    const token = await shownToken(page);
    await button(page.getByRole('dialog'), 'Copy').focus();
    await page.keyboard.press('Enter');
    await page.getByRole('dialog').getByText('Copied').first().waitFor();
    assert.ok(await page.getByRole('dialog').evaluate((open) => open.contains(document.activeElement)), 'focus stays');
    await button(page.getByRole('dialog'), 'Done').click();
    assert.equal(await pasted(page, search), token);
    await page.getByText('This connection is not encrypted.').waitFor();
});

const digest = `sha256:${createHash('sha256').update('nobody-has-this-any-more').digest('hex')}`;

ui('a key without a copy says why, and offers a new token', { keys: [{ name: 'old', digest }] }, async ({ open }) => {
    const { page } = await open({ at: 'keys' });
    const copy = button(row(page, 'old'), 'Copy to clipboard');
    assert.equal(await copy.getAttribute('aria-disabled'), 'true');
    assert.match(await copy.getAttribute('title'), /rotate/i);
    await copy.click({ force: true });
    await button(dialog(page, 'old cannot be copied'), 'Rotate').click();
    await button(dialog(page, 'Rotate old?'), 'Rotate').click();
    await shownToken(page);
    await button(page.getByRole('dialog'), 'Done').click();
    await row(page, 'old').locator('button:not([aria-disabled])[aria-label="Copy to clipboard"]').waitFor();
});
