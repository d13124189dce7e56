// A modal dialog: the native one, which keeps the focus in, closes with Escape and gives the focus back. What is
// typed in it is not lost to a click beside it.

import { classes, html, useId, useLayoutEffect, useRef } from '../lib.js';
import { Icon } from './icon.js';

/**
 * @param {object} props
 * @param {string} props.title
 * @param {boolean} [props.open]
 * @param {() => void} [props.onClose]  without it, it cannot be closed
 * @param {(event: Event) => void} [props.onSubmit]  makes a form of it
 * @param {import('../lib.js').Child} [props.actions]  the buttons at its end
 * @param {boolean} [props.wide]
 * @param {boolean} [props.cover]  nothing of the page is to be seen behind it
 * @param {boolean} [props.bare]  without a head: its content has a heading of its own
 * @param {import('../lib.js').Child} [props.children]
 */
export function Dialog(props) {
  return props.open === false ? null : html`<${OpenDialog} ...${props} />`;
}

/** @param {Parameters<typeof Dialog>[0]} props */
function OpenDialog({ title, onClose, onSubmit, actions, wide, cover, bare, children }) {
  const element = useRef(/** @type {HTMLDialogElement | null} */ (null));
  const id = useId();
  const close = useRef(onClose);
  close.current = onClose;

  useLayoutEffect(() => {
    const dialog = /** @type {HTMLDialogElement} */ (element.current);
    const opener = document.activeElement;
    let here = true;
    const cancelled = (/** @type {Event} */ event) => {
      if (event.target !== dialog) return;
      event.preventDefault();
      close.current?.();
    };
    // A browser may close it without asking, at a second Escape.
    const closed = (/** @type {Event} */ event) => {
      if (event.target !== dialog || !here) return;
      if (close.current) close.current();
      else dialog.showModal();
    };
    dialog.addEventListener('cancel', cancelled);
    dialog.addEventListener('close', closed);
    dialog.showModal();
    const first = dialog.querySelector('[data-autofocus]');
    if (first instanceof HTMLElement) first.focus();
    return () => {
      here = false;
      const inside = dialog.contains(document.activeElement) || document.activeElement === document.body;
      dialog.close();
      if (inside && opener instanceof HTMLElement && opener.isConnected) opener.focus();
    };
  }, []);

  const submit = (/** @type {Event} */ event) => {
    event.preventDefault();
    onSubmit?.(event);
  };
  const inside = html`${children}${actions && html`<div class="buttons end">${actions}</div>`}`;
  return html`<dialog
    ref=${element} class=${classes(wide && 'wide', cover && 'cover')} aria-labelledby=${bare ? undefined : id}
    aria-label=${bare ? title : undefined}
  >
    <div class="dialog-inside">
      ${!bare &&
      html`<div class="dialog-head">
        <h2 id=${id}>${title}</h2>
        ${onClose &&
        html`<button
          type="button" class="button quiet icon-only" aria-label="Close" title="Close" onClick=${onClose}
        ><${Icon} name="close" /></button>`}
      </div>`}
      ${onSubmit ? html`<form novalidate onSubmit=${submit}>${inside}</form>` : inside}
      <div class="unseen announcer" role="status" aria-live="polite"></div>
    </div>
  </dialog>`;
}

/**
 * Cancel, and what the dialog is for.
 * @param {{onCancel: () => void, text: string, busy?: boolean, danger?: boolean, cancel?: string, stay?: boolean}} props
 *   `stay`: the focus begins at Cancel
 */
export const Answers = ({ onCancel, text, busy, danger, cancel = 'Cancel', stay }) =>
  html`<button type="button" class="button" data-autofocus=${stay ? '' : undefined} onClick=${onCancel}>${cancel}</button>
    <button type="submit" class=${classes('button', danger ? 'danger' : 'primary')} aria-disabled=${busy ? 'true' : undefined}>
      ${text}
    </button>`;
