// Dashboard: how much goes through keygate, what is refused and why, and which keys want attention; from here to every
// area. The numbers are those of this instance. Not for: single requests, which are Transactions.

import { get, keyPath } from '../api.js';
import { html, useId, useMemo } from '../lib.js';
import { Banner } from '../parts/banner.js';
import { StackedChart, bins, decisionSeries } from '../parts/chart.js';
import { counted, share } from '../parts/figures.js';
import { Icon } from '../parts/icon.js';
import { reasonText } from '../parts/outcome.js';
import { Spark } from '../parts/spark.js';
import { Empty, ErrorNote, Skeleton } from '../parts/states.js';
import { Page } from '../parts/table.js';
import { Time, duration, number } from '../parts/time.js';
import { href, setQuery } from '../router.js';
import { status, useQuery, useStore } from '../store.js';

/** @typedef {import('../types.js').AllUsage} AllUsage */
/** @typedef {import('../types.js').Transaction} Transaction */

const EVERY_MS = 10_000;
const SPAN_MINUTES = 1_440;
/** A key that expires within this is worth a look. */
const SOON_MS = 30 * 86_400_000;
const SHADOW_PAGE = 200;
const ROWS = 5;

/** The spans of the chart, by their name in the address. @type {Record<string, [string, number]>} */
const SPANS = { '1h': ['1 hour', 60], '6h': ['6 hours', 360], '24h': ['24 hours', SPAN_MINUTES] };

/** @param {{query: URLSearchParams}} props */
export default function Dashboard({ query }) {
  const { data, error, reload } = useQuery('usage', readUsage, { every: EVERY_MS });
  const actions = html`<span class="help" title="Other replicas count their own requests">This instance only</span>`;
  return html`
    <${Page} title="Dashboard" actions=${actions}>
      ${error && html`<${ErrorNote} error=${error} onRetry=${reload} />`}
      ${!data && !error && html`<${Loading} />`}
      ${data && html`<${data.requests_total > 0 ? Filled : Fresh} usage=${data} query=${query} />`}
      <${Shortcuts} />
    <//>
  `;
}

/** @param {AbortSignal} signal @returns {Promise<AllUsage>} */
const readUsage = async (signal) => (await get('/usage', { minutes: SPAN_MINUTES }, { signal })).data;

const Loading = () => html`
  <div class="figures">
    ${[1, 2, 3, 4].map((place) => html`<div key=${place} class="panel figure"><${Skeleton} rows=${3} /></div>`)}
  </div>
  <div class="panel"><${Skeleton} rows=${8} /></div>
`;

/** Before the first request. @param {{usage: AllUsage}} props */
const Fresh = ({ usage }) => html`
  <${Notes} usage=${usage} />
  <div class="panel">
    <${Empty}
      title="No requests yet"
      text=${'As soon as the first request goes through keygate, its numbers are here: ' +
      'how many, how fast, and what was refused.'}
      action=${html`<a class="button primary" href=${href('/try')}>Send a request</a>`} />
  </div>
  <${Expiring} />
`;

/** @param {{usage: AllUsage, query: URLSearchParams}} props */
function Filled({ usage, query }) {
  const shadow = usage.by_decision.would_refuse > 0;
  const reasons = html`<${Reasons} reasons=${usage.by_reason} since=${usage.since} />`;
  return html`
    <${Notes} usage=${usage} />
    <${Figures} usage=${usage} />
    <${Requests} usage=${usage} query=${query} />
    <div class="halves">
      <div>
        <${TopKeys} keys=${usage.top_keys} />
        <${Expiring} />
        ${shadow && reasons}
      </div>
      <div>${shadow ? html`<${Shadow} usage=${usage} />` : reasons}</div>
    </div>
  `;
}

/** What one must know to read the numbers. @param {{usage: AllUsage}} props */
const Notes = ({ usage: { rebuild, lost } }) => html`
  ${rebuild.running &&
  html`
    <${Banner} kind="info">
      The log of earlier is being read, ${share(rebuild.bytes_done, rebuild.bytes_total)} so far: the numbers grow.
    <//>
  `}
  ${lost > 0 &&
  html`
    <${Banner} kind="warning">
      ${counted(lost, 'request')} ${lost === 1 ? 'is' : 'are'} missing from these numbers: the log could not keep up.
    <//>
  `}
`;

const OTHER_STATES = /** @type {const} */ (['disabled', 'not_yet_valid', 'expired']);

