// Everything that can be done to a key, in dialogs: the list and the page of one key use the same ones.

import { ApiError, del, get, keyPath, patch, post } from '../api.js';
import { html, useEffect, useRef, useState } from '../lib.js';
import { Banner } from '../parts/banner.js';
import { CopyButton } from '../parts/copy.js';
import { Dialog } from '../parts/dialog.js';
import { Field, TokenField, fieldErrors, focusFirstInvalid } from '../parts/field.js';
import { ErrorNote, Skeleton } from '../parts/states.js';
import { Time } from '../parts/time.js';
import { toast, useWritable } from '../store.js';
import { FIELDS, KeyFields, draftOf, newKey, patchOf } from './key-form.js';

/** @typedef {import('../types.js').Key} Key */
/** @typedef {import('../types.js').KeyWithToken} KeyWithToken */
/** @typedef {'new' | 'edit' | 'rotate' | 'delete' | 'no-copy'} Kind */

export const NO_COPY = 'No copy of this token was kept. Rotate the key to get a new one.';
const DAY_MS = 86_400_000;

/** The token of a key, in clear; it is in the audit log that it was shown. @param {Key} key @returns {Promise<string>} */
export const tokenOf = async (key) => (await post(`${keyPath(key.id)}/copy`)).data.token;

/**
 * The actions on keys, and the dialog that is open.
 * @param {{onChanged: () => unknown, onDeleted: (key: Key) => unknown}} events
 */
