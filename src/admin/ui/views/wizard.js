// The setup wizard: welcome, administrator account, first API key, finish. What is done already is left out: with an
// account one goes on at the key, and with keys, or a key file that cannot be written, at the end.

import { get, post } from '../api.js';
import { classes, html, useEffect, useState } from '../lib.js';
import { Alone } from '../parts/alone.js';
import { Banner } from '../parts/banner.js';
import { CopyButton } from '../parts/copy.js';
import { curl, tokenSource } from '../parts/curl.js';
import { Check, Field, fieldErrors } from '../parts/field.js';
import { useSending } from '../parts/sending.js';
import { ErrorNote, Skeleton } from '../parts/states.js';
import { duration } from '../parts/time.js';
import { TokenText } from '../parts/token-text.js';
import { href, navigate } from '../router.js';
import { session, useQuery, useStore } from '../store.js';
import { enter } from './sign-in.js';

/** @typedef {import('../types.js').KeyWithToken} KeyWithToken */
/** @typedef {import('../types.js').Status} Status */
/** @typedef {{name: string, password: string}} Credentials */

const STEPS = ['Welcome', 'Administrator account', 'First API key', 'Finish'];
const [WELCOME, ACCOUNT, KEY, FINISH] = [0, 1, 2, 3];
const PASSWORD_LENGTH_MIN = 12;
const CODE_NEEDED = 'The code is needed: only whoever can run commands next to keygate may set it up.';

/** The code behind the `#`. */
const codeOfAddress = () => new URLSearchParams(location.hash.slice(1)).get('code') || '';

export default function Wizard() {
  const { state } = useStore(session);
  const [step, setStep] = useState(/** @type {number | null} */ (state === 'setup_required' ? WELCOME : null));
  const [code, setCode] = useState(codeOfAddress);
  const [account, setAccount] = useState({ name: 'admin', password: '' });
  const [key, setKey] = useState(/** @type {KeyWithToken | null} */ (null));
  const [status, setStatus] = useState(/** @type {Status | null} */ (null));
  const [error, setError] = useState(/** @type {any} */ (null));

  /** With an account: to the first step that is not done. */
  const goOn = async () => {
    try {
      const { data } = await get('/status');
      setError(null);
      setStatus(data);
      setStep(data.keys.total > 0 || !data.key_file.writable ? FINISH : KEY);
    } catch (caught) {
      setError(caught);
    }
  };
  useEffect(() => {
    if (state === 'setup_required') navigate(`/setup${location.hash}`, { replace: true });
    else goOn();
    // A link with a new code, opened in the same tab.
    const take = () => codeOfAddress() && setCode(codeOfAddress());
    addEventListener('hashchange', take);
    return () => removeEventListener('hashchange', take);
  }, []);

  const accountMade = async () => {
    setAccount({ name: account.name, password: '' });
    await enter();
    navigate('/setup', { replace: true });
    await goOn();
  };

  let shown;
  if (error) shown = html`<h1>Setup</h1><${ErrorNote} error=${error} onRetry=${goOn} />`;
  else if (step === null) shown = html`<${Skeleton} rows=${4} />`;
  else if (step === WELCOME) shown = html`<${Welcome}
    code=${code} onCode=${setCode} onNext=${() => setStep(ACCOUNT)}
  />`;
  else if (step === ACCOUNT) {
    shown = html`<${AccountStep}
      code=${code} account=${account} onAccount=${setAccount} onBack=${() => setStep(WELCOME)} onMade=${accountMade}
    />`;
  } else if (step === KEY) shown = html`<${KeyStep} made=${key} onMade=${setKey} onNext=${() => setStep(FINISH)} />`;
  else shown = html`<${Finish} made=${key} status=${status} onBack=${key && (() => setStep(KEY))} />`;
  return html`<${Alone}
    title="Setup" wide step=${`${step} ${key?.id}`} above=${html`<${Progress} step=${step ?? WELCOME} />`}
  >${shown}<//>`;
}