/** @param {{usage: AllUsage}} props */
function Figures({ usage }) {
  const keys = useStore(status)?.keys;
  const { series, latency } = usage;
  const requests = sum(series.requests);
  const refused = sum(series.refused);
  const most = (/** @type {number | null} */ before, /** @type {number} */ value) => Math.max(before ?? 0, value);
  const day = useMemo(() => {
    const { join } = bins(series.start, series.step_seconds, series.requests.length);
    return {
      requests: join(series.requests),
      refused: join(series.refused),
      p95: join(series.p95_us, most),
      keys: join(series.active_keys, most),
    };
  }, [series]);
  const others = OTHER_STATES.filter((state) => keys && keys[state] > 0)
    .map((state) => `${number(keys?.[state])} ${state.replaceAll('_', ' ')}`)
    .join(', ');
  return html`
    <div class="figures">
      <${Figure}
        title="Requests"
        value=${number(requests)}
        note="in the last 24 hours"
        values=${day.requests}
        spark="Requests in each half hour of the last 24"
        to=${href('/transactions', { since: '24h' })}
      />
      <${Figure}
        title="Refused"
        value=${number(refused)}
        note=${`${share(refused, requests)} of all`}
        values=${day.refused}
        tone="bad"
        spark="Refused requests in each half hour of the last 24"
        to=${href('/transactions', { since: '24h', decision: 'refused' })}
      />
      <${Figure}
        title="p95 latency"
        value=${duration(latency.p95_us)}
        note=${`median ${duration(latency.p50_us)}, p99 ${duration(latency.p99_us)}`}
        values=${day.p95}
        spark="p95 of the slowest minute in each half hour of the last 24"
        to=${href('/transactions')}
      />
      <${Figure}
        title="Active keys"
        value=${number(keys?.active)}
        note=${others || (keys ? `of ${number(keys.total)}` : '')}
        values=${day.keys}
        spark="Most keys that were used in one minute, in each half hour of the last 24"
        to=${href('/keys')}
      />
    </div>
  `;
}

/**
 * @param {object} props
 * @param {string} props.title
 * @param {string} props.value
 * @param {string} props.note
 * @param {(number | null)[]} props.values
 * @param {string} props.spark  what the bars show
 * @param {string} props.to
 * @param {string} [props.tone]
 */
const Figure = ({ title, value, note, values, spark, to, tone }) => html`
  <section class="panel figure" aria-label=${title}>
    <h2><a href=${to}>${title}</a></h2>
    <p class="figure-value">${value}</p>
    <p class="help">${note}</p>
    <div class=${tone ?? ''} title=${spark}><${Spark} values=${values} label=${spark} /></div>
  </section>
`;

/** @param {{usage: AllUsage, query: URLSearchParams}} props */
function Requests({ usage: { series }, query }) {
  const id = useId();
  const name = query.get('span') ?? '24h';
  const [, minutes] = SPANS[name] ?? SPANS['24h'];
  const part = useMemo(() => lastMinutes(series, minutes), [series, minutes]);
  return html`
    <section class="panel" aria-labelledby=${id}>
      <header>
        <h2 id=${id}>Requests by decision</h2>
        <div class="segments" role="group" aria-label="Time shown">
          ${Object.entries(SPANS).map(
            ([span, [text, length]]) => html`
              <button key=${span} type="button" aria-pressed=${length === minutes ? 'true' : 'false'}
                onClick=${() => setQuery({ span: span === '24h' ? null : span }, { replace: true })}>${text}</button>
            `,
          )}
        </div>
      </header>
      <div class="padded">
        <${StackedChart}
          label="Requests by decision"
          series=${part.series}
          start=${part.start}
          stepSeconds=${series.step_seconds}
        />
      </div>
    </section>
  `;
}

/** @param {AllUsage['series']} series @param {number} minutes */
function lastMinutes(series, minutes) {
  const from = Math.max(0, series.requests.length - minutes);
  const layers = decisionSeries(series).map((layer) => ({ ...layer, values: layer.values.slice(from) }));
  const start = new Date(Date.parse(series.start) + from * series.step_seconds * 1_000).toISOString();
  return { series: layers, start };
}

/**
 * @param {object} props
 * @param {string} props.title
 * @param {import('../lib.js').Child} [props.more]
 * @param {import('../lib.js').Child} props.children
 */
function Part({ title, more, children }) {
  const id = useId();
  return html`
    <section class="panel" aria-labelledby=${id}>
      <header><h2 id=${id}>${title}</h2>${more}</header>
      ${children}
    </section>
  `;
}

/**
 * Names with a bar for how much each has.
 * @param {{rows: {id: string, name: import('../lib.js').Child, value: number, to?: string, note?: string}[]}} props
 */
function Bars({ rows }) {
  const most = Math.max(1, ...rows.map(({ value }) => value));
  return html`
    <ul class="bars">
      ${rows.map(
        ({ id, name, value, to, note }) => html`
          <li key=${id}>
            <span class="bars-fill" style=${{ width: `${(value / most) * 100}%` }} aria-hidden="true"></span>
            ${to ? html`<a class="clip" href=${to}>${name}</a>` : html`<span class="clip">${name}</span>`}
            <span>${note && html`<small class="muted">${note} </small>`}${number(value)}</span>
          </li>
        `,
      )}
    </ul>
  `;
}

/** @param {{keys: AllUsage['top_keys']}} props */
const TopKeys = ({ keys }) => html`
  <${Part} title="Top keys" more=${html`<span class="help">last 24 hours</span>`}>
    ${keys.length
      ? html`<${Bars} rows=${keys.slice(0, ROWS).map(({ id, name, requests, refused }) => ({
          id,
          name,
          value: requests,
          note: refused ? `${number(refused)} refused,` : '',
          to: href(keyPath(id)),
        }))} />`
      : html`<p class="padded muted">No key was used.</p>`}
  <//>
`;