export function useKeyActions({ onChanged, onDeleted }) {
  const [open, setOpen] = useState(/** @type {{kind: Kind, key?: Key} | null} */ (null));
  const close = () => setOpen(null);
  /** @param {Kind} kind @param {Key} [key] */
  const show = (kind, key) => setOpen({ kind, key });

  /** @param {Key} key */
  const toggle = async (key) => {
    try {
      await patch(keyPath(key.id), { enabled: !key.enabled }, { headers: { 'if-match': '*' } });
      toast(key.enabled ? `${key.name} is disabled: its token is refused.` : `${key.name} is enabled.`);
      onChanged();
    } catch (error) {
      setOpen({ kind: 'edit', key });
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
  const { kind, key } = open || {};
  const dialog = html`
    ${kind === 'new' && html`<${NewKeyDialog} onClose=${close} onCreated=${onChanged} />`}
    ${kind === 'edit' && key && html`<${EditDialog} of=${key} onClose=${close} onSaved=${onChanged} />`}
    ${kind === 'rotate' && key && html`<${RotateDialog} of=${key} onClose=${close} onRotated=${onChanged} />`}
    ${kind === 'delete' && key && html`<${DeleteDialog} of=${key} onClose=${close} onDeleted=${deleted} />`}
    ${kind === 'no-copy' && key && html`<${NoCopyDialog} of=${key} onClose=${close} onRotate=${() => show('rotate', key)} />`}
  `;
  return { show, items, dialog };
}

/** @param {{error: any}} props  its answer says it already */
const ReadOnly = ({ error }) =>
  !useWritable() &&
  !error?.entry &&
  html`<${Banner}>The key file is read-only. You get the entry to paste where it comes from.<//>`;

/** @param {{error: any, fields?: string[]}} props */
function Failure({ error, fields = [] }) {
  if (!error) return null;
  const known = fieldErrors(error, fields);
  if (Object.keys(known.fields).length && !known.rest) return null;
  return html`<${ErrorNote} error=${{ ...error, message: known.rest || error.message }} />`;
}

// ---- new

/** @param {{onClose: () => void, onCreated: (key: KeyWithToken) => unknown}} props */
export function NewKeyDialog({ onClose, onCreated }) {
  const [draft, setDraft] = useState(() => draftOf());
  const [made, setMade] = useState(/** @type {KeyWithToken | null} */ (null));
  const { error, busy, run } = useSending();

  const create = (/** @type {any} */ event) =>
    run(event.target, async () => {
      if (!draft.name.trim()) throw missing('name', 'A key needs a name, such as the one who uses it.');
      const { data } = await post('/keys', newKey(draft));
      setMade(data);
      onCreated(data);
    });

  if (made) return html`<${TokenDialog} of=${made} title="API key created" onClose=${onClose} />`;
  return html`<${Dialog}
    title="New API Key"
    onClose=${onClose}
    onSubmit=${create}
    actions=${html`<button type="button" class="button" onClick=${onClose}>Cancel</button><button type="submit" class="button primary" aria-disabled=${busy ? 'true' : undefined}>Create</button>`}
  >
    <${ReadOnly} error=${error} />
    <${Failure} error=${error} fields=${FIELDS} />
    <${KeyFields} draft=${draft} onDraft=${setDraft} errors=${fieldErrors(error, FIELDS).fields} ownToken />
  <//>`;
}

/** A fault found before asking, as the API would say it. @param {string} field @param {string} detail */
const missing = (field, detail) => new ApiError(422, { errors: [{ pointer: `#/${field}`, detail }], detail }, null);

/** The token, once it is made. @param {{of: KeyWithToken, title: string, onClose: () => void}} props */
function TokenDialog({ of: key, title, onClose }) {
  const lost = key.copy === 'none' && key.token;
  return html`<${Dialog} key="token" title=${title} wide onClose=${onClose} actions=${html`<button type="button" class="button primary" onClick=${onClose}>Done</button>`}>
    <${TokenText} of=${key} />
    ${key.token && html`<p class="help">${lost ? 'Copy it now: it is not shown again.' : 'You can copy it again at any time.'}</p>`}
  <//>`;
}

/** @param {{of: KeyWithToken}} props */
export const TokenText = ({ of: key }) =>
  html`${key.warning && html`<${Banner} kind="warning">${key.warning}<//>`}
    <p><strong>${key.name}</strong> is in force.</p>
    ${key.token && html`<${TokenField} value=${key.token} autofocus><${CopyButton} text=${key.token} label="Copy" /><//>`}`;

// ---- edit

/** @param {{of: Key, onClose: () => void, onSaved: () => unknown}} props */
function EditDialog({ of: key, onClose, onSaved }) {
  const [seen, setSeen] = useState({ key, etag: '' });
  const [draft, setDraft] = useState(() => draftOf(key));
  const [theirs, setTheirs] = useState(/** @type {{key: Key, etag: string} | null} */ (null));
  const { error, busy, run, clear } = useSending();
  const before = draftOf(seen.key);

  /** @returns {Promise<{key: Key, etag: string}>} */
  const fetched = async () => {
    const { data, etag } = await get(keyPath(key.id));
    return { key: data, etag: etag || '' };
  };
  // The list may be older than the key: what counts is the key as it is when the editing begins.
  const first = useRef(/** @type {ReturnType<typeof fetched> | null} */ (null));
  useEffect(() => {
    first.current = fetched();
    first.current.then(
      (fresh) => {
        const old = JSON.stringify(draftOf(key));
        setSeen(fresh);
        setDraft((now) => (JSON.stringify(now) === old ? draftOf(fresh.key) : now));
      },
      () => {},
    );
  }, []);

  const save = (/** @type {any} */ event, /** @type {{key: Key, etag: string} | null} */ over = null) =>
    run(event.target, async () => {
      if (!draft.name.trim()) throw missing('name', 'A key needs a name.');
      const base = over || (seen.etag ? seen : await (first.current || fetched()).catch(fetched));
      const body = patchOf(draftOf(base.key), draft);
      try {
        if (Object.keys(body).length) await patch(keyPath(key.id), body, { headers: { 'if-match': base.etag } });
      } catch (caught) {
        if (!(caught instanceof ApiError) || caught.code !== 'stale') throw caught;
        setTheirs(await fetched());
        return;
      }
      onClose();
      onSaved();
    });

  if (theirs) {
    const takeTheirs = () => {
      setSeen(theirs);
      setDraft(draftOf(theirs.key));
      setTheirs(null);
      clear();
    };
    return html`<${Dialog}
      key="stale"
      title="Changed in the meantime"
      wide
      onClose=${() => setTheirs(null)}
      onSubmit=${(/** @type {Event} */ event) => save(event, theirs)}
      actions=${html`<button type="button" class="button" onClick=${takeTheirs}>Use the other version</button><button type="submit" class="button primary" aria-disabled=${busy ? 'true' : undefined}>Save mine</button>`}
    >
      <p>Somebody else changed <strong>${theirs.key.name}</strong> while you edited it. Which version should stay?</p>
      <${Failure} error=${error} />
      <${Versions} before=${before} theirs=${draftOf(theirs.key)} mine=${draft} />
    <//>`;
  }
  return html`<${Dialog}
    key="edit"
    title="Edit API key"
    onClose=${onClose}
    onSubmit=${save}
    actions=${html`<button type="button" class="button" onClick=${onClose}>Cancel</button><button type="submit" class="button primary" aria-disabled=${busy ? 'true' : undefined}>Save</button>`}
  >
    <${ReadOnly} error=${error} />
    <${Failure} error=${error} fields=${FIELDS} />
    <${KeyFields} draft=${draft} onDraft=${setDraft} errors=${fieldErrors(error, FIELDS).fields} />
    <p class="help">The token does not change.</p>
  <//>`;
}