/** @param {{step: number}} props */
const Progress = ({ step }) =>
  html`<ol class="steps" aria-label="Progress">
    ${STEPS.map(
      (text, place) => html`<li
        key=${text} class=${classes(place < step && 'passed', place === step && 'present')}
        aria-current=${place === step ? 'step' : undefined}
      >
        ${text}${place < step && html`<span class="unseen"> (done)</span>`}
      </li>`,
    )}
  </ol>`;

/** @param {{onBack?: (() => void) | null | false, children?: import('../lib.js').Child}} props */
const Buttons = ({ onBack, children }) =>
  html`<div class="buttons end">
    ${onBack && html`<button type="button" class="button quiet" onClick=${onBack}>Back</button>`}${children}
  </div>`;

/** @param {{code: string, onCode: (code: string) => void, onNext: () => void}} props */
function Welcome({ code, onCode, onNext }) {
  const [printed] = useState(code !== '');
  const [missing, setMissing] = useState(false);
  const next = (/** @type {Event} */ event) => {
    event.preventDefault();
    if (code.trim()) onNext();
    else setMissing(true);
  };
  return html`<form class="form" novalidate onSubmit=${next}>
    <h1 tabindex="-1">Welcome to keygate</h1>
    <p>
      keygate lets a request through to the service behind it when it carries a valid API key. Two things are needed: an
      account to manage keys with, and a first key.
    </p>
    ${!printed &&
    html`<${Field} label="Setup code" class="mono" value=${code} onValue=${onCode} autofocus
      error=${missing && !code.trim() ? CODE_NEEDED : undefined}
      hint=${html`keygate printed an address with it when it started. <code>keygate admin code</code> prints a new one.`} />`}
    <${Buttons}>
      <button type="submit" class="button primary" data-autofocus=${printed ? '' : undefined}>Continue</button>
    <//>
  </form>`;
}

/**
 * @param {{code: string, account: Credentials, onAccount: (account: Credentials) => void, onBack: () => void, onMade: () => Promise<void>}} props
 */