function Expiring() {
  const { data, error, reload } = useQuery('keys that expire', readExpiring, { every: 60_000 });
  const all = html`<a class="help" href=${href('/keys', { sort: 'expires_at' })}>all by date</a>`;
  return html`
    <${Part} title="Keys that expire soon" more=${all}>
      ${error && html`<${ErrorNote} error=${error} onRetry=${reload} />`}
      ${!data && !error && html`<${Skeleton} rows=${3} />`}
      ${data &&
      (data.length
        ? html`
            <ul class="rows">
              ${data.map(
                (/** @type {any} */ key) => html`
                  <li key=${key.id}>
                    <a class="clip" href=${href(keyPath(key.id))}>${key.name}</a>
                    <span class="warn"><${Time} value=${key.expires_at} /></span>
                  </li>
                `,
              )}
            </ul>
          `
        : html`<p class="padded muted">No key expires in the next 30 days.</p>`)}
    <//>
  `;
}

/** @param {AbortSignal} signal */
async function readExpiring(signal) {
  const { data } = await get('/keys', { sort: 'expires_at', status: 'active', limit: ROWS }, { signal });
  const until = Date.now() + SOON_MS;
  return data.keys.filter((/** @type {any} */ key) => key.expires_at && Date.parse(key.expires_at) < until);
}

/** @param {{reasons: Record<string, number>, since: string}} props */
const Reasons = ({ reasons, since }) => html`
  <${Part}
    title="Refused and failed, by reason"
    more=${html`<span class="help">since <${Time} value=${since} full /></span>`}
  >
    ${Object.keys(reasons).length
      ? html`<${Bars} rows=${byReason(reasons)} />`
      : html`<p class="padded muted">Nothing was refused and nothing failed.</p>`}
  <//>
`;

/** @param {Record<string, number>} reasons @param {string} [decision] */
const byReason = (reasons, decision) =>
  Object.entries(reasons)
    .sort(([, one], [, other]) => other - one)
    .map(([reason, value]) => ({
      id: reason,
      name: reasonText(reason),
      value,
      to: href('/transactions', { reason, decision }),
    }));

/** In shadow mode: who would be locked out. @param {{usage: AllUsage}} props */
function Shadow({ usage }) {
  const { data, error, reload } = useQuery('would be refused', readShadow, { every: EVERY_MS });
  const all = html`<a class="help" href=${href('/transactions', { decision: 'would_refuse' })}>show all</a>`;
  return html`
    <${Part} title="Would be refused" more=${all}>
      <h3 class="bars-head">By reason</h3>
      <${Bars} rows=${byReason(usage.would_refuse_by_reason, 'would_refuse')} />
      <h3 class="bars-head">By client, of the last ${number(data?.count ?? SHADOW_PAGE)}</h3>
      ${error && html`<${ErrorNote} error=${error} onRetry=${reload} />`}
      ${!data && !error && html`<${Skeleton} rows=${3} />`}
      ${data && html`<${Bars} rows=${data.clients} />`}
    <//>
  `;
}

/** @param {AbortSignal} signal */
async function readShadow(signal) {
  const { data } = await get('/transactions', { decision: 'would_refuse', limit: SHADOW_PAGE }, { signal });
  /** @type {Map<string, number>} */
  const clients = new Map();
  for (const { client_ip = 'Unix socket' } of /** @type {Transaction[]} */ (data.transactions)) {
    clients.set(client_ip, (clients.get(client_ip) ?? 0) + 1);
  }
  const most = [...clients].sort(([, one], [, other]) => other - one).slice(0, ROWS);
  return {
    count: data.transactions.length,
    clients: most.map(([client, value]) => ({
      id: client,
      name: html`<code>${client}</code>`,
      value,
      to: client.includes(' ') ? undefined : href('/transactions', { decision: 'would_refuse', client }),
    })),
  };
}

/** @type {[string, string, string, import('../parts/icon.js').IconName][]} */
const AREAS = [
  ['/keys', 'API Keys', 'Make, copy, change and delete keys', 'keys'],
  ['/transactions', 'Transactions', 'Who called what, and why it was refused', 'transactions'],
  ['/try', 'Try it', 'Send a request with a key', 'try'],
  ['/status', 'Status', 'Files, revisions and errors', 'status'],
];

const Shortcuts = () => html`
  <nav class="shortcuts" aria-label="Shortcuts">
    ${AREAS.map(
      ([path, text, what, icon]) => html`
        <a key=${path} class="panel" href=${href(path)}>
          <${Icon} name=${icon} /><span><b>${text}</b><small class="muted">${what}</small></span>
        </a>
      `,
    )}
  </nav>
`;

/** @param {number[]} values */
const sum = (values) => values.reduce((all, value) => all + value, 0);