/** @type {[keyof import('./key-form.js').Draft, string][]} */
const COMPARED = [
  ['name', 'Name'],
  ['description', 'Description'],
  ['expiresAt', 'Expires'],
  ['paths', 'Allowed paths'],
  ['methods', 'Allowed methods'],
  ['networks', 'Allowed networks'],
  ['tags', 'Tags'],
];

/** Both versions, as far as they differ. @param {{before: any, theirs: any, mine: any}} props */
const Versions = ({ before, theirs, mine }) =>
  html`<table class="panel">
    <thead><tr><th scope="col">Field</th><th scope="col">Other version</th><th scope="col">Yours</th></tr></thead>
    <tbody>
      ${COMPARED.filter(([field]) => theirs[field] !== mine[field] || theirs[field] !== before[field]).map(
        ([field, label]) => html`<tr key=${field}><th scope="row">${label}</th><td>${theirs[field] || '–'}</td><td>${mine[field] || '–'}</td></tr>`,
      )}
    </tbody>
  </table>`;

// ---- rotate

/** @type {[string, string][]} */
const OVERLAPS = [
  ['0s', 'Refused at once'],
  ['1h', 'Works for another hour'],
  ['24h', 'Works for another day'],
  ['7d', 'Works for another week'],
  ['30d', 'Works for another 30 days'],
];

/** @param {{of: Key, onClose: () => void, onRotated: () => unknown}} props */
function RotateDialog({ of: key, onClose, onRotated }) {
  const [overlap, setOverlap] = useState('24h');
  const [made, setMade] = useState(/** @type {KeyWithToken | null} */ (null));
  const { error, busy, run } = useSending();
  const rotate = (/** @type {any} */ event) =>
    run(event.target, async () => {
      const { data } = await post(`${keyPath(key.id)}/rotate`, { overlap }, { headers: { 'if-match': '*' } });
      setMade(data);
      onRotated();
    });
  if (made) return html`<${TokenDialog} of=${made} title="New token" onClose=${onClose} />`;
  return html`<${Dialog}
    title=${`Rotate ${key.name}?`}
    onClose=${onClose}
    onSubmit=${rotate}
    actions=${html`<button type="button" class="button" onClick=${onClose}>Cancel</button><button type="submit" class="button primary" aria-disabled=${busy ? 'true' : undefined}>Rotate</button>`}
  >
    <${ReadOnly} error=${error} />
    <${Failure} error=${error} fields=${['overlap']} />
    <p>The key gets a new token. Name, rules and history stay.</p>
    <${Field} label="The old token" value=${overlap} onValue=${setOverlap} options=${OVERLAPS} error=${fieldErrors(error, ['overlap']).fields.overlap} autofocus />
  <//>`;
}

