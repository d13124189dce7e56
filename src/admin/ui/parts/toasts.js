// Short messages in a corner, above open dialogs as well.

import { classes, html, useEffect, useRef } from '../lib.js';
import { toasts, useStore } from '../store.js';
import { announce } from './announce.js';

export function Toasts() {
  const all = useStore(toasts);
  const element = useRef(/** @type {HTMLElement | null} */ (null));
  const last = all[all.length - 1];
  useEffect(() => {
    const box = element.current;
    if (!box) return;
    // Shown anew, it is above a dialog that was opened meanwhile.
    if (box.matches(':popover-open')) box.hidePopover();
    if (!last) return;
    box.showPopover();
    announce(last.text);
  }, [last?.id]);
  return html`<div ref=${element} class="toasts" popover="manual">
    ${all.map((one) => html`<div key=${one.id} class=${classes('toast', one.kind)}>${one.text}</div>`)}
  </div>`;
}
