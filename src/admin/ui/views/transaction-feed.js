// The transactions that a list shows: pages of the log, newest first, and in front of them what arrives while one
// looks. What arrives waits while the list is paused. Not for: how it looks.

import { apiUrl, get } from '../api.js';

/** @typedef {import('../types.js').Transaction} Transaction */
/** @typedef {Record<string, string>} Filters  the parameters of `GET /transactions` */

const PAGE = 50;
/** With more than this in front of the pages, only the newest are kept: older ones can be loaded again. */
const LIVE_MAX = 500;
const KEPT = 200;
/** What arrives is drawn together. */
const TOGETHER_MS = 250;
const RETRY_MS = 3_000;

/** What tells one record from another; clients may use a request id twice. @param {Transaction} record */
export const identity = (record) => `${record.time} ${record.request_id}`;

export class Feed {
  /** @type {Transaction[]} */
  records = [];
  /** @type {Transaction[]} */
  waiting = [];
  /** How many wait, more than are kept perhaps. */
  waitingCount = 0;
  /** @type {string | null} */
  cursor = null;
  /** @type {string | null} */
  searchedTo = null;
  skipped = 0;
  /** @type {{file: string, why: string}[]} */
  unreadable = [];
  recording = true;
  /** The first page has come. */
  begun = false;
  /** It is being searched. */
  busy = false;
  /** @type {any} */
  error = null;
  /** @type {'off' | 'connecting' | 'open' | 'failed'} */
  stream = 'off';

  #live = false;
  #paused = false;
  #ended = false;
  #seen = new Set();
  /** How many stand in front of the pages. */
  #added = 0;
  #abort = new AbortController();
  /** @type {EventSource | null} */
  #source = null;
  #lastEvent = '';
  /** As they were sent. @type {(string | Transaction)[]} */
  #arrived = [];
  /** What is behind the list is no longer where the cursor points. */
  #cut = false;
  #drawing = 0;
  #retry = 0;

  /**
   * @param {Filters} filters
   * @param {() => void} changed
   */
  constructor(filters, changed) {
    this.filters = filters;
    this.changed = changed;
  }

