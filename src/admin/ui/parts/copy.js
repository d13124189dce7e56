// Copying to the clipboard: by the Clipboard API, else, as over plain HTTP, by a selection made for a moment within the
// dialog that is open, else by hand.

import { classes, html, useEffect, useRef, useState } from '../lib.js';
import { toast } from '../store.js';
import { announce } from './announce.js';
import { Icon } from './icon.js';

/**
 * @param {string} text
 * @param {Element} near
 * @returns {Promise<boolean>}  whether it is on the clipboard
 */
export async function copyText(text, near) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    return copySelection(text, near);
  }
}

/** @param {string} text @param {Element} near */
function copySelection(text, near) {
  const focused = document.activeElement;
  const area = document.createElement('textarea');
  area.value = text;
  area.readOnly = true;
  area.className = 'unseen';
  area.style.whiteSpace = 'pre';
  area.setAttribute('aria-hidden', 'true');
  (near.closest('dialog') || document.body).append(area);
  area.focus({ preventScroll: true });
  area.select();
  let copied = false;
  try {
    copied = document.execCommand('copy');
  } catch {
    // By hand, then.
  }
  area.remove();
  if (focused instanceof HTMLElement) focused.focus({ preventScroll: true });
  return copied;
}

/**
 * @param {object} props
 * @param {string} [props.text]
 * @param {() => Promise<string>} [props.getText]  in place of `text`, when it is to be fetched first
 * @param {string} [props.label]
 * @param {boolean} [props.iconOnly]
 * @param {boolean} [props.primary]
 * @param {string} [props.why]  why it cannot be copied
 * @param {() => void} [props.onRefused]  pressed all the same: says what else can be done
 */
export function CopyButton({ text, getText, label = 'Copy', iconOnly = false, primary = false, why, onRefused }) {
  const button = useRef(/** @type {HTMLButtonElement | null} */ (null));
  const [done, setDone] = useState(false);
  const [byHand, setByHand] = useState(/** @type {{Dialog: any, text: string} | null} */ (null));
  const timer = useRef(/** @type {ReturnType<typeof setTimeout> | undefined} */ (undefined));
  useEffect(() => () => clearTimeout(timer.current), []);

  const copy = async () => {
    if (why) return onRefused ? onRefused() : toast(why);
    try {
      const value = getText ? await getText() : text || '';
      if (!(await copyText(value, button.current || document.body))) {
        const { CopyByHand } = await import('./copy-by-hand.js');
        return setByHand({ Dialog: CopyByHand, text: value });
      }
      setDone(true);
      announce('Copied');
      clearTimeout(timer.current);
      timer.current = setTimeout(() => setDone(false), 2000);
    } catch (error) {
      toast(/** @type {Error} */ (error).message, 'danger');
    }
    return undefined;
  };

  return html`<button
      ref=${button}
      type="button"
      class=${classes('button', iconOnly && 'quiet icon-only', primary && 'primary', done && !primary && 'done')}
      aria-label=${iconOnly ? label : undefined}
      aria-disabled=${why ? 'true' : undefined}
      title=${why || (iconOnly ? label : undefined)}
      onClick=${copy}
    >
      <${Icon} name=${done ? 'check' : 'copy'} />${!iconOnly && label}
    </button>
    ${byHand && html`<${byHand.Dialog} text=${byHand.text} onClose=${() => setByHand(null)} />`}`;
}
