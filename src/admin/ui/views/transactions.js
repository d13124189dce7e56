// Transactions: who called what, when, and what became of it. Filters live in the address, what is new appears at the
// top, and one record opens beside the list. Not for: reading the log, which is `transaction-feed.js`.

import { apiUrl, get, keyPath } from '../api.js';
import { Component, classes, html, sentence, useCallback, useEffect, useId } from '../lib.js';
import { useMemo, useReducer, useRef, useState } from '../lib.js';
import { Banner } from '../parts/banner.js';
import { Chip, Chips, ChoiceChip, TextChip } from '../parts/chips.js';
import { counted } from '../parts/figures.js';
import { Icon } from '../parts/icon.js';
import { KeyPicker } from '../parts/key-picker.js';
import { Lazy, stylesheet } from '../parts/lazy.js';
import { Menu } from '../parts/menu.js';
import { DECISION_CHOICES, Decision, REASON_CHOICES, StatusCode, plain, reasonText } from '../parts/outcome.js';
import { Empty, ErrorNote, Skeleton } from '../parts/states.js';
import { Page } from '../parts/table.js';
import { Time, duration, number } from '../parts/time.js';
import { href, setQuery } from '../router.js';
import { useQuery } from '../store.js';
import { Feed, identity } from './transaction-feed.js';

/** @typedef {import('../types.js').Transaction} Transaction */

await stylesheet('requests.css');

const drawer = () => import('./transaction.js');

/** The parameters of `GET /transactions` that can stand in the address. */
const FILTERS = 'key decision reason status method path client since until request_id search'.split(' ');
/** @type {[string, string][]} */
const METHODS = ['GET', 'POST', 'PUT', 'PATCH', 'DELETE', 'HEAD', 'OPTIONS'].map((method) => [method, method]);
/** @type {[string, string][]} */
const SINCE = [
  ['15m', '15 minutes ago'],
  ['1h', '1 hour ago'],
  ['24h', '24 hours ago'],
  ['7d', '7 days ago'],
  ['30d', '30 days ago'],
];
const STATUSES = ['2xx', '3xx', '4xx', '5xx', '200', '401', '403', '404', '429', '502', '504'];
/** Further down than this one reads, and what is new waits. */
const SCROLLED = 80;

/** @param {{query: URLSearchParams}} props */
export default function Transactions({ query }) {
  const filters = useMemo(() => chosenFilters(query), [chosenText(query)]);
  const live = query.get('live') !== 'off';
  const open = query.get('open');
  const feed = useFeed(filters, live);
  const filtered = Object.keys(filters).length > 0;
  const wrong = wrongFilter(feed.error);

  /** @param {Record<string, string | null>} changes */
  const filter = (changes) => setQuery({ ...changes, open: null }, { replace: true });
  const clear = () => {
    filter(Object.fromEntries(FILTERS.map((name) => [name, null])));
    // The button that was pressed is gone.
    document.querySelector('h1')?.focus();
  };
  const close = () => setQuery({ open: null });
  /** @param {string} format */
  const download = (format) => {
    const link = document.createElement('a');
    link.href = apiUrl('/transactions:export', { ...filters, format });
    link.download = '';
    link.click();
  };
  const exports = [
    { label: 'NDJSON', onSelect: () => download('ndjson') },
    { label: 'CSV', onSelect: () => download('csv') },
  ];
  const actions = html`
    <div class="buttons">
      ${filtered && html`<button type="button" class="button quiet" onClick=${clear}>Clear filters</button>`}
      <${LiveSwitch} live=${live} stream=${feed.stream} />
      <${Menu} label="Export" items=${exports} class="button" named>Export <${Icon} name="down" /><//>
    </div>
  `;

  return html`
    <${Page} title="Transactions" actions=${actions}>
      <${Filters} filters=${filters} wrong=${wrong} onChange=${filter} />
      ${!feed.recording &&
      html`
        <${Banner} kind="info">
          Requests are not recorded at present: <code>transactions.enabled</code> is false in the config file.
        <//>
      `}
      <${LogNotes} feed=${feed} />
      <div class=${classes('beside', open && 'beside-open')}>
        <${List}
          feed=${feed}
          live=${live}
          open=${open}
          empty=${html`<${Nothing} filtered=${filtered} onClear=${clear} />`}
          wrong=${wrong}
        />
        ${open && html`<${Lazy} quiet name="transaction" load=${drawer} id=${open} onClose=${close} />`}
      </div>
    <//>
  `;
}

