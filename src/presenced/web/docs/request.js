/**
 * Requests that a person writes in the forms of the page, and how their responses look. Nothing here touches the page.
 */

/** @typedef {import("./openapi.js").Operation} Operation */
/** @typedef {import("./openapi.js").Parameter} Parameter */

/**
 * What a person entered. `parameters` has the values by `inputName`.
 *
 * @typedef {{parameters: {[name: string]: string}, body: string, asStream: boolean}} Entered
 * @typedef {{method: string, url: string, headers: {[name: string]: string}, body?: string, streams: boolean}} ApiRequest
 */

export const MAX_SHOWN = 200_000;
/** Maximum number of characters of a response that the page shows. Of a longer stream it shows the end. */

const SHOWN_HEADERS = ["content-type", "etag", "cache-control", "retry-after", "www-authenticate", "allow"];
const EVENTS = "text/event-stream";

/** @param {Parameter} parameter */
export function inputName({ place, name }) {
  return `${place} ${name}`;
}

/**
 * Return the values that the forms begin with.
 *
 * @param {Operation} operation
 * @returns {Entered}
 */
export function exampleOf(operation) {
  return {
    parameters: Object.fromEntries(operation.parameters.map((one) => [inputName(one), one.example])),
    body: operation.bodyExample === undefined ? "" : JSON.stringify(operation.bodyExample, null, 2),
    asStream: operation.streams && !operation.hasJson,
  };
}

/**
 * Return the request for what a person entered. The server checks the values, so that its errors show.
 *
 * @param {Operation} operation
 * @param {Entered} entered
 * @param {string} origin
 * @returns {ApiRequest}
 * @throws {Error} A part of the path is missing.
 */
export function requestOf(operation, entered, origin) {
  /** @type {{[name: string]: string}} */
  const headers = {};
  const query = new URLSearchParams();
  let path = operation.path;
  for (const parameter of operation.parameters) {
    const values = valuesOf(parameter, entered.parameters[inputName(parameter)] ?? "");
    const [value = ""] = values;
    if (parameter.place === "path") {
      if (!value) throw new Error(`Enter ${parameter.name}.`);
      path = path.replace(`{${parameter.name}}`, () => encodeURIComponent(value));
    } else if (parameter.place === "query") {
      for (const each of values) query.append(parameter.name, each);
    } else if (value) headers[parameter.name] = value;
  }
  const streams = operation.streams && entered.asStream;
  if (streams && operation.hasJson) headers.Accept = EVENTS;
  const body = operation.body && entered.body.trim() ? entered.body : undefined;
  if (body !== undefined) headers["Content-Type"] = "application/json";
  const url = `${origin}${operation.base}${path}${query.size ? `?${query}` : ""}`;
  return { method: operation.method, url, headers, streams, ...(body === undefined ? {} : { body }) };
}

/**
 * Return the values of a parameter. An empty one is omitted, because the server refuses it.
 *
 * @param {Parameter} parameter
 * @param {string} text One line for each value of a list.
 */
function valuesOf(parameter, text) {
  return (parameter.isList ? text.split(/\r?\n/) : [text]).filter(Boolean);
}

/**
 * Return the headers of a request, with the API key if there is one.
 *
 * @param {ApiRequest} request
 * @param {string} key
 * @throws {Error} The key contains a character that no header can have.
 */
export function headersOf(request, key) {
  const secret = key.trim();
  if (!secret) return request.headers;
  if (!/^[\x21-\x7e]+$/.test(secret)) throw new Error("An API key has no spaces and only ASCII characters.");
  return { ...request.headers, Authorization: `Bearer ${secret}` };
}

/**
 * Return the curl command for a request. The key is a variable of the shell, so that the command can be shared.
 *
 * @param {ApiRequest} request
 */
export function curlOf({ method, url, headers, body, streams }) {
  const words = ["curl"];
  if (streams) words.push("-N");
  if (method !== (body === undefined ? "GET" : "POST")) words.push("-X", method);
  words.push(quoted(url), "-H", '"Authorization: Bearer $KEY"');
  for (const [name, value] of Object.entries(headers)) {
    if (name !== "Content-Type") words.push("-H", quoted(`${name}: ${value}`)); // the server does not need it
  }
  if (body !== undefined) words.push("-d", quoted(inOneLine(body)));
  return words.join(" ");
}

/** @param {string} text */
function quoted(text) {
  return `'${text.replaceAll("'", "'\\''")}'`;
}

/** @param {string} body */
function inOneLine(body) {
  try {
    return JSON.stringify(JSON.parse(body));
  } catch {
    return body;
  }
}

/**
 * Describe the outcome of a request: `200 OK · 12 ms · 345 bytes`.
 *
 * @param {{status: number, statusText: string}} response
 * @param {number} milliseconds
 * @param {number} bytes
 */
export function outcomeOf({ status, statusText }, milliseconds, bytes) {
  const size = bytes === 1 ? "1 byte" : `${bytes.toLocaleString("en")} bytes`;
  return `${`${status} ${statusText}`.trim()} · ${Math.round(milliseconds)} ms · ${size}`;
}

/**
 * Return the headers of a response that a person wants to see.
 *
 * @param {Headers} headers
 * @returns {[string, string][]}
 */
export function shownHeaders(headers) {
  return SHOWN_HEADERS.flatMap((name) => {
    const value = headers.get(name);
    return value === null ? [] : [/** @type {[string, string]} */ ([name, value])];
  });
}

/**
 * Return the body of a response, JSON with indentation.
 *
 * @param {string} text
 * @param {string} contentType
 */
export function prettyBody(text, contentType) {
  if (!/\bjson\b/.test(contentType)) return beginning(text);
  try {
    return beginning(JSON.stringify(JSON.parse(text), null, 2));
  } catch {
    return beginning(text);
  }
}

/** @param {string} text */
function beginning(text) {
  return text.length <= MAX_SHOWN ? text : `${text.slice(0, MAX_SHOWN)}\n… ${text.length - MAX_SHOWN} more characters`;
}

/**
 * Return the end of a stream, after another part has arrived. A longer text begins with a whole line.
 *
 * @param {string} shown
 * @param {string} part
 * @param {number} [most]
 */
export function endOf(shown, part, most = MAX_SHOWN) {
  const text = shown + part;
  if (text.length <= most) return text;
  const end = text.slice(-most);
  return end.slice(end.indexOf("\n") + 1);
}
