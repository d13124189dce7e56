// A part of the page that opens beside a list and leaves the list in use; on a narrow screen it takes the list's
// place. Focus goes into it when it opens, and back to where it came from when it closes. Not for: questions, which
// are dialogs.

import { html, useEffect, useRef } from '../lib.js';
import { Icon } from './icon.js';

/** What closes before the drawer does. */
const ABOVE = 'dialog[open], [popover]:popover-open';

/**
 * @param {object} props
 * @param {string} props.label  what kind of thing it shows
 * @param {import('../lib.js').Child} props.title
 * @param {string} props.of  which one it shows: another one is another visit
 * @param {() => void} props.onClose
 * @param {import('../lib.js').Child} [props.actions]
 * @param {import('../lib.js').Child} props.children
 */
export function Drawer({ label, title, of, onClose, actions, children }) {
  const box = useRef(/** @type {HTMLElement | null} */ (null));
  const opener = useRef(/** @type {Element | null} */ (null));
  const close = useRef(onClose);
  close.current = onClose;

  useEffect(() => {
    const drawer = box.current;
    /** @param {FocusEvent} event */
    const follow = ({ target }) => {
      if (target instanceof Element && !drawer?.contains(target)) opener.current = target;
    };
    /** @param {KeyboardEvent} event */
    const press = (event) => {
      if (event.key !== 'Escape' || event.defaultPrevented || document.querySelector(ABOVE)) return;
      event.preventDefault();
      close.current();
    };
    opener.current = document.activeElement;
    addEventListener('focusin', follow);
    addEventListener('keydown', press);
    return () => {
      removeEventListener('focusin', follow);
      removeEventListener('keydown', press);
      const before = opener.current;
      const lost = document.activeElement === document.body || drawer?.contains(document.activeElement);
      // The list is in sight again only after this drawing.
      if (lost && before instanceof HTMLElement) requestAnimationFrame(() => before.isConnected && before.focus());
    };
  }, []);

  useEffect(() => {
    const drawer = box.current;
    if (!drawer) return;
    drawer.scrollTop = 0;
    drawer.focus();
  }, [of]);

  return html`
    <aside class="drawer" aria-label=${label} tabindex="-1" ref=${box}>
      <header class="drawer-head">
        <h2>${title}</h2>
        <button type="button" class="button quiet icon-only" aria-label="Close" title="Close (Esc)" onClick=${onClose}>
          <${Icon} name="close" />
        </button>
      </header>
      ${actions && html`<div class="drawer-actions">${actions}</div>`}
      ${children}
    </aside>
  `;
}
