// The dialogs of keys: new, edit, rotate, delete. Not for: what a row or a page offers, which is `key-actions.js`.

import { ApiError, del, get, keyPath, patch, post } from '../api.js';
import { html, useEffect, useRef, useState } from '../lib.js';
import { Banner } from '../parts/banner.js';
import { Answers, Dialog } from '../parts/dialog.js';
import { Field, fieldErrors } from '../parts/field.js';
import { useSending } from '../parts/sending.js';
import { ErrorNote, Skeleton } from '../parts/states.js';
import { Time } from '../parts/time.js';
import { TokenText } from '../parts/token-text.js';
import { toast, useWritable } from '../store.js';
import { NO_COPY } from './key-actions.js';
import { FIELDS, KeyFields, draftOf, newKey, patchOf } from './key-form.js';

/** @typedef {import('../types.js').Key} Key */
/** @typedef {import('../types.js').KeyWithToken} KeyWithToken */
/** @typedef {import('./key-actions.js').Kind} Kind */

const DAY_MS = 86_400_000;

/**
 * The dialog that is open.
 * @param {{kind: Kind, of?: Key, onClose: () => void, onShow: (kind: Kind, key: Key) => void, onChanged: () => unknown,
 *   onDeleted: (key: Key) => void}} props
 */
export default function KeyDialog({ kind, of: key, onClose, onShow, onChanged, onDeleted }) {
  if (kind === 'new') return html`<${NewKeyDialog} onClose=${onClose} onCreated=${onChanged} />`;
  if (!key) return null;
  if (kind === 'edit') return html`<${EditDialog} of=${key} onClose=${onClose} onSaved=${onChanged} />`;
  if (kind === 'rotate') return html`<${RotateDialog} of=${key} onClose=${onClose} onRotated=${onChanged} />`;
  if (kind === 'delete') return html`<${DeleteDialog} of=${key} onClose=${onClose} onDeleted=${onDeleted} />`;
  return html`<${NoCopyDialog} of=${key} onClose=${onClose} onRotate=${() => onShow('rotate', key)} />`;
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
function NewKeyDialog({ onClose, onCreated }) {
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
    actions=${html`<${Answers} onCancel=${onClose} text="Create" busy=${busy} />`}
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
  return html`<${Dialog}
    key="token" title=${title} wide onClose=${onClose}
    actions=${html`<button type="button" class="button primary" onClick=${onClose}>Done</button>`}
  >
    <${TokenText} of=${key} />
    ${key.token &&
    html`<p class="help">${lost ? 'Copy it now: it is not shown again.' : 'You can copy it again at any time.'}</p>`}
  <//>`;
}

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
  // The list may be older than the key: what counts is the key as it is when the editing begins. Where somebody has
  // typed already and the key is another one, no entity tag matches, so that saving shows both versions.
  const first = useRef(/** @type {ReturnType<typeof fetched> | null} */ (null));
  const typed = useRef(draft);
  typed.current = draft;
  useEffect(() => {
    first.current = fetched();
    first.current.then(
      (fresh) => {
        const [old, now] = [JSON.stringify(draftOf(key)), JSON.stringify(draftOf(fresh.key))];
        if (JSON.stringify(typed.current) !== old) return setSeen({ key, etag: old === now ? fresh.etag : '"older"' });
        setSeen(fresh);
        return setDraft(draftOf(fresh.key));
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
      actions=${html`<${Answers} onCancel=${takeTheirs} cancel="Use the other version" text="Save mine" busy=${busy} />`}
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
    actions=${html`<${Answers} onCancel=${onClose} text="Save" busy=${busy} />`}
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
        ([field, label]) => html`<tr key=${field}>
          <th scope="row">${label}</th>
          <td>${theirs[field] || '–'}</td>
          <td>${mine[field] || '–'}</td>
        </tr>`,
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
    actions=${html`<${Answers} onCancel=${onClose} text="Rotate" busy=${busy} />`}
  >
    <${ReadOnly} error=${error} />
    <${Failure} error=${error} fields=${['overlap']} />
    <p>The key gets a new token. Name, rules and history stay.</p>
    <${Field}
      label="The old token" value=${overlap} onValue=${setOverlap} options=${OVERLAPS}
      error=${fieldErrors(error, ['overlap']).fields.overlap} autofocus
    />
  <//>`;
}

/** @param {{of: Key, onClose: () => void, onRotate: () => void}} props */
const NoCopyDialog = ({ of: key, onClose, onRotate }) =>
  html`<${Dialog} key="no-copy" title=${`${key.name} cannot be copied`} onClose=${onClose}
    onSubmit=${onRotate} actions=${html`<${Answers} onCancel=${onClose} text="Rotate" />`}>
    <p>${NO_COPY}</p>
  <//>`;

// ---- delete

/** @param {Key} key */
const usedToday = ({ last_used_at: at }) => at !== null && Date.now() - Date.parse(at) < DAY_MS;

/** @param {{of: Key, onClose: () => void, onDeleted: (key: Key) => void}} props */
function DeleteDialog({ of: key, onClose, onDeleted }) {
  const [fresh, setFresh] = useState(/** @type {{key: Key, etag: string} | null} */ (null));
  const [typed, setTyped] = useState('');
  const { error, busy, run, fail } = useSending();
  const look = async () => {
    const { data, etag } = await get(keyPath(key.id));
    const seen = { key: data, etag: etag || '*' };
    setFresh(seen);
    return seen;
  };
  useEffect(() => {
    look().catch((caught) => {
      if (caught.code === 'key_not_found') onDeleted(key);
      else fail(caught);
    });
  }, []);
  const now = fresh?.key || key;
  const recent = usedToday(now);
  const remove = (/** @type {any} */ event) =>
    run(event.target, async () => {
      try {
        const seen = fresh || (await look());
        const { name } = seen.key;
        if (usedToday(seen.key) && typed.trim() !== name) throw missing('confirm', `Type ${name} to delete it.`);
        await del(keyPath(key.id), { headers: { 'if-match': seen.etag } });
      } catch (caught) {
        const code = caught instanceof ApiError ? caught.code : '';
        if (code === 'stale') await look();
        if (code !== 'key_not_found') throw caught;
      }
      toast(`${now.name} is deleted: its token is refused.`);
      onDeleted(key);
    });
  return html`<${Dialog}
    title=${`Delete ${key.name}?`}
    onClose=${onClose}
    onSubmit=${remove}
    actions=${html`<${Answers} onCancel=${onClose} stay=${!recent} text="Delete key" danger busy=${busy} />`}
  >
    <${ReadOnly} error=${error} />
    <${Failure} error=${error} fields=${['confirm']} />
    <p>
      Its token is refused at once and for good. The key was last used:${' '}
      <strong><${Time} value=${now.last_used_at} /></strong>.
    </p>
    ${!fresh && !error && html`<${Skeleton} rows=${1} />`}
    ${recent && html`<${Field}
      label="Type the key's name to confirm" value=${typed} onValue=${setTyped}
      error=${fieldErrors(error, ['confirm']).fields.confirm} hint=${html`It is <code>${now.name}</code>.`}
    />`}
  <//>`;
}
