// The page of one key: what it is, what it may do, how it was used, its latest transactions and its history.

import { ApiError, expected, get, keyPath, patch } from '../api.js';
import { h, html, useState } from '../lib.js';
import { StackedChart, keySeries } from '../parts/chart.js';
import { CopyButton } from '../parts/copy.js';
import { counted } from '../parts/figures.js';
import { EditInPlace } from '../parts/edit-in-place.js';
import { fieldErrors } from '../parts/field.js';
import { Icon } from '../parts/icon.js';
import { KeyStatus } from '../parts/key-status.js';
import { Menu } from '../parts/menu.js';
import { Decision, StatusCode, reasonText } from '../parts/outcome.js';
import { Empty, ErrorNote, Skeleton } from '../parts/states.js';
import { Page } from '../parts/table.js';
import { Time, bytes, duration, number } from '../parts/time.js';
import { href, navigate } from '../router.js';
import { useQuery } from '../store.js';
import { KEY_FIELDS, NO_COPY, tokenOf, useKeyActions } from './key-actions.js';

/** @typedef {import('../types.js').Key} Key */

/** @param {{params: {id: string}}} props */
export default function KeyPage({ params: { id } }) {
  const { data, error, reload } = useQuery(
    `key ${id}`,
    async (signal) => {
      const answer = await get(keyPath(id), {}, { signal });
      return { key: /** @type {Key} */ (expected(answer.data, KEY_FIELDS)), etag: answer.etag };
    },
    { every: 3000 },
  );
  const key = data?.key;
  const [naming, setNaming] = useState(false);
  /** What was seen when the editing began. */
  const [seen, setSeen] = useState(data);
  const actions = useKeyActions({ onChanged: reload, onDeleted: () => navigate('/keys') });

  if (error?.code === 'key_not_found') return html`<${Gone} id=${id} name=${key?.name} />`;
  if (!key) {
    return html`<${Page} title="API key">
      ${error
        ? html`<${ErrorNote} error=${error} onRetry=${reload} />`
        : html`<section class="panel"><${Skeleton} rows=${8} /></section>`}
    <//>`;
  }
  /** @param {'name' | 'description'} field */
  const saving = (field) => async (/** @type {string} */ value, /** @type {boolean} */ over) => {
    const etag = (over ? data : seen)?.etag || '*';
    try {
      await patch(keyPath(id), { [field]: value || null }, { headers: { 'if-match': etag } });
      await reload();
      return {};
    } catch (caught) {
      if (!(caught instanceof ApiError) || caught.code !== 'stale') {
        const { fields, rest } = fieldErrors(caught, [field]);
        return { error: fields[field] || rest };
      }
      const fresh = await get(keyPath(id));
      await reload();
      if ((fresh.data[field] || '') !== (seen?.key[field] || '')) return { theirs: fresh.data[field] || '' };
      // Something else of it has changed, which this does not touch.
      await patch(keyPath(id), { [field]: value || null }, { headers: { 'if-match': fresh.etag || '*' } });
      await reload();
      return {};
    }
  };
  const begin = (/** @type {boolean} */ editing) => editing && setSeen(data);
  const beginName = (/** @type {boolean} */ editing) => {
    setNaming(editing);
    begin(editing);
  };
  const copy = () => /** @type {HTMLElement | null} */ (document.querySelector('.key-copy button'))?.click();
  const buttons = html`<div class="buttons">
    <button type="button" class="button" onClick=${() => actions.show('edit', key)}><${Icon} name="edit" />Edit</button>
    <${Menu} label="More actions" class="button icon-only" items=${actions.items(key, { copy })} />
  </div>`;
  const name = html`<${EditInPlace} label="Name" value=${key.name} onSave=${saving('name')} onEditing=${beginName} />`;
  const description = html`<${EditInPlace}
    label="Description" multiline value=${key.description || ''} onSave=${saving('description')} onEditing=${begin}
  />`;
  return html`<nav class="small crumbs" aria-label="Breadcrumb">
      <a href=${href('/keys')}>API Keys</a><span aria-hidden="true">/</span><code>${key.id}</code>
    </nav>
    <${Page} title=${key.name} instead=${naming} actions=${buttons} beside=${name}>
    ${error && html`<${ErrorNote} error=${error} onRetry=${reload} />`}
    <div class="halves">
      <section class="panel" aria-labelledby="about">
        <header><h2 id="about">Key</h2><${KeyStatus} of=${key} /></header>
        <${About} of=${key} actions=${actions} description=${description} />
      </section>
      <section class="panel" aria-labelledby="rules">
        <header><h2 id="rules">Rules</h2></header>
        <${Rules} of=${key} />
      </section>
    </div>
    <${Requests} of=${key} />
    <${Latest} of=${key} />
    <${History} of=${key} />
    ${actions.dialog}
  <//>`;
}

