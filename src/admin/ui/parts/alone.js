// A page that stands alone, without the frame: sign-in and the setup wizard.

import { classes, html, useEffect, useRef } from '../lib.js';
import { PlainHttp } from './banners.js';
import { Sign } from './icon.js';

/**
 * @param {{title: string, wide?: boolean, step?: string | number, above?: import('../lib.js').Child,
 *   children?: import('../lib.js').Child}} props
 *   `step`: when it changes, the focus goes to the first field of what there is then; `above`: what stands over the card
 */
export function Alone({ title, wide, step, above, children }) {
  const panel = useRef(/** @type {HTMLElement | null} */ (null));
  useEffect(() => {
    document.title = `${title} · keygate`;
    const first = panel.current?.querySelector('[data-autofocus]') || panel.current?.querySelector('h1');
    if (first instanceof HTMLElement) first.focus();
  }, [title, step]);
  return html`<main class="alone">
    <div class=${classes('card', wide && 'wide')}>
      <span class="brand"><${Sign} />keygate</span>
      <${PlainHttp} />
      ${above}
      <div class="panel" ref=${panel}>${children}</div>
    </div>
  </main>`;
}