/** @param {URLSearchParams} query @returns {Record<string, string>} */
const chosenFilters = (query) =>
  Object.fromEntries([...query].filter(([name, value]) => value && FILTERS.includes(name)));

/** @param {URLSearchParams} query */
const chosenText = (query) => JSON.stringify(chosenFilters(query));

/**
 * The feed of these filters; while the first page of new ones is on its way, that of the old ones.
 * @param {Record<string, string>} filters
 * @param {boolean} live
 */
function useFeed(filters, live) {
  const [, redraw] = useReducer((/** @type {number} */ count) => count + 1, 0);
  const feed = useMemo(() => new Feed(filters, () => redraw(undefined)), [filters]);
  const shown = useRef(feed);
  useEffect(() => {
    feed.start();
    return () => feed.end();
  }, [feed]);
  useEffect(() => feed.follow(live), [feed, live]);
  if (feed.begun || feed.error) shown.current = feed;
  return shown.current;
}

/**
 * The filter that the API did not understand: it names it first, "`status`: expected …".
 * @param {any} error
 */
function wrongFilter(error) {
  const found = error?.status === 400 ? /^.*?`(\w+)`: (.*)$/s.exec(error.message) : null;
  return found && FILTERS.includes(found[1]) ? { name: found[1], why: found[2] } : null;
}

/** @param {{live: boolean, stream: Feed['stream']}} props */
function LiveSwitch({ live, stream }) {
  const id = useId();
  /** @type {Record<Feed['stream'], string>} */
  const words = { off: '', open: '', connecting: 'connecting…', failed: 'not available, trying again' };
  return html`
    <span class="switch">
      <span class="help" role="status">${live ? words[stream] : ''}</span>
      <input
        id=${id}
        type="checkbox"
        role="switch"
        checked=${live}
        onChange=${() => setQuery({ live: live ? 'off' : null }, { replace: true })}
      />
      <label for=${id}>Live</label>
    </span>
  `;
}

/**
 * @param {object} props
 * @param {Record<string, string>} props.filters
 * @param {{name: string, why: string} | null} props.wrong
 * @param {(changes: Record<string, string | null>) => void} props.onChange
 */
function Filters({ filters, wrong, onChange }) {
  /** @param {string} name */
  const shared = (name) => ({
    value: filters[name] ?? '',
    onChange: (/** @type {string} */ value) => onChange({ [name]: value || null }),
    error: wrong?.name === name ? wrong.why : undefined,
  });
  return html`
    <${Chips} label="Filters">
      <${KeyChip} ...${shared('key')} />
      <${ChoiceChip} label="Decision" choices=${DECISION_CHOICES} ...${shared('decision')} />
      ${filters.reason && html`<${ChoiceChip} label="Reason" choices=${REASON_CHOICES} ...${shared('reason')} />`}
      <${TextChip} label="Status" size=${8} placeholder="4xx, 404" suggestions=${STATUSES} ...${shared('status')} />
      <${ChoiceChip} label="Method" choices=${METHODS} ...${shared('method')} />
      <${TextChip} label="Path" size=${12} placeholder="/v1/*" ...${shared('path')} />
      ${filters.client && html`<${TextChip} label="Client" size=${14} ...${shared('client')} />`}
      <${ChoiceChip} label="Since" none="any time" choices=${SINCE} ...${shared('since')} />
      ${filters.until && html`<${TextChip} label="Until" size=${20} ...${shared('until')} />`}
      ${filters.request_id && html`<${TextChip} label="Request id" size=${20} ...${shared('request_id')} />`}
      <${TextChip} label="Search" size=${12} placeholder="any text" shortcut="search" ...${shared('search')} />
    <//>
    ${wrong && html`<p class="bad" role="alert">${sentence(plain(wrong.name))}: ${wrong.why}</p>`}
  `;
}

/**
 * The address holds the id, which survives a rename; the chip shows the name.
 * @param {{value: string, onChange: (value: string) => void}} props
 */
