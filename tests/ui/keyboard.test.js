// Covers the keyboard alone: every step of a key's life without a mouse, focus that is always seen and never lost, the
// shortcuts; and motion: short, and none for those who asked for none.
import assert from 'node:assert/strict';
import { ADMINISTRATOR, eventually } from './gate.js';
import { ui } from './browser.js';
import { button, dialog, field, heading, row, shownToken } from './steps.js';

const KEYS = ['first', 'second', 'third'].map((name) => ({ name, token: `the-token-of-${name}-0123456789` }));

/** Where the focus is: how it is called, and whether that can be seen. */
const focus = (page) =>
    page.evaluate(() => {
        const at = document.activeElement;
        const name = at.getAttribute('aria-label') || at.labels?.[0]?.innerText || at.innerText || at.tagName;
        const outlined = (element) => {
            const { outlineStyle, outlineWidth } = getComputedStyle(element);
            return outlineStyle !== 'none' && parseFloat(outlineWidth) >= 2;
        };
        // A field may be part of a larger control, which then has the outline.
        const seen = [at, at.parentElement, at.parentElement?.parentElement].some((element) => element && outlined(element));
        return { name: name.trim(), lost: at === document.body, seen };
    });

/** Presses Tab until the focus is on `name`; it is seen on the whole way. */
async function tabTo(page, name, key = 'Tab') {
    const way = [];
    for (let presses = 0; presses < 60; presses++) {
        await page.keyboard.press(key);
        const at = await focus(page);
        if (at.lost) continue; // The browser's own controls come after the last of the page.
        way.push(at.name);
        assert.ok(at.seen, `the focus on “${at.name}” cannot be seen`);
        if (at.name === name) return;
    }
    assert.fail(`Tab does not come to “${name}”: ${way}`);
}

const focused = (page, locator) =>
    eventually(`the focus is on ${locator}`, () => locator.evaluate((e) => e === document.activeElement).catch(() => false));

ui('a key lives and dies without a mouse', { keys: KEYS }, async ({ gate, open }) => {
    const { page } = await open({ signedIn: false });
    const press = (key) => page.keyboard.press(key);
    await heading(page, 'Sign in').waitFor();
    await focused(page, field(page, 'Name'));
    await page.keyboard.type(ADMINISTRATOR.name);
    await press('Tab');
    await page.keyboard.type(ADMINISTRATOR.password);
    await press('Enter');
    await heading(page, 'Dashboard').waitFor();
    await tabTo(page, 'API Keys');
    await press('Enter');
    await heading(page, 'API Keys').waitFor();
    await row(page, 'first').waitFor();

    // Shortcuts: new, then search; none of them while somebody types.
    await press('n');
    const made = dialog(page, 'New API Key');
    await focused(page, field(made, 'Name'));
    await page.keyboard.type('nineteen / keys?');
    await press('Enter');
    const token = await shownToken(page);
    assert.equal(await gate.send('/x', token), 200);
    await tabTo(page, 'Done');
    await press('Enter');
    await row(page, 'nineteen / keys?').waitFor();
    assert.ok(!(await focus(page)).lost, 'focus after the dialog');
    await press('/');
    await focused(page, field(page, 'Search keys'));
    await page.keyboard.type('second');
    await row(page, 'first').waitFor({ state: 'detached' });
    await field(page, 'Search keys').fill('');
    await row(page, 'first').waitFor();

    // The menu of a row: arrows, letters, Escape; and a dialog that gives the focus back.
    await button(row(page, 'second'), 'Edit').focus();
    await press('Enter');
    const edit = dialog(page, 'Edit API key');
    await field(edit, 'Name').waitFor();
    await press('Escape');
    await edit.waitFor({ state: 'hidden' });
    await focused(page, button(row(page, 'second'), 'Edit'));
    const more = button(row(page, 'second'), 'More actions');
    await tabTo(page, 'More actions');
    await focused(page, more);
    await press('Enter');
    await focused(page, page.getByRole('menuitem').first());
    await press('ArrowDown');
    await focused(page, page.getByRole('menuitem').nth(1));
    await press('End');
    await focused(page, page.getByRole('menuitem', { name: 'Delete' }));
    await press('Escape');
    await focused(page, more);
    const names = await page.getByRole('rowheader').getByRole('link').allInnerTexts();
    const after = names[names.indexOf('second') + 1];
    await press('Enter');
    await press('End');
    await press('Enter');
    const confirmation = dialog(page, 'Delete second?');
    await confirmation.waitFor();
    await tabTo(page, 'Delete key');
    await press('Enter');
    await row(page, 'second').waitFor({ state: 'detached' });
    await eventually('the focus is in the next row', () =>
        row(page, after).evaluate((next) => next.contains(document.activeElement)));
    await press('?');
    await page.getByRole('dialog').getByText(/search/i).first().waitFor();
    await press('Escape');
    assert.ok(!(await focus(page)).lost, 'focus after the shortcuts');
});

ui('the focus is seen wherever Tab goes', { keys: KEYS }, async ({ gate, open }) => {
    const { id } = await gate.key('first');
    const { page } = await open();
    for (const at of ['', 'keys', `keys/${id}`, 'transactions', 'try', 'status']) {
        await page.goto(new URL(at, gate.admin).href);
        await page.locator('h1').waitFor();
        const places = new Set();
        for (let presses = 0; presses < 70; presses++) {
            await page.keyboard.press('Tab');
            const { name, lost, seen } = await focus(page);
            if (lost) break;
            assert.ok(seen, `/${at}: the focus on “${name}” cannot be seen`);
            places.add(name);
        }
        assert.ok(places.size > 8, `/${at}: ${[...places]}`);
    }
});

const longest = (page) =>
    page.evaluate(() =>
        Math.max(0, ...[...document.querySelectorAll('*')].flatMap((element) => {
            const { transitionDuration, transitionDelay, animationName, animationDuration } = getComputedStyle(element);
            const times = `${transitionDuration},${transitionDelay}${animationName === 'none' ? '' : `,${animationDuration}`}`;
            return times.split(',').map((time) => parseFloat(time) * (time.trim().endsWith('ms') ? 1 : 1000));
        })));

for (const [reducedMotion, most] of [['no-preference', 150], ['reduce', 0.1]]) {
    ui(`motion: ${reducedMotion}`, { keys: KEYS }, async ({ open }) => {
        const visit = await open({ at: 'keys', reducedMotion });
        const { page } = visit;
        await row(page, 'first').waitFor();
        assert.ok((await longest(page)) <= most, `the list: ${await longest(page)} ms`);
        await button(page, '+ New API Key').click();
        await dialog(page, 'New API Key').waitFor();
        assert.ok((await longest(page)) <= most, `a dialog: ${await longest(page)} ms`);
        await page.keyboard.press('Escape');
        await button(row(page, 'first'), 'More actions').click();
        assert.ok((await longest(page)) <= most, `a menu: ${await longest(page)} ms`);
        if (reducedMotion === 'reduce') {
            assert.equal(await page.evaluate(() => document.getAnimations().length), 0);
        }
    });
}