/** A key that is not there, or not any more. @param {{id: string, name?: string}} props */
const Gone = ({ id, name }) =>
  html`<${Page} title="No such key">
    <section class="panel">
      <${Empty}
        title=${name ? `${name} was deleted` : 'There is no key at this address'}
        text="Its transactions are still in the log."
        action=${html`<span class="buttons">
          <a class="button" href=${href('/keys')}>API Keys</a>
          <a class="button" href=${href('/transactions', { key: id })}>Its transactions</a>
        </span>`}
      />
    </section>
  <//>`;

/** Each in a box of its own; none: in a word. @param {{list: string[], none: string, code?: boolean}} props */
function Tags({ list, none, code = false }) {
  if (!list.length) return html`<span class="muted">${none}</span>`;
  return html`<span class="tags">${list.map((one) => h(code ? 'code' : 'span', { class: 'tag', key: one }, one))}</span>`;
}

/** @param {{of: Key, actions: ReturnType<typeof useKeyActions>, description: import('../lib.js').Child}} props */
function About({ of: key, actions, description }) {
  const tags = Object.entries(key.tags || {}).map(([name, value]) => (value ? `${name}=${value}` : name));
  const noCopy = key.copy === 'none';
  return html`<dl class="facts inset">
    <dt>Description</dt>
    <dd class="described">
      <span class="text">${key.description || html`<span class="muted">none</span>`}</span>${description}
    </dd>
    <dt>Key</dt>
    <dd class="key-copy">
      <code>${key.mask || '–'}</code>
      <${CopyButton}
        iconOnly label="Copy to clipboard" getText=${() => tokenOf(key)} why=${noCopy ? NO_COPY : undefined}
        onRefused=${() => actions.show('no-copy', key)}
      />
    </dd>
    ${noCopy &&
    html`<dt>Copy</dt>
      <dd>
        No copy was kept.${' '}
        <button type="button" class="link" onClick=${() => actions.show('rotate', key)}>Rotate</button> to get a new token.
      </dd>`}
    ${key.copy === 'file' && html`<dt>Copy</dt><dd>The token stands in the key file in clear.</dd>`}
    <dt>Id</dt><dd><code>${key.id}</code></dd>
    <dt>Created</dt><dd><${Time} value=${key.created_at} never="–" /></dd>
    <dt>Last used</dt><dd><${Time} value=${key.last_used_at} /></dd>
    ${key.not_before && html`<dt>Valid from</dt><dd><${Time} value=${key.not_before} full /></dd>`}
    <dt>Expires</dt><dd><${Time} value=${key.expires_at} never="never" /></dd>
    ${(key.previous || []).map(
      (old) => html`<dt>Old token</dt><dd>passes until <${Time} value=${old.expires_at} full /></dd>`,
    )}
    <dt>Tags</dt><dd><${Tags} list=${tags} none="none" /></dd>
  </dl>`;
}