function AccountStep({ code, account, onAccount, onBack, onMade }) {
  const [show, setShow] = useState(false);
  const { error, busy, run } = useSending();
  const { name, password } = account;
  const create = (/** @type {any} */ event) => {
    event.preventDefault();
    run(event.target, async () => {
      await post('/setup', { code: code.trim(), name: name.trim(), password });
      await onMade();
    });
  };
  const wrong = fieldErrors(error, ['name', 'password']);
  const refused = error?.code === 'code_refused';
  const done = error?.code === 'already_set_up';
  return html`<form class="form" novalidate onSubmit=${create}>
    <h1 tabindex="-1">Administrator account</h1>
    ${refused &&
    html`<${Banner} kind="danger" role="alert">
      <span>
        <strong>The setup code is not valid any more.</strong> It is good for an hour, and once. Run${' '}
        <code>keygate admin code</code> and open the address that it prints; what is typed here stays.
      </span>
    <//>`}
    ${done && html`<${Banner}
      kind="warning" role="alert"
    ><span>The account is there already. <a href=${href('/')} onClick=${enter}>Sign in</a></span><//>`}
    ${wrong.rest && !refused && !done && html`<${ErrorNote} error=${{ ...error, message: wrong.rest }} />`}
    <${Field}
      label="Name" name="username" value=${name}
      onValue=${(/** @type {string} */ value) => onAccount({ name: value, password })} error=${wrong.fields.name}
      autocomplete="username" autocapitalize="none" autofocus maxlength="64"
    />
    <${Field}
      label="Password" name="new-password" type=${show ? 'text' : 'password'} value=${password}
      onValue=${(/** @type {string} */ value) => onAccount({ name, password: value })} error=${wrong.fields.password}
      hint=${`At least ${PASSWORD_LENGTH_MIN} characters; a few words make a good one.`} autocomplete="new-password"
      maxlength="256"
    />
    <${Check} label="Show password" checked=${show} onValue=${setShow} />
    <${Buttons} onBack=${onBack}>
      <button type="submit" class="button primary" aria-disabled=${busy ? 'true' : undefined}>Create account</button>
    <//>
  </form>`;
}

/** @param {{made: KeyWithToken | null, onMade: (key: KeyWithToken) => void, onNext: () => void}} props */
function KeyStep({ made, onMade, onNext }) {
  const [name, setName] = useState('default');
  const [description, setDescription] = useState('Made by the setup wizard');
  const { error, busy, run } = useSending();
  const create = (/** @type {any} */ event) => {
    event.preventDefault();
    run(event.target, async () => {
      const { data } = await post('/keys', { name: name.trim(), description: description.trim() || null });
      onMade(data);
    });
  };
  const next = (/** @type {Event} */ event) => {
    event.preventDefault();
    onNext();
  };
  if (made) {
    return html`<form class="form" key="made" onSubmit=${next}>
      <h1 tabindex="-1">First API key</h1>
      <${TokenText} of=${made} />
      <p class="help">
        ${made.copy === 'none' ? 'Copy it now: it is not shown again.' : 'You can copy it again at any time, in API Keys.'}
      </p>
      <${Buttons}><button type="submit" class="button primary">Continue</button><//>
    </form>`;
  }
  const wrong = fieldErrors(error, ['name', 'description']);
  return html`<form class="form" key="new" novalidate onSubmit=${create}>
    <h1 tabindex="-1">First API key</h1>
    <p>Make one key for each client, and name it after whoever uses it. keygate makes the token.</p>
    ${error && wrong.rest && html`<${ErrorNote} error=${{ ...error, message: wrong.rest }} />`}
    <${Field} label="Name" value=${name} onValue=${setName} error=${wrong.fields.name} autofocus maxlength="100" />
    <${Field}
      label="Description" value=${description} onValue=${setDescription} error=${wrong.fields.description} optional
      multiline
    />
    <${Buttons}>
      <button type="submit" class="button primary" aria-disabled=${busy ? 'true' : undefined}>Create key</button>
    <//>
  </form>`;
}

/** @param {{made: KeyWithToken | null, status: Status | null, onBack?: (() => void) | null}} props */
function Finish({ made, status, onBack }) {
  const readOnly = status && !status.key_file.writable;
  const none = status?.keys.total === 0 && !made;
  return html`<h1 tabindex="-1">Finish</h1>
    ${readOnly &&
    html`<${Banner}>
      <span>The key file is read-only: keys are made where <code>${status.key_file.path}</code> comes from.</span>
    <//>`}
    ${!none && html`<${FirstRequest} made=${made} status=${status} />`}
    <${Buttons} onBack=${onBack}>
      <button type="button" class="button primary" onClick=${() => navigate('/')}>Open the dashboard</button>
    <//>`;
}

/** @param {{made: KeyWithToken | null, status: Status | null}} props */
function FirstRequest({ made, status }) {
  const command = curl({
    method: 'GET',
    address: status?.proxy_addresses?.[0] || `${location.hostname}:8080`,
    path: '/',
    headers: [],
    token: tokenSource(status),
  });
  const token = made?.token;
  const text = token ? command.replaceAll('$TOKEN', () => token) : command;
  const recording = status?.transactions?.recording !== false;
  return html`<p>Send a first request through keygate${token ? '' : ', with the token of a key'}:</p>
    <pre class="code" tabindex="0" role="region" aria-label="Command">${text}</pre>
    <div class="buttons"><${CopyButton} text=${text} label="Copy" /></div>
    ${recording && html`<${Waiting} of=${made} />`}`;
}

/** Looks every second whether the first request has come. @param {{of: KeyWithToken | null}} props */
function Waiting({ of: key }) {
  const [since] = useState(() => new Date().toISOString());
  const [seen, setSeen] = useState(/** @type {import('../types.js').Transaction | null} */ (null));
  const { data } = useQuery(
    seen ? null : `first request ${key?.id}`,
    async (signal) => (await get('/transactions', key ? { key: key.id, limit: 1 } : { since, limit: 1 }, { signal })).data,
    { every: 1000 },
  );
  const first = seen || data?.transactions?.[0];
  useEffect(() => {
    if (first && !seen) setSeen(first);
  }, [first]);
  const text = first
    ? `First request seen: ${first.status ?? 'no answer'} in ${duration(first.duration_us)}`
    : 'Waiting for the first request…';
  return html`<p role="status" class=${classes('badge', first ? 'ok' : 'muted hollow')}>${text}</p>`;
}
