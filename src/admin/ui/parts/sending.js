// What forms do while they send.

import { useRef, useState } from '../lib.js';
import { focusFirstInvalid } from './field.js';

/** Once at a time; the error is kept, and the first wrong field gets the focus. */
export function useSending() {
  const [error, setError] = useState(/** @type {any} */ (null));
  const [busy, setBusy] = useState(false);
  const sending = useRef(false);
  /** @param {EventTarget | null} form @param {() => Promise<void>} act */
  const run = async (form, act) => {
    if (sending.current) return;
    sending.current = true;
    setBusy(true);
    try {
      await act();
      setError(null);
    } catch (caught) {
      setError(caught);
      focusFirstInvalid(form);
    }
    sending.current = false;
    setBusy(false);
  };
  return { error, busy, run, fail: setError, clear: () => setError(null) };
}
