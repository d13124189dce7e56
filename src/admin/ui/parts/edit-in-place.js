// A text that is edited where it stands: a pencil turns it into a field; Enter saves, Escape leaves it as it was. When
// somebody else changed it meanwhile, both versions are shown.

import { html, useRef, useState } from '../lib.js';
import { Field, focusFirstInvalid } from './field.js';
import { Icon } from './icon.js';

/**
 * @param {object} props
 * @param {string} props.label
 * @param {string} props.value
 * @param {boolean} [props.multiline]
 * @param {(value: string, over: boolean) => Promise<{theirs?: string, error?: string}>} props.onSave
 *   `over`: also over what somebody else wrote; `theirs`: what they wrote
 * @param {(editing: boolean) => void} [props.onEditing]
 */
export function EditInPlace({ label, value, multiline, onSave, onEditing }) {
  const [draft, setDraft] = useState(/** @type {string | null} */ (null));
  const [said, setSaid] = useState(/** @type {{theirs?: string, error?: string}} */ ({}));
  const [busy, setBusy] = useState(false);
  const pencil = useRef(/** @type {HTMLElement | null} */ (null));
  const form = useRef(/** @type {HTMLElement | null} */ (null));

  const begin = () => {
    setDraft(value);
    setSaid({});
    onEditing?.(true);
    requestAnimationFrame(() => {
      const field = form.current?.querySelector('input, textarea');
      /** @type {HTMLInputElement | null | undefined} */ (field)?.select();
    });
  };
  const end = () => {
    setDraft(null);
    onEditing?.(false);
    requestAnimationFrame(() => pencil.current?.focus());
  };
  const save = async (/** @type {Event} */ event, over = false) => {
    event.preventDefault();
    if (busy || draft === null) return;
    if (draft.trim() === value && !said.theirs) return end();
    setBusy(true);
    const answer = await onSave(draft.trim(), over);
    setBusy(false);
    setSaid(answer);
    if (answer.error) return focusFirstInvalid(form.current);
    if (answer.theirs === undefined) end();
    return undefined;
  };
  const onKey = (/** @type {KeyboardEvent} */ event) => {
    if (event.key === 'Escape') end();
    else if (multiline && event.key === 'Enter' && (event.ctrlKey || event.metaKey)) save(event);
  };

  if (draft === null) {
    return html`<button
      ref=${pencil} type="button" class="button quiet icon-only" aria-label=${`Edit ${label.toLowerCase()}`}
      title=${`Edit ${label.toLowerCase()}`} onClick=${begin}
    ><${Icon} name="edit" /></button>`;
  }
  const conflict = said.theirs !== undefined;
  return html`<form
    ref=${form} class="in-place" novalidate onSubmit=${(/** @type {Event} */ event) => save(event, conflict)}
    onKeyDown=${onKey}
  >
    <${Field} label=${label} value=${draft} onValue=${setDraft} multiline=${multiline} error=${said.error} />
    ${conflict && html`<p
      class="small warn" role="alert"
    >Somebody else changed it meanwhile, to “${said.theirs || 'nothing'}”.</p>`}
    <div class="buttons">
      <button
        type="submit" class="button primary" aria-disabled=${busy ? 'true' : undefined}
      >${conflict ? 'Save mine' : 'Save'}</button>
      <button type="button" class="button" onClick=${end}>${conflict ? 'Use the other version' : 'Cancel'}</button>
    </div>
  </form>`;
}
