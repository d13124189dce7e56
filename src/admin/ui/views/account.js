// Change password: for whoever is signed in. All other sessions end.

import { post } from '../api.js';
import { html, useState } from '../lib.js';
import { Answers, Dialog } from '../parts/dialog.js';
import { Check, Field, fieldErrors } from '../parts/field.js';
import { Banner } from '../parts/banner.js';
import { useSending } from '../parts/sending.js';
import { ErrorNote } from '../parts/states.js';
import { session, toast, useStore } from '../store.js';

/** @param {{onClose: () => void}} props */
export default function ChangePassword({ onClose }) {
  const { actor, method } = useStore(session);
  const [current, setCurrent] = useState('');
  const [fresh, setFresh] = useState('');
  const [show, setShow] = useState(false);
  const { error, busy, run } = useSending();

  const change = (/** @type {any} */ event) =>
    run(event.target, async () => {
      await post('/password', { current, new: fresh });
      toast('The password is changed. All other sessions have ended.');
      onClose();
    });
  const wrong = fieldErrors(error, ['current', 'new']);
  if (error?.code === 'login_failed') {
    wrong.fields.current = 'This is not the current password.';
    wrong.rest = '';
  }
  const type = show ? 'text' : 'password';
  if (method === 'token') {
    return html`<${Dialog}
      title="Change password" onClose=${onClose}
    >
      <${Banner}>
        You are here by a token. Only the administrator, signed in with name and password, can change the password.
      <//>
    <//>`;
  }
  return html`<${Dialog}
    title="Change password"
    onClose=${onClose}
    onSubmit=${change}
    actions=${html`<${Answers} onCancel=${onClose} text="Change password" busy=${busy} />`}
  >
    ${error && wrong.rest && html`<${ErrorNote} error=${{ ...error, message: wrong.rest }} />`}
    <input
      class="unseen" type="text" autocomplete="username" value=${actor} readonly tabindex="-1" aria-hidden="true"
    />
    <div class="form">
      <${Field}
        label="Current password" type=${type} value=${current} onValue=${setCurrent} error=${wrong.fields.current}
        autocomplete="current-password" autofocus
      />
      <${Field}
        label="New password" type=${type} value=${fresh} onValue=${setFresh} error=${wrong.fields.new}
        hint="At least 12 characters. All other sessions end." autocomplete="new-password" maxlength="256"
      />
      <${Check} label="Show passwords" checked=${show} onValue=${setShow} />
    </div>
  <//>`;
}