/** @param {{of: Key}} props */
const Rules = ({ of: { allow, record } }) =>
  html`<dl class="facts inset">
    <dt>Paths</dt><dd><${Tags} list=${allow?.paths || []} none="all" code /></dd>
    <dt>Methods</dt><dd><${Tags} list=${allow?.methods || []} none="all" code /></dd>
    <dt>Networks</dt><dd><${Tags} list=${allow?.networks || []} none="all" code /></dd>
    <dt>Recorded</dt><dd>${record ? 'yes, in Transactions' : 'no: its requests are only counted'}</dd>
  </dl>`;

/** @param {{of: Key}} props */
function Requests({ of: key }) {
  const { data, error, reload } = useQuery(
    `usage ${key.id}`,
    async (signal) => {
      const { data: usage } = await get(`${keyPath(key.id)}/usage`, {}, { signal });
      return /** @type {import('../types.js').Usage} */ (expected(usage, { series: 'object' }));
    },
    { every: 5000 },
  );
  const reasons = Object.entries(data?.refused_by_reason || {}).filter(([, times]) => times > 0);
  return html`<section class="panel" aria-labelledby="requests">
    <header><h2 id="requests">Requests</h2><span class="muted small">last 24 hours, this instance only</span></header>
    ${error && html`<${ErrorNote} error=${error} onRetry=${reload} />`}
    ${!data && !error && html`<${Skeleton} rows=${6} />`}
    ${data &&
    html`<div class="inset form">
      <dl class="figures-row">
        <div><dt>Requests</dt><dd>${number(data.requests_total)}</dd></div>
        <div><dt>Refused</dt><dd>${number(data.refused_total)}</dd></div>
        <div><dt>Failed</dt><dd>${number(data.failed_total)}</dd></div>
        <div><dt>p95 latency</dt><dd>${duration(data.latency?.p95_us)}</dd></div>
        <div><dt>Data in</dt><dd>${bytes(data.request_bytes)}</dd></div>
        <div><dt>Data out</dt><dd>${bytes(data.response_bytes)}</dd></div>
      </dl>
      <p class="small muted">
        Totals since <${Time} value=${data.since} />
        ${data.rebuilding && '; the log is still being read'}
        ${data.lost > 0 && `; ${counted(data.lost, 'request')} missing`}.
      </p>
      <${StackedChart}
        label=${`Requests of ${key.name}`} series=${keySeries(data.series)} start=${data.series.start}
        stepSeconds=${data.series.step_seconds}
      />
      ${reasons.length > 0 &&
      html`<p class="small">
        Refused:
        ${reasons.map(
          ([reason, times], place) =>
            html`${place ? ', ' : ' '}<a href=${href('/transactions', { key: key.id, reason })}>${reasonText(reason)} ${number(times)}</a>`,
        )}
      </p>`}
    </div>`}
  </section>`;
}

/** @param {{of: Key}} props */
function Latest({ of: key }) {
  const { data, error, reload } = useQuery(
    `latest ${key.id}`,
    async (signal) => {
      const { data: page } = await get('/transactions', { key: key.id, limit: 10 }, { signal });
      return /** @type {import('../types.js').Transactions} */ (expected(page, { transactions: 'array' }));
    },
    { every: 3000 },
  );
  const rows = data?.transactions || [];
  return html`<section class="panel" aria-labelledby="latest">
    <header>
      <h2 id="latest">Latest transactions</h2>
      <a class="small" href=${href('/transactions', { key: key.id })}>Show all</a>
    </header>
    ${error && html`<${ErrorNote} error=${error} onRetry=${reload} />`}
    ${!data && !error && html`<${Skeleton} rows=${4} />`}
    ${data && !rows.length && html`<${Empty}
      title="No transactions"
      text=${data.recording === false ? 'Recording is off (transactions.enabled).' : 'Requests with this key appear here.'}
      action=${html`<a class="button" href=${href('/try', { key: key.id })}>Try it</a>`}
    />`}
    ${rows.length > 0 &&
    html`<table class="cards">
      <thead>
        <tr>
          <th scope="col">Time</th>
          <th scope="col">Request</th>
          <th scope="col">Decision</th>
          <th scope="col" class="number">Status</th>
          <th scope="col" class="number">Time taken</th>
        </tr>
      </thead>
      <tbody>
        ${rows.map(
          (row) => html`<tr key=${row.request_id + row.time}>
            <td data-label="Time"><${Time} value=${row.time} /></td>
            <th scope="row">
              <a class="mono" href=${href('/transactions', { key: key.id, open: row.request_id })}>
                ${row.method || '–'} ${row.path || ''}
              </a>
            </th>
            <td data-label="Decision"><${Decision} decision=${row.decision} /></td>
            <td data-label="Status" class="number"><${StatusCode} status=${row.status} /></td>
            <td data-label="Time taken" class="number">${duration(row.duration_us)}</td>
          </tr>`,
        )}
      </tbody>
    </table>`}
  </section>`;
}

