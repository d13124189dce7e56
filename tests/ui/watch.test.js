// Covers the tests themselves: what a page must never do is noticed when it does it.
import assert from 'node:assert/strict';
import { ui } from './browser.js';

ui('every fault of a page is noticed', {}, async ({ open }) => {
    const faults = [
        [/console: said/, () => console.error('said')],
        [/console: warned/, () => console.warn('warned')],
        [/exception: thrown/, () => setTimeout(() => { throw new Error('thrown'); })],
        [/CSP: style-src/, () => document.body.setAttribute('style', 'color: red')],
        [/CSP: script-src/, () => document.body.setAttribute('onclick', 'alert(1)')],
        [/CSP: img-src/, () => { new Image().src = 'http://localhost:9/x.png'; }],
        [/not in the OpenAPI document: GET \/nothing/, () => fetch('/api/v1/nothing')],
        [/not in the OpenAPI document: GET \/session: no_such/, () => fetch('/api/v1/session?no_such=1')],
        [/console: .*status of 404/, () => {}],
    ];
    const visit = await open({ allow: [/./] });
    for (const [pattern, commit] of faults) {
        await visit.page.evaluate(commit);
        await visit.noticed(pattern);
    }
});

ui('what is not accessible is noticed', {}, async ({ open }) => {
    const visit = await open();
    await visit.accessible('the page as it is');
    for (const [what, spoil] of [
        [/button-name/, () => document.querySelector('main').append(document.createElement('button'))],
        [/color-contrast/, () => { document.querySelector('h1').style.color = '#ccc'; }],
        [/wide in a window/, () => { document.querySelector('main').style.minWidth = '3000px'; }],
    ]) {
        await visit.go('');
        await visit.settled();
        await visit.page.evaluate(spoil);
        await assert.rejects(visit.accessible('the spoilt page'), what);
    }
});
