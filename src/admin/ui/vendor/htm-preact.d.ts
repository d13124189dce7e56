// What of `htm-preact.js` the pages use, for `tsc --checkJs`. Not served.

/** What a component may show. */
export type Child = any;

export function h(type: any, props?: any, ...children: Child[]): Child;
export function html(strings: TemplateStringsArray, ...values: any[]): Child;
export function render(child: Child, parent: Element): void;

export class Component<P = any, S = any> {
  constructor(props?: P);
  props: P;
  state: S;
  setState(change: Partial<S>): void;
  render(props: P, state: S): Child;
}

export interface Context<T> {
  Provider: (props: { value: T; children?: Child }) => Child;
}
export interface Ref<T> {
  current: T;
}

export function createContext<T>(initial: T): Context<T>;
export function useContext<T>(context: Context<T>): T;
export function useState<T>(initial: T | (() => T)): [T, (next: T | ((old: T) => T)) => void];
export function useReducer<S, A>(reduce: (state: S, action: A) => S, initial: S): [S, (action: A) => void];
export function useEffect(effect: () => void | (() => void), inputs?: any[]): void;
export function useLayoutEffect(effect: () => void | (() => void), inputs?: any[]): void;
export function useRef<T>(initial: T): Ref<T>;
export function useMemo<T>(make: () => T, inputs: any[]): T;
export function useCallback<F extends (...args: any[]) => any>(callback: F, inputs: any[]): F;
export function useErrorBoundary(seen?: (error: any) => void): [any, () => void];
