// Choosing one key of any number: a box that finds keys by name as one types (the ARIA combobox pattern). Not for:
// what is done with the key.

import { get } from '../api.js';
import { html, useEffect, useLayoutEffect, useRef, useState } from '../lib.js';

/** @typedef {{id: string, name: string, mask?: string | null, status?: string, copy?: string}} Choice */

const SHOWN = 8;
const PAUSE_MS = 150;

/**
 * @param {object} props
 * @param {string} props.id  of the box, for its label
 * @param {string} props.value  the name that is chosen; empty: none
 * @param {string} [props.placeholder]
 * @param {boolean} [props.free]  names that no key has now are fine: it may have been deleted
 * @param {(key: Choice) => string | null} [props.unfit]  why a key cannot be chosen
 * @param {boolean} [props.invalid]
 * @param {string} [props.describedBy]
 * @param {(key: Choice | null) => void} props.onChoose
 */
export function KeyPicker(props) {
  const { id, value, placeholder = 'any', free = false, unfit = () => null, invalid, describedBy, onChoose } = props;
  const [text, setText] = useState(value);
  const [open, setOpen] = useState(false);
  const [found, setFound] = useState(/** @type {Choice[]} */ ([]));
  const [active, setActive] = useState(-1);
  const search = useRef({ timer: 0, abort: new AbortController() });

  // At once: what somebody types meanwhile must not be mixed with it.
  useLayoutEffect(() => {
    setText(value);
  }, [value]);
  useEffect(() => () => stop(), []);

  const stop = () => {
    clearTimeout(search.current.timer);
    search.current.abort.abort();
  };
  /** @param {string} wanted @returns {Promise<Choice[]>} */
  const find = async (wanted) => {
    stop();
    const abort = new AbortController();
    search.current.abort = abort;
    const query = { search: wanted, limit: SHOWN, sort: wanted ? 'name' : '-last_used_at' };
    const { data } = await get('/keys', query, { signal: abort.signal });
    return data?.keys ?? [];
  };
  /** @param {string} wanted */
  const offer = async (wanted) => {
    try {
      setFound(await find(wanted));
      setActive(-1);
    } catch {
      // Without suggestions a name can still be typed; the page says what cannot be reached.
    }
  };
  const show = () => {
    if (open) return;
    setOpen(true);
    setActive(-1);
    offer('');
  };
  /** @param {InputEvent & {currentTarget: HTMLInputElement}} event */
  const type = ({ currentTarget: { value: wanted } }) => {
    setText(wanted);
    setOpen(true);
    clearTimeout(search.current.timer);
    search.current.timer = setTimeout(() => offer(wanted.trim()), PAUSE_MS);
  };
  /** @param {Choice | null} key */
  const choose = (key) => {
    stop();
    setOpen(false);
    setText(key?.name ?? '');
    if ((key?.name ?? '') !== value) onChoose(key);
  };
  /** What was typed, without a choice from the list. */
  const take = async () => {
    const wanted = text.trim();
    if (wanted === value) return setOpen(false);
    if (!wanted) return choose(null);
    try {
      const keys = await find(wanted);
      const same = keys.find(({ id: one, name }) => name === wanted || one === wanted);
      const key = same ?? (keys.length === 1 ? keys[0] : null);
      if (key && !unfit(key)) return choose(key);
    } catch {
      // As if nothing was found.
    }
    if (free) return choose({ id: wanted, name: wanted });
    setFound([]);
    return setOpen(true);
  };
  /** @param {KeyboardEvent} event */
  const press = (event) => {
    const chosen = open ? found[active] : undefined;
    if (event.key === 'ArrowDown' || event.key === 'ArrowUp') {
      event.preventDefault();
      if (!open) return show();
      const step = event.key === 'ArrowDown' ? 1 : -1;
      return setActive(found.length ? (active + step + found.length) % found.length : -1);
    }
    if (event.key === 'Enter' && (open || text !== value)) {
      event.preventDefault();
      if (!chosen) return void take();
      if (!unfit(chosen)) choose(chosen);
    } else if (event.key === 'Escape' && open) {
      event.preventDefault();
      setOpen(false);
      setText(value);
    }
    return undefined;
  };
  const leave = () => {
    setOpen(false);
    if (text.trim() !== value) take();
  };

  const list = `${id}-list`;
  return html`
    <span class="picker">
      <input
        id=${id}
        role="combobox"
        aria-expanded=${open ? 'true' : 'false'}
        aria-controls=${list}
        aria-autocomplete="list"
        aria-activedescendant=${open && active >= 0 ? `${list}-${active}` : undefined}
        aria-invalid=${invalid ? 'true' : undefined}
        aria-describedby=${describedBy}
        autocomplete="off"
        spellcheck="false"
        size="12"
        placeholder=${placeholder}
        value=${text}
        onInput=${type}
        onClick=${show}
        onKeyDown=${press}
        onBlur=${leave}
      />
      <ul id=${list} class="picker-list" role="listbox" aria-label="Suggestions" hidden=${!open}>
        ${found.map((key, place) => {
          const why = unfit(key);
          return html`
            <li
              key=${key.id}
              id="${list}-${place}"
              role="option"
              aria-selected=${place === active ? 'true' : 'false'}
              aria-disabled=${why ? 'true' : undefined}
              onPointerDown=${(/** @type {PointerEvent} */ event) => event.preventDefault()}
              onClick=${() => !why && choose(key)}
            >
              <span>${key.name}</span>
              <small>${why ?? (key.status === 'active' ? key.mask : key.status?.replaceAll('_', ' '))}</small>
            </li>
          `;
        })}
        ${!found.length &&
        html`<li class="muted" role="option" aria-disabled="true" aria-selected="false">No key has this name</li>`}
      </ul>
    </span>
  `;
}
