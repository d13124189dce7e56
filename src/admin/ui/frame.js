// The frame around every view: menu, theme, account, banners, shortcuts. Not for: sign-in and the wizard, which stand
// alone.

import { get, post } from './api.js';
import { html, useEffect, useState } from './lib.js';
import { Banners } from './parts/banners.js';
import { Icon, Sign } from './parts/icon.js';
import { Lazy, stylesheet } from './parts/lazy.js';
import { Menu } from './parts/menu.js';
import { Page } from './parts/table.js';
import { href, navigate, useRoute } from './router.js';
import { forgetQueries, session, status, theme, toast, useQuery, useStore } from './store.js';

/**
 * A view with charts, chips or a drawer, whose look is in a file of its own.
 * @param {() => Promise<{default: any}>} load
 */
const withData = (load) => () => Promise.all([load(), stylesheet('data.css')]).then(([view]) => view);

/**
 * @typedef {object} Area
 * @property {string} name
 * @property {string} path
 * @property {string} text
 * @property {import('./parts/icon.js').IconName} icon
 */

/** @type {Area[]} */
const AREAS = [
  { name: 'dashboard', path: '/', text: 'Dashboard', icon: 'dashboard' },
  { name: 'keys', path: '/keys', text: 'API Keys', icon: 'keys' },
  { name: 'transactions', path: '/transactions', text: 'Transactions', icon: 'transactions' },
  { name: 'try', path: '/try', text: 'Try it', icon: 'try' },
  { name: 'status', path: '/status', text: 'Status', icon: 'status' },
];
/** @type {Record<string, () => Promise<any>>} */
const VIEWS = {
  dashboard: withData(() => import('./views/dashboard.js')),
  keys: () => import('./views/keys.js'),
  key: withData(() => import('./views/key.js')),
  transactions: withData(() => import('./views/transactions.js')),
  try: withData(() => import('./views/try-it.js')),
  status: withData(() => import('./views/status.js')),
};
const account = () => import('./views/account.js');
const shortcuts = () => import('./views/shortcuts.js');

export function Frame() {
  const route = useRoute();
  const [open, setOpen] = useState(/** @type {'password' | 'shortcuts' | null} */ (null));
  useShortcuts(() => setOpen('shortcuts'));
  const { data } = useQuery('status', async (signal) => (await get('/status', {}, { signal })).data, { every: 5000 });
  useEffect(() => {
    if (data) status.set(data);
  }, [data]);

  const load = VIEWS[route.name];
  const name = route.name === 'key' ? `key ${route.params.id}` : route.name;
  return html`<a class="skip button" href="#main" onClick=${skip}>Skip to content</a>
    <div class="frame">
      <div class="side">
        <a class="brand" href=${href('/')}><${Sign} />keygate</a>
        <nav aria-label="Main"><ul class="menu-links">${AREAS.map((area) => link(area, route.name))}</ul></nav>
        <div class="side-end">
          <${Version} />
          <${ThemeButton} />
          <${AccountMenu} onPassword=${() => setOpen('password')} onShortcuts=${() => setOpen('shortcuts')} />
        </div>
      </div>
      <main class="main" id="main" tabindex="-1">
        <div class="content">
          <${Banners} />
          ${load ? html`<${Lazy}
            key=${name} name=${name} load=${load} params=${route.params} query=${route.query}
          />` : html`<${NotFound} />`}
        </div>
      </main>
    </div>
    ${open === 'password' && html`<${Lazy} name="account" load=${account} quiet onClose=${() => setOpen(null)} />`}
    ${open === 'shortcuts' && html`<${Lazy}
      name="shortcuts" load=${shortcuts} quiet onClose=${() => setOpen(null)}
    />`}`;
}

/** @param {Event} event */
function skip(event) {
  event.preventDefault();
  document.getElementById('main')?.focus();
}

/** @param {Area} area @param {string} present */
function link({ name, path, text, icon }, present) {
  const here = name === present || (name === 'keys' && present === 'key');
  return html`<li key=${name}>
    <a href=${href(path)} aria-current=${here ? 'page' : undefined}><${Icon} name=${icon} />${text}</a>
  </li>`;
}

function Version() {
  const { version } = useStore(session);
  return html`<span class="version small">${version && `v${version}`}</span>`;
}

function ThemeButton() {
  const now = useStore(theme);
  const label = now === 'dark' ? 'Switch to light theme' : 'Switch to dark theme';
  return html`<button
    type="button" class="button quiet icon-only" aria-label=${label} title=${label} onClick=${theme.toggle}
  >
    <${Icon} name=${now === 'dark' ? 'sun' : 'moon'} />
  </button>`;
}

/** @param {{onPassword: () => void, onShortcuts: () => void}} props */
function AccountMenu({ onPassword, onShortcuts }) {
  const signOut = async () => {
    try {
      await post('/logout');
    } catch (error) {
      return toast(`You are still signed in: ${/** @type {Error} */ (error).message}`, 'danger');
    }
    forgetQueries();
    status.set(null);
    return session.set((old) => ({ state: 'signed_out', version: old.version, plain_http: old.plain_http }));
  };
  return html`<${Menu}
    label="Account"
    items=${[
      { label: 'Change password', onSelect: onPassword },
      { label: 'Keyboard shortcuts', onSelect: onShortcuts },
      { label: 'Sign out', onSelect: signOut },
    ]}
    ><${Icon} name="person"
  /><//>`;
}

const NotFound = () =>
  html`<${Page} title="No such page">
    <p class="muted">Nothing is at this address. Go to the <a href=${href('/')}>dashboard</a>.</p>
  <//>`;

/** `/` goes to the search of the view, `n` makes a key, `?` helps. @param {() => void} onHelp */
function useShortcuts(onHelp) {
  useEffect(() => {
    const onKey = (/** @type {KeyboardEvent} */ event) => {
      if (event.defaultPrevented || event.ctrlKey || event.metaKey || event.altKey || event.isComposing) return;
      const target = /** @type {HTMLElement} */ (event.target);
      if (target.closest?.('input, select, textarea, [contenteditable], [role="menu"]')) return;
      if (document.querySelector('dialog:modal')) return;
      if (event.key === '?') onHelp();
      else if (event.key === '/') {
        const search = document.querySelector('[data-shortcut="search"]');
        if (search instanceof HTMLElement) search.focus();
        else navigate('/keys', { state: { focus: 'search' } });
      } else if (event.key === 'n') {
        const create = document.querySelector('[data-shortcut="new"]');
        if (create instanceof HTMLElement) create.click();
        else navigate('/keys', { state: { focus: 'new' } });
      } else return;
      event.preventDefault();
    };
    addEventListener('keydown', onKey);
    return () => removeEventListener('keydown', onKey);
  }, []);
}
