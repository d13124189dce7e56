// A row of filters, each a small labelled control that can be cleared; what is set stands out. A choice counts at once,
// a text on Enter, when it is left, or when the typing pauses. Not for: where filters are kept, which is the address.

import { classes, html, useEffect, useId, useRef, useState } from '../lib.js';
import { Icon } from './icon.js';

const PAUSE_MS = 400;

/** @param {{label: string, children: import('../lib.js').Child}} props */
export const Chips = ({ label, children }) =>
  html`<div class="chips" role="group" aria-label=${label}>${children}</div>`;

/**
 * The frame around a control.
 * @param {object} props
 * @param {string} props.label
 * @param {string} props.control  the id of the control
 * @param {boolean} props.on  whether it filters
 * @param {boolean} [props.wrong]
 * @param {() => void} props.onClear
 * @param {import('../lib.js').Child} props.children
 */
export function Chip({ label, control, on, wrong = false, onClear, children }) {
  const clear = () => {
    onClear();
    document.getElementById(control)?.focus();
  };
  return html`
    <span class=${classes('chip', on && 'chip-on', wrong && 'chip-wrong')}>
      <label for=${control}>${label}</label>
      ${children}
      ${on &&
      html`
        <button type="button" class="chip-clear" title=${`Clear ${label.toLowerCase()}`} onClick=${clear}>
          <span class="unseen">Clear ${label.toLowerCase()}</span>
          <${Icon} name="close" />
        </button>
      `}
    </span>
  `;
}

/**
 * One of a few. A value that is none of them is shown as it is.
 * @param {object} props
 * @param {string} props.label
 * @param {string} props.value
 * @param {[string, string][]} props.choices  values and their words
 * @param {string} [props.none]  the word for no filter
 * @param {(value: string) => void} props.onChange
 */
export function ChoiceChip({ label, value, choices, none = 'any', onChange }) {
  const control = useId();
  const all = choices.some(([name]) => name === value) || !value ? choices : [...choices, [value, value]];
  return html`
    <${Chip} label=${label} control=${control} on=${Boolean(value)} onClear=${() => onChange('')}>
      <select
        id=${control}
        value=${value}
        onChange=${(/** @type {any} */ event) => onChange(event.currentTarget.value)}
      >
        <option value="">${none}</option>
        ${all.map(([name, text]) => html`<option key=${name} value=${name}>${text}</option>`)}
      </select>
    <//>
  `;
}

/**
 * @param {object} props
 * @param {string} props.label
 * @param {string} props.value
 * @param {string} [props.placeholder]
 * @param {number} [props.size]  characters
 * @param {string} [props.shortcut]  the key that leads here: `search`
 * @param {string} [props.error]
 * @param {string[]} [props.suggestions]
 * @param {(value: string) => void} props.onChange
 */
export function TextChip(props) {
  const { label, value, placeholder = 'any', size = 10, error, suggestions = [], shortcut, onChange } = props;
  const control = useId();
  const [text, setText] = useState(value);
  const timer = useRef(0);
  const sent = useRef(value);
  useEffect(() => {
    // Changed by something else: the back button, or a clear.
    if (value !== sent.current) setText(value);
    sent.current = value;
  }, [value]);
  useEffect(() => () => clearTimeout(timer.current), []);

  /** @param {string} next */
  const send = (next) => {
    clearTimeout(timer.current);
    if (next.trim() === sent.current) return;
    sent.current = next.trim();
    onChange(sent.current);
  };
  /** @param {InputEvent & {currentTarget: HTMLInputElement}} event */
  const type_ = ({ currentTarget: { value: next } }) => {
    setText(next);
    clearTimeout(timer.current);
    timer.current = setTimeout(() => send(next), PAUSE_MS);
  };
  const clear = () => {
    setText('');
    send('');
  };
  return html`
    <${Chip} label=${label} control=${control} on=${Boolean(value)} wrong=${Boolean(error)} onClear=${clear}>
      <input
        id=${control}
        type="text"
        data-shortcut=${shortcut}
        value=${text}
        size=${size}
        placeholder=${placeholder}
        list=${suggestions.length ? `${control}-list` : undefined}
        autocomplete="off"
        spellcheck="false"
        aria-invalid=${error ? 'true' : undefined}
        onInput=${type_}
        onBlur=${() => send(text)}
        onKeyDown=${(/** @type {KeyboardEvent} */ event) => event.key === 'Enter' && send(text)}
      />
      ${suggestions.length > 0 &&
      html`
        <datalist id="${control}-list">${suggestions.map((one) => html`<option key=${one} value=${one} />`)}</datalist>
      `}
    <//>
  `;
}
