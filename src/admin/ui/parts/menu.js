// A button with a menu: arrows, Home, End and first letters move, Escape closes and gives the focus back.

import { classes, html, useRef, useState } from '../lib.js';
import { Icon } from './icon.js';

/**
 * @typedef {object} MenuItem
 * @property {string} label
 * @property {() => void} onSelect
 * @property {boolean} [danger]
 * @property {boolean} [disabled]
 * @property {string} [why]  why it is disabled
 */

/**
 * @param {object} props
 * @param {string} props.label
 * @param {(MenuItem | false | null | undefined)[]} props.items
 * @param {import('../lib.js').Child} [props.children]  what the button shows, in place of three dots
 * @param {string} [props.class]
 * @param {boolean} [props.named]  the button's content is its name
 */
export function Menu({ label, items, children, class: name = 'button quiet icon-only', named = false }) {
  const button = useRef(/** @type {HTMLButtonElement | null} */ (null));
  const list = useRef(/** @type {HTMLElement | null} */ (null));
  const [open, setOpen] = useState(false);
  const shown = /** @type {MenuItem[]} */ (items.filter(Boolean));

  const entries = () => /** @type {HTMLElement[]} */ ([...(list.current?.querySelectorAll('[role="menuitem"]') || [])]);
  /** @param {number} place */
  const focusAt = (place) => {
    const all = entries();
    all[(place + all.length) % all.length]?.focus();
  };
  /** @param {number} first */
  const show = (first) => {
    const menu = /** @type {HTMLElement} */ (list.current);
    menu.showPopover();
    setPlace(menu, /** @type {HTMLElement} */ (button.current).getBoundingClientRect());
    focusAt(first);
  };
  /** @param {boolean} back */
  const hide = (back) => {
    if (list.current?.matches(':popover-open')) list.current.hidePopover();
    if (back) button.current?.focus();
  };
  /** @param {MenuItem} item */
  const select = (item) => {
    if (item.disabled) return;
    hide(true);
    item.onSelect();
  };
  const onButtonKey = (/** @type {KeyboardEvent} */ event) => {
    if (event.key !== 'ArrowDown' && event.key !== 'ArrowUp') return;
    event.preventDefault();
    show(event.key === 'ArrowDown' ? 0 : -1);
  };
  const onKey = (/** @type {KeyboardEvent} */ event) => {
    const all = entries();
    const place = all.indexOf(/** @type {HTMLElement} */ (document.activeElement));
    const moves = { ArrowDown: place + 1, ArrowUp: place - 1, Home: 0, End: -1 };
    if (event.key in moves) focusAt(moves[/** @type {keyof typeof moves} */ (event.key)]);
    else if (event.key === 'Escape') hide(true);
    else if (event.key === 'Tab') return hide(true);
    else if (event.key.length === 1 && event.key !== ' ' && !event.ctrlKey && !event.metaKey && !event.altKey) {
      const turned = [...all.slice(place + 1), ...all.slice(0, place + 1)];
      turned.find((entry) => entry.textContent?.toLowerCase().startsWith(event.key.toLowerCase()))?.focus();
    } else return undefined;
    event.preventDefault();
    event.stopPropagation();
    return undefined;
  };

  return html`<button
      ref=${button}
      type="button"
      class=${name}
      aria-haspopup="menu"
      aria-expanded=${open ? 'true' : 'false'}
      aria-label=${named ? undefined : label}
      title=${named ? undefined : label}
      onClick=${() => (open ? hide(false) : show(0))}
      onKeyDown=${onButtonKey}
    >
      ${children || html`<${Icon} name="more" />`}
    </button>
    <div
      ref=${list}
      class="menu"
      popover="auto"
      role="menu"
      aria-label=${label}
      onKeyDown=${onKey}
      onToggle=${(/** @type {any} */ event) => setOpen(event.newState === 'open')}
    >
      ${shown.map(
        (item) => html`<button
          key=${item.label}
          type="button"
          role="menuitem"
          tabindex="-1"
          class=${classes(item.danger && 'danger')}
          aria-disabled=${item.disabled ? 'true' : undefined}
          onClick=${() => select(item)}
        >
          ${item.label}${item.disabled && item.why && html`<small>${item.why}</small>`}
        </button>`,
      )}
    </div>`;
}

/** Below the button, or above it where there is no room. @param {HTMLElement} menu @param {DOMRect} at */
function setPlace(menu, at) {
  const { offsetWidth: width, offsetHeight: height } = menu;
  const left = Math.min(Math.max(8, at.right - width), innerWidth - width - 8);
  const below = at.bottom + 4 + height <= innerHeight - 8;
  menu.style.left = `${Math.max(8, left)}px`;
  menu.style.top = `${Math.max(8, below ? at.bottom + 4 : at.top - 4 - height)}px`;
}