function KeyChip({ value, onChange }) {
  const id = useId();
  const [known, setKnown] = useState({ id: '', name: '' });
  const unknown = value && value !== known.id;
  const { data } = useQuery(unknown ? `key name ${value}` : null, (signal) => keyName(value, signal));
  const name = value === known.id ? known.name : (data ?? value);
  /** @param {{id: string, name: string} | null} key */
  const choose = (key) => {
    if (key) setKnown(key);
    onChange(key?.id ?? '');
  };
  return html`
    <${Chip} label="Key" control=${id} on=${Boolean(value)} onClear=${() => onChange('')}>
      <${KeyPicker} id=${id} value=${name} free onChoose=${choose} />
    <//>
  `;
}

/** @param {string} id @param {AbortSignal} signal @returns {Promise<string>} */
async function keyName(id, signal) {
  try {
    return (await get(keyPath(id), {}, { signal })).data.name;
  } catch {
    // A name, or the id of a key that was deleted.
    return id;
  }
}

/** What could not be read. @param {{feed: Feed}} props */
function LogNotes({ feed }) {
  if (!feed.skipped && !feed.unreadable.length) return null;
  return html`
    <${Banner} kind="warning">
      ${feed.skipped > 0 && html`<span>Could not be read and is left out: ${counted(feed.skipped, 'line')} of the log.</span>`}
      ${feed.unreadable.map(
        ({ file, why }) => html`<span key=${file}><code>${file}</code> could not be read: ${why}</span>`,
      )}
    <//>
  `;
}

/** @param {{filtered: boolean, onClear: () => void}} props */
const Nothing = ({ filtered, onClear }) =>
  filtered
    ? html`<${Empty} title="No transaction matches" text="Other filters may find what you look for."
        action=${html`<button type="button" class="button" onClick=${onClear}>Clear filters</button>`} />`
    : html`<${Empty} title="No requests yet"
        text="Every request that goes through keygate appears here, with what became of it and why."
        action=${html`<a class="button primary" href=${href('/try')}>Send a request</a>`} />`;

/**
 * @param {object} props
 * @param {Feed} props.feed
 * @param {boolean} props.live
 * @param {string | null} props.open  the request id that is open
 * @param {import('../lib.js').Child} props.empty
 * @param {any} props.wrong  the filters are: there is nothing to retry
 */
function List({ feed, live, open, empty, wrong }) {
  const panel = useRef(/** @type {HTMLElement | null} */ (null));
  const pause = usePause(feed);
  const show = () => {
    feed.release();
    scrollTo({ top: 0 });
    // The button is gone.
    panel.current?.focus({ preventScroll: true });
  };
  if (wrong && !feed.begun) return null;
  if (!feed.begun && feed.error) return html`<${ErrorNote} error=${feed.error} onRetry=${() => feed.restart()} />`;
  if (!feed.begun) return html`<div class="panel"><${Skeleton} rows=${12} /></div>`;
  return html`
    <div class="panel log" tabindex="-1" ref=${panel} ...${pause}>
      <p class="log-waiting" role="status">
        ${live &&
        feed.waitingCount > 0 &&
        html`<button type="button" class="button" onClick=${show}>Show ${number(feed.waitingCount)} new</button>`}
      </p>
      ${feed.records.length > 0
        ? html`<${Rows} records=${feed.records} open=${open} />`
        : !feed.hasOlder && !feed.busy && empty}
      ${feed.error && html`<${ErrorNote} error=${feed.error} onRetry=${() => feed.older()} />`}
      <${Older} feed=${feed} />
    </div>
  `;
}

/**
 * What is new waits while somebody reads: the pointer or the focus is in the list, or the page is scrolled.
 * @param {Feed} feed
 */
function usePause(feed) {
  const reasons = useRef({ pointer: false, focus: false, scroll: false });
  /** @param {Partial<typeof reasons.current>} change */
  const set = useCallback(
    (change) => {
      Object.assign(reasons.current, change);
      const { pointer, focus, scroll } = reasons.current;
      feed.pause(pointer || focus || scroll);
    },
    [feed],
  );
  useEffect(() => {
    const look = () => set({ scroll: scrollY > SCROLLED });
    look();
    addEventListener('scroll', look, { passive: true });
    return () => removeEventListener('scroll', look);
  }, [set]);
  return useMemo(
    () => ({
      onPointerEnter: (/** @type {PointerEvent} */ event) => event.pointerType === 'mouse' && set({ pointer: true }),
      onPointerLeave: () => set({ pointer: false }),
      // In small letters: Preact would not know these events otherwise.
      onfocusin: (/** @type {FocusEvent} */ { target, currentTarget }) => set({ focus: target !== currentTarget }),
      onfocusout: (/** @type {FocusEvent & {currentTarget: Element}} */ { relatedTarget, currentTarget }) => {
        const within = relatedTarget instanceof Node && currentTarget.contains(relatedTarget);
        if (!within) set({ focus: false });
      },
    }),
    [set],
  );
}

