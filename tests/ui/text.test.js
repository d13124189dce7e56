// Covers "text stays text": what looks like markup in names, descriptions, tags, paths, queries and user agents is
// shown letter by letter on every page, and never runs.
import assert from 'node:assert/strict';
import { ui } from './browser.js';
import { eventually } from './gate.js';
import { button, choose, dialog, heading, row } from './steps.js';

const EVIL = '<img src=x onerror="globalThis.hit=1">';
const MORE = '"><script>globalThis.hit=1</script>{{7*7}}${7*7}';

ui('markup in what people and clients write stays text', {}, async ({ gate, open }) => {
    const { token, id } = await gate.api('POST', '/keys', {
        name: EVIL,
        description: MORE,
        tags: { '<b>': MORE },
    });
    assert.equal(await gate.send(`/p/${EVIL}?${MORE}=1`, token, { headers: { 'user-agent': EVIL } }), 200);
    await gate.send(`/p/${MORE}`, undefined, { headers: { 'user-agent': MORE } });
    const record = await eventually('it is recorded', async () =>
        (await gate.api('GET', '/transactions?decision=allowed')).transactions[0]);

    const { page } = await open({ at: 'keys', allow: [/status of 404/] });
    const calm = async (what) => {
        assert.equal(await page.evaluate(() => globalThis.hit), undefined, `${what}: it ran`);
        assert.equal(await page.locator('img[src="x"], script:not([src])').count(), 0, `${what}: it is an element`);
    };
    await row(page, EVIL).getByText(MORE).waitFor();
    await calm('the list');
    await button(row(page, EVIL), 'Edit').click();
    await dialog(page, 'Edit API key').waitFor();
    await calm('the form');
    await page.keyboard.press('Escape');
    await choose(page, EVIL, 'Delete');
    await dialog(page, `Delete ${EVIL}?`).waitFor();
    await calm('the dialog');
    for (const [at, shown] of [
        [`keys/${id}`, EVIL],
        ['transactions', '/p/'],
        [`transactions?open=${record.request_id}`, EVIL],
        [`transactions?search=${encodeURIComponent(EVIL)}`, EVIL],
        ['', EVIL],
        [`try?key=${id}`, 'Try it'],
        [`keys/${encodeURIComponent(EVIL)}`, 'API Keys'],
    ]) {
        await page.goto(new URL(at, gate.admin).href);
        await page.locator('h1').waitFor();
        await page.locator('body').filter({ hasText: shown }).waitFor();
        await calm(at);
    }
    await heading(page, /./).waitFor();
});
