// A request as a `curl` command for a POSIX shell. The token is never in it: `$TOKEN` stands for it. Not for: sending.

/**
 * @typedef {object} TokenSource  where keygate looks for the token first
 * @property {string} kind  `header`, `bearer`, `query`, `cookie` or `ws_protocol`
 * @property {string | null} [name]
 */

/**
 * @typedef {object} Asked
 * @property {string} method
 * @property {string} address  scheme and authority, or `unix:` and a path
 * @property {string} path  with its query
 * @property {[string, string][]} headers
 * @property {string | null} [body]
 * @property {TokenSource | null} [token]  null: none is sent
 */

const HEADER = { kind: 'header', name: 'x-api-key' };

// What asks for a WebSocket, with the token in base64url; the answer is a head, and curl shows those with `-i`.
const WEBSOCKET = [
  '-i --http1.1',
  "-H 'Connection: Upgrade' -H 'Upgrade: websocket'",
  "-H 'Sec-WebSocket-Version: 13' -H 'Sec-WebSocket-Key: a2V5Z2F0ZSBhc2tzIGl0IQ=='",
  `-H "Sec-WebSocket-Protocol: keygate.$(printf %s "$TOKEN" | base64 | tr '+/' '-_' | tr -d '=\\n')"`,
];

/** Where the token goes, as far as it is known. @param {any} status  `GET /status` @returns {TokenSource} */
export const tokenSource = (status) => status?.token_source ?? HEADER;

/** @param {Asked} asked */
export function curl({ method, address, path, headers, body, token }) {
  const parts = ['curl'];
  if (method === 'HEAD') parts.push('--head');
  else if (method !== 'GET' || body) parts.push(`-X ${quoted(method)}`);
  if (/\/\.\.?(\/|$|\?)/.test(path)) parts.push('--path-as-is');
  if (/[[\]{}]/.test(path)) parts.push('--globoff');
  if (address.startsWith('unix:')) parts.push(`--unix-socket ${quoted(address.slice('unix:'.length))}`);
  const lines = [parts.join(' ')];
  const inQuery = token?.kind === 'query' ? `${path.includes('?') ? '&' : '?'}${token.name}=` : '';
  if (token?.kind === 'header') lines.push(`-H "${token.name}: $TOKEN"`);
  if (token?.kind === 'bearer') lines.push('-H "Authorization: Bearer $TOKEN"');
  if (token?.kind === 'cookie') lines.push(`-b "${token.name}=$TOKEN"`);
  if (token?.kind === 'ws_protocol') lines.push(...WEBSOCKET);
  for (const [name, value] of headers) lines.push(`-H ${quoted(value ? `${name}: ${value}` : `${name};`)}`);
  if (body) lines.push(`--data-binary ${quoted(body)}`);
  lines.push(quoted(originOf(address) + path + inQuery) + (inQuery && '"$TOKEN"'));
  return lines.join(' \\\n  ');
}

/** @param {string} address */
function originOf(address) {
  if (address.startsWith('unix:')) return 'http://localhost';
  return address.includes('://') ? address : `http://${address}`;
}

/** @param {string} text */
const quoted = (text) => (/^[\w@%+=:,./-]+$/.test(text) ? text : `'${text.replaceAll("'", "'\\''")}'`);
