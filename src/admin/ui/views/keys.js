// API Keys: the list. Pages come from the server by cursor, so that a million keys are as quick as ten; it is read
// again by itself when keys change elsewhere.

import { expected, get } from '../api.js';
import { html, useEffect, useId, useRef, useState } from '../lib.js';
import { CopyButton } from '../parts/copy.js';
import { counted } from '../parts/figures.js';
import { Icon } from '../parts/icon.js';
import { KeyStatus } from '../parts/key-status.js';
import { Menu } from '../parts/menu.js';
import { Spark } from '../parts/spark.js';
import { Empty, ErrorNote, Skeleton } from '../parts/states.js';
import { Page, Pager } from '../parts/table.js';
import { Time, number } from '../parts/time.js';
import { href, navigate, setQuery, useRoute } from '../router.js';
import { revision, useQuery } from '../store.js';
import { KEY_FIELDS, NO_COPY, tokenOf, useKeyActions } from './key-actions.js';

/** @typedef {import('../types.js').Key} Key */

const PAGE_KEYS = 50;
const NEWEST = '-created_at';

const NO_KEYS = html`A key lets one client through to the service behind keygate. Make one for each client, so that each
  can be told apart and stopped.`;

/** @type {[string, string][]} */
const STATES = [
  ['', 'All'],
  ['active', 'Active'],
  ['disabled', 'Disabled'],
  ['not_yet_valid', 'Not yet valid'],
  ['expired', 'Expired'],
];
/** @type {[string, string][]} */
const ORDERS = [
  [NEWEST, 'Newest first'],
  ['created_at', 'Oldest first'],
  ['name', 'Name, A to Z'],
  ['-name', 'Name, Z to A'],
  ['-last_used_at', 'Last used first'],
  ['expires_at', 'Expiring first'],
];

/** @param {{query: URLSearchParams}} props */
export default function Keys({ query }) {
  const { state } = useRoute();
  const search = query.get('search') || '';
  const status = query.get('status') || '';
  const sort = query.get('sort') || NEWEST;
  /** The cursors of the pages before this one, and its own. @type {string[]} */
  const cursors = state?.cursors || [];
  const asked = { search, status, sort, limit: PAGE_KEYS, cursor: cursors[cursors.length - 1] };

  const [many, setMany] = useState(false);
  const { data, error, loading, reload } = useQuery(
    `keys ${JSON.stringify(asked)}`,
    async (signal) => {
      const { data: answer } = await get('/keys', asked, { signal });
      const page = /** @type {import('../types.js').Keys} */ (expected(answer, { keys: 'array', total: 'number' }));
      for (const key of page.keys) expected(key, KEY_FIELDS);
      revision.set(page.revision);
      setMany(page.total > 20_000);
      return page;
    },
    // Changes of keys come at once, by the revision; this is for when and how often they were used.
    { every: many ? 15_000 : 3000, keep: true },
  );

  const table = useRef(/** @type {HTMLElement | null} */ (null));
  const actions = useKeyActions({
    onChanged: reload,
    onDeleted: async (key) => {
      const place = Math.max(0, data?.keys.findIndex((one) => one.id === key.id) ?? 0);
      await reload();
      requestAnimationFrame(() => focusRow(place));
    },
  });
  /** @param {number} place */
  const focusRow = (place) => {
    const names = /** @type {HTMLElement[]} */ ([...(table.current?.querySelectorAll('tbody th a') || [])]);
    const next = names[Math.min(place, names.length - 1)] || document.querySelector('[data-shortcut="new"]');
    if (next instanceof HTMLElement) next.focus();
  };
  useEffect(() => {
    if (state?.focus === 'new') actions.show('new');
    const search = document.querySelector('[data-shortcut="search"]');
    if (state?.focus === 'search' && search instanceof HTMLElement) search.focus();
    if (state?.focus) setQuery({}, { replace: true });
  }, [state?.focus]);
  // The last key of this page is gone.
  const emptied = data?.keys.length === 0 && cursors.length > 0 && !loading;
  useEffect(() => {
    if (emptied) setQuery({}, { replace: true, state: { cursors: cursors.slice(0, -1) } });
  }, [emptied]);

  const filtered = Boolean(search || status);
  const create = html`<button
    type="button" class="button primary" data-shortcut="new" onClick=${() => actions.show('new')}
  >+ New API Key</button>`;
  const nothing = data && data.total === 0;

  return html`<${Page} title="API Keys" actions=${create}>
    ${(!nothing || filtered) && html`<${Toolbar} search=${search} status=${status} sort=${sort} />`}
    ${error && html`<${ErrorNote} error=${error} onRetry=${reload} />`}
    ${(data || loading) &&
    html`<section class="panel" ref=${table} aria-label="Keys" aria-busy=${loading ? 'true' : undefined}>
      ${!data && html`<${Skeleton} rows=${8} />`}
      ${data && data.keys.length > 0 && html`<${KeyTable} keys=${data.keys} actions=${actions} />`}
      ${nothing && !filtered &&
      html`<${Empty}
        title="No keys yet"
        text=${NO_KEYS}
        action=${html`<button type="button" class="button" onClick=${() => actions.show('new')}>New API key</button>`}
      />`}
      ${data && data.keys.length === 0 && (filtered || !nothing) &&
      html`<${Empty}
        title="No key matches" text="Search looks at name, description, id, mask and tags."
        action=${html`<button type="button" class="button" onClick=${() => navigate('/keys')}>Show all keys</button>`}
      />`}
    </section>`}
    ${data && data.total > 0 &&
    html`<${Pager}
      from=${cursors.length * PAGE_KEYS + 1}
      count=${data.keys.length}
      total=${data.total}
      onPrevious=${cursors.length ? () => turn(cursors.slice(0, -1)) : null}
      onNext=${data.next_cursor && !loading ? () => turn([...cursors, /** @type {string} */ (data.next_cursor)]) : null}
    />`}
    ${actions.dialog}
  <//>`;
}

