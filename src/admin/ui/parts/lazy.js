// Views are loaded when they are needed, so that the first page comes quickly.

import { base } from '../api.js';
import { html, useEffect, useState } from '../lib.js';
import { Boundary, ErrorNote, Skeleton } from './states.js';

/**
 * A module that is loaded when it is needed; its default export is shown.
 * @param {{load: () => Promise<{default: any}>, name: string, quiet?: boolean, [more: string]: any}} props
 *   `quiet`: nothing is shown until it is there
 */
export function Lazy({ load, name, quiet = false, ...props }) {
  const [loaded, setLoaded] = useState(/** @type {{name: string, view?: any, error?: any}} */ ({ name: '' }));
  useEffect(() => {
    let wanted = true;
    load().then(
      (module) => wanted && setLoaded({ name, view: module.default }),
      (error) => wanted && setLoaded({ name, error }),
    );
    return () => {
      wanted = false;
    };
  }, [name]);
  if (loaded.name !== name) return quiet ? null : html`<${Skeleton} />`;
  if (loaded.error) {
    return html`<${ErrorNote} title="This page could not be loaded" onRetry=${() => location.reload()}
      error=${{ message: 'Check that keygate runs, then try again.' }} />`;
  }
  return html`<${Boundary} key=${name}><${loaded.view} ...${props} /><//>`;
}

/** @type {Map<string, Promise<void>>} */
const sheets = new Map();

/**
 * A stylesheet that not every view needs, once.
 * @param {string} name
 * @returns {Promise<void>}
 */
export function stylesheet(name) {
  const known = sheets.get(name);
  if (known) return known;
  const link = document.createElement('link');
  const loaded = new Promise((/** @type {(value: void) => void} */ resolve, reject) => {
    link.onload = () => resolve();
    link.onerror = () => {
      sheets.delete(name);
      link.remove();
      reject(new Error(`${name} could not be loaded`));
    };
  });
  sheets.set(name, loaded);
  link.rel = 'stylesheet';
  link.href = `${base}assets/${name}`;
  document.head.append(link);
  return loaded;
}
