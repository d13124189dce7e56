// What every page says at its top while it is so: a key file that could not be read, one that cannot be written, and
// a connection that others can listen to.

import { html } from '../lib.js';
import { href, useRoute } from '../router.js';
import { session, status, useStore } from '../store.js';
import { Banner } from './banner.js';
import { FileProblems } from './states.js';

const LOOPBACK = /^(localhost|.*\.localhost|127(\.\d+){3}|\[::1\])$/;
const listenable = location.protocol === 'http:' && !LOOPBACK.test(location.hostname);

export function PlainHttp() {
  const { plain_http: plain } = useStore(session);
  if (!plain && !listenable) return null;
  return html`<${Banner} kind="warning">
    <span>
      <strong>This connection is not encrypted.</strong> Passwords and tokens can be read on their way. Set${' '}
      <code>admin.url</code> to an https address.
    </span>
  <//>`;
}

export function Banners() {
  const now = useStore(status);
  const { name } = useRoute();
  const problems = now?.key_file?.problems || [];
  return html`<${PlainHttp} />
    ${problems.length > 0 && name !== 'status' &&
    html`<${Banner} kind="danger" role="alert">
      <span>
        <strong>The key file has errors.</strong> The keys that were read before stay in force, and changes are refused
        until it is put right.
      </span>
      <${FileProblems} problems=${problems} />
      <span><a href=${href('/status')}>Status</a></span>
    <//>`}
    ${now?.key_file?.writable === false &&
    html`<${Banner}>
      <span>
        <strong>The key file is read-only.</strong> Change the keys where <code>${now.key_file.path}</code> comes from;
        what is done here shows the entry to paste there.
      </span>
    <//>`}
    ${(now?.access_problems || []).length > 0 &&
    html`<${Banner} kind="warning">
      <strong>A file that says who may administer has errors.</strong>
      <${FileProblems} problems=${now?.access_problems} />
    <//>`}`;
}