/** @type {Record<string, string>} */
const ACTIONS = {
  'key.created': 'Created',
  'key.changed': 'Changed',
  'key.rotated': 'Rotated',
  'key.deleted': 'Deleted',
  'key.copied': 'Copied',
  'request.tried': 'Tried',
  'keys.imported': 'Imported',
};
/** @type {Record<string, string>} */
const ACTORS = { file: 'the key file', shell: 'a shell', setup: 'setup' };

/** @param {import('../types.js').AuditEvent['actor'] | undefined} actor */
const actorText = (actor) => actor?.name || ACTORS[actor?.kind || ''] || actor?.kind || 'unknown';

/** @param {{of: Key}} props */
function History({ of: key }) {
  const { data, error, reload } = useQuery(
    `history ${key.id}`,
    async (signal) => {
      const { data: page } = await get('/audit', { key: key.id, limit: 20 }, { signal });
      return /** @type {import('../types.js').Events} */ (expected(page, { events: 'array' }));
    },
    { every: 10_000 },
  );
  const events = data?.events || [];
  const skipped = data?.skipped || 0;
  return html`<section class="panel" aria-labelledby="history">
    <header><h2 id="history">History</h2></header>
    ${error && html`<${ErrorNote} error=${error} onRetry=${reload} />`}
    ${!data && !error && html`<${Skeleton} rows=${3} />`}
    ${data && !events.length && html`<p class="inset muted">Nothing was noted of this key yet.</p>`}
    ${events.length > 0 &&
    html`<ol class="history inset">
      ${events.map(
        (event) => html`<li key=${event.time + event.action}>
          <span>
            <strong>${ACTIONS[event.action] || event.action}</strong> by ${actorText(event.actor)}
            ${event.detail && html` <span class="muted">${event.detail}</span>`}
          </span>
          <span class="muted small"><${Time} value=${event.time} /></span>
          <${Changes} before=${event.before} after=${event.after} />
        </li>`,
      )}
    </ol>`}
    ${skipped > 0 && html`<p class="inset small muted">${counted(skipped, 'line')} of the audit log could not be read.</p>`}
  </section>`;
}

/** What changed, field by field. @param {{before?: Record<string, unknown>, after?: Record<string, unknown>}} props */
function Changes({ before = {}, after = {} }) {
  const fields = [...new Set([...Object.keys(before || {}), ...Object.keys(after || {})])];
  if (!fields.length || !Object.keys(before || {}).length) return null;
  /** @param {unknown} value */
  const text = (value) => {
    const known = value ?? 'nothing';
    return typeof known === 'string' ? known : JSON.stringify(known);
  };
  return html`<ul class="changes small">
    ${fields.map((field) => html`<li key=${field}><code>${field}</code>: ${text(before[field])} → ${text(after[field])}</li>`)}
  </ul>`;
}
