// What lists have in common: paging by cursor, and a page's head.

import { html, useEffect, useRef } from '../lib.js';
import { Icon } from './icon.js';
import { number } from './time.js';

/**
 * @param {{from: number, count: number, total: number, onPrevious?: (() => void) | null, onNext?: (() => void) | null}} props
 *   `from`: the place of the first row, from 1
 */
export const Pager = ({ from, count, total, onPrevious, onNext }) =>
  html`<div class="pager">
    <span>${count ? `${number(from)}–${number(from + count - 1)}` : 0} of ${number(total)}</span>
    <button
      type="button" class="button quiet icon-only" aria-label="Previous page" title="Previous page"
      aria-disabled=${onPrevious ? undefined : 'true'} onClick=${() => onPrevious?.()}
    ><${Icon} name="left" /></button>
    <button
      type="button" class="button quiet icon-only" aria-label="Next page" title="Next page"
      aria-disabled=${onNext ? undefined : 'true'} onClick=${() => onNext?.()}
    ><${Icon} name="right" /></button>
  </div>`;

let visited = false;

/**
 * A view: its heading, which gets the focus when one comes here from another view, and its actions.
 * @param {{title: string, beside?: import('../lib.js').Child, instead?: boolean, actions?: import('../lib.js').Child,
 *   children?: import('../lib.js').Child}} props  `beside`: what stands next to the heading, or `instead` of it
 */
export function Page({ title, beside, instead = false, actions, children }) {
  const head = useRef(/** @type {HTMLElement | null} */ (null));
  useEffect(() => {
    const free = document.activeElement === document.body || document.activeElement?.closest('nav, a');
    if (visited && free && !document.querySelector('dialog:modal')) head.current?.focus({ preventScroll: true });
    visited = true;
  }, []);
  useEffect(() => {
    document.title = `${title} · keygate`;
  }, [title]);
  return html`<div class="page-head">
      <div class="page-title"><h1 ref=${head} tabindex="-1" class=${instead ? 'unseen' : ''}>${title}</h1>${beside}</div>
      ${actions}
    </div>
    ${children}`;
}
