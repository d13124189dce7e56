// The entry: asks who is there, and shows sign-in, the setup wizard or the frame with the view of the address.

import { get } from './api.js';
import { Frame } from './frame.js';
import { html, render, useEffect } from './lib.js';
import { Lazy } from './parts/lazy.js';
import { Boundary, ErrorNote } from './parts/states.js';
import { Toasts } from './parts/toasts.js';
import { navigate, startRouting, useRoute } from './router.js';
import { revision, session, useStore } from './store.js';

/** Who is there; also how a change of the key file is noticed, since it is the cheapest thing to ask. */
async function askSession() {
  const asked = session.get();
  const { data } = await get('/session');
  // Somebody signed in or out meanwhile: this answer is of before.
  if (session.get() !== asked) return;
  session.set((old) => {
    const same = old.state === data.state && old.actor === data.actor;
    if (old.state === 'signed_in' && data.state !== 'signed_in') return { ...old, state: 'signed_out', expired: true };
    if (old.expired && data.state === 'signed_out') return old;
    return same ? old : { ...data, error: undefined };
  });
  if (data.revision) revision.set(data.revision);
}

async function start() {
  try {
    await askSession();
  } catch (error) {
    session.set({ state: 'failed', error: /** @type {Error} */ (error) });
  }
}

/** Every two seconds, while the tab is in sight. */
function useFreshSession() {
  useEffect(() => {
    let asking = false;
    const ask = async () => {
      if (asking || document.visibilityState !== 'visible') return;
      asking = true;
      await askSession().catch(() => {});
      asking = false;
    };
    const timer = setInterval(ask, 2000);
    document.addEventListener('visibilitychange', ask);
    return () => {
      clearInterval(timer);
      document.removeEventListener('visibilitychange', ask);
    };
  }, []);
}

const wizard = () => import('./views/wizard.js');
const signIn = () => import('./views/sign-in.js');

function App() {
  const { state, expired, error } = useStore(session);
  const route = useRoute();
  useFreshSession();

  if (state === 'loading') return null;
  if (state === 'failed') {
    return html`<main class="alone"><div class="card"><${ErrorNote} error=${error} onRetry=${start} /></div></main>`;
  }
  if (state === 'setup_required' || (route.name === 'setup' && state === 'signed_in')) {
    return html`<${Lazy} name="wizard" load=${wizard} />`;
  }
  if (state === 'signed_out' && !expired) return html`<${Lazy} name="sign-in" load=${signIn} />`;
  return html`<${Frame} />${expired && html`<${Lazy} name="sign-in" load=${signIn} quiet over />`}`;
}

const root = /** @type {HTMLElement} */ (document.getElementById('app'));

// Earlier versions printed the setup code behind `/`.
if (location.hash.startsWith('#code=')) navigate(`/setup${location.hash}`, { replace: true });
startRouting();
render(html`<${Boundary}><${App} /><//><${Toasts} />`, root);
start();