/** @param {{records: Transaction[], open: string | null}} props */
function Rows({ records, open }) {
  return html`
    <table class="cards log-table">
      <thead>
        <tr>
          <th scope="col">Request</th>
          <th scope="col">Decision</th>
          <th scope="col" class="number">Status</th>
          <th scope="col">Key</th>
          <th scope="col" class="aside">Client</th>
          <th scope="col" class="number aside">Took</th>
          <th scope="col">Time</th>
        </tr>
      </thead>
      <tbody>
        ${records.map((record) => {
          const opened = open === record.request_id;
          return html`<${Row} key=${identity(record)} record=${record} open=${opened} search=${location.search} />`;
        })}
      </tbody>
    </table>
  `;
}

/**
 * A row. There are many, and they come quickly: one that shows the same is not drawn again.
 * @typedef {{record: Transaction, open: boolean, search: string}} RowProps
 * @extends {Component<RowProps>}
 */
class Row extends Component {
  /** @param {RowProps} next */
  shouldComponentUpdate(next) {
    const { record, open, search } = this.props;
    return next.record !== record || next.open !== open || next.search !== search;
  }

  /** @param {RowProps} props */
  render({ record, open, search }) {
    const { method, path, query, request_id, reason, status, key_id, key_name, client_ip, lost } = record;
    const opened = new URLSearchParams(search);
    opened.set('open', request_id);
    /**
     * The whole row opens, except where a text is selected or something else is meant.
     * @param {MouseEvent & {target: Element}} event
     */
    const click = ({ target }) => {
      if (!target.closest('a, button') && getSelection()?.isCollapsed !== false) setQuery({ open: request_id });
    };
    return html`
      ${lost &&
      html`
        <tr class="log-lost">
          <td colspan="7" class="warn">${counted(lost, 'transaction')} before this could not be written</td>
        </tr>
      `}
      <tr class=${classes('log-row', open && 'log-open')} onClick=${click}>
        <th scope="row">
          <a class="clip" href=${href('/transactions', opened)} aria-current=${open ? 'true' : undefined} title=${path}>
            <code><b>${method ?? '–'}</b> ${path}${query && html`<span class="muted">?${query}</span>`}</code>
          </a>
        </th>
        <td data-label="Decision">
          <span class="log-outcome">
            <${Decision} decision=${record.decision} />
            ${reason && html`<small class="muted">${reasonText(reason)}</small>`}
          </span>
        </td>
        <td data-label="Status" class="number"><${StatusCode} status=${status} /></td>
        <td data-label="Key">
          ${key_id
            ? html`<a class="clip" href=${href(keyPath(key_id))}>${key_name ?? key_id}</a>`
            : html`<span class="muted">none</span>`}
        </td>
        <td data-label="Client" class="aside"><code>${client_ip ?? 'unix'}</code></td>
        <td data-label="Took" class="number aside">${duration(record.duration_us)}</td>
        <td data-label="Time"><${Time} value=${record.time} /></td>
      </tr>
    `;
  }
}

/** @param {{feed: Feed}} props */
function Older({ feed }) {
  const searched = feed.searchedTo && html`searched back to <${Time} value=${feed.searchedTo} full />`;
  return html`
    <p class="log-end">
      <span title="Other replicas record their own">
        ${counted(feed.records.length, 'transaction')} of this instance${searched && html`, ${searched}`}
      </span>
      ${feed.busy
        ? html`<button type="button" class="button" onClick=${() => feed.stop()}>Stop searching</button>`
        : feed.hasOlder && html`<button type="button" class="button" onClick=${() => feed.older()}>Load older</button>`}
      ${!feed.busy && !feed.hasOlder && feed.records.length > 0 && html`<span>That is all that is recorded.</span>`}
    </p>
  `;
}
