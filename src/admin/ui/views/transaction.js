// One transaction, beside the list: why it ended as it did, the whole record, and the same request as `curl`. Fields
// that are new here are shown as they came. Not for: the list.

import { get, keyPath } from '../api.js';
import { Fragment, classes, html, sentence } from '../lib.js';
import { CopyButton } from '../parts/copy.js';
import { curl, tokenSource } from '../parts/curl.js';
import { Drawer } from '../parts/drawer.js';
import { counted } from '../parts/figures.js';
import { Icon } from '../parts/icon.js';
import { Decision, StatusCode, plain, reasonText } from '../parts/outcome.js';
import { ErrorNote, Skeleton } from '../parts/states.js';
import { Time, bytes, duration } from '../parts/time.js';
import { href } from '../router.js';
import { status, useQuery, useStore } from '../store.js';

/** @typedef {import('../types.js').Transaction} Transaction */
/** @typedef {{name: string, result: string, detail: string | null}} Check */

/** A request that was answered just now is in the log a moment later. */
const TRIES = 12;
const RETRY_MS = 250;

/** @param {string} id @param {AbortSignal} signal */
async function read(id, signal) {
  for (let tries = 1; tries <= TRIES; tries += 1) {
    const { data } = await get('/transactions', { request_id: id, limit: 1 }, { signal });
    // With a next page it may be further back, where the answer below looks.
    if (data.transactions.length || data.next_cursor) {
      return (await get(`/transactions/${encodeURIComponent(id)}`, {}, { signal })).data;
    }
    await new Promise((resolve) => setTimeout(resolve, RETRY_MS));
    if (signal.aborted) throw signal.reason;
  }
  throw new Error(`No transaction has the request id ${id}. It may be older than what is kept, or was not recorded.`);
}

/** @param {{id: string, onClose: () => void}} props */
export default function TransactionDrawer({ id, onClose }) {
  const { data, error, reload } = useQuery(`transaction ${id}`, (signal) => read(id, signal));
  const now = useStore(status);
  const record = /** @type {Transaction | undefined} */ (data?.transaction);
  const title = record ? html`<code>${record.method ?? '–'} ${record.path ?? ''}</code>` : 'Transaction';
  return html`
    <${Drawer}
      label="Transaction"
      title=${title}
      of=${id}
      onClose=${onClose}
      actions=${record && html`<${Actions} record=${record} now=${now} />`}
    >
      ${error && html`<${ErrorNote} error=${error} onRetry=${reload} />`}
      ${!record && !error && html`<${Skeleton} rows=${12} />`}
      ${record &&
      html`
        <p class="outcome-line">
          <${Decision} decision=${record.decision} />
          <span>status <${StatusCode} status=${record.status} /></span>
          <span>${duration(record.duration_us)}</span>
          <${Time} value=${record.time} />
        </p>
        <${Why} record=${record} checks=${data.checks ?? []} />
        <section class="drawer-part">
          <h3>Record</h3>
          <${Facts} record=${record} />
        </section>
        ${data.others > 0 &&
        html`
          <p class="help">
            ${counted(data.others, 'older record')} with this request id:
            <a href=${href('/transactions', { request_id: record.request_id })}>show all of them</a>
          </p>
        `}
      `}
    <//>
  `;
}

/** @param {{record: Transaction, now: any}} props */
function Actions({ record, now }) {
  const path = (record.path ?? '/') + (record.query ? `?${record.query}` : '');
  const again = { key: record.key_id, method: record.method, path };
  return html`
    <${CopyButton} label="Copy as curl" text=${asCurl(record, now)} />
    <a class="button" href=${href('/try', again)}>Try it</a>
    ${record.request_bytes > 0 &&
    html`<span class="help">Its body (${bytes(record.request_bytes)}) is not recorded.</span>`}
  `;
}

/** @param {Transaction} record @param {any} now  `GET /status` */
function asCurl(record, now) {
  const without = record.reason === 'missing_key' || record.decision === 'public' || record.decision === 'anonymous';
  return curl({
    method: record.method ?? 'GET',
    address: record.host ? `${record.scheme}://${record.host}` : (now?.proxy_addresses?.[0] ?? 'localhost'),
    path: (record.path ?? '/') + (record.query ? `?${record.query}` : ''),
    headers: record.user_agent ? [['User-Agent', record.user_agent]] : [],
    token: without ? null : tokenSource(now),
  });
}

/** @type {Record<string, string>} */
const CHECKS = {
  head: 'The request is well-formed',
  token_present: 'A token was sent',
  token_once: 'It was sent once',
  token_form: 'It has the form of a token',
  token_agreement: 'No other token contradicts it',
  key_known: 'A key has this token',
  key_enabled: 'The key is enabled',
  key_begun: 'The key is valid already',
  key_unexpired: 'The key has not expired',
  network: 'The key may be used from this address',
  method: 'The key may use this method',
  path: 'The key may use this path',
  body: 'The body is within its limits',
  upstream: 'The upstream answered',
  answer: 'The answer was sent whole',
};

/** @param {string} name */
const checkText = (name) => CHECKS[name] ?? plain(name);

