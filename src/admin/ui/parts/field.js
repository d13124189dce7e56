// Fields of forms: label, input, hint, and what is wrong, tied together for screen readers.

import { html, sentence, useId } from '../lib.js';
import { Icon } from './icon.js';

export { useId };

/**
 * An input, a `textarea` with `multiline`, or a `select` with `options`. What it does not know goes to the element.
 * @param {{label: string, value: string, onValue?: (value: string) => void, error?: string, hint?: import('../lib.js').Child,
 *   optional?: boolean, multiline?: boolean, options?: [string, string][], autofocus?: boolean, [more: string]: any}} props
 */
export function Field({ label, value, onValue, error, hint, optional, multiline, options, autofocus, ...more }) {
  const own = useId();
  const id = more.id || own;
  const described = error ? `${id}-error` : hint && `${id}-hint`;
  const shared = {
    value,
    'aria-invalid': error ? 'true' : undefined,
    'aria-describedby': described || undefined,
    'data-autofocus': autofocus ? '' : undefined,
    onInput: onValue && ((/** @type {any} */ event) => onValue(event.target.value)),
    ...more,
    id,
  };
  let input;
  if (options) {
    input = html`<select ...${shared}>
      ${options.map(([choice, text]) => html`<option
        key=${choice} value=${choice} selected=${choice === value}
      >${text}</option>`)}
    </select>`;
  } else if (multiline) input = html`<textarea rows="2" ...${shared}></textarea>`;
  else input = html`<input type="text" autocomplete="off" spellcheck=${false} ...${shared} />`;
  return html`<div class="field">
    <label for=${id}>${label}${optional && html` <span class="optional" aria-hidden="true">optional</span>`}</label>
    ${input}
    ${error && html`<span class="error" id="${id}-error"><${Icon} name="warning" />${sentence(error)}</span>`}
    ${hint && !error && html`<span class="hint" id="${id}-hint">${hint}</span>`}
  </div>`;
}

/** @param {{label: import('../lib.js').Child, checked: boolean, onValue: (checked: boolean) => void, [more: string]: any}} props */
export const Check = ({ label, checked, onValue, ...more }) =>
  html`<label class="check">
    <input
      type="checkbox" checked=${checked} onChange=${(/** @type {any} */ event) => onValue(event.target.checked)}
      ...${more}
    />
    <span>${label}</span>
  </label>`;

/**
 * Text to take away: read-only, selected as a whole when it gets the focus.
 * @param {{label?: string, value: string, autofocus?: boolean, children?: import('../lib.js').Child}} props
 */
export function TokenField({ label = 'Token', value, autofocus, children }) {
  const id = useId();
  const select = ({ target } = /** @type {any} */ ({})) => {
    target.select();
    target.scrollLeft = 0;
  };
  return html`<div class="field">
    <label for=${id}>${label}</label>
    <div class="token-line">
      <input id=${id} class="token" type="text" readonly value=${value} autocomplete="off" spellcheck=${false}
        data-autofocus=${autofocus ? '' : undefined} onFocus=${select} onClick=${select} />
      ${children}
    </div>
  </div>`;
}

/**
 * What is wrong with each field, by its first name: `#/allow/paths/0` counts for `allow` and `allow/paths`.
 * @param {any} error  an `ApiError`
 * @param {string[]} fields  the fields of the form, as in their pointers: `name`, `allow/paths`
 * @returns {{fields: Record<string, string>, rest: string}}
 */
export function fieldErrors(error, fields) {
  /** @type {Record<string, string>} */
  const found = {};
  const rest = [];
  for (const { pointer = '', detail = '' } of error?.errors || []) {
    const path = pointer.replace(/^#?\//, '');
    const field = fields.find((name) => path === name || path.startsWith(`${name}/`));
    if (field) found[field] ??= detail;
    else rest.push(detail);
  }
  if (error?.code === 'name_taken' && fields.includes('name')) found.name ??= error.message;
  if (error?.code === 'token_taken' && fields.includes('token')) found.token ??= error.message;
  if (error && !Object.keys(found).length && !rest.length) rest.push(error.message);
  return { fields: found, rest: rest.join(' ') };
}

/** Gives the focus to the first field that is wrong, once the page shows it. @param {EventTarget | null} form */
export function focusFirstInvalid(form) {
  requestAnimationFrame(() => {
    const first = form instanceof HTMLElement && form.querySelector('[aria-invalid="true"]');
    if (first instanceof HTMLElement) first.focus();
  });
}
