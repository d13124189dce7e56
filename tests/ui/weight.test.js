// Covers what the pages weigh: the bytes of the first load are asserted, where somebody comes first; those of the other
// pages, which are mostly loaded by then, are printed. Times are printed too, since machines differ:
// until 10,000 keys can be used, and the longest task while somebody pages and searches in 1,000,000.
import assert from 'node:assert/strict';
import { ui } from './browser.js';
import { button, field, row } from './steps.js';

/** Of the document, scripts and styles, with their headers. */
const LOAD_BYTES_MAX = 60_000;
const FIRST = ['setup', '', 'keys'];

ui('the first load is light', { keys: [{ name: 'default', token: 'the-token-of-default-0123456789' }] }, async ({ open }) => {
    const visit = await open({ at: null });
    const { page } = visit;
    for (const at of [...FIRST, 'transactions', 'try', 'status']) {
        const wire = await page.context().newCDPSession(page);
        await wire.send('Network.enable');
        await wire.send('Network.clearBrowserCache');
        const urls = new Map();
        const bytes = { files: 0, answers: 0 };
        wire.on('Network.responseReceived', ({ requestId, response }) => urls.set(requestId, response.url));
        wire.on('Network.loadingFinished', ({ requestId, encodedDataLength }) => {
            bytes[urls.get(requestId).includes('/api/v1/') ? 'answers' : 'files'] += encodedDataLength;
        });
        await visit.go(at);
        await visit.settled();
        await wire.detach();
        console.log(`first load of /${at}: ${bytes.files} bytes in ${urls.size} requests, and ${bytes.answers} of answers`);
        assert.ok(bytes.files > 20_000, 'it was measured');
        if (FIRST.includes(at)) assert.ok(bytes.files <= LOAD_BYTES_MAX, `/${at} loads ${bytes.files} bytes`);
    }
});

/** A key file in pieces; nobody has these tokens. */
function* lines(count) {
    let piece = '';
    for (let i = 0; i < count; i++) {
        const digest = (i * 7919 + 1).toString(16).padStart(64, '0');
        const name = `key-${String(i).padStart(7, '0')}`;
        piece += `{"id":"k_${i}","name":"${name}","description":"customer ${i % 1000}","digest":"sha256:${digest}"}\n`;
        if (i % 10_000 === 9_999) {
            yield piece;
            piece = '';
        }
    }
    yield piece;
}
const many = (count) => ({ keys: lines(count), keyFile: 'keys.ndjson', timeout: 240_000 });

ui('10,000 keys', many(10_000), async ({ open }) => {
    const visit = await open({ at: 'keys?sort=name' });
    await row(visit.page, 'key-0000000').waitFor();
    const shown = () => visit.page.evaluate(
        () => new Promise((seen) => {
            const look = () => document.querySelector('a[href*="keys/k_"]') ? seen(performance.now()) : requestAnimationFrame(look);
            look();
        }),
    );
    const times = [];
    for (let i = 0; i < 5; i++) {
        await visit.page.reload({ waitUntil: 'commit' });
        times.push(await shown());
    }
    console.log(`10,000 keys: first row after ${times.map(Math.round).join(', ')} ms`);
});

ui('1,000,000 keys are paged and searched', many(1_000_000), async ({ open }) => {
    const { page } = await open({ at: 'keys?sort=name' });
    await row(page, 'key-0000000').waitFor();
    await page.evaluate(() => {
        globalThis.tasks = [];
        new PerformanceObserver((list) => globalThis.tasks.push(...list.getEntries().map((task) => task.duration)))
            .observe({ type: 'longtask', buffered: true });
    });
    await page.getByText(/of 1,000,000/).waitFor();
    const begun = Date.now();
    await button(page, 'Next page').click();
    await row(page, 'key-0000050').waitFor();
    await button(page, 'Next page').click();
    await row(page, 'key-0000100').waitFor();
    await button(page, 'Previous page').click();
    await row(page, 'key-0000050').waitFor();
    const paged = Date.now();
    await field(page, 'Search keys').pressSequentially('key-0777777');
    await row(page, 'key-0777777').waitFor();
    assert.equal(await page.getByRole('link', { name: /^key-/ }).count(), 1);
    const searched = Date.now();
    const tasks = await page.evaluate(() => globalThis.tasks);
    console.log(`1,000,000 keys: 3 pages ${paged - begun} ms, search ${searched - paged} ms, ` +
        `longest task ${Math.round(Math.max(0, ...tasks))} ms`);
});
