// Covers a path prefix behind another proxy: every page, its links, its reload, its back, its calls and its cookie are
// below the prefix.
import assert from 'node:assert/strict';
import { ui } from './browser.js';
import { freePort, startPrefixProxy } from './gate.js';
import { heading, newKey, row, visitArea } from './steps.js';

const port = await freePort();
const url = `http://127.0.0.1:${port}/ops/keygate/`;

ui('all of it works below a path prefix', { config: { admin: { url } } }, async ({ gate, open }) => {
    const proxy = await startPrefixProxy(port, '/ops/keygate/', gate.admin);
    try {
        const visit = await open({ base: url, signedIn: false });
        const { page } = visit;
        await visit.signIn();
        await heading(page, 'Dashboard').waitFor();
        const [cookie] = await page.context().cookies();
        assert.equal(cookie.path, '/ops/keygate/');
        for (const [area, at] of [
            ['API Keys', 'keys'],
            ['Transactions', 'transactions'],
            ['Try it', 'try'],
            ['Status', 'status'],
            ['Dashboard', ''],
        ]) {
            await visitArea(page, area);
            assert.equal(visit.at, at);
            await page.reload();
            await heading(page, area).waitFor();
        }
        await visitArea(page, 'API Keys');
        await newKey(page, 'below the prefix');
        await row(page, 'below the prefix').getByRole('link', { name: 'below the prefix' }).click();
        await heading(page, 'below the prefix').waitFor();
        const { id } = await gate.key('below the prefix');
        assert.equal(visit.at, `keys/${id}`);
        await page.goBack();
        await heading(page, 'API Keys').waitFor();
        assert.equal(visit.at, 'keys');
        const outside = proxy.seen.filter((target) => !target.startsWith('/ops/keygate/'));
        assert.deepEqual(outside, [], 'asked for outside the prefix');
    } finally {
        await proxy.stop();
    }
});
