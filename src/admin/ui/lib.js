// Preact, its hooks and htm, from the one vendored file; everything else imports them from here.

import { useRef } from './vendor/htm-preact.js';

export {
  Component,
  createContext,
  h,
  html,
  render,
  useCallback,
  useContext,
  useEffect,
  useErrorBoundary,
  useLayoutEffect,
  useMemo,
  useReducer,
  useRef,
  useState,
} from './vendor/htm-preact.js';

/** @typedef {import('./vendor/htm-preact.js').Child} Child */

/**
 * Its children, without an element around them.
 * @param {{children?: Child}} props
 */
export const Fragment = ({ children }) => children;

/**
 * Joins class names; what is false is left out.
 * @param {...(string | false | null | undefined)} names
 */
export const classes = (...names) => names.filter(Boolean).join(' ');

/** With a capital letter at its begin, as the API's details have none; keygate keeps its small one. @param {string} text */
export const sentence = (text) => (text.startsWith('keygate') ? text : text.charAt(0).toUpperCase() + text.slice(1));

let ids = 0;

/** An id for the life of a component, to tie a label to its field. */
export function useId() {
  const id = useRef('');
  id.current ||= `id-${++ids}`;
  return id.current;
}