/** @type {Record<string, [string, import('../parts/icon.js').IconName | null, string]>} */
const RESULTS = {
  passed: ['passed', 'check', 'ok'],
  failed: ['failed', 'close', 'bad'],
  would_fail: ['would fail', 'warning', 'warn'],
  not_reached: ['not reached', null, 'muted'],
  not_needed: ['not needed', null, 'muted'],
};

/**
 * The check that failed first in sight, then all of them in their order.
 * @param {{record: Transaction, checks: Check[]}} props
 */
function Why({ record, checks }) {
  const failed = checks.filter(({ result }) => result === 'failed' || result === 'would_fail');
  return html`
    <section class="drawer-part" aria-label="Why">
      <h3>Why</h3>
      ${failed.map(
        ({ name, result, detail }) => html`
          <div key=${name} class=${classes('banner', result === 'failed' ? 'danger' : 'warning')}>
            <${Icon} name="warning" />
            <div>
              <strong>${record.reason ? sentence(reasonText(record.reason)) : checkText(name)}</strong>
              ${detail && html`<span>${sentence(detail)}</span>`}
              ${record.hint && html`<span>${sentence(record.hint)}</span>`}
            </div>
          </div>
        `,
      )}
      ${!failed.length && html`<p class="muted">Nothing was against it.</p>`}
      <ol class="checks" aria-label="Checks">
        ${checks.map(({ name, result, detail }) => {
          const [word, icon, tone] = RESULTS[result] ?? [result, null, 'muted'];
          return html`
            <li key=${name} class=${classes(tone, icon === null && 'check-skipped')}>
              ${icon ? html`<${Icon} name=${icon} />` : html`<span class="check-none" aria-hidden="true"></span>`}
              <span class="check-name">
                ${checkText(name)}${detail && result === 'passed' && html` <small class="muted">${detail}</small>`}
              </span>
              <span class=${result === 'passed' ? 'unseen' : 'small'}>${word}</span>
            </li>
          `;
        })}
      </ol>
    </section>
  `;
}

/** @type {Record<string, string>} */
const ENDS = {
  complete: 'answer sent whole',
  client_gone: 'the client went away',
  upstream_cut: 'the upstream broke off',
  timeout: 'took too long',
  revoked: 'the key was revoked meanwhile',
};

/** @param {unknown} value */
const code = (value) => html`<code>${value}</code>`;

/** @param {string} value @param {string} label */
const copied = (value, label) => html`
  <span class="with-copy">${code(value)}<${CopyButton} text=${value} label=${label} iconOnly /></span>
`;

/**
 * The fields in their order, with their words; null: it is said elsewhere.
 * @type {Record<string, [string, (value: any, record: any) => any] | null>}
 */
const FIELDS = {
  time: ['Time', (value) => html`<${Time} value=${value} full />`],
  request_id: ['Request id', (value) => copied(value, 'Copy request id')],
  decision: null,
  reason: ['Reason', (value) => html`${reasonText(value)} ${code(value)}`],
  error: ['Error', sentence],
  status: null,
  end: ['End', (value) => ENDS[value] ?? value],
  key_id: [
    'Key',
    (value, { key_name }) => html`<a href=${href(keyPath(value))}>${key_name ?? value}</a> ${code(value)}`,
  ],
  key_name: null,
  token_fingerprint: [
    'Token',
    (value) => html`unknown; <a href=${href('/transactions', { search: value })}>same token</a> ${code(value)}`,
  ],
  client_ip: ['Client', (value) => html`<a href=${href('/transactions', { client: value })}>${code(value)}</a>`],
  client_subject: ['Client certificate', code],
  user_agent: ['User agent', code],
  method: ['Method', code],
  scheme: ['Scheme', (value, { protocol }) => `${value}, ${protocol}`],
  protocol: null,
  host: ['Host', code],
  path: ['Path', code],
  query: ['Query', code],
  upstream: ['Upstream', code],
  upstream_us: ['Upstream time', duration],
  duration_us: ['Whole time', duration],
  request_bytes: ['Body in', bytes],
  response_bytes: ['Body out', bytes],
  grpc_status: ['gRPC status', String],
  trace_id: ['Trace id', (value) => copied(value, 'Copy trace id')],
  hint: null,
  lost: ['Lost before', (value) => `${counted(value, 'transaction')} could not be written`],
  truncated: ['Cut', () => 'long text of this record was cut'],
};

/** @param {{record: Transaction}} props */
function Facts({ record }) {
  const fields = /** @type {Record<string, unknown>} */ (record);
  const unknown = Object.keys(fields).filter((name) => !(name in FIELDS));
  return html`
    <dl class="facts">
      ${Object.entries(FIELDS).map(
        ([name, field]) =>
          field && fields[name] !== undefined && fields[name] !== null &&
          html`<${Fragment} key=${name}><dt>${field[0]}</dt><dd>${field[1](fields[name], record)}</dd><//>`,
      )}
      ${unknown.map(
        (name) => html`<${Fragment} key=${name}><dt>${name}</dt><dd>${code(JSON.stringify(fields[name]))}</dd><//>`,
      )}
    </dl>
  `;
}
