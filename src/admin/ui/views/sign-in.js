// Sign-in: a page of its own, or over the page on which the session ended, where everything stays as it was typed.

import { ApiError, get, post } from '../api.js';
import { html, useEffect, useState } from '../lib.js';
import { Alone } from '../parts/alone.js';
import { Banner } from '../parts/banner.js';
import { Dialog } from '../parts/dialog.js';
import { Check, Field } from '../parts/field.js';
import { ErrorNote } from '../parts/states.js';
import { session } from '../store.js';

/** Asks again who is there, after a cookie was set. */
export async function enter() {
  const { data } = await get('/session');
  session.set(data);
}

/** @param {{over?: boolean}} props */
export default function SignIn({ over = false }) {
  if (over) return html`<${Dialog} title="Sign in" cover bare><${SignInForm} over /><//>`;
  return html`<${Alone} title="Sign in"><${SignInForm} /><//>`;
}

/** @param {{over?: boolean}} props */
function SignInForm({ over = false }) {
  const [name, setName] = useState(session.get().actor || '');
  const [password, setPassword] = useState('');
  const [show, setShow] = useState(false);
  const [error, setError] = useState(/** @type {any} */ (null));
  const [busy, setBusy] = useState(false);
  const wait = useCountdown(error);

  const submit = async (/** @type {any} */ event) => {
    event.preventDefault();
    if (busy || wait > 0) return;
    setBusy(true);
    const form = event.target;
    try {
      await post('/login', { name, password });
      await enter();
    } catch (caught) {
      setError(caught);
      setBusy(false);
      form.querySelector(name ? '#password' : '#name')?.focus();
    }
  };
  const failed = error instanceof ApiError && error.code === 'login_failed';
  return html`<form class="form" novalidate onSubmit=${submit}>
    <h1>Sign in</h1>
    ${over && html`<${Banner}>Your session has ended. Sign in to go on where you were; nothing is lost.<//>`}
    ${failed && html`<${Banner}
      kind="danger" role="alert"
    ><span>Name or password is wrong. Forgotten? Run <code>keygate admin reset-password</code> where keygate runs.</span><//>`}
    ${wait > 0 && html`<${Banner} kind="warning" role="alert">Too many attempts. Try again in ${wait} s.<//>`}
    ${error && !failed && error.code !== 'slow_down' && html`<${ErrorNote} error=${error} />`}
    <${Field}
      label="Name" id="name" name="username" value=${name} onValue=${setName} autocomplete="username"
      autocapitalize="none" autofocus=${!name}
    />
    <${Field}
      label="Password" id="password" name="password" type=${show ? 'text' : 'password'} value=${password}
      onValue=${setPassword} autocomplete="current-password" autofocus=${Boolean(name)}
    />
    <${Check} label="Show password" checked=${show} onValue=${setShow} />
    <button class="button primary" type="submit" aria-disabled=${busy || wait > 0 ? 'true' : undefined}>Sign in</button>
  </form>`;
}

/** Seconds that are left to wait. @param {any} error */
function useCountdown(error) {
  const [left, setLeft] = useState(0);
  useEffect(() => {
    const end = Date.now() + (error?.retryAfter || 0) * 1000;
    const count = () => setLeft(Math.max(0, Math.ceil((end - Date.now()) / 1000)));
    count();
    if (!error?.retryAfter) return undefined;
    const timer = setInterval(count, 500);
    return () => clearInterval(timer);
  }, [error]);
  return left;
}