/** @param {{of: Key, onClose: () => void, onRotate: () => void}} props */
const NoCopyDialog = ({ of: key, onClose, onRotate }) =>
  html`<${Dialog} key="no-copy" title=${`${key.name} cannot be copied`} onClose=${onClose}
    actions=${html`<button type="button" class="button" onClick=${onClose}>Cancel</button><button type="button" class="button primary" data-autofocus onClick=${onRotate}>Rotate</button>`}>
    <p>${NO_COPY}</p>
  <//>`;

// ---- delete

/** @param {{of: Key, onClose: () => void, onDeleted: (key: Key) => void}} props */
function DeleteDialog({ of: key, onClose, onDeleted }) {
  const [fresh, setFresh] = useState(/** @type {{key: Key, etag: string} | null} */ (null));
  const [typed, setTyped] = useState('');
  const { error, busy, run, fail } = useSending();
  const look = async () => {
    const { data, etag } = await get(keyPath(key.id));
    setFresh({ key: data, etag: etag || '*' });
  };
  useEffect(() => {
    look().catch((caught) => {
      if (caught.code === 'key_not_found') onDeleted(key);
      else fail(caught);
    });
  }, []);
  const now = fresh?.key || key;
  const recent = now.last_used_at !== null && Date.now() - Date.parse(now.last_used_at) < DAY_MS;
  const remove = (/** @type {any} */ event) =>
    run(event.target, async () => {
      if (!fresh) return;
      if (recent && typed.trim() !== now.name) throw missing('confirm', `Type ${now.name} to delete it.`);
      try {
        await del(keyPath(key.id), { headers: { 'if-match': fresh.etag } });
      } catch (caught) {
        const gone = caught instanceof ApiError && caught.code === 'key_not_found';
        if (caught instanceof ApiError && caught.code === 'stale') await look();
        if (!gone) throw caught;
      }
      toast(`${now.name} is deleted: its token is refused.`);
      onDeleted(key);
    });
  return html`<${Dialog}
    title=${`Delete ${key.name}?`}
    onClose=${onClose}
    onSubmit=${remove}
    actions=${html`<button type="button" class="button" data-autofocus=${recent ? undefined : ''} onClick=${onClose}>Cancel</button><button type="submit" class="button danger" aria-disabled=${busy || !fresh ? 'true' : undefined}>Delete key</button>`}
  >
    <${ReadOnly} error=${error} />
    <${Failure} error=${error} fields=${['confirm']} />
    <p>Its token is refused at once and for good. The key was last used: <strong><${Time} value=${now.last_used_at} /></strong>.</p>
    ${!fresh && !error && html`<${Skeleton} rows=${1} />`}
    ${recent && html`<${Field} label="Type the key's name to confirm" value=${typed} onValue=${setTyped} error=${fieldErrors(error, ['confirm']).fields.confirm} hint=${html`It is <code>${now.name}</code>.`} />`}
  <//>`;
}

// ---- sending

/** What forms do while they send: once at a time, the error kept, the first wrong field given the focus. */
export function useSending() {
  const [error, setError] = useState(/** @type {any} */ (null));
  const [busy, setBusy] = useState(false);
  const sending = useRef(false);
  /** @param {EventTarget | null} form @param {() => Promise<void>} act */
  const run = async (form, act) => {
    if (sending.current) return;
    sending.current = true;
    setBusy(true);
    try {
      await act();
      setError(null);
    } catch (caught) {
      setError(caught);
      focusFirstInvalid(form);
    }
    sending.current = false;
    setBusy(false);
  };
  return { error, busy, run, fail: setError, clear: () => setError(null) };
}
