// The shapes of what the API answers (config/openapi.json), for JSDoc. Nothing is imported from here at run time.

/** @typedef {{pointer: string, detail: string}} FieldError */
/** @typedef {{file: string, line: number | null, column: number | null, path: string, what: string, hint: string | null}} FileProblem */
/** @typedef {{cause: string, why: string}} Reason */

/**
 * @typedef {object} Problem
 * @property {string} type
 * @property {string} title
 * @property {number} status
 * @property {string} detail
 * @property {string} code
 * @property {string} request_id
 * @property {FieldError[]} [errors]
 * @property {FileProblem[]} [problems]
 * @property {string} [current]
 * @property {string} [entry]
 * @property {string} [holder]
 */

/**
 * @typedef {object} Session
 * @property {'setup_required' | 'signed_out' | 'signed_in'} state
 * @property {string} version
 * @property {string} [actor]
 * @property {'session' | 'token'} [method]
 * @property {boolean} [plain_http]
 * @property {string} [revision]
 */

/** @typedef {{methods?: string[], paths?: string[], networks?: string[]}} Allow */

/**
 * @typedef {object} Key
 * @property {string} id
 * @property {string} name
 * @property {string | null} description
 * @property {string | null} mask
 * @property {'active' | 'disabled' | 'not_yet_valid' | 'expired'} status
 * @property {boolean} enabled
 * @property {string | null} created_at
 * @property {string | null} not_before
 * @property {string | null} expires_at
 * @property {Record<string, string>} tags
 * @property {boolean} record
 * @property {Allow | null} allow
 * @property {{expires_at: string}[]} previous
 * @property {'sealed' | 'file' | 'none'} copy
 * @property {string | null} last_used_at
 * @property {number} requests_total
 * @property {number} refused_total
 * @property {number} requests_24h
 * @property {number[]} hours
 */

/** @typedef {Key & {token?: string, warning?: string}} KeyWithToken */
/** @typedef {{keys: Key[], total: number, next_cursor: string | null, revision: string}} Keys */
/** @typedef {{start: string, step_seconds: number, requests: number[], refused: number[], failed: number[]}} KeySeries */
/** @typedef {KeySeries & {decisions: Record<string, number[]>, active_keys: number[], p95_us: (number | null)[]}} AllSeries */
/** @typedef {{p50_us: number | null, p95_us: number | null, p99_us: number | null}} Latency */
/** @typedef {{running: boolean, bytes_done: number, bytes_total: number, records: number}} Rebuild */
/** @typedef {{id: string, name: string, requests: number, refused: number}} TopKey */

/**
 * @typedef {object} Usage  of one key
 * @property {string} id
 * @property {number} requests_total
 * @property {number} refused_total
 * @property {number} failed_total
 * @property {Record<string, number>} refused_by_reason
 * @property {number} request_bytes
 * @property {number} response_bytes
 * @property {string | null} last_used_at
 * @property {Latency} latency
 * @property {KeySeries} series
 * @property {string} since
 * @property {boolean} rebuilding
 * @property {number} lost
 */

/**
 * @typedef {object} AllUsage
 * @property {number} requests_total
 * @property {number} refused_total
 * @property {number} failed_total
 * @property {Record<string, number>} by_decision
 * @property {Record<string, number>} by_reason
 * @property {Record<string, number>} would_refuse_by_reason
 * @property {number} request_bytes
 * @property {number} response_bytes
 * @property {string | null} last_request_at
 * @property {Latency} latency
 * @property {AllSeries} series
 * @property {TopKey[]} top_keys
 * @property {string} since
 * @property {Rebuild} rebuild
 * @property {number} lost
 */

/**
 * @typedef {object} Transaction
 * @property {string} time
 * @property {string} request_id
 * @property {'allowed' | 'refused' | 'anonymous' | 'public' | 'would_refuse'} decision
 * @property {'http' | 'https'} scheme
 * @property {string} protocol
 * @property {number} request_bytes
 * @property {number} response_bytes
 * @property {number} duration_us
 * @property {'complete' | 'client_gone' | 'upstream_cut' | 'timeout' | 'revoked'} end
 * @property {string} [reason]
 * @property {string} [hint]
 * @property {string} [error]
 * @property {string} [key_id]
 * @property {string} [key_name]
 * @property {string} [method]
 * @property {string} [host]
 * @property {string} [path]
 * @property {string} [query]
 * @property {number} [status]
 * @property {number} [grpc_status]
 * @property {string} [client_ip]
 * @property {string} [client_subject]
 * @property {string} [user_agent]
 * @property {string} [upstream]
 * @property {number} [upstream_us]
 * @property {string} [token_fingerprint]
 * @property {string} [trace_id]
 * @property {boolean} [truncated]
 * @property {number} [lost]
 */

/** @typedef {{name: string, result: 'passed' | 'failed' | 'would_fail' | 'not_reached' | 'not_needed', detail: string | null}} TransactionCheck */
/** @typedef {{transaction: Transaction, checks: TransactionCheck[], others: number}} Explained */

/**
 * @typedef {object} Transactions
 * @property {Transaction[]} transactions
 * @property {string | null} next_cursor
 * @property {string | null} searched_to
 * @property {number} skipped
 * @property {{file: string, why: string}[]} unreadable
 * @property {boolean} recording
 */

/**
 * @typedef {object} AuditEvent
 * @property {string} time
 * @property {{kind: string, name?: string}} actor
 * @property {string} action
 * @property {Record<string, unknown>} [before]
 * @property {Record<string, unknown>} [after]
 * @property {string} [client]
 * @property {string} [detail]
 * @property {string} [key_id]
 * @property {string} [key_name]
 * @property {string} [request_id]
 * @property {string} [revision]
 * @property {string} [revision_before]
 */

/** @typedef {{events: AuditEvent[], next_cursor: string | null, skipped: number}} Events */

/**
 * @typedef {object} Status
 * @property {string} version
 * @property {string} started_at
 * @property {boolean} ready
 * @property {Reason[]} blocked
 * @property {Reason[]} degraded
 * @property {string | null} config_file
 * @property {{path: string, revision: string, loaded_at: string, writable: boolean, problems: FileProblem[], warnings: FileProblem[]}} key_file
 * @property {{name: string, state: 'ok' | 'missing' | 'unreadable' | 'malformed', detail: string | null}} secret_file
 * @property {{path: string, shown_to: 'clients' | 'admin', names: string[], not_before: string, not_after: string}[]} certificates
 * @property {FileProblem[]} certificate_problems
 * @property {{total: number, active: number, disabled: number, not_yet_valid: number, expired: number}} keys
 * @property {{recording: boolean, folder: string, files: number, bytes: number, oldest_at: string | null, rebuild: Rebuild, problems: {file: string, what: string, lines: number}[]}} transactions
 * @property {FileProblem[]} access_problems
 * @property {string[]} [proxy_addresses]
 * @property {'enforce' | 'optional' | 'shadow'} [auth_mode]
 * @property {{kind: 'header' | 'bearer' | 'query' | 'cookie' | 'ws_protocol', name: string | null}} [token_source]
 * @property {boolean} [plain_http]
 * @property {string | null} [telemetry_address]
 */

/** @typedef {{status: number, headers: [string, string][], body: string, body_is_base64: boolean, body_truncated: boolean, duration_us: number, request_id: string}} TryAnswer */

export {};