  start() {
    document.addEventListener('visibilitychange', this.#look);
    this.restart();
  }

  end() {
    this.#ended = true;
    document.removeEventListener('visibilitychange', this.#look);
    this.#abort.abort();
    this.#disconnect();
    clearTimeout(this.#drawing);
  }

  /** Reads the newest page anew, in place of all that there is. */
  restart() {
    return this.#read(null, true);
  }

  get hasOlder() {
    return this.#cut || this.cursor !== null;
  }

  /** Reads on where the list ends; after a cut it is looked for from the top. */
  older() {
    return this.hasOlder ? this.#read(this.#cut ? null : this.cursor, false) : Promise.resolve();
  }

  /** Leaves a long search where it is. */
  stop() {
    this.#abort.abort();
    this.busy = false;
    this.changed();
  }

  /** @param {boolean} live */
  follow(live) {
    if (live === this.#live) return;
    this.#live = live;
    this.#look();
  }

  /** @param {boolean} paused */
  pause(paused) {
    this.#paused = paused;
    if (!paused && this.waitingCount) this.release();
  }

  /** Shows what waits. */
  release() {
    const waiting = this.waiting;
    const hole = waiting.length < this.waitingCount;
    this.waiting = [];
    this.waitingCount = 0;
    this.#put(waiting, hole);
    this.changed();
  }

  // ---- pages

  /** @param {string | null} from @param {boolean} anew */
  async #read(from, anew) {
    this.#abort.abort();
    const abort = new AbortController();
    this.#abort = abort;
    this.busy = true;
    this.error = null;
    this.changed();
    try {
      let next = from;
      let wanted = PAGE;
      do {
        const page = await this.#page(next, abort.signal);
        if (abort.signal.aborted) return;
        if (anew && next === null) this.#reset();
        const fresh = page.transactions.filter((/** @type {Transaction} */ record) => this.#isNew(record));
        this.records = [...this.records, ...fresh];
        this.#take(page);
        this.cursor = page.next_cursor;
        this.#cut = false;
        wanted -= fresh.length;
        next = page.next_cursor;
        if (!this.begun) {
          this.begun = true;
          this.#look();
        }
        this.changed();
        // A page may be short, even empty, and still have a next one.
      } while (next && wanted > 0);
    } catch (error) {
      if (abort.signal.aborted) return;
      this.error = error;
    }
    this.busy = false;
    this.changed();
  }

  /** @param {string | null} cursor @param {AbortSignal} signal */
  async #page(cursor, signal) {
    const { data } = await get('/transactions', { ...this.filters, limit: PAGE, cursor }, { signal });
    if (!Array.isArray(data?.transactions)) throw new Error('The answer holds no transactions.');
    return data;
  }

  #reset() {
    this.records = [];
    this.waiting = [];
    this.waitingCount = 0;
    this.skipped = 0;
    this.unreadable = [];
    this.#arrived = [];
    this.#added = 0;
    this.#seen.clear();
  }

  /** What a page says about the log. @param {any} page */
  #take({ searched_to, skipped, unreadable, recording }) {
    this.searchedTo = searched_to ?? this.searchedTo;
    this.skipped += skipped ?? 0;
    for (const one of unreadable ?? []) {
      if (!this.unreadable.some(({ file }) => file === one.file)) this.unreadable.push(one);
    }
    this.recording = recording ?? true;
  }

  /** Whether it is seen for the first time; from now on it is not. @param {Transaction} record */
  #isNew(record) {
    const key = identity(record);
    if (this.#seen.has(key)) return false;
    this.#seen.add(key);
    return true;
  }

  // ---- live

  /**
   * Begins behind the first page, so that nothing falls between the two. A hidden tab holds no connection: browsers
   * have few for a host, and all tabs share them.
   */
  #look = () => {
    const wanted = this.#live && this.begun && !this.#ended && document.visibilityState === 'visible';
    if (wanted && !this.#source) this.#connect();
    if (!wanted) this.#disconnect();
  };

  #connect() {
    clearTimeout(this.#retry);
    const source = new EventSource(apiUrl('/transactions/stream', { ...this.filters, last_event_id: this.#lastEvent }));
    const goesOn = this.#lastEvent !== '';
    this.#source = source;
    this.#say('connecting');
    source.onopen = () => {
      this.#say('open');
      // What came between the page and the stream. Coming back, the stream itself goes on where it was left.
      if (!goesOn) this.#catchUp().catch(() => {});
    };
    source.onerror = () => {
      if (source.readyState !== EventSource.CLOSED) return this.#say('connecting');
      // It was refused: the session is over, or too many watch. The call says so, and waits for a new sign-in.
      this.#disconnect();
      this.#lastEvent = '';
      this.#say('failed');
      this.#retry = setTimeout(() => this.#again(), RETRY_MS);
      return undefined;
    };
    source.addEventListener('transaction', (event) => {
      this.#lastEvent = event.lastEventId;
      this.#arrive(event.data);
    });
    source.addEventListener('gap', () => this.#catchUp().catch(() => {}));
  }

  async #again() {
    try {
      await this.#catchUp();
    } catch {
      // It is tried again with the stream.
    }
    this.#look();
  }

  #disconnect() {
    clearTimeout(this.#retry);
    this.#source?.close();
    this.#source = null;
    if (this.stream !== 'off') this.#say('off');
  }

  /** @param {Feed['stream']} state */
  #say(state) {
    this.stream = state;
    if (!this.#ended) this.changed();
  }

  async #catchUp() {
    const signal = this.#abort.signal;
    const page = await this.#page(null, signal);
    if (this.#ended || signal.aborted) return;
    const fresh = page.transactions.filter((/** @type {Transaction} */ record) => !this.#seen.has(identity(record)));
    // With none in common there is a gap between the page and the list.
    if (fresh.length === PAGE) return void this.restart();
    for (const record of fresh.reverse()) this.#arrive(record);
  }

  /** @param {string | Transaction} sent */
  #arrive(sent) {
    this.#arrived.push(sent);
    this.#drawing ||= setTimeout(() => {
      this.#drawing = 0;
      this.#draw();
    }, TOGETHER_MS);
  }

  #draw() {
    const dropped = Math.max(0, this.#arrived.length - KEPT);
    const records = this.#arrived.slice(dropped).flatMap(parsed);
    const newest = records.filter((record) => this.#isNew(record)).reverse();
    this.#arrived = [];
    if (!newest.length) return;
    if (this.#paused) {
      this.waiting = [...newest, ...this.waiting].slice(0, KEPT);
      this.waitingCount += newest.length + dropped;
    } else {
      this.#put(newest, dropped > 0);
    }
    this.changed();
  }

  /** @param {Transaction[]} newest @param {boolean} hole  some are missing behind them */
  #put(newest, hole) {
    this.records = hole ? newest : [...newest, ...this.records];
    this.#added += newest.length;
    if (!hole && this.#added <= LIVE_MAX) return;
    this.records = this.records.slice(0, KEPT);
    this.#added = 0;
    this.#cut = true;
    this.#seen = new Set(this.records.map(identity));
  }
}

/** None for what is no record. @param {string | Transaction} sent @returns {Transaction[]} */
function parsed(sent) {
  if (typeof sent !== 'string') return [sent];
  try {
    return [JSON.parse(sent)];
  } catch {
    return [];
  }
}
