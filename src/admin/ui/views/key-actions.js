// What can be done to a key, from its row and from its page. The dialogs are loaded when somebody is about to act.

import { keyPath, patch, post } from '../api.js';
import { html, useEffect, useState } from '../lib.js';
import { Lazy } from '../parts/lazy.js';
import { toast } from '../store.js';

/** @typedef {import('../types.js').Key} Key */
/** @typedef {'new' | 'edit' | 'rotate' | 'delete' | 'no-copy'} Kind */

export const NO_COPY = 'No copy of this token was kept. Rotate the key to get a new one.';

/** What of a key has to be there, for `expected`. @type {Record<string, 'string'>} */
export const KEY_FIELDS = { id: 'string', name: 'string', status: 'string' };

/** The token of a key, in clear; it is in the audit log that it was shown. @param {Key} key @returns {Promise<string>} */
export const tokenOf = async (key) => (await post(`${keyPath(key.id)}/copy`)).data.token;

const dialogs = () => import('./key-dialogs.js');

/**
 * The actions on keys, and the dialog that is open.
 * @param {{onChanged: () => unknown, onDeleted: (key: Key) => unknown}} events
 */
export function useKeyActions({ onChanged, onDeleted }) {
  const [open, setOpen] = useState(/** @type {{kind: Kind, key?: Key} | null} */ (null));
  const close = () => setOpen(null);
  /** @param {Kind} kind @param {Key} [key] */
  const show = (kind, key) => setOpen({ kind, key });

  useEffect(() => {
    const preload = () => void dialogs().catch(() => {});
    for (const sign of ['pointermove', 'pointerdown', 'keydown']) addEventListener(sign, preload, { once: true });
    return () => {
      for (const sign of ['pointermove', 'pointerdown', 'keydown']) removeEventListener(sign, preload);
    };
  }, []);

  /** @param {Key} key */
  const toggle = async (key) => {
    try {
      await patch(keyPath(key.id), { enabled: !key.enabled }, { headers: { 'if-match': '*' } });
      toast(key.enabled ? `${key.name} is disabled: its token is refused.` : `${key.name} is enabled.`);
      onChanged();
    } catch (error) {
      toast(/** @type {Error} */ (error).message, 'danger');
    }
  };
  /** @param {Key} key @param {{copy: () => void}} more @returns {import('../parts/menu.js').MenuItem[]} */
  const items = (key, { copy }) => [
    { label: 'Edit', onSelect: () => show('edit', key) },
    { label: 'Copy to clipboard', onSelect: copy, disabled: key.copy === 'none', why: NO_COPY },
    { label: 'Rotate', onSelect: () => show('rotate', key) },
    { label: key.enabled ? 'Disable' : 'Enable', onSelect: () => toggle(key) },
    { label: 'Delete', onSelect: () => show('delete', key), danger: true },
  ];
  /** @param {Key} key */
  const deleted = (key) => {
    close();
    onDeleted(key);
  };
  const dialog =
    open &&
    html`<${Lazy}
      name="key-dialogs" load=${dialogs} quiet kind=${open.kind} of=${open.key} onClose=${close} onShow=${show}
      onChanged=${onChanged} onDeleted=${deleted}
    />`;
  return { show, items, dialog };
}
