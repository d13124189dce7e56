// What people do on the pages, in the words that stand there. Shared by tests that go on from it.
import assert from 'node:assert/strict';
import { eventually } from './gate.js';

/** @typedef {import('playwright-core').Page} Page */

export const navigation = (page) => page.getByRole('navigation', { name: 'Main' });
export const heading = (page, name) => page.getByRole('heading', { level: 1, name, exact: true });
export const dialog = (page, name) => page.getByRole('dialog', { name, exact: true });
export const button = (within, name) => within.getByRole('button', { name, exact: true });
/** A field, by its label; what may be left out says so beside the label. */
export const field = (within, label) =>
    within.getByLabel(new RegExp(`^${label.replace(/[.*+?^${}()|[\]\\]/g, '\\$&')}( optional)?$`));

/** Goes to an area by the menu. */
export async function visitArea(page, name) {
    await navigation(page).getByRole('link', { name, exact: true }).click();
    await heading(page, name).waitFor();
}

/** The row of the key with this name in the list. */
export const row = (page, name) =>
    page.getByRole('row').filter({ has: page.getByRole('link', { name, exact: true }) });

/** Opens the menu of a key's row, and chooses. */
export async function choose(page, name, item) {
    await button(row(page, name), 'More actions').click();
    await page.getByRole('menuitem', { name: item, exact: true }).click();
}

/** Makes a key with the dialog; its token. The dialog is left open when `done` is false. */
export async function newKey(page, name, { description = '', done = true } = {}) {
    await button(page, '+ New API Key').click();
    const made = dialog(page, 'New API Key');
    await field(made, 'Name').fill(name);
    await field(made, 'Description').fill(description);
    await button(made, 'Create').click();
    const token = await shownToken(page);
    if (done) await page.getByRole('dialog').getByRole('button', { name: 'Done', exact: true }).click();
    return token;
}

/** The token in the field that shows it. */
export async function shownToken(page) {
    const shown = field(page, 'Token');
    await shown.waitFor();
    assert.equal(await shown.isEditable(), false, 'the token is not for editing');
    return shown.inputValue();
}

/** What a paste would give: typed into a field, as a person would look. */
export async function pasted(page, into) {
    await into.fill('');
    await into.focus();
    await page.keyboard.press('ControlOrMeta+V');
    const text = await into.inputValue();
    await into.fill('');
    return text;
}

/** Waits until a request with this token gets this status. */
export const answered = (gate, token, status) =>
    eventually(`a request gets ${status}`, async () => (await gate.send('/probe', token)) === status);