/** @param {string[]} cursors */
function turn(cursors) {
  setQuery({}, { state: { cursors } });
  scrollTo(0, 0);
}

/** @param {{search: string, status: string, sort: string}} props */
function Toolbar({ search, status, sort }) {
  const [text, setText] = useState(search);
  const sent = useRef(search);
  useEffect(() => {
    // The address was changed by something else than typing.
    if (search !== sent.current) setText(search);
    sent.current = search;
  }, [search]);
  useEffect(() => {
    if (text.trim() === search) return undefined;
    const timer = setTimeout(() => {
      sent.current = text.trim();
      setQuery({ search: text.trim() }, { replace: true });
    }, 150);
    return () => clearTimeout(timer);
  }, [text]);
  return html`<div class="toolbar" role="search" aria-label="Keys">
    <div class="search">
      <${Icon} name="search" />
      <input
        type="search" aria-label="Search keys" placeholder="Search" autocomplete="off" spellcheck=${false}
        data-shortcut="search" value=${text} onInput=${(/** @type {any} */ event) => setText(event.target.value)}
      />
    </div>
    <${Choice}
      label="Status" value=${status} options=${STATES}
      onValue=${(/** @type {string} */ value) => setQuery({ status: value })}
    />
    <${Choice}
      label="Sort" value=${sort} options=${ORDERS}
      onValue=${(/** @type {string} */ value) => setQuery({ sort: value === NEWEST ? '' : value })}
    />
  </div>`;
}

/** @param {{label: string, value: string, options: [string, string][], onValue: (value: string) => void}} props */
function Choice({ label, value, options, onValue }) {
  const id = useId();
  return html`<span class="select">
    <label for=${id}>${label}</label>
    <select id=${id} value=${value} onChange=${(/** @type {any} */ event) => onValue(event.target.value)}>
      ${options.map(([choice, text]) => html`<option
        key=${choice} value=${choice} selected=${choice === value}
      >${text}</option>`)}
    </select>
  </span>`;
}

/** @param {{keys: Key[], actions: ReturnType<typeof useKeyActions>}} props */
const KeyTable = ({ keys, actions }) =>
  html`<table class="cards key-table">
    <thead>
      <tr>
        <th scope="col" class="wide">Name</th>
        <th scope="col">Key</th>
        <th scope="col">Status</th>
        <th scope="col">Created</th>
        <th scope="col">Last used</th>
        <th scope="col">24 h</th>
        <th scope="col"><span class="unseen">Actions</span></th>
      </tr>
    </thead>
    <tbody>
      ${keys.map((key) => html`<${KeyRow} key=${key.id} of=${key} actions=${actions} />`)}
    </tbody>
  </table>`;

/** @param {{of: Key, actions: ReturnType<typeof useKeyActions>}} props */
function KeyRow({ of: key, actions }) {
  const row = useRef(/** @type {HTMLElement | null} */ (null));
  const address = `/keys/${key.id}`;
  const open = (/** @type {any} */ event) => {
    const busy = event.target.closest('a, button, [popover]') || getSelection()?.toString();
    if (!busy && event.button === 0) navigate(address);
  };
  // From the menu, the row's own Copy does it: it shows the tick.
  const copy = () => /** @type {HTMLElement | null} */ (row.current?.querySelector('.row-actions button'))?.click();
  return html`<tr ref=${row} onClick=${open}>
    <th scope="row">
      <a class="clip" href=${href(address)}>${key.name}</a>
      ${key.description && html`<span class="clip small muted" title=${key.description}>${key.description}</span>`}
    </th>
    <td data-label="Key"><code class="clip">${key.mask || '–'}</code></td>
    <td data-label="Status"><${KeyStatus} of=${key} expiry /></td>
    <td data-label="Created"><${Time} value=${key.created_at} never="–" /></td>
    <td data-label="Last used"><${Time} value=${key.last_used_at} /></td>
    <td data-label="24 h">
      <span class="day">
        <span>${number(key.requests_24h)}</span>
        <${Spark} values=${key.hours || []} label=${`${counted(key.requests_24h, 'request')} in 24 hours`} />
      </span>
    </td>
    <td>
      <div class="row-actions">
        <${CopyButton}
          iconOnly label="Copy to clipboard" getText=${() => tokenOf(key)}
          why=${key.copy === 'none' ? NO_COPY : undefined} onRefused=${() => actions.show('no-copy', key)}
        />
        <button
          type="button" class="button quiet icon-only" aria-label="Edit" title="Edit"
          onClick=${() => actions.show('edit', key)}
        ><${Icon} name="edit" /></button>
        <${Menu} label="More actions" items=${actions.items(key, { copy })} />
      </div>
    </td>
  </tr>`;
}
